"""A Stripe test account as the back end: who is let in, and leaving no trace there.

Owns the guards of `--stripe=live` and the clean-up. Meters, products and prices cannot be deleted at Stripe, so they
are archived; all else goes. A story is recognised by its namespace, which holds the second it began.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
import stripe

_KEY: Final = re.compile(r"(sk|rk)_test_[A-Za-z0-9_]{4,250}")
#: Objects may carry a time a little before the story's own clock.
_SLACK: Final = 300


@dataclass(frozen=True)
class Account:
    """A test account, or an emulator in its place."""

    key: str = field(repr=False)
    base_url: str | None


def account(environment: Mapping[str, str]) -> Account:
    """The account of the environment. Raises `UsageError` when it is none to try things on."""
    key = environment.get("STRIPE_SECRET_KEY", "").strip()
    if "_live_" in key:
        raise pytest.UsageError("--stripe=live never touches live mode; set STRIPE_SECRET_KEY to a test key, sk_test_…")
    if not _KEY.fullmatch(key):
        what = "holds no secret test key" if key else "is not set"
        raise pytest.UsageError(
            f"--stripe=live needs a Stripe test account, but STRIPE_SECRET_KEY {what}; type: "
            "export STRIPE_SECRET_KEY=sk_test_…"
        )
    return Account(key, environment.get("STRIPE_METER_EMULATOR", "").strip() or None)


def clean_up(client: stripe.StripeClient, namespace: str, since: int) -> list[str]:
    """Take away what a story made; in words, what could not be.

    Args:
        client: Of the account.
        namespace: Of the story.
        since: When it began, Unix seconds.
    """
    left = []
    for undo, name in _traces(client.v1, namespace, {"gte": since - _SLACK}):
        try:
            undo()
        except stripe.StripeError as error:
            left.append(f"{name}: {error.user_message}")
    return left


def _traces(v1: Any, namespace: str, created: dict[str, int]) -> Iterator[tuple[Callable[[], object], str]]:
    """What is to be undone, in an order in which it can be: a test clock takes its customers along."""

    def ours(service: Any, **filters: Any) -> list[Any]:
        rows = service.list({"limit": 100, **filters}).auto_paging_iter()
        return [row for row in rows if _is_of(row, namespace)]

    def each(rows: list[Any], undo: Callable[[str], object]) -> Iterator[tuple[Callable[[], object], str]]:
        return ((lambda row=row: undo(row.id), row.id) for row in rows)  # type: ignore[misc]  # bound by default

    away = {"active": False}
    yield from each(ours(v1.test_helpers.test_clocks), v1.test_helpers.test_clocks.delete)
    yield from each(ours(v1.checkout.sessions, created=created, status="open"), v1.checkout.sessions.expire)
    yield from each(ours(v1.customers, created=created), v1.customers.delete)
    yield from each(ours(v1.prices, created=created, active=True), lambda id: v1.prices.update(id, away))
    yield from each(ours(v1.products, created=created, active=True), lambda id: v1.products.update(id, away))
    yield from each(ours(v1.billing.meters, status="active"), v1.billing.meters.deactivate)


def _is_of(row: Any, namespace: str) -> bool:
    if row.object == "test_helpers.test_clock":
        return bool(row.name == namespace)
    if row.object == "billing.meter":
        return bool(row.event_name.startswith(f"{namespace}."))
    return bool(row.metadata is not None and row.metadata.to_dict().get("stripe_meter") == namespace)
