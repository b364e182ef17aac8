"""Fixtures that the whole suite shares: an emulator of its own for each test, engines on it, a paying customer."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from stripe_meter.domain.identity import Caller
from stripe_meter.domain.plans import PayAsYouGo, Plan
from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.tools import Tool
from stripe_meter.emulator import Emulator, EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.meter import StripeMeter
from stripe_meter.settings import Settings
from stripe_meter.testing.clock import HandClock
from tests.guard.scanner import CANARY, Scanner, scanning

#: Where our pages would be; nothing needs to listen there.
PAGES = "http://127.0.0.1:9"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Here, so that pytest knows it wherever it is started; what it does is tests/scenarios' own."""
    stands = ("emulator", "cassette", "live")
    parser.addoption("--stripe", choices=stands, help="Run tests/scenarios on this back end only.")


def pytest_configure(config: pytest.Config) -> None:
    """Ends a run without an account in one sentence; tests/scenarios is read too late for that."""
    if config.getoption("stripe") == "live":
        from tests.scenarios import live

        live.account(os.environ)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The backend of production."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def log_scanner() -> Iterator[Scanner]:
    """No test may log a secret, the planted one least of all; what threads log late fails the run at its end."""
    with scanning() as scanner:
        yield scanner
    assert scanner.found == []


@pytest.fixture(autouse=True)
def no_secret_is_logged(log_scanner: Scanner) -> Iterator[None]:
    """The test that logged it is the one that fails."""
    yield
    found = log_scanner.found[:]
    log_scanner.found.clear()
    assert found == []


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key and no setting of the person who runs the suite leaks into a test."""
    for name in ("STRIPE_SECRET_KEY", "STRIPE_METER_EMULATOR", "STRIPE_METER_API_KEY", "STRIPE_METER_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stripe() -> Iterator[EmulatorServer]:
    """A Stripe stand-in that starts from nothing, and must have kept to Stripe's contract at the end."""
    with EmulatorServer(Emulator(deterministic=True, lag=0.0)) as server:
        yield server
    assert server.emulator.violations == []


@pytest.fixture
def make_engine(stripe: EmulatorServer) -> Iterator[Callable[..., Engine]]:
    """Engines on the emulator, closed at the end."""
    engines: list[Engine] = []

    def make(*plans: Plan, **settings: object) -> Engine:
        values: dict[str, object] = {"emulator": stripe.url, "public_url": PAGES, **settings}
        if values["emulator"] is not None:
            values.setdefault("stripe_secret_key", CANARY)
        engine = Engine(plans or (PayAsYouGo(),), Settings(**values))
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        engine.close()


#: Makes an engine whose time the test moves by hand, of plans and keyword arguments of `StripeMeter`.
Driven = Callable[..., tuple[Engine, HandClock]]


@pytest.fixture
def driven(stripe: EmulatorServer) -> Iterator[Driven]:
    """Engines that count time by one clock moved by hand, as Stripe does; closed at the end."""
    clock = HandClock(stripe)
    with ExitStack() as ending:

        def make(*plans: Plan, **options: Any) -> tuple[Engine, HandClock]:
            billing = StripeMeter(plans, settings=Settings(emulator=stripe.url, public_url=PAGES), **options)
            ending.callback(billing.close)
            ending.enter_context(clock.drive(billing))
            return billing.engine, clock

        yield make


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    """One engine on the emulator."""
    return make_engine()


def a_tool(name: str = "summarize", price: str | tuple[str, ...] = "$0.05", **options: object) -> Tool:
    return Tool(name, parse_price(price), **options)  # type: ignore[arg-type]  # passed through as given


def stranger(client: str = "203.0.113.7") -> Caller:
    """A caller over HTTP whom nobody knows."""
    return Caller(b"a" + client.encode(), client=client)


def with_key(key: str, client: str = "203.0.113.7") -> Caller:
    """A caller over HTTP who shows an API key."""
    return Caller(b"k" + hashlib.sha256(key.encode()).digest(), api_key=key, client=client)


async def pay(engine: Engine, stripe: EmulatorServer, tool: Tool, card: str = "4242424242424242") -> Caller:
    """Be refused, pay on the hosted page, and come back with an API key."""
    refusal = await engine.admit(tool, stranger())
    assert isinstance(refusal, Refusal)
    assert refusal.checkout_url is not None
    back = stripe.complete_checkout(refusal.checkout_url, card=card, email="caller@example.com")
    query = parse_qs(urlsplit(back).query)
    done = await engine.sales.complete(query["session_id"][0], query["claim"][0])
    assert done.key is not None
    return with_key(done.key.reveal())


@pytest.fixture
def quiet_frameworks() -> Iterator[None]:
    """Frameworks print the traceback of every tool that fails; the tests look at what the client sees."""
    noisy = [logging.getLogger(name) for name in ("mcp", "fastmcp")]
    before = [logger.disabled for logger in noisy]
    for logger in noisy:
        logger.disabled = True
    yield
    for logger, state in zip(noisy, before, strict=True):
        logger.disabled = state


async def caught_up(engine: Engine) -> None:
    """Wait until a server that was just started has looked for what came while it was away."""

    async def begun(gateway: object) -> None:
        """What was asked for before this has begun."""

    await engine.thread.call(begun, 5.0)
    for _ in range(1000):
        if not engine.sales.webhooks.stats.waiting:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the server does not end to look for what came while it was away")
