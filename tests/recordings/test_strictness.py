"""Replay is strict: what is missing, left over or said otherwise fails the test that needs it, by name."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from vcr.request import Request

from stripe_meter.emulator import EmulatorServer
from stripe_meter.testing import traffic
from tests.recordings.support import ROOT, copied, edit, failed, pytest_in

MISSING = "a_revoked_key_is_refused_with_a_link_after_the_restart"
EXTRA = "a_tool_that_fails_is_free"
OTHER = "a_second_key_of_a_customer_bills_the_same_customer"
SNIPPET = re.compile(r"```python\n# (\w+\.py)\n(.*?)```", re.DOTALL)


def test_a_spoilt_recording_fails_exactly_the_story_that_needs_it(tmp_path: Path) -> None:
    """One entry gone, one too many, one blank parameter more: three stories fail, each under its name."""
    recordings = copied(tmp_path) / "cassettes/emulator"

    def blank(entries: list[Any]) -> None:
        body = next(entry["request"] for entry in entries if "keys" not in entry and entry["request"]["body"])
        body["body"] += "&description="

    edit(recordings / f"{MISSING}.yaml", lambda entries: entries.pop(-1))
    edit(recordings / f"{EXTRA}.yaml", lambda entries: entries.append(copy.deepcopy(entries[0])))
    edit(recordings / f"{OTHER}.yaml", blank)
    result = pytest_in(
        tmp_path, "tests/scenarios/test_customers.py", "tests/scenarios/test_paying.py", "--stripe=cassette"
    )
    assert failed(result) == {f"test_{name}" for name in (MISSING, EXTRA, OTHER)}, result.stdout
    assert "not recorded" in result.stdout
    assert "but nobody asked for it: GET http://emulator.invalid/v1/prices" in result.stdout


def test_a_story_without_a_recording_says_how_to_make_one(tmp_path: Path) -> None:
    """The first thing a person sees who adds a story."""
    recordings = copied(tmp_path) / "cassettes/emulator"
    (recordings / f"{EXTRA}.yaml").unlink()
    result = pytest_in(tmp_path, "tests/scenarios/test_paying.py", "--stripe=cassette", "-k", EXTRA)
    assert failed(result) == {f"test_{EXTRA}"}
    assert "--record-mode=rewrite" in result.stdout


def test_two_recordings_differ_in_nothing_but_the_day(tmp_path: Path) -> None:
    """Whoever records again sees in the diff what has changed, and only that."""
    copied(tmp_path)
    texts = []
    for _ in range(2):
        result = pytest_in(
            tmp_path, "tests/scenarios", "--stripe=emulator", "--record-mode=rewrite", "-k", "tool_added_later"
        )
        assert result.returncode == 0, result.stdout
        (recorded,) = (tmp_path / "cassettes/emulator").glob("a_tool_added_later*.yaml")
        texts.append(re.sub(r"(?m)^  recorded: .*$", "", recorded.read_text()))
    assert texts[0] == texts[1]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The small project of the page for authors, with what the page says of cassettes."""
    before, _, cassettes = (ROOT / "docs/testing.md").read_text().partition("## Cassettes")
    server = next(match for match in SNIPPET.findall(before) if match[0] == "server.py")
    for name, text in (server, *SNIPPET.findall(cassettes)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_an_authors_suite_records_and_replays_as_the_page_says(suite: Path, stripe: EmulatorServer) -> None:
    """Recorded against an account, replayed without a key, an account or a network."""
    result = pytest_in(suite, "--record-mode=rewrite", STRIPE_METER_EMULATOR=stripe.url)
    assert result.returncode == 0, result.stdout
    (cassette,) = suite.rglob("*.yaml")
    assert "source: emulator" in cassette.read_text()
    assert stripe.url not in cassette.read_text()
    replayed = pytest_in(suite, "--block-network")
    assert replayed.returncode == 0, replayed.stdout

    # The author's test expects a refusal, and a refusal is what it gets when Stripe cannot be reached.
    edit(cassette, lambda entries: entries.pop(-1))
    missed = pytest_in(suite, "--block-network")
    assert len(failed(missed)) == 1, missed.stdout
    assert "not recorded" in missed.stdout


def test_a_live_key_is_never_recorded(suite: Path) -> None:
    """The request is stopped before it leaves."""
    key = "sk_live_" + "x" * 24
    result = pytest_in(suite, "--record-mode=rewrite", "--block-network", STRIPE_SECRET_KEY=key)
    assert len(failed(result)) == 1, result.stdout
    assert "cassettes are recorded with a test-mode key" in result.stdout
    assert key not in result.stdout
    assert not list(suite.rglob("*.yaml"))


def test_without_the_extra_the_author_reads_what_to_type(suite: Path) -> None:
    """Cassettes are optional, and a traceback of imports explains nothing."""
    conftest = suite / "conftest.py"
    conftest.write_text(f"import sys\n\nsys.modules['vcr'] = None\n{conftest.read_text()}")
    result = pytest_in(suite)
    assert result.returncode != 0
    said = result.stdout + result.stderr
    assert "stripe_meter.testing.cassettes needs vcr; type: pip install 'stripe-meter[cassettes]'" in said
    assert "Traceback" not in said


def a_request(
    body: str = "", key: str | None = None, uri: str = "http://127.0.0.1:9/v1/x", kind: str = "form"
) -> Request:
    headers = {"content-type": {"form": "application/x-www-form-urlencoded", "json": "application/json"}[kind]}
    made = Request("post", uri, body, {**headers, **({"Idempotency-Key": key} if key else {})})
    scrubbed = traffic.Scrubber().request(made)
    assert scrubbed is not None
    return scrubbed


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (a_request("a=1&b=2"), a_request("b=2&a=1"), True),
        (a_request("a=1&m[k]="), a_request("a=1"), False),
        (a_request("a=1"), a_request("a=2"), False),
        (a_request('{"a": [1, 2]}', kind="json"), a_request('{"a":[1,2]}', kind="json"), True),
        (a_request('{"a": [1, 2]}', kind="json"), a_request('{"a":[2,1]}', kind="json"), False),
        (a_request(key="checkout:cus_1:0"), a_request(key="checkout:cus_1:0"), True),
        (a_request(key="checkout:cus_1:0"), a_request(key="checkout:cus_1:1"), False),
        (a_request(key="0" * 32), a_request(key="12345678-1234-1234-1234-123456789abc"), True),
        (a_request(key="0" * 32), a_request(key="0" * 32 + ":r1"), False),
        (a_request(key="customer:mcp:" + "0" * 40), a_request(key="customer:mcp:" + "1" * 40), False),
        (a_request(uri="http://127.0.0.1:9/v1/x?a="), a_request(uri="http://127.0.0.1:7/v1/x?a="), True),
        (a_request(uri="http://127.0.0.1:9/v1/x?a="), a_request(uri="http://127.0.0.1:9/v1/x"), False),
        (a_request(uri="https://api.stripe.com/v1/x"), a_request(), False),
    ],
)
def test_what_makes_two_requests_the_same(one: Request, other: Request, is_same: bool) -> None:
    """Blank values and our own idempotency keys count; order, ports and random keys do not."""
    differences = []
    for matcher in traffic.MATCHERS.values():
        try:
            matcher(one, other)
        except AssertionError as error:
            differences.append(str(error))
    assert (not differences) is is_same


def test_secrets_in_answers_are_not_written() -> None:
    """Stripe shows some secrets once, in a body: webhook secrets, client secrets."""
    body = b'{"secret":"whsec_abc","client_secret":"pi_1_secret_abc","id":"we_1"}'
    answer = {"status": {"code": 200, "message": "OK"}, "headers": {"Set-Cookie": ["x"]}, "body": {"string": body}}
    kept = traffic.Scrubber().response(answer)
    assert kept["headers"] == {}
    assert kept["body"]["string"] == b'{"secret":"whsec_REDACTED","client_secret":"pi_1_secret_REDACTED","id":"we_1"}'


def test_other_traffic_passes_by() -> None:
    """A tool's own requests are not this cassette's business, nor those of the test's MCP client."""
    for uri in ("https://api.example.com/v1/x", "http://127.0.0.1:8000/mcp"):
        assert traffic.Scrubber().request(Request("POST", uri, "", {})) is None
