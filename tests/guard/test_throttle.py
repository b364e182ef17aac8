"""Rate limits of plans and overall: what they refuse, what they cost, and what several processes make of them."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stripe_meter.domain.plans import PayAsYouGo, Subscription
from stripe_meter.domain.refusals import Refusal
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from stripe_meter.errors import ConfigurationError
from stripe_meter.settings import Settings
from tests.conftest import a_tool, pay

pytestmark = pytest.mark.anyio

LIMITED = Subscription("pro", "$49/month", included=5000, overage="$0.25", rate_limit="3/day")


async def served(engine: Engine, tool: Any, caller: Any, times: int) -> list[Refusal | None]:
    """What becomes of so many calls, each settled when it is served."""
    answers: list[Refusal | None] = []
    for _ in range(times):
        verdict = engine.admit_warm(tool, caller) or await engine.admit(tool, caller)
        if isinstance(verdict, Admission):
            verdict.settle(1)
        answers.append(verdict if isinstance(verdict, Refusal) else None)
    return answers


async def test_a_plan_serves_as_many_calls_as_it_promises(make_engine: Callable[..., Engine], stripe: Any) -> None:
    """The fourth call of the day is refused, with the limit in words and when to come back."""
    engine, tool = make_engine(LIMITED), a_tool(price="1 call")
    caller = await pay(engine, stripe, tool)
    *first, refused = await served(engine, tool, caller, 4)
    assert first == [None, None, None]
    assert refused is not None
    assert refused.reason == "rate_limited"
    assert "At most 3 calls a day are served to you." in refused.text
    assert refused.retry_after is not None
    assert 0 < refused.retry_after <= 2 * 86_400
    assert refused.checkout_url is None


async def test_the_overall_limit_holds_for_every_plan(make_engine: Callable[..., Engine], stripe: Any) -> None:
    """Pay-as-you-go names no limit of its own; each customer is counted alone."""
    engine, tool = make_engine(PayAsYouGo(), rate_limit="2/day"), a_tool()
    alice, bob = await pay(engine, stripe, tool), await pay(engine, stripe, tool)
    assert [answer is None for answer in await served(engine, tool, alice, 3)] == [True, True, False]
    assert [answer is None for answer in await served(engine, tool, bob, 3)] == [True, True, False]


async def test_of_two_limits_the_stricter_one_holds(make_engine: Callable[..., Engine], stripe: Any) -> None:
    """A plan cannot promise more than the server gives anybody."""
    engine, tool = make_engine(LIMITED, rate_limit="2/hour"), a_tool(price="1 call")
    caller = await pay(engine, stripe, tool)
    *_, refused = await served(engine, tool, caller, 3)
    assert refused is not None
    assert "2 calls a hour" not in refused.text
    assert "2 calls an hour" in refused.text


async def test_a_refused_call_costs_nothing(make_engine: Callable[..., Engine], stripe: Any) -> None:
    """What the plan's counter had set aside for it is given back, and nothing is billed."""
    engine, tool = make_engine(LIMITED), a_tool(price="1 call")
    caller = await pay(engine, stripe, tool)
    await served(engine, tool, caller, 6)
    assert engine.flush()
    assert engine.stats().accepted == 3
    (offer,) = engine._callers.verified(caller.credential).offers  # type: ignore[union-attr]  # they were served
    assert offer.limits.purse.used == 3


async def test_what_one_limit_refuses_the_other_does_not_count(make_engine: Callable[..., Engine], stripe: Any) -> None:
    """Somebody who calls too fast for their plan must not lose the hour's calls by it."""
    plan = Subscription("pro", "$49/month", included=5000, rate_limit="2/day")
    engine, tool = make_engine(plan, rate_limit="100/hour"), a_tool(price="1 call")
    caller = await pay(engine, stripe, tool)
    *_, refused = await served(engine, tool, caller, 20)
    assert refused is not None
    assert "At most 2 calls a day" in refused.text
    account = engine._callers.verified(caller.credential)
    assert account is not None
    (offer,) = account.offers
    overall, _ = offer.limits.gauge.windows
    for _ in range(20):
        assert engine.admit_warm(tool, caller) is None
    assert overall._counting.get_window_stats(overall.item, *overall.key).remaining == 98


