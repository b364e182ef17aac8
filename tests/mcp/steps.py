"""What the tests of calls have in common: registering, reading answers, and what was billed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

RECEIPT = "stripe-meter/receipt"

#: What has reached Stripe, by tool.
Billed = Callable[[], dict[str, int]]
F = TypeVar("F", bound=Callable[..., Any])


def tool_of(server: Any) -> Callable[[F], F]:
    """`@server.tool()`, the same on every framework, with a type."""
    return cast("Callable[[F], F]", server.tool())


def text_of(result: Any) -> str:
    return str(result.content[0].text)
