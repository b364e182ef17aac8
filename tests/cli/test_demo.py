"""`stripe-meter demo`: the figures it reports are the figures that were."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import anyio
import pytest
from mcp.client import Client

from stripe_meter.cli import demo_child, standin
from stripe_meter.cli.demo import _take
from stripe_meter.cli.demo_server import build
from stripe_meter.cli.output import Teller
from stripe_meter.cli.tour import Buyer, Order, StepFailed, Tour
from stripe_meter.domain.identity import ApiKey
from stripe_meter.domain.rates import parse_price
from stripe_meter.emulator.browser import pay_by_forms
from stripe_meter.errors import ConfigurationError, StripeMeterError
from tests.cli.support import run, running, sentence

LIVE_KEY = "sk_live" + "_51NeverToBeSeenAnywhere"
HOSTILE = {
    "STRIPE_SECRET_KEY": LIVE_KEY,
    "STRIPE_METER_ENABLED": "false",
    "STRIPE_METER_NAMESPACE": "other",
    "STRIPE_METER_PUBLIC_URL": "https://tools.example.com",
    "STRIPE_METER_API_KEY": "smk_wrong",
    "STRIPE_METER_EMULATOR": "http://127.0.0.1:1",
}


def meter_values(log: Path) -> list[int]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    return [
        int(line["body"]["payload"]["value"])
        for line in lines
        if line["method"] == "POST" and line["path"] == "/v1/billing/meter_events" and line["status"] == 200
    ]


@pytest.mark.parametrize(
    ("calls", "fail", "price", "amount_due", "amount_charged", "currency"),
    [
        (17, 4, "0.0375 eur", 64, 64, "eur"),
        (3, 0, "$0.02", 6, 0, "usd"),
        (150, 9, "7 jpy", 1050, 1050, "jpy"),
        (1, 2, "$0.00049 per started 2 calls", 0, 0, "usd"),
    ],
)
def test_json_reports_what_the_log_shows(
    tmp_path: Path, calls: int, fail: int, price: str, amount_due: int, amount_charged: int, currency: str
) -> None:
    """One JSON object on stdout, whose figures agree with the order and with the requests that were sent."""
    log = tmp_path / "out.jsonl"
    log.write_text("what was here before\n")
    arguments = ["--calls", str(calls), "--fail", str(fail), "--price", price, "--http-log", str(log)]
    done = run("demo", "--once", "--json", *arguments, env=HOSTILE)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    expected = {
        "refused_before_payment": True,
        "calls_billed": calls,
        "calls_failed_unbilled": fail,
        "meter_total": calls,
        "amount_due": amount_due,
        "amount_charged": amount_charged,
        "currency": currency,
        "stripe_requests_per_warm_call": 0,
    }
    assert {name: told[name] for name in expected} == expected
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/c/pay/cs_\w+", told["checkout_url"])
    assert sum(meter_values(log)) == calls
    assert len(meter_values(log)) == told["meter_events_sent"]
    assert LIVE_KEY not in done.stdout + done.stderr


def test_the_story_is_plain_ascii_without_a_terminal() -> None:
    """In a pipe there are no signs that a log could garble, and the eight steps are all there."""
    done = run("demo", "--once", "--price", "€0.30", "--calls", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert re.findall(r"^(\d)  ", done.stdout, re.MULTILINE) == list("12345678")
    assert "2 x EUR 0.30 = EUR 0.60, paid" in done.stdout
    assert "smk_" in done.stdout
    assert not re.search(r"smk_\w{30,}", done.stdout)


def test_the_story_tells_when_an_amount_is_too_small_to_charge() -> None:
    """Below Stripe's smallest charge nothing is charged, and the story does not say it was."""
    done = run("demo", "--once", "--calls", "2", "--fail", "0")
    assert "$0.10 is owed with the next invoice" in done.stdout
    assert "paid" not in done.stdout.splitlines()[-1]


