"""For the test suites of servers that use stripe_meter: an emulated Stripe, callers who have paid, time moved by hand.

The names are imported on first use. None of them needs pytest; the modules with fixtures do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stripe_meter.testing.bills import Invoice
    from stripe_meter.testing.clock import HandClock
    from stripe_meter.testing.customers import Customer, customer
    from stripe_meter.testing.emulated import emulated_stripe
    from stripe_meter.testing.instead import use
    from stripe_meter.testing.leaks import secrets_in

__all__ = ["Customer", "HandClock", "Invoice", "customer", "emulated_stripe", "secrets_in", "use"]

_HOME: Final = {
    "Customer": "stripe_meter.testing.customers",
    "HandClock": "stripe_meter.testing.clock",
    "Invoice": "stripe_meter.testing.bills",
    "customer": "stripe_meter.testing.customers",
    "emulated_stripe": "stripe_meter.testing.emulated",
    "secrets_in": "stripe_meter.testing.leaks",
    "use": "stripe_meter.testing.instead",
}


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
