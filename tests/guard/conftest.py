"""Lines of frameworks, and lines of our loggers as they are written."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.compat import drivers


@pytest.fixture(params=[name for name in drivers.LINES if drivers.installed(name)])
def line(request: pytest.FixtureRequest) -> str:
    """Each framework line that is installed here."""
    return str(request.param)


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """`STRIPE_METER_LOG` sets the level of our loggers for the whole process; after a test it is as before."""
    ours = [logging.getLogger(name) for name in ("stripe_meter", "stripe_meter.audit", "stripe_meter.decisions")]
    before = [(logger.level, logger.handlers[:]) for logger in ours]
    yield
    for logger, (level, handlers) in zip(ours, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def audited(caplog: pytest.LogCaptureFixture) -> Callable[..., list[dict[str, Any]]]:
    """The audit log so far, or what it has of one kind."""

    def look(kind: str | None = None) -> list[dict[str, Any]]:
        lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "stripe_meter.audit"]
        return [line for line in lines if kind in (None, line["kind"])]

    return look