def test_two_demos_at_once_do_not_meet() -> None:
    """Each finds ports of its own and reports its own calls."""
    with (
        running("demo", "--json", "--calls", "5", "--fail", "2") as one,
        running("demo", "--json", "--calls", "6", "--fail", "3") as other,
    ):
        told = [json.loads(command.line_with('{"refused')) for command in (one, other)]
        assert one.process.wait(30) == other.process.wait(30) == 0
    assert [(t["calls_billed"], t["meter_total"], t["calls_failed_unbilled"]) for t in told] == [(5, 5, 2), (6, 6, 3)]
    assert told[0]["checkout_url"] != told[1]["checkout_url"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_told_to_end(signum: signal.Signals) -> None:
    """After the tour overview, invoice and server answer; a signal ends them all with status 0."""
    with running("demo", "--calls", "2") as command:
        look = command.line_with("Look around")
        overview, invoice = re.findall(r"http://\S+", look)
        server, key = re.findall(r"http://\S+|smk_\w+", command.line_with("Try it"))
        command.line_with("Ctrl-C")
        for url in (overview, invoice):
            with urlopen(url, timeout=10) as page:
                assert page.status == 200
        assert ApiKey.parse(key) is not None
        assert server.startswith("http://127.0.0.1:")
        started = children(command.process.pid)
        assert command.end(signum) == 0
        assert started
        assert not still_there(started)


def test_it_ends_when_its_server_does() -> None:
    """A demo whose server is gone says so instead of serving half of itself."""
    with running("demo", "--calls", "1") as command:
        command.line_with("Ctrl-C")
        (server,) = children(command.process.pid)
        os.kill(server, signal.SIGKILL)
        assert "the demo server ended by itself" in command.line_with("Error: ")
        assert command.process.wait(30) == 1


def children(pid: int) -> list[int]:
    """The processes that `pid` started, of those that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def still_there(pids: list[int]) -> list[int]:
    """Those that run; their ports may be somebody else's by now."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_pause_waits_for_the_person_to_pay() -> None:
    """With --pause the tour goes on once somebody has paid on the hosted page."""
    with running("demo", "--once", "--pause", "--calls", "3") as command:
        url = re.findall(r"open (http://\S+)", command.line_with("your turn"))[0]
        back = pay_by_forms(url, "4242424242424242", "person@example.com")
        assert 'id="api-key"' in standin.page(back)
        assert "paid by you" in command.line_with("paid by you")
        assert "3 x $0.05 = $0.15" in command.line_with("End of the month")
        assert command.process.wait(30) == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_tour_leaves_nothing_behind(signum: signal.Signals) -> None:
    """The demo server ends with the demo, also in the middle of the story."""
    with running("demo", "--once", "--pause") as command:
        command.line_with("your turn")
        started = children(command.process.pid)
        assert command.end(signum) == 1
        assert started
        assert not still_there(started)


@pytest.mark.parametrize(
    ("arguments", "sentence_part"),
    [
        (["--calls", "0"], "not in the range"),
        (["--calls", "-3"], "not in the range"),
        (["--calls", "10001"], "not in the range"),
        (["--calls", "many"], "not a valid integer"),
        (["--fail", "-1"], "not in the range"),
        (["--price", "0.05"], 'write "$0.05" or "0.05 eur"'),
        (["--price", "nonsense"], "is not understood"),
        (["--price", "-$1"], "is negative"),
        (["--price", "0.05 xyz"], "unknown currency"),
        (["--price", "free"], "by the call and for money"),
        (["--price", "10 credits"], "by the call and for money"),
        (["--price", "$0.002 per word"], "by the call and for money"),
    ],
)
def test_an_order_that_cannot_be_shown_is_a_usage_error(arguments: list[str], sentence_part: str) -> None:
    """Figures and prices out of bounds end with status 2 and the sentence, before anything is started."""
    done = run("demo", "--once", *arguments)
    assert done.returncode == 2
    assert sentence_part in done.stderr
    assert done.stdout == ""


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """The command ends before the tour and names the file."""
    assert "cannot be written" in sentence(run("demo", "--once", "--http-log", str(tmp_path / "no" / "log.jsonl")))


def test_a_port_that_is_taken_is_one_sentence() -> None:
    """--port is obeyed or refused, never replaced."""
    with standin.serving(port=0) as taken:
        port = taken.url.rpartition(":")[2]
        assert f"port {port} is taken" in sentence(run("demo", "--once", "--port", port))


def take_tour(listed: str, believed: str, meddle: bool = False) -> None:
    """A tour that sells at `listed` and expects `believed`; `meddle` adds usage that nobody called for."""
    (rate,) = parse_price(believed)
    with (
        standin.serving(port=0) as stand_in,
        demo_child.running(listed, "usd", stand_in.url, None) as server,
    ):
        server.wait()

        def pay(url: str) -> Buyer:
            shown = re.search(r'id="api-key">(\w+)<', standin.page(pay_by_forms(url, "4242424242424242", "a@b.co")))
            key = ApiKey.parse(shown[1]) if shown else None
            assert key is not None
            post_usage(stand_in.url, key.customer)
            return Buyer(key.customer, key)

        with Path("/dev/null").open("w") as nowhere:
            _take(Tour(Order(2, 1, listed, rate), stand_in, server.url, Teller(nowhere)), pay if meddle else None)


def post_usage(url: str, customer: str) -> None:
    form = {"event_name": "mcp.summarize", "payload[stripe_customer_id]": customer, "payload[value]": "1"}
    request = Request(
        f"{url}/v1/billing/meter_events", urlencode(form).encode(), {"Authorization": "Bearer sk_test_emulator"}
    )
    with urlopen(request, timeout=10) as response:
        assert response.status == 200


def test_a_price_that_differs_fails_step_1() -> None:
    """What is listed must be what was ordered."""
    with pytest.raises(StepFailed, match=r"^step 1 is not true: summarize is listed at \$0.05 a call$"):
        take_tour("$0.05", "$0.06")


def test_usage_nobody_called_for_fails_step_7() -> None:
    """The meter must say what the caller did, no more."""
    with pytest.raises(StepFailed, match=r"^step 7 is not true: the meter says 3, not 2$"):
        take_tour("$0.05", "$0.05", meddle=True)


def test_a_server_that_does_not_start_is_quoted() -> None:
    """A demo server that cannot run ends with its own last words."""
    with (
        demo_child.running("nonsense", "usd", "http://127.0.0.1:1", None) as server,
        pytest.raises(ConfigurationError, match=r"the demo server did not start: .*is not understood"),
    ):
        server.wait()


def test_a_server_that_is_gone_is_one_sentence() -> None:
    """Whatever the client library raises comes out as one error of ours."""
    (rate,) = parse_price("$0.05")
    with standin.serving(port=0) as stand_in, Path("/dev/null").open("w") as nowhere:
        tour = Tour(Order(1, 0, "$0.05", rate), stand_in, "http://127.0.0.1:1", Teller(nowhere))
        with pytest.raises(StripeMeterError, match=r"^the demo server did not answer: "):
            _take(tour, None)


def test_a_checkout_that_takes_no_card_fails_step_3() -> None:
    """A session that is not there cannot be paid."""
    (rate,) = parse_price("$0.05")
    with standin.serving(port=0) as stand_in, Path("/dev/null").open("w") as nowhere:
        tour = Tour(Order(1, 0, "$0.05", rate), stand_in, "http://127.0.0.1:1", Teller(nowhere))
        with pytest.raises(StepFailed, match=r"^step 3 is not true: the Checkout page did not take the card"):
            anyio.run(tour._paid, f"{stand_in.url}/c/pay/cs_none")


@pytest.mark.anyio
async def test_the_tools_of_the_demo_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put on sale is worth calling, translate and ping too."""
    monkeypatch.setenv("STRIPE_METER_ENABLED", "false")
    async with Client(build("$0.05", "usd")) as client:
        answers = {
            name: (await client.call_tool(name, arguments)).structured_content
            for name, arguments in (
                ("summarize", {"url": "https://example.com/tides"}),
                ("translate", {"text": "hello world"}),
                ("ping", {}),
            )
        }
        missing = await client.call_tool("summarize", {"url": "https://example.com/nowhere"})
    assert "twice a day" in str(answers["summarize"])
    assert answers["translate"] == {"result": "ellohay orldway"}
    assert answers["ping"] == {"result": "pong"}
    assert missing.is_error


def test_nobody_who_pays_fails_step_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """--pause gives up after a while instead of waiting for ever."""
    monkeypatch.setattr("stripe_meter.cli.tour._CLICK_SECONDS", 0.0)
    (rate,) = parse_price("$0.05")
    with standin.serving(port=0) as stand_in, Path("/dev/null").open("w") as nowhere:
        tour = Tour(Order(1, 0, "$0.05", rate), stand_in, "http://127.0.0.1:1", Teller(nowhere))
        with pytest.raises(StepFailed, match=r"^step 3 is not true: nobody paid"):
            anyio.run(tour._paid_by_hand, f"{stand_in.url}/c/pay/cs_none", lambda url: None)
