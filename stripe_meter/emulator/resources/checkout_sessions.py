"""Checkout sessions.

Owns: /v1/checkout/sessions and what a session may sell. Does not own: the hosted page (`pages.checkout`) or what
paying does (`completion`). An open session expires by the emulator's clock, 24 hours after creation by default.
"""

from typing import Any, Final

from stripe_meter.emulator import taxes, trials
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import rates_in
from stripe_meter.emulator.checkout_form import line_item_form, session_form
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.listing import matching, page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import PAGING, Operation
from stripe_meter.emulator.subscription_form import MAX_ITEMS, check_anchor
from stripe_meter.emulator.views import lines_shown

DAY: Final = 86400
SHORTEST: Final = 1800
NESTED: Final = {
    "subscription_data": {
        "metadata",
        "billing_cycle_anchor",
        "billing_cycle_anchor_config",
        "billing_mode",
        "description",
        "proration_behavior",
        "trial_end",
        "trial_period_days",
        "trial_settings",
    },
    "payment_intent_data": {"metadata", "description", "receipt_email", "setup_future_usage"},
    "setup_intent_data": {"metadata", "description"},
}


def _create(account: Account, params: JSON) -> JSON:
    return open_session(account, params)


def open_session(account: Account, params: JSON) -> JSON:
    """A new open session; raises a 400 for parameters that do not fit together."""
    mode = params.get("mode")
    if mode is None:
        raise invalid("Missing required param: mode.", "mode", "parameter_missing")
    customer = existing(account, params["customer"]) if "customer" in params else None
    _check(params, mode)
    metadata = merged({}, params.get("metadata"))
    expires = _expiry(account, params)
    wanted = params.get("line_items") or []
    currency = _currency(account, params, wanted, customer)
    lines = [line(account, fields, mode, currency, number) for number, fields in enumerate(wanted)]
    prices = [account.store.get("price", one["price"]) for one in lines]
    recurring = [price for price in prices if price["recurring"]]
    if mode == "subscription":
        if not recurring:
            raise invalid("You must provide at least one recurring price in `subscription` mode.", "line_items")
        _start_later(account, params.get("subscription_data") or {}, lines, recurring)
    if taxes.on(params):
        taxes.check_prices(prices)
        if customer is not None and (params.get("customer_update") or {}).get("address") != "auto":
            taxes.check_customer(customer)
    session = account.store.add(session_form(account, {**params, "metadata": metadata}, lines, currency, expires))
    account.checkout_data[session["id"]] = {
        "items": [_as_item(one) for one, price in zip(lines, prices, strict=True) if price["recurring"]],
        "once": [_as_item(one) for one, price in zip(lines, prices, strict=True) if not price["recurring"]],
        "customer_update": params.get("customer_update") or {},
        **{name: _without_empty(params.get(name)) for name in NESTED},
    }
    account.clock.schedule(expires, lambda: _expire_at_last(account, session))
    return session


def _start_later(account: Account, data: JSON, lines: list[JSON], recurring: list[JSON]) -> None:
    """With a trial or an anchor ahead the recurring lines cost nothing, or less, today."""
    fields = _without_empty(data)
    until = trials.end_of(account, fields)
    check_anchor(account, recurring, fields)
    later = until is not None or "billing_cycle_anchor" in fields or "billing_cycle_anchor_config" in fields
    if until is not None and "billing_cycle_anchor_config" in fields:
        raise invalid("`billing_cycle_anchor_config` cannot be combined with a trial.", "subscription_data")
    if later and until is None and fields.get("proration_behavior") != "none":
        message = "The emulator implements a billing anchor in Checkout with proration_behavior=none only."
        raise invalid(message, "subscription_data[proration_behavior]", "not_emulated")
    names = {price["id"] for price in recurring}
    for one in lines:
        if later and one["price"] in names:
            one.update(amount_subtotal=0, amount_total=0)


