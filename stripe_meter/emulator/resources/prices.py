"""Prices: per unit or tiered, one-time or recurring, in one or several currencies.

Owns: /v1/prices and the rules of a price. Does not own: what a quantity costs (`billing`). Money terms never change
after creation; a lookup key names one price, and `transfer_lookup_key` moves it.
"""

from decimal import Decimal
from typing import Any, Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import plain
from stripe_meter.emulator.currencies import currency_code
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.events import changed, emit
from stripe_meter.emulator.listing import matching, page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.resources.products import new_product
from stripe_meter.emulator.routing import PAGING, Operation

MAX_PLACES: Final = 12
MAX_LOOKUP_KEY: Final = 200
MAX_LOOKUP_KEYS: Final = 10
# Three years (API reference: prices).
MOST_INTERVALS: Final = {"day": 1095, "week": 156, "month": 36, "year": 3}


def _create(account: Account, params: JSON) -> JSON:
    currency = currency_code(params["currency"])
    key = _free_lookup_key(account, params)
    recurring = _recurring(account, params.get("recurring"))
    scheme = params.get("billing_scheme", "per_unit")
    rates = _rates(params, scheme, "", None)
    options = _options(params.get("currency_options") or {}, scheme)
    mode = params.get("tiers_mode")
    if (mode is None) == (scheme == "tiered"):
        raise invalid("`tiers_mode` goes with `billing_scheme=tiered`, and only with it.", "tiers_mode")
    if scheme == "tiered" and "transform_quantity" in params:
        raise invalid("`transform_quantity` cannot be combined with tiers.", "transform_quantity")
    price: JSON = {
        "id": account.ids.new("price"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": scheme,
        "created": account.now(),
        "currency": currency,
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": key,
        "metadata": merged({}, params.get("metadata")),
        "nickname": params.get("nickname"),
        "product": _product(account, params),
        "recurring": recurring,
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": mode,
        "transform_quantity": params.get("transform_quantity"),
        "type": "recurring" if recurring else "one_time",
        **rates,
    }
    own = {**rates, "custom_unit_amount": None, "tax_behavior": price["tax_behavior"]}
    price["currency_options"] = {currency: own, **options}
    _take_lookup_key(account, key)
    account.store.add(price)
    emit(account, "price.created", price)
    return price


def _product(account: Account, params: JSON) -> str:
    if ("product" in params) == ("product_data" in params):
        raise invalid("Give exactly one of `product` and `product_data`.", "product", "parameter_missing")
    if "product" in params:
        return str(account.store.get("product", params["product"], "product", 400)["id"])
    return str(new_product(account, params["product_data"])["id"])


def _recurring(account: Account, wanted: JSON | None) -> JSON | None:
    if wanted is None:
        return None
    metered = wanted.get("usage_type", "licensed") == "metered"
    meter = wanted.get("meter")
    if metered != (meter is not None):
        message = "Prices with `recurring[usage_type]=metered` must name a meter, other prices cannot."
        raise invalid(message, "recurring[meter]")
    if meter is not None:
        row = account.store.get("billing.meter", meter, "recurring[meter]", 400)
        if row["status"] != "active":
            raise invalid(f"The meter {meter} is not active.", "recurring[meter]")
    count = wanted.get("interval_count", 1)
    if not 1 <= count <= MOST_INTERVALS[wanted["interval"]]:
        raise invalid("A billing interval must be positive and at most three years.", "recurring[interval_count]")
    return {
        "interval": wanted["interval"],
        "interval_count": count,
        "meter": meter,
        "trial_period_days": None,
        "usage_type": "metered" if metered else "licensed",
    }


def _rates(params: JSON, scheme: str, path: str, currency: str | None) -> JSON:
    """Unit amount or tiers of a price or of one of its currency options."""
    if scheme == "tiered":
        return {"unit_amount": None, "unit_amount_decimal": None, "tiers": _tiers(params.get("tiers") or [], path)}
    if "tiers" in params:
        raise invalid("`tiers` goes with `billing_scheme=tiered`.", f"{path}tiers")
    amount = _amount(params, "unit_amount", path)
    if amount is None:
        raise invalid("A price needs `unit_amount` or `unit_amount_decimal`.", f"{path}unit_amount")
    return {"unit_amount": _whole(amount), "unit_amount_decimal": plain(amount)}


def _amount(params: JSON, name: str, path: str) -> Decimal | None:
    if name in params and f"{name}_decimal" in params:
        raise invalid(f"You may only specify one of `{name}` and `{name}_decimal`.", f"{path}{name}")
    value: Any = params.get(name, params.get(f"{name}_decimal"))
    if value is None:
        return None
    amount = Decimal(value)
    if amount < 0:
        raise invalid(f"Invalid non-negative amount: {value}", f"{path}{name}")
    if -int(amount.as_tuple().exponent) > MAX_PLACES:
        raise invalid(f"`{name}_decimal` can have at most {MAX_PLACES} decimal places.", f"{path}{name}_decimal")
    return amount


def _whole(amount: Decimal | None) -> int | None:
    """The integer form Stripe shows beside a decimal amount, null when there is none."""
    return int(amount) if amount is not None and amount == amount.to_integral_value() else None


def _tiers(wanted: list[JSON], path: str) -> list[JSON]:
    tiers, last = [], 0
    for number, tier in enumerate(wanted):
        upper = None if tier["up_to"] == "inf" else int(tier["up_to"])
        if (upper is None) != (number == len(wanted) - 1):
            raise invalid("The last tier must be `up_to=inf`, and only the last.", f"{path}tiers")
        if upper is not None and upper <= last:
            raise invalid("Tiers must be sorted by `up_to`.", f"{path}tiers")
        last = upper or last
        unit = _amount(tier, "unit_amount", f"{path}tiers[{number}]")
        flat = _amount(tier, "flat_amount", f"{path}tiers[{number}]")
        if unit is None and flat is None:
            raise invalid("A tier needs an amount.", f"{path}tiers[{number}]")
        tiers.append(
            {
                "flat_amount": _whole(flat),
                "flat_amount_decimal": None if flat is None else plain(flat),
                "unit_amount": _whole(unit),
                "unit_amount_decimal": None if unit is None else plain(unit),
                "up_to": upper,
            }
        )
    if not tiers:
        raise invalid("A tiered price needs `tiers`.", f"{path}tiers")
    return tiers


def _options(wanted: JSON, scheme: str) -> JSON:
    options: JSON = {}
    for code, fields in wanted.items():
        currency = currency_code(code, f"currency_options[{code}]")
        rates = _rates(fields, scheme, f"currency_options[{code}]", currency)
        tax = fields.get("tax_behavior", "unspecified")
        options[currency] = {**rates, "custom_unit_amount": None, "tax_behavior": tax}
    return options


def _free_lookup_key(account: Account, params: JSON, own: str | None = None) -> str | None:
    """The wanted lookup key; a 400 when another price holds it and `transfer_lookup_key` is not given."""
    key = params.get("lookup_key") or None
    if key is None:
        return None
    if len(key) > MAX_LOOKUP_KEY:
        raise invalid(f"A lookup key can have at most {MAX_LOOKUP_KEY} characters.", "lookup_key")
    for row in account.store.all("price"):
        if row["lookup_key"] == key and row["id"] != own and not params.get("transfer_lookup_key"):
            message = f"A price (`{row['id']}`) already uses that lookup key."
            raise invalid(message, "lookup_key", "resource_already_exists")
    return str(key)


def _take_lookup_key(account: Account, key: str | None) -> None:
    """Take a lookup key from the price that holds it, once nothing can fail any more."""
    for row in account.store.all("price"):
        if key is not None and row["lookup_key"] == key:
            row["lookup_key"] = None


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("price", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    price = account.store.get("price", id)
    new: JSON = {key: params[key] for key in ("active", "nickname") if key in params}
    if "tax_behavior" in params:
        if price["tax_behavior"] not in ("unspecified", params["tax_behavior"]):
            raise invalid("The tax behavior of a price cannot be changed once it is set.", "tax_behavior")
        new["tax_behavior"] = params["tax_behavior"]
    if "lookup_key" in params:
        new["lookup_key"] = _free_lookup_key(account, params, id)
    if params.get("currency_options"):
        added = _options(params["currency_options"], price["billing_scheme"])
        new["currency_options"] = {**price["currency_options"], **added}
    new["metadata"] = merged(price["metadata"], params.get("metadata"))
    previous = changed(price, new)
    _take_lookup_key(account, new.get("lookup_key"))
    price.update(new)
    if previous:
        emit(account, "price.updated", price, {key: previous[key] for key in previous if key != "currency_options"})
    return price


def _list(account: Account, params: JSON) -> JSON:
    rows = matching(account.store.newest("price"), params, "active", "currency", "product", "type")
    if len(params.get("lookup_keys", ())) > MAX_LOOKUP_KEYS:
        raise invalid(f"You can name at most {MAX_LOOKUP_KEYS} lookup keys.", "lookup_keys")
    if "lookup_keys" in params:
        rows = [row for row in rows if row["lookup_key"] in params["lookup_keys"]]
    for name, value in (params.get("recurring") or {}).items():
        rows = [row for row in rows if row["recurring"] is not None and row["recurring"][name] == value]
    return page(rows, params, "/v1/prices")


CREATE: Final = (
    "active billing_scheme currency currency_options lookup_key metadata nickname product product_data recurring "
    "tax_behavior tiers tiers_mode transfer_lookup_key transform_quantity unit_amount unit_amount_decimal"
)
UPDATE: Final = "active currency_options lookup_key metadata nickname tax_behavior transfer_lookup_key"
LIST: Final = f"active currency lookup_keys product recurring type {PAGING}"
OPERATIONS: Final = (
    Operation("POST", "/v1/prices", "PriceCreateParams", _create, "plan", CREATE),
    Operation("GET", "/v1/prices", "PriceListParams", _list, "plan", LIST),
    Operation("GET", "/v1/prices/{id}", "PriceRetrieveParams", _retrieve, "plan"),
    Operation("POST", "/v1/prices/{id}", "PriceUpdateParams", _update, "plan", UPDATE),
)
