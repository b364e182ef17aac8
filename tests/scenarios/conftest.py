"""`--stripe=emulator|cassette|live`, and the world each story happens in; without it, emulator and cassettes.

Owns back ends and where recordings lie. Strict replay is `stripe_meter.testing.cassettes`, as any user has it.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from stripe_meter.testing.cassettes import (
    pytest_recording_configure,
    pytest_runtest_call,
    strict_cassette,
    vcr_config,
)
from stripe_meter.testing.repeatable import repeatable
from tests.scenarios import backends, live
from tests.scenarios.backends import NAMES, OPENING, Backend
from tests.scenarios.world import World

__all__ = ["pytest_recording_configure", "pytest_runtest_call", "strict_cassette", "vcr_config"]

CASSETTES: Final = Path(__file__).parents[2] / "cassettes"
_ACCOUNT: Final = pytest.StashKey[live.Account]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only_on(*names, reason): back ends of --stripe on which this story can happen.")
    wanted, records = config.getoption("stripe", None), config.getoption("record_mode", None)
    if wanted == "live":
        config.stash[_ACCOUNT] = live.account(os.environ)
    if records not in (None, "none", "rewrite"):
        raise pytest.UsageError("scenarios are recorded whole: --record-mode=rewrite")
    if records == "rewrite" and wanted not in ("emulator", "live"):
        raise pytest.UsageError("say what to record from: --stripe=emulator or --stripe=live")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each story once for each back end it can happen on."""
    if "backend_name" not in metafunc.fixturenames:
        return
    wanted = metafunc.config.getoption("stripe", None)
    records = metafunc.config.getoption("record_mode", None) == "rewrite"
    only = next(metafunc.definition.iter_markers("only_on"), None)
    possible = NAMES if only is None else only.args
    chosen = []
    for name in [wanted] if wanted else ["emulator", "cassette"]:
        marks: list[Any] = []
        if name == "cassette":
            marks += [pytest.mark.vcr, pytest.mark.block_network]
        elif records and "cassette" in possible:
            marks.append(pytest.mark.vcr)
        if only is not None and name not in possible:
            marks.append(pytest.mark.skip(reason=only.kwargs["reason"]))
        chosen.append(pytest.param(name, marks=marks))
    metafunc.parametrize("backend_name", chosen)


@pytest.fixture
def story(request: pytest.FixtureRequest) -> str:
    """The name of the test without what is the same in all of them; also the name of its cassette."""
    return str(request.node.originalname).removeprefix("test_")


@pytest.fixture
def cassette_clock(backend_name: str) -> int:
    return int(time.time()) if backend_name == "live" else OPENING


@pytest.fixture
def default_cassette_name(story: str) -> str:
    return story


@pytest.fixture
def vcr_cassette_dir(backend: Backend, story: str) -> str:
    """Also makes the back end before the cassette opens, so that nothing of its clean-up is recorded."""
    return str(CASSETTES / _source(backend, story))


@pytest.fixture
def backend(request: pytest.FixtureRequest, backend_name: str, story: str, cassette_clock: int) -> Iterator[Backend]:
    if backend_name == "emulator":
        with backends.emulator() as made:
            yield made
    elif backend_name == "cassette":
        yield backends.cassette(_recorded_from(story))
    else:
        account = request.config.stash[_ACCOUNT]
        made = backends.live(account.key, account.base_url)
        yield made
        client, http = made.client()
        left = live.clean_up(client, namespace(cassette_clock, story), cassette_clock)
        http.close()
        assert not left, "left behind in the test account: " + "; ".join(left)


@pytest.fixture
def world(
    backend: Backend,
    vcr: Any,
    strict_cassette: None,
    cassette_clock: int,
    story: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[World]:
    """The world of this story, with a server's environment pointed at the back end."""
    payer: Any = "page" if backend.stand_in is not None else "api"
    opening = cassette_clock
    if vcr is not None:
        payer, opening = vcr.get_metadata("payer", payer), vcr.get_metadata("clock", opening)
    name = namespace(opening, story)
    environment = {"STRIPE_METER_NAMESPACE": name, "STRIPE_METER_PUBLIC_URL": "https://tools.example.com"}
    for variable, value in {**backend.environment, **environment}.items():
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    with ExitStack() as stack:
        if vcr is None and backend.stand_in is not None:
            stack.enter_context(repeatable(opening, story))
        made = World(backend, payer, opening, name, caplog)
        stack.callback(made.close)
        yield made


def namespace(opening: int, story: str) -> str:
    """A story's own, at most 30 characters: no two stories share one, nor two runs of one at Stripe."""
    return f"story-{opening:x}-{zlib.crc32(story.encode()):08x}"


def _recorded_from(story: str) -> str:
    """A recording of Stripe where there is one, else of the emulator."""
    return "stripe" if (CASSETTES / "stripe" / f"{story}.yaml").exists() else "emulator"


def _source(backend: Backend, story: str) -> str:
    if backend.name == "cassette":
        return _recorded_from(story)
    return "stripe" if backend.base_url is None else "emulator"
