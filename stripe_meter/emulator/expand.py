"""`expand[]`: putting whole objects in place of ids, and includable fields into objects.

Owns: which fields can be expanded, and the depth limit of four. Does not own: plain views. A path that names nothing
expandable is refused with a 400, as Stripe refuses it (docs.stripe.com/api/expanding_objects).
"""

import copy
from collections.abc import Sequence
from typing import Any, Final, get_args, get_origin

from stripe._stripe_object import StripeObject

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, ParameterError
from stripe_meter.emulator.sdk_types import class_of, fields_of
from stripe_meter.emulator.views import SUBSCRIPTIONS_SHOWN, live_subscriptions, nested_list, view

MAX_DEPTH: Final = 4
# (kind of object, dotted field) → kind of object behind the id found there.
LINKS: Final = {
    ("customer", "invoice_settings.default_payment_method"): "payment_method",
    ("product", "default_price"): "price",
    ("price", "product"): "product",
    ("subscription", "customer"): "customer",
    ("subscription", "default_payment_method"): "payment_method",
    ("subscription", "latest_invoice"): "invoice",
    ("invoice", "customer"): "customer",
    ("invoice", "default_payment_method"): "payment_method",
    ("invoice", "parent.subscription_details.subscription"): "subscription",
    ("line_item", "pricing.price_details.price"): "price",
    ("checkout.session", "customer"): "customer",
    ("checkout.session", "subscription"): "subscription",
    ("checkout.session", "invoice"): "invoice",
    ("checkout.session", "payment_intent"): "payment_intent",
    ("checkout.session", "setup_intent"): "setup_intent",
    ("payment_intent", "customer"): "customer",
    ("payment_intent", "payment_method"): "payment_method",
    ("setup_intent", "customer"): "customer",
    ("setup_intent", "payment_method"): "payment_method",
    ("payment_method", "customer"): "customer",
    ("billing.credit_grant", "customer"): "customer",
    ("billing.credit_balance_transaction", "credit_grant"): "billing.credit_grant",
    ("entitlements.active_entitlement", "feature"): "entitlements.feature",
    ("billing_portal.session", "configuration"): "billing_portal.configuration",
    ("billing.alert", "usage_threshold.meter"): "billing.meter",
    ("checkout.session", "payment_link"): "payment_link",
    ("customer", "test_clock"): "test_helpers.test_clock",
    ("refund", "customer"): "customer",
    ("refund", "charge"): "charge",
    ("charge", "customer"): "customer",
    ("charge", "payment_intent"): "payment_intent",
    ("dispute", "charge"): "charge",
    ("dispute", "payment_intent"): "payment_intent",
    ("payment_intent", "latest_charge"): "charge",
    ("invoice_payment", "invoice"): "invoice",
    ("invoice_payment", "payment.payment_intent"): "payment_intent",
    ("credit_note", "customer"): "customer",
    ("credit_note", "invoice"): "invoice",
    ("invoiceitem", "customer"): "customer",
    ("subscription", "schedule"): "subscription_schedule",
    ("subscription_schedule", "customer"): "customer",
    ("subscription_schedule", "subscription"): "subscription",
    ("refund", "payment_intent"): "payment_intent",
    ("customer_balance_transaction", "customer"): "customer",
    ("customer_balance_transaction", "invoice"): "invoice",
}


def present(account: Account, answer: JSON, paths: Sequence[str]) -> JSON:
    """The answer of an endpoint as sent: every object viewed, every path of `expand[]` followed."""
    for path in paths:
        if path.count(".") >= MAX_DEPTH:
            message = f"You cannot expand more than {MAX_DEPTH} levels of a property. Property: {path}"
            raise ParameterError(message, "expand")
    if answer.get("object") in ("list", "search_result"):
        shown = {**answer, "data": [_viewed(account, row) for row in answer["data"]]}
    else:
        shown = _viewed(account, answer)
    for path in paths:
        _expand(account, shown, path.split("."), path)
    return shown


def _viewed(account: Account, row: JSON) -> JSON:
    return view(account, row) if "object" in row else row


def _expand(account: Account, node: JSON, parts: list[str], path: str) -> None:
    """Follow one path from an object or list; `parts` is what is left of it."""
    if node["object"] in ("list", "search_result"):
        if parts[0] != "data" or len(parts) == 1:
            raise _refused(path)
        for row in node["data"]:
            _expand(account, row, parts[1:], path)
        return
    _expand_object(account, node, parts, path)


