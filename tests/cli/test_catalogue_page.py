"""The page about the catalogue as code: every command on it is run, and says what stands there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from tests.cli.conftest import Shop
from tests.cli.support import run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/catalogue.md").read_text()
#: Command, what it prints, exit status.
SAID = re.findall(r"^\$ stripe-meter (.*?)\n(.*?)^\[exit (\d)\]$", PAGE, re.MULTILINE | re.DOTALL)


def pattern(text: str) -> str:
    """What stands there, with anything for `...`."""
    return ".*?".join(re.escape(part) for part in text.split("..."))


def test_every_command_prints_what_the_page_says(shop: Shop, tmp_path: Path) -> None:
    """In the order of the page, on one account; catalogues of two examples in namespaces of their own."""
    shop.v1.customers.create({})
    for file in (*ROOT.glob("examples/quickstart/*.py"), *ROOT.glob("examples/plans/*")):
        shutil.copy(file, tmp_path)
    env = {"STRIPE_METER_EMULATOR": shop.stripe.url}
    assert [command.split()[0] for command, _, _ in SAID] == [
        *("plan", "apply", "plan", "doctor", "credits", "credits", "credits", "simulate")
    ]
    for command, text, status in SAID:
        if command.startswith("credits grant"):
            # Whoever gives credits sells them.
            assert run("apply", "shop.py", "--yes", env=env, cwd=tmp_path).returncode == 0
        done = run(*shlex.split(command), env=env, cwd=tmp_path)
        assert done.returncode == int(status), done.stderr
        assert re.fullmatch(pattern(text), done.stdout, re.DOTALL), f"{command}:\n{done.stdout}"
        if command.startswith("simulate"):
            assert done.stderr == ""
