"""Planned faults, the control API, the request log, the server, the clock."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import stripe

from stripe_meter.emulator import Emulator, EmulatorServer
from stripe_meter.emulator.__main__ import main

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop

HEAD = {"Idempotency-Key": "k"}


def customers(http: httpx.Client) -> int:
    """Number of customers."""
    return len(http.get("/v1/customers").json()["data"])


def test_planned_429_says_why_and_when_to_retry(emulator: Emulator, http: httpx.Client) -> None:
    """Rate limits carry Stripe-Rate-Limited-Reason (docs.stripe.com/rate-limits); the next request is fine."""
    emulator.faults.add(
        kind="status", status=429, method="POST", path="/v1/customers", reason="endpoint-rate", retry_after=2
    )
    answer = http.post("/v1/customers")
    assert answer.status_code == 429
    assert (answer.headers["Stripe-Rate-Limited-Reason"], answer.headers["Retry-After"]) == ("endpoint-rate", "2")
    assert http.post("/v1/customers").status_code == 200


def test_lock_timeout_tells_the_sdk_to_retry(emulator: Emulator, http: httpx.Client) -> None:
    """A lock timeout is a 429 with its own code and Stripe-Should-Retry (docs/verified.md)."""
    emulator.faults.add(kind="status", status=429, code="lock_timeout")
    answer = http.get("/v1/customers")
    assert (answer.json()["error"]["code"], answer.headers["Stripe-Should-Retry"]) == ("lock_timeout", "true")


def test_stored_500_without_effect_is_replayed(emulator: Emulator, http: httpx.Client) -> None:
    """A 500 is kept under its key like any answer (docs.stripe.com/api/idempotent_requests)."""
    emulator.faults.add(kind="status", status=500, stored=True, method="POST")
    assert http.post("/v1/customers", headers=HEAD).status_code == 500
    again = http.post("/v1/customers", headers=HEAD)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (500, "true")
    assert customers(http) == 0


def test_stored_500_with_effect_leaves_the_object(emulator: Emulator, http: httpx.Client) -> None:
    """A 500 says nothing about the effect (docs/verified.md)."""
    emulator.faults.add(kind="status", status=500, stored=True, effect=True, method="POST")
    assert http.post("/v1/customers", headers=HEAD).status_code == 500
    assert http.post("/v1/customers", headers=HEAD).status_code == 500
    assert customers(http) == 1


def test_unstored_503_with_effect_runs_again(emulator: Emulator, http: httpx.Client) -> None:
    """An answer that was not kept makes the retry a new request (docs/verified.md)."""
    emulator.faults.add(kind="status", status=503, effect=True, method="POST")
    assert http.post("/v1/customers", headers=HEAD).status_code == 503
    assert http.post("/v1/customers", headers=HEAD).status_code == 200
    emulator.faults.add(kind="status", status=503, effect=True, method="POST")
    assert http.post("/v1/customers").status_code == 503
    emulator.faults.add(kind="status", status=503, stored=True, method="POST")
    assert http.post("/v1/customers").status_code == 503
    assert customers(http) == 3


def test_lost_answer_takes_effect_and_is_replayed(emulator: Emulator, http: httpx.Client) -> None:
    """The connection dies after the effect; the key brings the answer back (docs/verified.md)."""
    emulator.faults.add(kind="lost", method="POST")
    with pytest.raises(httpx.TransportError):
        http.post("/v1/customers", headers=HEAD)
    assert http.post("/v1/customers", headers=HEAD).headers["Idempotent-Replayed"] == "true"
    assert customers(http) == 1


def test_sdk_recovers_from_a_lost_answer_by_itself(emulator: Emulator, server: EmulatorServer) -> None:
    """The SDK retries a broken connection under the same key (docs/verified.md)."""
    emulator.faults.add(kind="lost", method="POST")
    transport: Any = stripe.RequestsClient(timeout=10)
    base = {"api": server.url}
    options: dict[str, Any] = {"base_addresses": base, "http_client": transport, "max_network_retries": 1}
    client = stripe.StripeClient("sk_test_retry", **options)
    client.v1.customers.create({})
    assert len(client.v1.customers.list().data) == 1
    assert [record.status for record in emulator.requests] == [None, 200, 200]
    transport.close()


def test_lost_request_without_effect_does_nothing(emulator: Emulator, http: httpx.Client) -> None:
    """The connection may also die before Stripe did anything."""
    emulator.faults.add(kind="lost", method="POST", effect=False)
    with pytest.raises(httpx.TransportError):
        http.post("/v1/customers")
    assert customers(http) == 0


def test_late_execution_holds_its_key_meanwhile(emulator: Emulator, http: httpx.Client) -> None:
    """A request may run after its connection died; until then its key is in use (docs/verified.md)."""
    emulator.faults.add(kind="late", method="POST", seconds=10)
    with pytest.raises(httpx.TransportError):
        http.post("/v1/customers", headers=HEAD)
    assert http.post("/v1/customers", headers=HEAD).status_code == 409
    assert customers(http) == 0
    emulator.clock.advance(10)
    assert customers(http) == 1
    assert http.post("/v1/customers", headers=HEAD).headers["Idempotent-Replayed"] == "true"


def test_late_execution_without_a_key_runs_too(emulator: Emulator, http: httpx.Client) -> None:
    """The key is not what makes a request run late."""
    emulator.faults.add(kind="late", method="POST", seconds=10)
    with pytest.raises(httpx.TransportError):
        http.post("/v1/customers")
    emulator.clock.advance(10)
    assert customers(http) == 1


def test_garbage_body_is_no_json(emulator: Emulator, http: httpx.Client) -> None:
    """Something between client and Stripe may answer with HTML."""
    emulator.faults.add(kind="garbage", method="GET", skip=1)
    assert http.get("/v1/customers").status_code == 200
    assert "<html>" in http.get("/v1/customers").text


def test_slow_answer_arrives_after_its_time(emulator: Emulator, http: httpx.Client) -> None:
    """A slow answer outlasts a short timeout and takes effect all the same."""
    emulator.faults.add(kind="slow", seconds=0.3, method="POST")
    with pytest.raises(httpx.ReadTimeout):
        http.post("/v1/customers", timeout=0.05)
    emulator.faults.add(kind="slow", seconds=0.4, method="GET")
    assert customers(http) == 1


def test_slow_answer_may_be_older_than_what_happened_meanwhile(emulator: Emulator, http: httpx.Client) -> None:
    """With `effect` the answer is made at once and waits on its way, so it does not know what came after."""
    emulator.faults.add(kind="slow", seconds=0.4, method="GET", effect=True)
    with ThreadPoolExecutor(1) as beside:
        answer = beside.submit(customers, http)
        while not emulator.requests:
            time.sleep(0.01)
        http.post("/v1/customers")
        assert not answer.done()
        assert answer.result() == 0
    assert customers(http) == 1


def test_fault_happens_as_often_as_planned_and_only_where(emulator: Emulator, http: httpx.Client) -> None:
    """Faults match by method and path prefix and count down."""
    emulator.faults.add(kind="status", status=500, path="/v1/products", times=2)
    codes = [http.get(f"/v1/{name}").status_code for name in ("customers", "products", "products", "products")]
    assert codes == [200, 500, 500, 200]


def test_unknown_kind_of_fault_is_refused(emulator: Emulator) -> None:
    """A plan with a typing error must not pass for no plan."""
    with pytest.raises(ValueError, match="kind"):
        emulator.faults.add(kind="explode")


def test_rate_limit_answers_429(emulator: Emulator, http: httpx.Client) -> None:
    """25 requests a second in a sandbox, when asked for (docs.stripe.com/rate-limits)."""
    emulator.switches.rate_limit = 3
    codes = [http.get("/v1/customers").status_code for _ in range(8)]
    assert codes[:3] == [200] * 3
    assert 429 in codes[3:]


def test_error_of_the_emulator_itself_is_a_kept_500(
    emulator: Emulator, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected failure is a logged 500 that is replayed, as Stripe replays its own."""
    monkeypatch.setattr(emulator.account.store, "add", lambda row: 1 / 0)
    answer = http.post("/v1/customers", headers=HEAD)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "api_error")
    monkeypatch.undo()
    assert http.post("/v1/customers", headers=HEAD).status_code == 500