def _expand_object(account: Account, node: JSON, parts: list[str], path: str) -> None:
    holder: Any = node
    for count, part in enumerate(parts, start=1):
        rest = parts[count:]
        if count == 1 and _include(account, node, part):
            return _go_on(account, node.get(part), rest, path)
        kind = LINKS.get((node["object"], ".".join(parts[:count])))
        if kind is not None:
            return _follow(account, holder, part, kind, rest, path)
        if count == 1 and _known(node, part):
            message = f"The emulator does not implement expanding {part} of {node['object']} objects."
            raise ParameterError(message, "expand", "not_emulated")
        holder = holder.get(part) if isinstance(holder, dict) else None
        if holder is None and _leads_on(node, parts[:count]):
            return None
        if isinstance(holder, dict) and "object" in holder and rest:
            return _expand(account, holder, rest, path)
    raise _refused(path)


def _leads_on(node: JSON, parts: list[str]) -> bool:
    """Whether an empty field stands before an expandable one; such a path is fine and yields nothing."""
    start = ".".join(parts) + "."
    return any(kind == node["object"] and field.startswith(start) for kind, field in LINKS)


def _known(node: JSON, part: str) -> bool:
    """Whether Stripe expands a field that nothing here does: the SDK has a type for it, or it is not sent unasked."""
    cls = class_of(node)
    hint = None if cls is None else fields_of(cls).get(part)
    inner = get_args(hint)[0] if get_origin(hint) is list else hint
    options = get_args(inner)
    linked = str in options and any(isinstance(one, type) and issubclass(one, StripeObject) for one in options)
    return linked or (hint is not None and part not in node and not node.get("deleted"))


def _include(account: Account, node: JSON, part: str) -> bool:
    """Put an includable field into the object; False when the object has none of that name."""
    kind = node["object"]
    if kind == "price" and part in ("tiers", "currency_options"):
        stored = account.store.get(kind, node["id"])
        if part in stored:
            node[part] = copy.deepcopy(stored[part])
        return True
    if kind in ("checkout.session", "payment_link") and part == "line_items":
        rows = account.store.get(kind, node["id"])["line_items"]
        base = "/v1/checkout/sessions" if kind == "checkout.session" else "/v1/payment_links"
        data = [{**row, "price": view(account, account.store.get("price", row["price"]))} for row in rows]
        node[part] = nested_list(data, f"{base}/{node['id']}/line_items")
        return True
    if kind == "invoice" and part == "payments":
        rows = [row for row in account.store.all("invoice_payment") if row["invoice"] == node["id"]]
        node[part] = nested_list([view(account, row) for row in rows], f"/v1/invoice_payments?invoice={node['id']}")
        return True
    if kind == "charge" and part == "refunds":
        rows = [row for row in account.store.newest("refund") if row["charge"] == node["id"]]
        node[part] = nested_list([view(account, row) for row in rows], f"/v1/charges/{node['id']}/refunds")
        return True
    if kind == "customer" and part == "invoice_credit_balance":
        if not node.get("deleted"):
            # The other way round than `balance`: here credit is positive.
            node[part] = {node["currency"]: -node["balance"]} if node["balance"] else {}
        return True
    if kind == "customer" and part == "subscriptions":
        if node.get("deleted"):
            return True
        rows = [view(account, row) for row in live_subscriptions(account, node["id"])]
        node[part] = nested_list(rows, f"/v1/customers/{node['id']}/subscriptions", SUBSCRIPTIONS_SHOWN)
        return True
    return False


def _go_on(account: Account, value: Any, rest: list[str], path: str) -> None:
    if not rest:
        return
    if isinstance(value, dict) and "object" in value:
        return _expand(account, value, rest, path)
    # `currency_options.eur.tiers`: tiers of an option are stored with it and already there.
    if not (isinstance(value, dict) and rest[-1] == "tiers"):
        raise _refused(path)


def _follow(account: Account, holder: JSON, part: str, kind: str, rest: list[str], path: str) -> None:
    target = holder.get(part)
    if isinstance(target, str):
        row = account.store.find(kind, target)
        holder[part] = target = view(account, row) if row is not None else target
    if rest and isinstance(target, dict):
        _expand(account, target, rest, path)


def _refused(path: str) -> ParameterError:
    return ParameterError(f"This property cannot be expanded ({path}).", "expand")
