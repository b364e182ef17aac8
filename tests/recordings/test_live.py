"""`--stripe=live`: who is let in, and that nothing is left behind. An emulator takes the account's place here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stripe_meter.emulator import EmulatorServer
from tests.recordings.support import ROOT, copied, pytest_in
from tests.scenarios import backends, live

pytestmark = pytest.mark.long

KEY = "sk_test_" + "x" * 24


@pytest.mark.parametrize(
    "options", [("tests/scenarios",), ("tests/scenarios", "--record-mode=rewrite"), ()], ids=["run", "record", "root"]
)
def test_without_a_key_the_run_ends_in_one_sentence(options: tuple[str, ...]) -> None:
    """Not in a traceback for each story."""
    result = pytest_in(ROOT, "--stripe=live", *options)
    assert result.returncode == 4
    assert "STRIPE_SECRET_KEY is not set" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("", "STRIPE_SECRET_KEY is not set"),
        ("sk_live_" + "x" * 24, "never touches live mode"),
        ("rk_live_" + "x" * 24, "never touches live mode"),
        ("pk_test_" + "x" * 24, "STRIPE_SECRET_KEY holds no secret test key"),
        ("whatever", "STRIPE_SECRET_KEY holds no secret test key"),
    ],
)
def test_only_a_secret_test_key_is_let_in(key: str, sentence: str) -> None:
    """Live mode is real money; the sentence never repeats the key."""
    with pytest.raises(pytest.UsageError, match=sentence) as raised:
        live.account({"STRIPE_SECRET_KEY": key})
    assert "STRIPE_SECRET_KEY" in str(raised.value)
    assert not key or key not in str(raised.value)


@pytest.mark.parametrize("key", [KEY, "rk_test_" + "x" * 24])
def test_a_test_key_is_let_in_and_not_shown(key: str) -> None:
    """Restricted keys are keys too."""
    account = live.account({"STRIPE_SECRET_KEY": key})
    assert account.key == key
    assert key not in repr(account)


def test_recording_says_from_what() -> None:
    """A recording of nothing in particular would overwrite one of something."""
    result = pytest_in(ROOT, "tests/scenarios", "--record-mode=rewrite")
    assert result.returncode == 4
    assert "--stripe=emulator or --stripe=live" in result.stderr


def test_a_live_run_leaves_nothing_behind_and_its_recording_replays(tmp_path: Path, stripe: EmulatorServer) -> None:
    """The same code as with an account: subscribed by API, on a test clock, at the real time, cleaned up afterwards."""
    copied(tmp_path)
    # On one of Stripe's test clocks a subscription begins where that clock stands, so no second may pass here either.
    stripe.emulator.clock.freeze()
    stripe.emulator.clock.advance(60)
    story = "a_stranger_pays_and_is_billed_by_the_call"
    chosen = ("tests/scenarios", "-k", story)
    run = pytest_in(
        tmp_path,
        *chosen,
        "--stripe=live",
        "--record-mode=rewrite",
        STRIPE_SECRET_KEY=KEY,
        STRIPE_METER_EMULATOR=stripe.url,
    )
    assert run.returncode == 0, run.stdout
    assert live_objects(stripe.emulator.account.store.dump()) == []

    text = (tmp_path / f"cassettes/emulator/{story}.yaml").read_text()
    assert "payer: api" in text
    assert "source: emulator" in text
    assert re.findall(r"(?m)^    method: DELETE$", text) == []
    replay = pytest_in(tmp_path, *chosen, "--stripe=cassette")
    assert replay.returncode == 0, replay.stdout


def live_objects(dump: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What of a story is still there: not deleted, archived, expired or inactive."""
    is_there: dict[str, Callable[[Any], bool]] = {
        "customer": lambda row: not row.get("deleted"),
        "test_helpers.test_clock": lambda row: True,
        "product": lambda row: row["active"],
        "price": lambda row: row["active"],
        "billing.meter": lambda row: row["status"] == "active",
        "checkout.session": lambda row: row["status"] == "open",
    }
    return [f"{kind} {row['id']}" for kind, there in is_there.items() for row in dump.get(kind, []) if there(row)]


def test_what_cannot_be_taken_away_is_named(stripe: EmulatorServer) -> None:
    """One refusal does not stop the rest of the clean-up."""
    client, http = backends.live(KEY, stripe.url).client()
    for name in ("one", "two"):
        client.v1.customers.create({"name": name, "metadata": {"stripe_meter": "story-1-x"}})
    stripe.emulator.faults.add(method="DELETE", path="/v1/customers", kind="status", status=500)
    left = live.clean_up(client, "story-1-x", int(stripe.emulator.clock.now()))
    assert len(left) == 1
    assert live.clean_up(client, "story-1-x", int(stripe.emulator.clock.now())) == []
    http.close()
