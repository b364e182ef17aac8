"""Features, the features of products, and active entitlements.

Owns: /v1/entitlements and /v1/products/{id}/features. Does not own: who is entitled (`entitlements`). A lookup key is
unique and fixed; a feature cannot be deleted, only archived, and an archived one cannot be added to a product.
"""

from typing import Final

from stripe_meter.emulator import entitlements
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid, missing
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import Operation

MAX_LOOKUP_KEY: Final = 80
KIND: Final = "entitlements.feature"


def _create(account: Account, params: JSON) -> JSON:
    key = params["lookup_key"]
    if len(key) > MAX_LOOKUP_KEY:
        raise invalid(f"A lookup key can have at most {MAX_LOOKUP_KEY} characters.", "lookup_key")
    if any(row["lookup_key"] == key for row in account.store.all(KIND)):
        message = f"A feature with the lookup key {key} already exists."
        raise invalid(message, "lookup_key", "resource_already_exists")
    feature: JSON = {
        "id": account.ids.new("feat"),
        "object": KIND,
        "active": True,
        "livemode": False,
        "lookup_key": key,
        "metadata": merged({}, params.get("metadata")),
        "name": params["name"],
    }
    return account.store.add(feature)


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get(KIND, id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    feature = account.store.get(KIND, id)
    feature.update({name: params[name] for name in ("active", "name") if name in params})
    feature["metadata"] = merged(feature["metadata"], params.get("metadata"))
    return feature


def _list(account: Account, params: JSON) -> JSON:
    rows = list(account.store.newest(KIND))
    if "lookup_key" in params:
        rows = [row for row in rows if row["lookup_key"] == params["lookup_key"]]
    if "archived" in params:
        rows = [row for row in rows if row["active"] is not params["archived"]]
    return page(rows, params, "/v1/entitlements/features")


def _active(account: Account, params: JSON) -> JSON:
    customer = existing(account, params["customer"])["id"]
    return page(entitlements.active(account, customer), params, "/v1/entitlements/active_entitlements")


def _entitlement(account: Account, params: JSON, id: str) -> JSON:
    for customer in account.entitled:
        for row in entitlements.active(account, customer):
            if row["id"] == id:
                return row
    raise missing("active entitlement", id)


def _attach(account: Account, params: JSON, product: str) -> JSON:
    account.store.get("product", product)
    feature = account.store.get(KIND, params["entitlement_feature"], "entitlement_feature", 400)
    if not feature["active"]:
        raise invalid("An archived feature cannot be added to a product.", "entitlement_feature")
    if any(row["entitlement_feature"]["id"] == feature["id"] for row in _of(account, product)):
        raise invalid("The product already has this feature.", "entitlement_feature", "resource_already_exists")
    row: JSON = {
        "id": account.ids.new("prodft"),
        "object": "product_feature",
        "entitlement_feature": feature,
        "livemode": False,
    }
    account.feature_products[row["id"]] = product
    return account.store.add(row)


def _of(account: Account, product: str) -> list[JSON]:
    return [row for row in account.store.newest("product_feature") if account.feature_products[row["id"]] == product]


def _product_feature(account: Account, params: JSON, product: str, id: str) -> JSON:
    row = account.store.get("product_feature", id)
    if account.feature_products[id] != product:
        raise missing("product_feature", id)
    return row


def _product_features(account: Account, params: JSON, product: str) -> JSON:
    account.store.get("product", product)
    return page(_of(account, product), params, f"/v1/products/{product}/features")


def _remove(account: Account, params: JSON, product: str, id: str) -> JSON:
    _product_feature(account, params, product, id)
    account.store.remove("product_feature", id)
    return {"id": id, "object": "product_feature", "deleted": True}


ROOT: Final = "/v1/entitlements/features"
ACTIVE: Final = "/v1/entitlements/active_entitlements"
OF: Final = "/v1/products/{product}/features"
KEY: Final = "entitlement"
PAGES: Final = "limit starting_after ending_before"
OPERATIONS: Final = (
    Operation("POST", ROOT, "entitlements.FeatureCreateParams", _create, KEY, "lookup_key metadata name"),
    Operation("GET", ROOT, "entitlements.FeatureListParams", _list, KEY, f"archived lookup_key {PAGES}"),
    Operation("GET", ROOT + "/{id}", "entitlements.FeatureRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "entitlements.FeatureUpdateParams", _update, KEY, "active metadata name"),
    Operation("GET", ACTIVE, "entitlements.ActiveEntitlementListParams", _active, KEY, f"customer {PAGES}"),
    Operation("GET", ACTIVE + "/{id}", "entitlements.ActiveEntitlementRetrieveParams", _entitlement, KEY),
    Operation("POST", OF, "ProductFeatureCreateParams", _attach, "product", "entitlement_feature"),
    Operation("GET", OF, "ProductFeatureListParams", _product_features, "product", PAGES),
    Operation("GET", OF + "/{id}", "ProductFeatureRetrieveParams", _product_feature, "product"),
    Operation("DELETE", OF + "/{id}", "ProductFeatureDeleteParams", _remove, "product"),
)
