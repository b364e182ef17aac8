"""Billing credit grants.

Owns: /v1/billing/credit_grants. Does not own: what grants pay for (`credits`) or balances (`credit_balances`). Amount,
scope and priority never change; the 101st unused grant of a customer is refused; only an untouched grant can be voided.
"""

from typing import Final

from stripe_meter.emulator import credits
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.currencies import currency_code
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import Operation

MAX_NAME: Final = 100
MAX_PRIORITY: Final = 100
USUAL_PRIORITY: Final = 50
MAX_PRICES: Final = 20


def _create(account: Account, params: JSON) -> JSON:
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = existing(account, params["customer"])
    amount = _amount(params["amount"])
    scope = _scope(account, params["applicability_config"]["scope"])
    now = account.now()
    effective, expires = params.get("effective_at", now), params.get("expires_at")
    _check_limits(params)
    if expires is not None and expires <= max(now, effective):
        raise invalid("`expires_at` must be in the future and after `effective_at`.", "expires_at")
    if credits.unused(account, customer["id"]) >= credits.MAX_UNUSED:
        raise invalid(f"A customer can have at most {credits.MAX_UNUSED} unused credit grants.", "customer")
    grant: JSON = {
        "id": account.ids.new("credgr"),
        "object": "billing.credit_grant",
        "amount": amount,
        "applicability_config": {"scope": scope},
        "category": params.get("category", "paid"),
        "created": now,
        "customer": customer["id"],
        "customer_account": None,
        "effective_at": effective,
        "expires_at": expires,
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "name": params.get("name"),
        "priority": params.get("priority", USUAL_PRIORITY),
        "test_clock": customer["test_clock"],
        "updated": now,
        "voided_at": None,
    }
    account.store.add(grant)
    emit(account, "billing.credit_grant.created", grant)
    credits.post(account, grant, "credits_granted", amount["monetary"]["value"])
    credits.schedule_expiry(account, grant)
    return grant


def _amount(wanted: JSON) -> JSON:
    money = wanted.get("monetary")
    if money is None:
        raise invalid("Missing required param: amount[monetary].", "amount[monetary]", "parameter_missing")
    if money["value"] <= 0:
        raise invalid("The value of a credit grant must be positive.", "amount[monetary][value]")
    return credits.monetary(currency_code(money["currency"], "amount[monetary][currency]"), money["value"])


def _scope(account: Account, wanted: JSON) -> JSON:
    where = "applicability_config[scope]"
    if ("price_type" in wanted) == ("prices" in wanted):
        raise invalid("Give exactly one of `price_type` and `prices`.", where)
    if "price_type" in wanted:
        return {"price_type": wanted["price_type"]}
    if not 1 <= len(wanted["prices"]) <= MAX_PRICES:
        raise invalid(f"`prices` must name between 1 and {MAX_PRICES} prices.", f"{where}[prices]")
    for one in wanted["prices"]:
        price = account.store.get("price", one["id"], f"{where}[prices]", 400)
        if price["recurring"] is None or price["recurring"]["usage_type"] != "metered":
            raise invalid("Credit grants apply to metered prices only.", f"{where}[prices]")
    return {"prices": [{"id": one["id"]} for one in wanted["prices"]]}


def _check_limits(params: JSON) -> None:
    if len(params.get("name", "")) > MAX_NAME:
        raise invalid(f"A name can have at most {MAX_NAME} characters.", "name")
    if not 0 <= params.get("priority", 0) <= MAX_PRIORITY:
        raise invalid(f"`priority` must be between 0 and {MAX_PRIORITY}.", "priority")


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("billing.credit_grant", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    grant = account.store.get("billing.credit_grant", id)
    _check_open(account, grant)
    if "expires_at" in params:
        expires = params["expires_at"] or None
        if expires is not None and expires <= account.now():
            raise invalid("`expires_at` must be in the future; expire the grant instead.", "expires_at")
        grant["expires_at"] = expires
        credits.schedule_expiry(account, grant)
    grant["metadata"] = merged(grant["metadata"], params.get("metadata"))
    return _touched(account, grant)


def _touched(account: Account, grant: JSON) -> JSON:
    grant["updated"] = account.now()
    emit(account, "billing.credit_grant.updated", grant)
    return grant


def _check_open(account: Account, grant: JSON) -> None:
    if grant["voided_at"] is not None:
        raise invalid("This credit grant has been voided.")
    if grant["expires_at"] is not None and grant["expires_at"] <= account.now():
        raise invalid("This credit grant has expired.")


def _expire(account: Account, params: JSON, id: str) -> JSON:
    grant = account.store.get("billing.credit_grant", id)
    _check_open(account, grant)
    grant["expires_at"] = account.now()
    credits.expire_due(account, grant)
    return _touched(account, grant)


def _void(account: Account, params: JSON, id: str) -> JSON:
    grant = account.store.get("billing.credit_grant", id)
    _check_open(account, grant)
    value = grant["amount"]["monetary"]["value"]
    touched = any(row["debit"] is not None for row in account.credit_moves[id])
    if touched or credits.reserved(account, grant):
        raise invalid("This credit grant has been applied to an invoice and cannot be voided. Expire it instead.")
    credits.post(account, grant, "credits_voided", value)
    grant["voided_at"] = account.now()
    return _touched(account, grant)


def _list(account: Account, params: JSON) -> JSON:
    rows = list(account.store.newest("billing.credit_grant"))
    if "customer" in params:
        rows = [row for row in rows if row["customer"] == params["customer"]]
    return page(rows, params, ROOT)


ROOT: Final = "/v1/billing/credit_grants"
KEY: Final = "billing_credit_grant"
CREATE: Final = "amount applicability_config category customer effective_at expires_at metadata name priority"
PAGES: Final = "limit starting_after ending_before"
OPERATIONS: Final = (
    Operation("POST", ROOT, "billing.CreditGrantCreateParams", _create, KEY, CREATE),
    Operation("GET", ROOT, "billing.CreditGrantListParams", _list, KEY, f"customer {PAGES}"),
    Operation("GET", ROOT + "/{id}", "billing.CreditGrantRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}", "billing.CreditGrantUpdateParams", _update, KEY, "expires_at metadata"),
    Operation("POST", ROOT + "/{id}/expire", "billing.CreditGrantExpireParams", _expire, KEY),
    Operation("POST", ROOT + "/{id}/void", "billing.CreditGrantVoidGrantParams", _void, KEY),
)