def test_control_api_moves_and_freezes_the_clock(http: httpx.Client) -> None:
    """POST /_emulator/clock advances, freezes, unfreezes (emulator design)."""
    before = http.post("/_emulator/clock", json={"freeze": True}).json()["now"]
    assert http.post("/_emulator/clock", json={"advance": 100}).json() == {"now": before + 100, "frozen": True}
    assert http.post("/_emulator/clock", json={"freeze": False}).json()["frozen"] is False
    assert http.post("/_emulator/clock", json={"advance": -1}).status_code == 400
    assert http.post("/_emulator/clock", json={"jump": 1}).status_code == 400
    assert http.post("/_emulator/clock", content="{").status_code == 400


def test_control_api_plans_and_clears_faults(http: httpx.Client) -> None:
    """POST and DELETE /_emulator/faults (emulator design)."""
    plan = {"kind": "status", "status": 503, "path": "/v1", "times": 9}
    assert http.post("/_emulator/faults", json=plan).json()["status"] == 503
    assert http.get("/v1/customers").status_code == 503
    http.delete("/_emulator/faults")
    assert http.get("/v1/customers").status_code == 200
    assert http.post("/_emulator/faults", json={"kind": "status", "colour": 1}).status_code == 400


def test_control_api_shows_requests_without_keys(http: httpx.Client) -> None:
    """GET /_emulator/requests?since=n lists API requests only, never the Authorization header (emulator design)."""
    http.post("/v1/customers", data={"metadata[a]": "b", "preferred_locales[0]": "de"}, headers=HEAD)
    http.post("/v1/customers", content="a[b=1")
    http.get("/")
    first, second = http.get("/_emulator/requests").json()
    assert first["body"] == {"metadata": {"a": "b"}, "preferred_locales": ["de"]}
    assert (first["status"], first["idempotency_key"], second["status"]) == (400, "k", 400)
    assert second["body"] == {}
    assert [row["index"] for row in http.get("/_emulator/requests?since=1").json()] == [1]
    assert "sk_test" not in http.get("/_emulator/requests").text


