"""Payment links: addresses that open a Checkout session for whoever follows them.

Owns: /v1/payment_links and making a session of a link. Does not own: the session (`checkout_sessions`). Links sell
prices with a quantity, so metered prices are refused; an inactive link opens nothing.
"""

from typing import Any, Final

from stripe_meter.emulator import taxes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.checkout_form import custom_text
from stripe_meter.emulator.errors import JSON, invalid, only
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.resources import checkout_sessions
from stripe_meter.emulator.routing import PAGING, Operation
from stripe_meter.emulator.views import lines_shown

NOTHING: Final = (
    "application application_fee_amount application_fee_percent consent_collection inactive_message managed_payments "
    "on_behalf_of payment_method_options payment_method_types restrictions shipping_address_collection transfer_data"
)


# What a link hands on to the session, and through it to payment or subscription.
DATA: Final = {
    "payment_intent_data": ("description", "metadata", "setup_future_usage"),
    "subscription_data": ("description", "metadata", "trial_period_days", "trial_settings"),
}


def _create(account: Account, params: JSON) -> JSON:
    wanted = params["line_items"]
    for number, fields in enumerate(wanted):
        if "quantity" not in fields:
            where = f"line_items[{number}][quantity]"
            raise invalid(f"Missing required param: {where}.", where, "parameter_missing")
    mode = _mode(account, wanted)
    checkout_sessions.check_lines(wanted, mode)
    currency = checkout_sessions.first_price(account, wanted)["currency"]
    lines = [checkout_sessions.line(account, fields, mode, currency, n) for n, fields in enumerate(wanted)]
    id = account.ids.new("plink")
    after: Any = params.get("after_completion") or {"type": "hosted_confirmation"}
    if after["type"] == "hosted_confirmation":
        after = {"hosted_confirmation": {"custom_message": None, **(after.get("hosted_confirmation") or {})}, **after}
    link: JSON = {
        "id": id,
        "object": "payment_link",
        **dict.fromkeys(NOTHING.split()),
        "active": True,
        "after_completion": after,
        "allow_promotion_codes": False,
        "automatic_tax": _automatic_tax(params),
        "billing_address_collection": "auto",
        "currency": currency,
        "custom_fields": [],
        "custom_text": custom_text(params),
        "customer_creation": params.get("customer_creation", "if_required"),
        "invoice_creation": _invoice_creation(params) if mode == "payment" else None,
        "line_items": lines,
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "payment_intent_data": _payment_data(params) if mode == "payment" else None,
        "payment_method_collection": params.get("payment_method_collection", "always"),
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "submit_type": params.get("submit_type", "auto"),
        "subscription_data": _subscription_data(params) if mode == "subscription" else None,
        "tax_id_collection": {"enabled": False, "required": "never", **(params.get("tax_id_collection") or {})},
        "url": f"{account.base_url}/b/{id}",
    }
    link["inactive_message"] = params.get("inactive_message")
    if "restrictions" in params:
        link["restrictions"] = {"completed_sessions": {"count": 0, **params["restrictions"]["completed_sessions"]}}
    return account.store.add(link)


def _automatic_tax(params: JSON) -> JSON:
    enabled = taxes.on(params)
    return {"enabled": enabled, "liability": {"type": "self"} if enabled else None}


def _payment_data(params: JSON) -> JSON:
    """What the payments of a link carry; `metadata` is how a purchase says which pack it was."""
    given = params.get("payment_intent_data") or {}
    only(given, ("description", "metadata", "setup_future_usage"), "payment_intent_data")
    nothing = (
        "capture_method",
        "description",
        "setup_future_usage",
        "statement_descriptor",
        "statement_descriptor_suffix",
        "transfer_group",
    )
    return {**dict.fromkeys(nothing), **given, "metadata": merged({}, given.get("metadata"))}


def _subscription_data(params: JSON) -> JSON:
    given = params.get("subscription_data") or {}
    only(given, ("description", "metadata", "trial_period_days", "trial_settings"), "subscription_data")
    nothing = {**dict.fromkeys(("description", "trial_period_days", "trial_settings"))}
    blank = dict.fromkeys(("account_tax_ids", "custom_fields", "description", "footer"))
    settings = {**blank, "issuer": {"type": "self"}}
    return {**nothing, "invoice_settings": settings, **given, "metadata": merged({}, given.get("metadata"))}


