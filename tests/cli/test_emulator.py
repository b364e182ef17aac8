"""`stripe-meter emulator`: the stand-in in the foreground."""

import json
import re
import signal
from pathlib import Path
from urllib.request import urlopen

import pytest

from stripe_meter.cli import standin
from stripe_meter.errors import ConfigurationError, StripeUnavailable
from tests.cli.support import run, running, sentence


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_logs_until_told_to_end(tmp_path: Path, signum: signal.Signals) -> None:
    """Overview and API answer, each API request is a line of the log, a signal ends it with status 0."""
    log = tmp_path / "requests.jsonl"
    with running("emulator", "--port", "0", "--http-log", str(log)) as command:
        url = re.findall(r"http://\S+", command.line_with("Stand-in"))[0]
        assert url in command.line_with("STRIPE_METER_EMULATOR")
        command.line_with("Ctrl-C")
        with urlopen(url, timeout=10) as page:
            assert page.status == 200
        assert standin.read(url, "customers", limit=3)["data"] == []
        assert command.end(signum) == 0
    (line,) = log.read_text().splitlines()
    assert {**json.loads(line), "idempotency_key": None} == {
        "method": "GET",
        "path": "/v1/customers",
        "body": {"limit": "3"},
        "status": 200,
        "idempotency_key": None,
    }


def test_a_port_that_is_taken_is_one_sentence() -> None:
    """The sentence names the port and the way out."""
    with standin.serving(port=0) as taken:
        port = taken.url.rpartition(":")[2]
        said = sentence(run("emulator", "--port", port))
    assert port in said
    assert "--port" in said


def test_without_a_wish_any_port_will_do() -> None:
    """dev and demo take 4242 where it is free, and another one where it is not."""
    with standin.serving() as one, standin.serving() as other:
        assert one.url != other.url


def test_what_the_stand_in_refuses_is_our_error() -> None:
    """Reading something that is not there raises what commands turn into a sentence."""
    with standin.serving(port=0) as server:
        with pytest.raises(StripeUnavailable, match="customers/cus_none"):
            standin.read(server.url, "customers/cus_none")
        assert "no such" in standin.page(f"{server.url}/c/pay/cs_none").lower()
    with pytest.raises(StripeUnavailable, match="did not answer"):
        standin.page(server.url)


def test_a_server_in_a_checkout_imports_that_checkout() -> None:
    """The environment for a server keeps what it had, without the key, and leads to this very package."""
    env = standin.environment(
        "http://127.0.0.1:1", {"STRIPE_SECRET_KEY": "sk_live_x", "PYTHONPATH": "/there", "A": "b"}
    )
    assert "STRIPE_SECRET_KEY" not in env
    assert env["A"] == "b"
    assert env["STRIPE_METER_EMULATOR"] == "http://127.0.0.1:1"
    assert env["PYTHONPATH"].endswith("/there")


def test_a_log_in_a_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    """Before anything serves."""
    with (
        pytest.raises(ConfigurationError, match="cannot be written"),
        standin.serving(port=0, http_log=tmp_path / "no" / "log"),
    ):
        pass