def _check(params: JSON, mode: str) -> None:
    if "success_url" not in params:
        raise invalid("Missing required param: success_url.", "success_url", "parameter_missing")
    for name in ("success_url", "cancel_url"):
        if not params.get(name, "http://").startswith(("http://", "https://")):
            raise invalid("Invalid URL: an explicit scheme (such as https) must be provided.", name, "url_invalid")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise invalid("The emulator implements ui_mode=hosted_page only.", "ui_mode", "not_emulated")
    if "customer" in params and "customer_email" in params:
        raise invalid("You may only specify one of these parameters: customer, customer_email.", "customer_email")
    if "customer_creation" in params and ("customer" in params or mode != "payment"):
        raise invalid("`customer_creation` can only be used in `payment` mode without `customer`.", "customer_creation")
    for name, known in NESTED.items():
        if name in params and not name.startswith(mode):
            raise invalid(f"You can not pass `{name}` in `{mode}` mode.", name)
        for key in params.get(name) or {}:
            if key not in known:
                raise invalid(f"The emulator does not implement {name}[{key}].", f"{name}[{key}]", "not_emulated")
    if (params.get("payment_method_collection") or "always") != "always" and mode != "subscription":
        raise invalid(
            "You can only set `payment_method_collection` in `subscription` mode.", "payment_method_collection"
        )
    updates = params.get("customer_update") or {}
    if updates and "customer" not in params:
        raise invalid("`customer_update` can only be used with `customer`.", "customer_update")
    if (
        (params.get("tax_id_collection") or {}).get("enabled")
        and "customer" in params
        and updates.get("name") != "auto"
    ):
        message = "Tax ID collection requires `customer_update[name]` to be `auto` for an existing customer."
        raise invalid(message, "customer_update[name]")
    if "invoice_creation" in params and mode != "payment":
        raise invalid("`invoice_creation` can only be used in `payment` mode.", "invoice_creation")
    check_lines(params.get("line_items") or [], mode)


def check_lines(wanted: list[JSON], mode: str) -> None:
    """Whether there are line items exactly where the mode wants them, and not too many."""
    if mode == "setup":
        if wanted:
            raise invalid("You can not pass `line_items` in `setup` mode.", "line_items")
    elif not wanted:
        raise invalid("Missing required param: line_items.", "line_items", "parameter_missing")
    if len(wanted) > MAX_ITEMS:
        raise invalid(f"A session can have at most {MAX_ITEMS} line items.", "line_items")


def _expiry(account: Account, params: JSON) -> int:
    now = account.now()
    expires: int = params.get("expires_at", now + DAY)
    if not now + SHORTEST <= expires <= now + DAY:
        raise invalid("`expires_at` must be between 30 minutes and 24 hours from now.", "expires_at")
    return expires


def _currency(account: Account, params: JSON, wanted: list[JSON], customer: JSON | None) -> str | None:
    """The session's currency: asked for, else the customer's, else the first price's."""
    if "currency" in params:
        return str(params["currency"]).lower()
    if params["mode"] == "setup" and "allowed_payment_method_types" in params:
        return None
    if params["mode"] == "setup":
        raise invalid("`currency` is required in `setup` mode.", "currency", "parameter_missing")
    first = first_price(account, wanted)
    fixed: str | None = (customer or {}).get("currency") if params["mode"] == "subscription" else None
    return fixed or str(first["currency"])


def first_price(account: Account, wanted: list[JSON]) -> JSON:
    """The price of the first line item, which decides the currency."""
    return _price(account, wanted[0], 0)


def _price(account: Account, fields: JSON, number: int) -> JSON:
    where = f"line_items[{number}][price]"
    if "price" not in fields:
        raise invalid(f"Missing required param: {where}.", where, "parameter_missing")
    return account.store.get("price", fields["price"], where, 400)


