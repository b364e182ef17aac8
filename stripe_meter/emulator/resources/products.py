"""Products.

Owns: /v1/products. Does not own: prices. An id may be chosen by the caller; a second product of that id is refused
with `resource_already_exists`, which makes creation safe to race.
"""

from typing import Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.events import changed, emit
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.routing import PAGING, Operation

PLAIN: Final = ("active", "description", "name", "statement_descriptor", "tax_code", "unit_label", "url")


def new_product(account: Account, params: JSON) -> JSON:
    """Store a product; raises a 400 when the chosen id is taken."""
    id = params.get("id") or account.ids.new("prod")
    if account.store.find("product", id) is not None:
        raise invalid("Product already exists.", "id", "resource_already_exists")
    now = account.now()
    product: JSON = {
        "id": id,
        "object": "product",
        "active": True,
        "created": now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": merged({}, params.get("metadata")),
        "name": "",
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "tax_details": None,
        "type": "service",
        "unit_label": None,
        "updated": now,
        "url": None,
    }
    product.update({key: params[key] for key in PLAIN if key in params})
    account.store.add(product)
    emit(account, "product.created", product)
    return product


def _create(account: Account, params: JSON) -> JSON:
    return new_product(account, params)


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("product", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    product = account.store.get("product", id)
    new: JSON = {key: None if params[key] == "" else params[key] for key in PLAIN if key in params}
    if "default_price" in params:
        new["default_price"] = account.store.get("price", params["default_price"], "default_price", 400)["id"]
    new["metadata"] = merged(product["metadata"], params.get("metadata"))
    previous = changed(product, new)
    product.update(new, updated=account.now())
    if previous:
        emit(account, "product.updated", product, previous)
    return product


def _list(account: Account, params: JSON) -> JSON:
    rows = account.store.newest("product")
    active, ids = params.get("active"), params.get("ids")
    found = [row for row in rows if active is None or row["active"] is active]
    return page([row for row in found if ids is None or row["id"] in ids], params, "/v1/products")


def _delete(account: Account, params: JSON, id: str) -> JSON:
    account.store.get("product", id)
    if any(price["product"] == id for price in account.store.all("price")):
        raise invalid("This product cannot be deleted because it has one or more user-created prices.")
    account.store.remove("product", id)
    return {"id": id, "object": "product", "deleted": True}


FIELDS: Final = "active description metadata name statement_descriptor tax_code unit_label url"
OPERATIONS: Final = (
    Operation("POST", "/v1/products", "ProductCreateParams", _create, "product", f"id {FIELDS}"),
    Operation("GET", "/v1/products", "ProductListParams", _list, "product", f"active ids {PAGING}"),
    Operation("GET", "/v1/products/{id}", "ProductRetrieveParams", _retrieve, "product"),
    Operation("POST", "/v1/products/{id}", "ProductUpdateParams", _update, "product", f"default_price {FIELDS}"),
    Operation("DELETE", "/v1/products/{id}", "ProductDeleteParams", _delete, "product"),
)