async def test_after_the_window_calls_are_served_again(
    make_engine: Callable[..., Engine], stripe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit slows down; it does not lock out."""
    moment = [float(int(time.time()) // 3600 * 3600)]
    clock = SimpleNamespace(time=lambda: moment[0])
    for module in ("limits.storage.memory", "limits.strategies", "stripe_meter.enforcement.throttle"):
        monkeypatch.setattr(f"{module}.time", clock)
    engine, tool = make_engine(PayAsYouGo(), rate_limit="2/hour"), a_tool()
    caller = await pay(engine, stripe, tool)
    *_, refused = await served(engine, tool, caller, 3)
    assert refused is not None
    assert refused.retry_after is not None
    moment[0] += 2 * 3600
    assert await served(engine, tool, caller, 2) == [None, None]


async def test_free_tools_are_not_limited(make_engine: Callable[..., Engine], stripe: Any) -> None:
    """They are served to callers nobody knows, so there is nobody to count for."""
    engine, tool = make_engine(PayAsYouGo(), rate_limit="1/day"), a_tool("ping", "free")
    paid = a_tool()
    caller = await pay(engine, stripe, paid)
    assert await served(engine, tool, caller, 5) == [None] * 5


async def test_without_a_limit_nothing_is_counted(engine: Engine, stripe: EmulatorServer) -> None:
    """Whoever has no limit pays nothing for those who have."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    assert await served(engine, tool, caller, 2) == [None, None]
    account = engine._callers.verified(caller.credential)
    assert account is not None
    assert [offer.limits for offer in account.offers] == [None]
    assert engine._decision.throttle is not None
    assert engine._decision.throttle._counting is None


async def test_a_warm_call_under_a_limit_asks_nobody(make_engine: Callable[..., Engine], stripe: Any) -> None:
    """The count is in memory: no request leaves, and no await is needed."""
    engine, tool = make_engine(PayAsYouGo(), rate_limit="1000/minute"), a_tool()
    caller = await pay(engine, stripe, tool)
    await served(engine, tool, caller, 1)
    before = len(stripe.emulator.requests)
    for _ in range(20):
        admission = engine.admit_warm(tool, caller)
        assert admission is not None
        admission.release()
    assert stripe.emulator.requests[before:] == []


@pytest.mark.parametrize("text", ["fast", "0/minute", "10/week", "1.5/second"])
def test_a_limit_that_is_none_is_refused_at_once(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError, match=r"STRIPE_METER_RATE_LIMIT .* such as 1000/minute"):
        Settings(rate_limit=text)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real redis-server of its own on a loopback port."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed here")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder: Path = tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
        process.terminate()


async def settled(engine: Engine) -> None:
    """Wait until this process has told the others of its calls."""
    throttle = engine._decision.throttle
    assert throttle is not None
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and throttle._fleet is not None and throttle._fleet._tasks:
        await engine.thread.call(lambda _: _nothing(), 5.0)
        await asyncio.sleep(0.01)


async def _nothing() -> None: ...


async def test_processes_count_together_in_redis(
    make_engine: Callable[..., Engine], stripe: Any, redis_url: str
) -> None:
    """What one has used up the next one does not serve, not even once."""
    first = make_engine(PayAsYouGo(), rate_limit="3/day", redis_url=redis_url, namespace="together")
    second = make_engine(PayAsYouGo(), rate_limit="3/day", redis_url=redis_url, namespace="together")
    tool = a_tool()
    caller = await pay(first, stripe, tool)
    assert await served(first, tool, caller, 2) == [None, None]
    await settled(first)
    assert [answer is None for answer in await served(second, tool, caller, 1)] == [True]
    await settled(second)
    third = make_engine(PayAsYouGo(), rate_limit="3/day", redis_url=redis_url, namespace="together")
    for engine in (second, third):
        (refused,) = await served(engine, tool, caller, 1)
        assert refused is not None
        assert refused.reason == "rate_limited"


async def test_without_redis_every_process_counts_for_itself(make_engine: Callable[..., Engine], stripe: Any) -> None:
    """As docs/operations.md says: n processes serve n times as much."""
    first, second = make_engine(PayAsYouGo(), rate_limit="2/day"), make_engine(PayAsYouGo(), rate_limit="2/day")
    tool = a_tool()
    caller = await pay(first, stripe, tool)
    assert [answer is None for answer in await served(first, tool, caller, 3)] == [True, True, False]
    assert [answer is None for answer in await served(second, tool, caller, 3)] == [True, True, False]


async def test_a_redis_that_is_away_stops_nobody(
    make_engine: Callable[..., Engine], stripe: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each process goes on counting for itself, and the log says so once, without the password in the address."""
    url = "redis://:hunter2hunter2@127.0.0.1:9/0"
    engine, tool = make_engine(PayAsYouGo(), rate_limit="2/day", redis_url=url), a_tool()
    caller = await pay(engine, stripe, tool)
    assert [answer is None for answer in await served(engine, tool, caller, 3)] == [True, True, False]
    await settled(engine)
    assert caplog.text.count("Redis cannot be reached") == 1
    assert "hunter2" not in caplog.text
    assert "hunter2" not in repr(engine.settings)
