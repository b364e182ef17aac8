"""Who is entitled to which feature.

Owns: the entitlements that subscriptions bring, and when they change. Does not own: features (`resources.features`).
They appear when a subscription becomes active; a feature added to a product reaches existing subscribers with their
next period; archiving a feature revokes nothing; `past_due` keeps access (docs.stripe.com/billing/entitlements).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.views import items_of, nested_list

if TYPE_CHECKING:
    from stripe_meter.emulator.account import Account

ENTITLING: Final = frozenset({"active", "trialing", "past_due"})
SHOWN: Final = 10


def refresh(account: Account, subscription: JSON, *, renew: bool = False) -> None:
    """Bring the customer's entitlements in line; with `renew` the products' features are looked up again."""
    for item in items_of(account, subscription["id"]):
        product = account.store.get("price", item["price"])["product"]
        key = (item["id"], product)
        if renew or key not in account.item_features:
            rows = account.store.all("product_feature")
            mine = [row for row in rows if account.feature_products[row["id"]] == product]
            account.item_features[key] = [row["entitlement_feature"]["id"] for row in mine]
    _update(account, subscription["customer"])


def active(account: Account, customer: str) -> list[JSON]:
    """The customer's active entitlements, newest first."""
    found = reversed(tuple(account.entitled.get(customer, {}).items()))
    return [_entitlement(account, feature, id) for feature, id in found]


def _update(account: Account, customer: str) -> None:
    wanted: dict[str, None] = {}
    for subscription in account.store.all("subscription"):
        if subscription["customer"] == customer and subscription["status"] in ENTITLING:
            for item in items_of(account, subscription["id"]):
                product = account.store.get("price", item["price"])["product"]
                wanted.update(dict.fromkeys(account.item_features.get((item["id"], product), ())))
    known = account.entitled.get(customer, {})
    if known.keys() == wanted.keys():
        return
    account.entitled[customer] = {feature: known.get(feature) or account.ids.new("ent") for feature in wanted}
    rows = active(account, customer)
    summary: JSON = {
        "object": "entitlements.active_entitlement_summary",
        "customer": customer,
        "entitlements": nested_list(rows, f"/v1/customer/{customer}/entitlements", SHOWN),
        "livemode": False,
    }
    emit(account, "entitlements.active_entitlement_summary.updated", summary)


def _entitlement(account: Account, feature: str, id: str) -> JSON:
    return {
        "id": id,
        "object": "entitlements.active_entitlement",
        "feature": feature,
        "livemode": False,
        "lookup_key": account.store.get("entitlements.feature", feature)["lookup_key"],
    }