def line(account: Account, fields: JSON, mode: str, currency: Any, number: int) -> JSON:
    """A checked line item; raises a 400 for what cannot be sold in the mode."""
    where = f"line_items[{number}]"
    for key in fields:
        if key not in ("price", "quantity"):
            raise invalid(f"The emulator does not implement {where}[{key}].", f"{where}[{key}]", "not_emulated")
    price = _price(account, fields, number)
    if not price["active"]:
        raise invalid(f"The price specified is inactive: {price['id']}.", f"{where}[price]")
    if price["recurring"] is not None and mode == "payment":
        message = "You specified `payment` mode but passed a recurring price; use `subscription` mode."
        raise invalid(message, f"{where}[price]")
    if rates_in(price, currency) is None:
        raise invalid(f"The price {price['id']} is not available in {currency}.", f"{where}[price]")
    metered = price["recurring"] is not None and price["recurring"]["usage_type"] == "metered"
    if metered and "quantity" in fields:
        message = "Quantity should not be specified where usage_type is `metered`."
        raise invalid(message, f"{where}[quantity]")
    if not metered and fields.get("quantity", 0) < 1:
        raise invalid("Quantity is required. Add `quantity` to the line item.", f"{where}[quantity]")
    return line_item_form(account, price, fields.get("quantity"), currency)


def _as_item(line: JSON) -> JSON:
    item = {"price": line["price"]}
    return item if line["quantity"] is None else {**item, "quantity": line["quantity"]}


def _without_empty(fields: JSON | None) -> JSON:
    return {key: value for key, value in (fields or {}).items() if value != ""}


def _expire_at_last(account: Account, session: JSON) -> None:
    if session["status"] == "open":
        _close(account, session)


def _close(account: Account, session: JSON) -> None:
    session.update(status="expired", url=None)
    account.checkout_data.pop(session["id"], None)
    emit(account, "checkout.session.expired", session)


def _expire(account: Account, params: JSON, id: str) -> JSON:
    session = account.store.get("checkout.session", id)
    if session["status"] != "open":
        message = f'Only Checkout Sessions with a status in ["open"] can be expired. It is {session["status"]}.'
        raise invalid(message)
    _close(account, session)
    return session


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("checkout.session", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    session = account.store.get("checkout.session", id)
    session["metadata"] = merged(session["metadata"], params.get("metadata"))
    return session


def _list(account: Account, params: JSON) -> JSON:
    return page(
        matching(
            account.store.newest("checkout.session"), params, "customer", "payment_intent", "status", "subscription"
        ),
        params,
        ROOT,
    )


def _line_items(account: Account, params: JSON, id: str) -> JSON:
    return page(lines_shown(account, account.store.get("checkout.session", id)), params, f"{ROOT}/{id}/line_items")


ROOT: Final = "/v1/checkout/sessions"
KEY: Final = "checkout_session"
CREATE: Final = (
    "allowed_payment_method_types automatic_tax billing_address_collection cancel_url client_reference_id currency "
    "custom_text customer customer_creation customer_email customer_update expires_at invoice_creation line_items "
    "locale metadata mode payment_intent_data payment_method_collection setup_intent_data submit_type "
    "subscription_data success_url tax_id_collection ui_mode"
)
LIST: Final = f"customer payment_intent status subscription {PAGING}"
OPERATIONS: Final = (
    Operation("POST", ROOT, "checkout.SessionCreateParams", _create, KEY, CREATE),
    Operation("GET", ROOT, "checkout.SessionListParams", _list, KEY, LIST),
    Operation("GET", ROOT + "/{id}", "checkout.SessionRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "checkout.SessionUpdateParams", _update, KEY, "metadata"),
    Operation("POST", ROOT + "/{id}/expire", "checkout.SessionExpireParams", _expire, KEY),
    Operation("GET", ROOT + "/{id}/line_items", "checkout.SessionLineItemListParams", _line_items, KEY, PAGING),
)