def test_control_api_revokes_and_restricts_keys(http: httpx.Client) -> None:
    """POST /_emulator/keys (emulator design)."""
    http.post("/_emulator/keys", json={"key": "sk_test_emulator", "missing": ["rak_customer_read"]})
    assert http.get("/v1/customers").status_code == 403
    http.post("/_emulator/keys", json={"key": "sk_test_emulator", "revoke": True})
    assert http.get("/v1/customers").status_code == 401
    assert http.post("/_emulator/keys", json={}).status_code == 400


def test_control_api_settles_and_dumps_the_state(shop: Shop, emulator: Emulator, http: httpx.Client) -> None:
    """POST /_emulator/settle waits for meter events; GET /_emulator/state shows everything (emulator design)."""
    emulator.clock.unfreeze()
    emulator.switches.lag = 0.1
    shop.use("5")
    assert http.post("/_emulator/settle", json={"timeout": 5}).json() == {}
    state = http.get("/_emulator/state").json()
    assert state["pending_meter_events"] == 0
    assert state["objects"]["customer"][0]["id"] == shop.customer
    emulator.switches.lag = 60
    shop.use("5")
    assert "TimeoutError" in http.post("/_emulator/settle", json={"timeout": 0.1}).json()["error"]


def test_control_api_refuses_foreign_host_names(http: httpx.Client) -> None:
    """A web page that rebinds its name to loopback cannot reach the control API (emulator design)."""
    answer = http.get("/_emulator/state", headers={"Host": "evil.example"})
    assert answer.status_code == 403


def test_http_log_has_one_json_line_per_api_request(tmp_path: Path) -> None:
    """Only API requests, with decoded bodies and the key, in the order they were answered (emulator design)."""
    file = tmp_path / "http.jsonl"
    with EmulatorServer(Emulator(http_log=file)) as server:
        head = {"Authorization": "Bearer sk_test_x", **HEAD}
        httpx.post(f"{server.url}/v1/customers", data={"metadata[a]": "b"}, headers=head)
        httpx.get(f"{server.url}/")
    (line,) = file.read_text(encoding="utf-8").splitlines()
    want = {"method": "POST", "path": "/v1/customers", "body": {"metadata": {"a": "b"}}, "status": 200}
    assert json.loads(line) == {**want, "idempotency_key": "k"}
    assert "sk_test" not in line


def test_counted_ids_repeat_from_run_to_run() -> None:
    """`deterministic` counts per kind with a chosen prefix (emulator design)."""
    for _ in range(2):
        with EmulatorServer(Emulator(deterministic=True, id_prefix="doc")) as server:
            head = {"Authorization": "Bearer sk_test_x"}
            ids = [httpx.post(f"{server.url}/v1/customers", headers=head).json()["id"] for _ in range(2)]
            data = {"url": "http://127.0.0.1:1/", "enabled_events[0]": "invoice.paid"}
            hook = httpx.post(f"{server.url}/v1/webhook_endpoints", data=data, headers=head).json()
        assert [*ids, hook["secret"]] == ["cus_doc_1", "cus_doc_2", "whsec_doc_1"]


def test_random_ids_look_like_stripes(v1: Any) -> None:
    """Ids are a prefix and random letters and digits."""
    assert len(v1.customers.create({}).id) == len("cus_") + 14