def _invoice_creation(params: JSON) -> JSON:
    nothing = dict.fromkeys(
        ("account_tax_ids", "custom_fields", "description", "footer", "issuer", "rendering_options")
    )
    wanted: Any = params.get("invoice_creation") or {}
    data = {**nothing, "metadata": {}, **(wanted.get("invoice_data") or {})}
    return {"enabled": bool(wanted.get("enabled")), "invoice_data": data}


def _mode(account: Account, wanted: list[JSON]) -> str:
    prices = [account.store.get("price", fields["price"], "line_items", 400) for fields in wanted if "price" in fields]
    for price in prices:
        if price["recurring"] is not None and price["recurring"]["usage_type"] == "metered":
            raise invalid("Payment links aren't supported for usage-based billing.", "line_items")
    return "subscription" if any(price["recurring"] for price in prices) else "payment"


def follow(account: Account, link: JSON, reference: str | None, email: str | None) -> JSON:
    """The Checkout session of one visit to a link."""
    after = link["after_completion"]
    params: JSON = {
        "mode": _mode(account, link["line_items"]),
        "line_items": [{"price": line["price"], "quantity": line["quantity"]} for line in link["line_items"]],
        "metadata": dict(link["metadata"]),
        "success_url": after["redirect"]["url"] if after["type"] == "redirect" else f"{link['url']}/thanks",
    }
    if params["mode"] == "payment":
        params["customer_creation"] = link["customer_creation"]
        given = {name: value for name, value in link["invoice_creation"]["invoice_data"].items() if value is not None}
        params["invoice_creation"] = {"enabled": link["invoice_creation"]["enabled"], "invoice_data": given}
    for name, keys in DATA.items():
        fields = link[name] or {}
        given = {key: fields[key] for key in keys if fields.get(key)}
        if given:
            params[name] = given
    if link["automatic_tax"]["enabled"]:
        params["automatic_tax"] = {"enabled": True}
    if link["tax_id_collection"]["enabled"]:
        params["tax_id_collection"] = {"enabled": True}
    if params["mode"] == "subscription":
        params["payment_method_collection"] = link["payment_method_collection"]
    params["custom_text"] = {name: text for name, text in link["custom_text"].items() if text}
    if reference:
        params["client_reference_id"] = reference
    if email:
        params["customer_email"] = email
    session = checkout_sessions.open_session(account, params)
    session["payment_link"] = link["id"]
    return session


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("payment_link", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    link = account.store.get("payment_link", id)
    link["active"] = params.get("active", link["active"])
    if "inactive_message" in params:
        link["inactive_message"] = params["inactive_message"] or None
    link["metadata"] = merged(link["metadata"], params.get("metadata"))
    return link


def _list(account: Account, params: JSON) -> JSON:
    rows = list(account.store.newest("payment_link"))
    if "active" in params:
        rows = [row for row in rows if row["active"] is params["active"]]
    return page(rows, params, ROOT)


def _line_items(account: Account, params: JSON, id: str) -> JSON:
    return page(lines_shown(account, account.store.get("payment_link", id)), params, f"{ROOT}/{id}/line_items")


ROOT: Final = "/v1/payment_links"
KEY: Final = "payment_link"
CREATE: Final = (
    "after_completion automatic_tax custom_text customer_creation inactive_message invoice_creation line_items "
    "metadata payment_intent_data payment_method_collection restrictions submit_type subscription_data "
    "tax_id_collection"
)
PAGES: Final = "limit starting_after ending_before"
OPERATIONS: Final = (
    Operation("POST", ROOT, "PaymentLinkCreateParams", _create, KEY, CREATE),
    Operation("GET", ROOT, "PaymentLinkListParams", _list, KEY, f"active {PAGES}"),
    Operation("GET", ROOT + "/{id}", "PaymentLinkRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "PaymentLinkUpdateParams", _update, KEY, "active inactive_message metadata"),
    Operation("GET", ROOT + "/{id}/line_items", "PaymentLinkLineItemListParams", _line_items, KEY, PAGING),
)
