"""Replay is strict: what is missing, left over or said otherwise fails the test that needs it, by name."""

from __future__ import annotations

import base64
import copy
import re
import time
from pathlib import Path
from typing import Any

import pytest
from vcr.request import Request

from stripe_meter.emulator import EmulatorServer
from stripe_meter.testing import traffic
from tests.recordings.support import ROOT, copied, edit, failed, pytest_in

pytestmark = pytest.mark.long

MISSING = "a_revoked_key_is_refused_with_a_link_after_the_restart"
EXTRA = "a_tool_that_fails_is_free"
OTHER = "a_second_key_of_a_customer_bills_the_same_customer"
SENDS_A_SECRET = """
import os

import pytest
import stripe


@pytest.mark.vcr
def test_sends_a_secret():
    address = {"api": os.environ["STRIPE_METER_EMULATOR"]}
    client = stripe.StripeClient("sk_test_x", base_addresses=address, max_network_retries=0)
    try:
        client.v1.customers.create({"description": "whsec_" + "x" * 24})
    except stripe.StripeError:
        pass
"""
PAID_CALLS = """
from contextlib import closing

import pytest
from mcp import Client
from server import mcp
from stripe_meter import StripeMeter
from stripe_meter.testing import customer, use


@pytest.mark.vcr
@pytest.mark.anyio
@pytest.mark.parametrize("page", ["one", "two"])
async def test_a_paid_call(page):
    with closing(StripeMeter()) as billing, use(billing):
        caller = await customer(mcp)
        async with Client(mcp) as client:
            with caller.calling():
                await client.call_tool("summarize", {"url": f"https://example.com/{page}"})
        assert caller.usage("summarize") == 1
        assert caller.owed() == "$0.60"
        assert caller.next_invoice().total == 60
"""
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


def on_the_page(name: str) -> str:
    """What the page for authors writes into a file of its part on cassettes, or else before it."""
    before, _, cassettes = (ROOT / "docs/testing.md").read_text().partition("## Cassettes")
    return next(str(text) for file, text in SNIPPET.findall(cassettes + before) if file == name)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The small project of the page for authors, with what the page says of cassettes."""
    for name in ("server.py", "conftest.py", "test_recorded.py"):
        (tmp_path / name).write_text(on_the_page(name))
    return tmp_path


def test_an_authors_suite_records_and_replays_as_the_page_says(suite: Path, stripe: EmulatorServer) -> None:
    """Recorded against an account, replayed without a key, an account or a network."""
    result = pytest_in(suite, "--record-mode=rewrite", STRIPE_METER_EMULATOR=stripe.url)
    assert result.returncode == 0, result.stdout
    (cassette,) = suite.rglob("*.yaml")
    assert "source: emulator" in cassette.read_text()
    assert stripe.url not in cassette.read_text()
    (suite / "test_recorded_files.py").write_text(on_the_page("test_recorded_files.py"))
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


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b'{"authentication_token": "any\\"thing", "id": "x"}', b'{"authentication_token": "REDACTED", "id": "x"}'),
        (b'{"client_secret":"opaque"}', b'{"client_secret":"REDACTED"}'),
        (b'{"client_secret":null}', b'{"client_secret":null}'),
        (b'{"secret":"opaque"}', b'{"secret":"REDACTED"}'),
        (b'{"secret":"ek_test_abc"}', b'{"secret":"ek_test_REDACTED"}'),
        (b'{"note":"ek_live_abc"}', b'{"note":"ek_live_REDACTED"}'),
        (b'{"url":"https://x/?k%3Dsmk_cus_1_abc"}', b'{"url":"https://x/?k%3Dsmk_cus_REDACTED"}'),
        (b'{"id":"task_test_1","secretary":"a"}', b'{"id":"task_test_1","secretary":"a"}'),
    ],
)
def test_a_secret_is_known_by_its_field_or_its_beginning(said: bytes, kept: bytes) -> None:
    """Tokens of meter event sessions look like nothing in particular."""
    answer = {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": said}}
    assert traffic.Scrubber().response(answer)["body"]["string"] == kept


@pytest.mark.parametrize("begin", ["sk_live_", "rk_live_", "sk_test_", "whsec_", "smk_"])
@pytest.mark.parametrize(
    ("part", "request_with"),
    [
        ("body of a POST /v1/x", lambda secret: a_request(f"description={secret}")),
        ("body of a POST /v1/x", lambda secret: a_request(f"url=https%3A%2F%2Fx%2F%3Fk%3D{secret}")),
        ("body of a POST /v1/x", lambda secret: a_request(f'{{"a": "line\\n{secret}"}}', kind="json")),
        ("address of a POST request", lambda secret: a_request(uri=f"https://api.stripe.com/v1/{secret}")),
        ("idempotency key of a POST /v1/x", lambda secret: a_request(key=f"mine-{secret}")),
    ],
    ids=["form", "escaped", "json", "address", "key"],
)
def test_a_secret_in_a_request_stops_the_recording(begin: str, part: str, request_with: Any) -> None:
    """A replay needs requests as they were, so a secret in them cannot be replaced."""
    secret = begin + "x1" * 12
    with pytest.raises(traffic.Unrecordable) as stopped:
        request_with(secret)
    assert f"the {part} holds a secret, {begin}" in str(stopped.value)
    assert secret not in str(stopped.value)


@pytest.mark.parametrize("shown", ["Bearer {}", "Basic {b}", "basic {b}"])
@pytest.mark.parametrize("kind", ["sk", "rk"])
def test_a_live_key_is_seen_however_it_is_shown(shown: str, kind: str) -> None:
    """`curl -u sk_live_…:` sends it as the user of basic authorization."""
    key = f"{kind}_live_" + "x" * 24
    header = shown.format(key, b=base64.b64encode(f"{key}:".encode()).decode())
    with pytest.raises(traffic.Unrecordable, match="test-mode key"):
        traffic.Scrubber().request(Request("GET", "https://api.stripe.com/v1/x", "", {"Authorization": header}))


def test_a_secret_in_a_request_fails_the_authors_test(suite: Path, stripe: EmulatorServer) -> None:
    """Also where the code under test handles the error that Stripe's SDK makes of it."""
    (suite / "test_recorded.py").write_text(SENDS_A_SECRET)
    result = pytest_in(suite, "--record-mode=rewrite", STRIPE_METER_EMULATOR=stripe.url)
    assert failed(result) == {"test_sends_a_secret"}, result.stdout
    assert "the body of a POST /v1/customers holds a secret, whsec_…" in result.stdout
    assert [request for request in stripe.emulator.requests if request.path == "/v1/customers"] == []
    assert not list(suite.rglob("*.yaml"))


