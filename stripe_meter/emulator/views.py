"""How stored objects are shown: embedded objects put in, includable fields left out until asked for.

Owns: the difference between a stored row and an answer. Does not own: `expand[]` (see `expand`), which puts fields
back on request. A view is a fresh copy; changing it never changes the account.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.emulator.errors import JSON

if TYPE_CHECKING:
    from stripe_meter.emulator.account import Account

# Fields that are stored but only sent when expanded (docs.stripe.com/api/expanding_objects).
INCLUDABLE: Final = {
    "price": ("tiers", "currency_options"),
    "checkout.session": ("line_items",),
    "payment_link": ("line_items",),
}
SUBSCRIPTIONS_SHOWN: Final = 10
LINES_SHOWN: Final = 10
LINES_SHOWN_OF: Final = frozenset({"invoice", "credit_note"})
LIVE_STATUSES: Final = frozenset({"active", "past_due", "unpaid", "incomplete", "trialing", "paused"})


def view(account: Account, row: JSON) -> JSON:
    """The object as the API shows it without any expansion."""
    kind = row["object"]
    hidden = INCLUDABLE.get(kind, ())
    shown = {key: copy.deepcopy(value) for key, value in row.items() if key not in hidden}
    if row.get("deleted"):
        return shown
    if kind == "subscription_item":
        price = account.store.get("price", row["price"])
        shown["price"] = view(account, price)
        shown["plan"] = _plan(price)
    if kind in LINES_SHOWN_OF:
        lines = shown["lines"]
        lines.update(data=lines["data"][:LINES_SHOWN], has_more=len(lines["data"]) > LINES_SHOWN)
    if kind == "subscription":
        for item in (shown["pending_update"] or {}).get("subscription_items") or ():
            item.update(view(account, item))
        shown["items"] = nested_list(items_of(account, row["id"]), f"/v1/subscription_items?subscription={row['id']}")
        shown["items"]["data"] = [view(account, item) for item in shown["items"]["data"]]
    return shown


def items_of(account: Account, subscription: str) -> list[JSON]:
    """The items of a subscription, oldest first."""
    return [item for item in account.store.all("subscription_item") if item["subscription"] == subscription]


def live_subscriptions(account: Account, customer: str) -> list[JSON]:
    """The customer's subscriptions that are not canceled, newest first: those a customer object can include."""
    rows = account.store.newest("subscription")
    return [row for row in rows if row["customer"] == customer and row["status"] in LIVE_STATUSES]


def nested_list(rows: list[Any], url: str, most: int | None = None) -> JSON:
    """A list object inside another object; with `most`, the first so many and `has_more`."""
    shown = rows if most is None else rows[:most]
    return {"object": "list", "data": shown, "has_more": len(shown) < len(rows), "url": url}


def _plan(price: JSON) -> JSON:
    """The legacy twin that Stripe still sends beside an item's price."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": dict(price["metadata"]),
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": None,
        "usage_type": recurring["usage_type"],
    }


def lines_shown(account: Account, row: JSON) -> list[JSON]:
    """The line items of a Checkout session or a payment link, each with its price."""
    return [{**line, "price": view(account, account.store.get("price", line["price"]))} for line in row["line_items"]]