def test_due_work_happens_in_real_time(shop: Shop, emulator: Emulator, server: EmulatorServer) -> None:
    """A background task applies due work while nobody asks (emulator design)."""
    emulator.clock.unfreeze()
    emulator.switches.lag = 0.05
    done = threading.Event()
    shop.use("1")
    emulator.clock.schedule(emulator.clock.now() + 0.1, done.set)
    assert done.wait(5)
    assert emulator.account.usage.pending == 0


def test_failing_background_job_does_not_stop_the_next(emulator: Emulator, server: EmulatorServer) -> None:
    """A job that raises is logged; the work after it goes on."""
    emulator.clock.unfreeze()
    done = threading.Event()
    emulator.clock.schedule(emulator.clock.now() + 0.01, lambda: [][1])
    emulator.clock.schedule(emulator.clock.now() + 0.02, done.set)
    assert done.wait(5)


def test_clock_never_goes_back(emulator: Emulator) -> None:
    """Stripe's time only goes forward."""
    with pytest.raises(ValueError, match="forward"):
        emulator.clock.advance(-1)
    emulator.clock.freeze()
    assert emulator.clock.next_due() is None


def test_jobs_run_in_order_at_their_own_time(emulator: Emulator) -> None:
    """Work falls due in order and sees the clock at its due time (emulator design)."""
    start, seen = emulator.clock.now(), []
    for wait in (20, 10):
        emulator.clock.schedule(start + wait, lambda: seen.append(emulator.clock.now() - start))
    emulator.clock.advance(30)
    assert seen == [10, 20]
    assert emulator.clock.now() == start + 30


def test_work_may_schedule_work_that_is_due_on_the_way(emulator: Emulator) -> None:
    """One step of the clock does everything that falls due, also what came up on the way."""
    start, seen = emulator.clock.now(), []
    emulator.clock.schedule(start + 1, lambda: emulator.clock.schedule(start + 2, lambda: seen.append(2)))
    emulator.clock.advance(3)
    assert seen == [2]


@pytest.mark.anyio
async def test_emulator_works_as_a_plain_asgi_app() -> None:
    """Without a server the app works in process; a lost answer is a reset connection."""
    emulator = Emulator(lag=0.05)
    transport = httpx.ASGITransport(emulator.app)
    head = {"Authorization": "Bearer sk_test_x"}
    async with httpx.AsyncClient(transport=transport, base_url="http://emulator", headers=head) as client:
        assert (await client.post("/v1/customers")).status_code == 200
        data = {"event_name": "e", "payload[value]": "1"}
        assert (await client.post("/v1/billing/meter_events", data=data)).status_code == 200
        await emulator.settle()
        assert emulator.account.usage.pending == 0
        emulator.faults.add(kind="lost")
        with pytest.raises(ConnectionResetError):
            await client.get("/v1/customers")


def test_server_binds_loopback_only() -> None:
    """The emulator never listens where others can reach it (emulator design)."""
    for host in ("0.0.0.0", "example.com"):
        with pytest.raises(ValueError, match="loopback"):
            EmulatorServer(Emulator(), host=host)


def test_server_listens_on_ipv6_loopback() -> None:
    """::1 is this machine as well."""
    with EmulatorServer(Emulator(), host="::1") as server:
        assert httpx.get(server.url).status_code == 200


def test_taken_port_is_an_error_at_once(server: EmulatorServer) -> None:
    """A port in use is said when starting, not later."""
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        EmulatorServer(Emulator(), port=port).start()


def test_stopped_server_can_be_stopped_again() -> None:
    """Stopping twice is harmless; settling without a running server is an error."""
    server = EmulatorServer(Emulator())
    server.stop()
    with server:
        assert server.url
    server.stop()
    with pytest.raises(RuntimeError, match="not running"):
        server.settle()


def test_module_runs_until_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m stripe_meter.emulator` prints its address and serves."""
    stop = threading.Event()
    stop.set()
    assert main(["--port", "0", "--deterministic"], stop) == 0
    assert "http://127.0.0.1:" in capsys.readouterr().out


def test_module_ends_quietly_on_interrupt() -> None:
    """Ctrl-C is how people end it."""

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise KeyboardInterrupt

    assert main(["--port", "0"], Interrupted()) == 0


def test_emulator_imports_nothing_else_of_the_package() -> None:
    """No shared code may hide a shared mistake (package layers)."""
    code = (
        "import sys, stripe_meter.emulator; "
        "print([n for n in sys.modules if n.startswith('stripe_meter.') and not n.startswith('stripe_meter.emulator')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "[]"
