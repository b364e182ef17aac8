"""The public face: its names, and what importing it costs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import stripe_meter


def test_the_public_names_are_exactly_these() -> None:
    """A name once public stays."""
    assert stripe_meter.__all__ == [
        "Call",
        "CreditPack",
        "Credits",
        "Free",
        "PayAsYouGo",
        "PaymentRequired",
        "Principal",
        "StripeMeter",
        "StripeMeterError",
        "Subscription",
        "current_call",
        "metered",
    ]
    namespace: dict[str, object] = {}
    exec("from stripe_meter import *", namespace)
    assert set(stripe_meter.__all__) <= set(namespace)
    assert set(stripe_meter.__all__) <= set(dir(stripe_meter))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Lazy imports must not swallow typing mistakes."""
    with pytest.raises(AttributeError, match="no attribute 'metred'"):
        _ = stripe_meter.metred


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import stripe_meter", {"stripe", "mcp", "pydantic", "rich", "click", "starlette", "asyncio", "decimal"}),
        (
            "from stripe_meter import metered, PayAsYouGo",
            {"stripe", "mcp", "pydantic_settings", "rich", "starlette", "asyncio"},
        ),
        ("from stripe_meter import StripeMeter; StripeMeter()", {"stripe", "mcp", "pydantic_settings", "starlette"}),
    ],
)
def test_importing_stays_cheap(statement: str, forbidden: set[str]) -> None:
    """What is not needed yet is not imported; checked on modules, not on time."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    # Measuring coverage in the child would import what is forbidden here.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30, env=plain
    )
    assert not forbidden & set(loaded.stdout.split())