def test_tests_of_one_name_and_second_record_apart_and_the_bill_replays(suite: Path, stripe: EmulatorServer) -> None:
    """Alike, the second would be told by Stripe that its identifiers were used; and what was owed is a request too."""
    (suite / "test_recorded.py").unlink()
    second = f"\n\n@pytest.fixture\ndef cassette_clock():\n    return {int(time.time())}\n"
    (suite / "conftest.py").write_text((suite / "conftest.py").read_text() + second)
    for name in ("test_one.py", "test_two.py"):
        (suite / name).write_text(PAID_CALLS)
    result = pytest_in(suite, "--record-mode=rewrite", STRIPE_METER_EMULATOR=stripe.url)
    assert result.returncode == 0, result.stdout
    texts = [path.read_text() for path in suite.rglob("*.yaml")]
    assert len(texts) == 4
    assert not [text for text in texts if "idempotency_error" in text]
    assert len({event for text in texts for event in re.findall(r"identifier=(\w+)", text)}) == 4

    # From elsewhere, in another order: what a recording needs is in the file.
    replayed = pytest_in(suite, "--block-network", "--rootdir=/", "test_two.py", "test_one.py")
    assert replayed.returncode == 0, replayed.stdout
    assert "4 passed" in replayed.stdout


@pytest.mark.parametrize("story", ["a_rate_limited_account_is_asked_again", "a_rate_limited_meter_event_is_sent_again"])
def test_a_rate_limit_that_is_missing_is_missed(tmp_path: Path, story: str) -> None:
    """The repeat is the same request, so what replays without the refusal must count it."""
    cassette = copied(tmp_path) / f"cassettes/emulator/{story}.yaml"

    def forget(entries: list[Any]) -> None:
        entries.remove(next(entry for entry in entries if entry["response"]["status"]["code"] == 429))

    edit(cassette, forget)
    result = pytest_in(tmp_path, "tests/scenarios/test_trouble.py", "--stripe=cassette")
    assert failed(result) == {f"test_{story}"}, result.stdout
    assert "world.refusals(429)" in result.stdout


def test_other_traffic_passes_by() -> None:
    """A tool's own requests are not this cassette's business, nor those of the test's MCP client."""
    for uri in ("https://api.example.com/v1/x", "http://127.0.0.1:8000/mcp"):
        assert traffic.Scrubber().request(Request("POST", uri, "", {})) is None
