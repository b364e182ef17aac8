"""Charge for the tools of an MCP server; Stripe keeps the books.

The public names are imported on first use, so that `import stripe_meter` costs next to nothing.
"""

from __future__ import annotations

# Spelled out, because importing `typing` would cost more than everything else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from stripe_meter.domain.identity import Principal
    from stripe_meter.domain.plans import CreditPack, Credits, Free, PayAsYouGo, Subscription
    from stripe_meter.domain.usage import Call
    from stripe_meter.errors import PaymentRequired, StripeMeterError
    from stripe_meter.mcp.decorator import current_call
    from stripe_meter.meter import StripeMeter, metered

__version__ = "0.1.0"

__all__ = [
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

_HOME = {
    "Call": "stripe_meter.domain.usage",
    "CreditPack": "stripe_meter.domain.plans",
    "Credits": "stripe_meter.domain.plans",
    "Free": "stripe_meter.domain.plans",
    "PayAsYouGo": "stripe_meter.domain.plans",
    "PaymentRequired": "stripe_meter.errors",
    "Principal": "stripe_meter.domain.identity",
    "StripeMeter": "stripe_meter.meter",
    "StripeMeterError": "stripe_meter.errors",
    "Subscription": "stripe_meter.domain.plans",
    "current_call": "stripe_meter.mcp.decorator",
    "metered": "stripe_meter.meter",
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
