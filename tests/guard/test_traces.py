"""`STRIPE_METER_LOG`: what was decided on a call, and from what."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import pytest

from stripe_meter.domain.plans import Subscription
from stripe_meter.enforcement.engine import Engine
from stripe_meter.errors import ConfigurationError
from stripe_meter.settings import Settings
from tests.conftest import a_tool, pay, stranger
from tests.enforcement.test_engine import admitted

pytestmark = pytest.mark.anyio

PRO = Subscription("pro", "$49/month", included=5000, overage="$0.25")


def traced(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "stripe_meter.decisions"]


async def test_debug_shows_every_decision_and_what_it_rests_on(
    make_engine: Callable[..., Engine], stripe: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Plan, rate, age of the snapshot, verdict: what an author asks first when a caller complains."""
    engine, tool = make_engine(PRO, log="debug"), a_tool(price="1 call")
    caller = await pay(engine, stripe, tool)
    for _ in range(2):
        (await admitted(engine, tool, caller)).settle(1)
    refused, cold, warm = traced(caplog)
    assert refused == "cold tool=summarize price='1 call' verdict=refused reason=identity_required"
    assert cold.startswith("cold tool=summarize customer=cus_")
    assert warm.startswith("warm tool=summarize customer=cus_")
    for line in (cold, warm):
        assert " plan=pro status=active cache_age=" in line
        assert line.endswith("rate='1 call' pays=plan verdict=admitted")


async def test_info_shows_only_decisions_that_asked_somebody(
    make_engine: Callable[..., Engine], stripe: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for a customer and hour is no noise; one for every call would be."""
    engine, tool = make_engine(PRO, log="info"), a_tool(price="1 call")
    caller = await pay(engine, stripe, tool)
    for _ in range(5):
        (await admitted(engine, tool, caller)).settle(1)
    assert [line.split()[0] for line in traced(caplog)] == ["cold", "cold"]


async def test_when_it_is_off_the_warm_path_is_the_plain_one(make_engine: Callable[..., Engine], stripe: Any) -> None:
    """Nothing is wrapped and no level is asked for, so a trace that is off costs nothing."""
    plain, loud, tool = make_engine(PRO), make_engine(PRO, log="debug"), a_tool(price="1 call")
    for engine in (plain, loud):
        await engine.admit(tool, stranger())
    assert "admit_warm" not in vars(plain)
    assert "admit_warm" in vars(loud)


async def test_where_nobody_takes_our_lines_they_go_to_stderr(
    make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setting one variable is enough; an author's own logging is left alone."""
    shown, root = io.StringIO(), logging.getLogger()
    monkeypatch.setattr("sys.stderr", shown)
    before = root.handlers[:]
    root.handlers[:] = []
    try:
        await make_engine(PRO, log="debug").admit(a_tool(price="1 call"), stranger())
    finally:
        root.handlers[:] = before
    assert "INFO stripe_meter.decisions cold tool=summarize" in shown.getvalue()
    assert 'INFO stripe_meter.audit {"kind": "refusal"' in shown.getvalue()


def test_a_level_that_is_none_is_refused() -> None:
    """With the four that there are."""
    with pytest.raises(ConfigurationError, match=r"STRIPE_METER_LOG .* debug, info, warning or error"):
        Settings(log="loud")
