"""What lies in `cassettes/`: where it says it comes from, and that nothing secret is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from stripe_meter.testing import secrets_in
from tests.recordings.support import CASSETTES, ROOT

RECORDINGS = sorted(CASSETTES.rglob("*.yaml"))
SOURCES = {"emulator": "emulator", "stripe": "Stripe test mode"}


def test_every_recording_is_of_a_story() -> None:
    """A renamed story leaves its recording behind. (One without a recording fails by itself.)"""
    texts = [path.read_text() for path in (ROOT / "tests/scenarios").glob("test_*.py")]
    stories = {name for text in texts for name in re.findall(r"^async def test_(\w+)", text, re.MULTILINE)}
    assert RECORDINGS
    assert {path.stem for path in RECORDINGS} <= stories


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recording_says_where_it_comes_from(path: Path) -> None:
    """A recording of the emulator must never be taken for one of Stripe."""
    metadata = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["metadata"]
    assert metadata["source"] == SOURCES[path.parent.name]
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", metadata["recorded"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\d\.\w+", metadata["api_version"])


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_recording_holds_a_secret_or_an_address_of_somebody(path: Path) -> None:
    """What is recorded is published with the repository."""
    text = path.read_text()
    assert secrets_in(path) == []
    assert not re.findall(r"authorization|user-agent|cookie|Bearer\s+\S+", text, re.IGNORECASE)
    addresses = {address.lower() for address in re.findall(r"[\w.+-]+(?:@|%40)[\w.-]+\w", text)}
    assert all(re.search(r"(@|%40)example\.com$", address) for address in addresses), addresses


def test_the_search_for_secrets_finds_what_it_looks_for(tmp_path: Path) -> None:
    """A search that finds nothing anywhere would always pass."""
    for secret in ("sk_test_abc", "rk_live_abc", "whsec_abc", "smk_cus_1_abc", "Bearer abc", "someone@example.org"):
        (tmp_path / "leak.yaml").write_text(f"body: '{secret}'\n")
        with pytest.raises(AssertionError):
            test_no_recording_holds_a_secret_or_an_address_of_somebody(tmp_path / "leak.yaml")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("body: a=1&key=sk_test_abc", "sk_test_"),
        ("body: key%3Drk_live_abc", "rk_live_"),
        ("string: 'whsec_abc'", "whsec_"),
        ("string: smk_cus_1_abc", "smk_cus_"),
        ("string: ek_test_abc", "ek_test_"),
        ("string: pi_1_secret_0123456789abcdef", "_secret_"),
        ('string: \'{"authentication_token": "opaque"}\'', "authentication_token"),
        ('string: "{\\"client_secret\\":\\"opaque\\"}"', "client_secret"),
        ("    Authorization:\n    - Basic abc", "Authorization"),
    ],
)
def test_an_author_finds_a_secret_by_file_and_line(tmp_path: Path, text: str, kind: str) -> None:
    """The sentence is printed by CI, so it names the place and not the secret."""
    (tmp_path / "deeper").mkdir()
    file = tmp_path / "deeper/one.yaml"
    file.write_text(f"version: 1\n{text}\n")
    assert secrets_in(tmp_path) == [f"{file}:2 holds a secret: {kind}"]


def test_what_was_taken_out_is_no_secret(tmp_path: Path) -> None:
    """Nor is a name that has the word in it."""
    words = ['{"secret":"whsec_REDACTED"}', '{"client_secret":"REDACTED"}', "pi_1_secret_REDACTED", "smk_cus_REDACTED"]
    words += ['{"client_secret":null}', "test_no_secret_is_kept", "task_test_1"]
    (tmp_path / "one.yaml").write_text("\n".join(words))
    assert secrets_in(tmp_path) == []


def test_a_folder_without_cassettes_is_not_clean(tmp_path: Path) -> None:
    """A misspelt folder would pass for ever."""
    for path in (tmp_path, tmp_path / "casettes"):
        with pytest.raises(FileNotFoundError):
            secrets_in(path)
