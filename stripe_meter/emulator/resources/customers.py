"""Customers, their search, and their balance transactions.

Owns: /v1/customers and what hangs below it. Does not own: subscriptions or payment methods. A deleted customer
stays retrievable as `{"deleted": true}` with a 200, as on Stripe; using one elsewhere is a 400.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from stripe_meter.emulator import cycle
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.cards import TOKENS, new_payment_method
from stripe_meter.emulator.currencies import currency_code
from stripe_meter.emulator.errors import JSON, ParameterError, invalid, missing
from stripe_meter.emulator.events import changed, emit
from stripe_meter.emulator.invoicing import change_balance
from stripe_meter.emulator.listing import limit_of, page
from stripe_meter.emulator.metadata import merged
from stripe_meter.emulator.routing import PAGING, Operation
from stripe_meter.emulator.views import live_subscriptions

MAX_PER_CLOCK: Final = 3
ADDRESS: Final = ("city", "country", "line1", "line2", "postal_code", "state")
RENDERING: Final = ("amount_tax_display", "template")
PLAIN: Final = ("address", "description", "email", "name", "phone", "shipping", "tax_exempt")
CLAUSE: Final = re.compile(r"""\s*
    (?:metadata\[(?P<q>['"])(?P<key>(?:\\.|(?!(?P=q)).)*)(?P=q)\]|(?P<field>email|name|phone))
    \s*:\s*(?P<v>['"])(?P<value>(?:\\.|(?!(?P=v)).)*)(?P=v)\s*""", re.VERBOSE)  # fmt: skip


def new_customer(account: Account, params: JSON) -> JSON:
    """Store a customer; raises a 402 if a given test card declines."""
    id = account.ids.new("cus")
    customer: JSON = {
        "id": id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": account.now(),
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": id.rpartition("_")[2][:8].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": _clock(account, params.get("test_clock")),
    }
    customer.update(_plain(params))
    customer["invoice_settings"].update(_first_settings(account, params, id))
    account.store.add(customer)
    if params.get("balance"):
        change_balance(account, customer, params["balance"], "initial")
    emit(account, "customer.created", customer)
    _index(account, customer)
    return customer


def _first_settings(account: Account, params: JSON, id: str) -> JSON:
    """The invoice settings of a new customer, whose only payment method can be the one given with it."""
    given, wanted = params.get("payment_method"), params.get("invoice_settings") or {}
    default = wanted.get("default_payment_method") or None
    if default is not None and default != given:
        raise missing("PaymentMethod", default, "invoice_settings[default_payment_method]", status=400)
    row = account.store.find("payment_method", given) if given else None
    if given is not None and given not in TOKENS and row is None:
        raise missing("PaymentMethod", given, "payment_method", status=400)
    if row is not None and row["customer"] is not None:
        raise invalid("The payment method is attached to another customer.", "payment_method")
    settings = _settings(account, id, {name: value for name, value in wanted.items() if value != default})
    if given is None:
        return settings
    method = row or new_payment_method(account, TOKENS[given], id)
    method["customer"] = id
    return {**settings, "default_payment_method": method["id"]} if default else settings


def _plain(params: JSON) -> JSON:
    """The fields that are stored as given; what is unset is null, and an address always has all its lines."""
    given: JSON = {key: params[key] or None for key in PLAIN if key in params}
    if given.get("address"):
        given["address"] = _whole(given["address"], ADDRESS)
    if given.get("shipping"):
        given["shipping"] = {**given["shipping"], "address": _whole(given["shipping"]["address"], ADDRESS)}
    return given


def _whole(given: JSON, names: Iterable[str]) -> JSON:
    """An object with all its fields: what was not given or is empty is null."""
    return {**dict.fromkeys(names), **{key: value or None for key, value in given.items()}}


def _clock(account: Account, id: str | None) -> str | None:
    """The test clock of a new customer; a clock takes three."""
    if id is None:
        return None
    account.store.get("test_helpers.test_clock", id, "test_clock", 400)
    if sum(1 for row in account.store.all("customer") if row.get("test_clock") == id) >= MAX_PER_CLOCK:
        raise invalid(f"A test clock can have at most {MAX_PER_CLOCK} customers.", "test_clock")
    return id


def existing(account: Account, id: str, param: str = "customer") -> JSON:
    """A customer named in a body: a 400 when it does not exist or is deleted."""
    row = account.store.get("customer", id, param, status=400)
    if row.get("deleted"):
        raise missing("customer", id, param, status=400)
    return row


def _alive(account: Account, id: str) -> JSON:
    row = account.store.get("customer", id)
    if row.get("deleted"):
        raise missing("customer", id)
    return row


def _create(account: Account, params: JSON) -> JSON:
    return new_customer(account, params)


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get("customer", id)


def _update(account: Account, params: JSON, id: str) -> JSON:
    customer = _alive(account, id)
    new = _plain(params)
    new["metadata"] = merged(customer["metadata"], params.get("metadata"))
    settings = params.get("invoice_settings")
    if settings:
        new["invoice_settings"] = {**customer["invoice_settings"], **_settings(account, id, settings)}
    if params.get("balance", customer["balance"]) != customer["balance"]:
        change_balance(account, customer, params["balance"] - customer["balance"], "adjustment")
    previous = changed(customer, new)
    customer.update(new)
    if previous:
        emit(account, "customer.updated", customer, previous)
    _index(account, customer)
    return customer


def _settings(account: Account, customer: str, settings: JSON) -> JSON:
    method = settings.get("default_payment_method")
    if method:
        row = account.store.find("payment_method", method)
        if row is None or row["customer"] != customer:
            param = "invoice_settings[default_payment_method]"
            raise missing("PaymentMethod", method, param, status=400)
    wanted: JSON = {key: value or None for key, value in settings.items()}
    if wanted.get("rendering_options"):
        wanted["rendering_options"] = _whole(wanted["rendering_options"], RENDERING)
    return wanted


def _list(account: Account, params: JSON) -> JSON:
    email = params.get("email")
    clock = params.get("test_clock")
    rows = [row for row in account.store.newest("customer") if not row.get("deleted") and row["test_clock"] == clock]
    return page([row for row in rows if email is None or row["email"] == email], params, "/v1/customers")


def _delete(account: Account, params: JSON, id: str) -> JSON:
    customer = _alive(account, id)
    for subscription in live_subscriptions(account, id):
        cycle.cancel(account, subscription, invoice_now=False, prorate=False)
    emit(account, "customer.deleted", customer)
    customer.clear()
    customer.update({"id": id, "object": "customer", "deleted": True})
    account.search_index.pop(id, None)
    return customer


def _index(account: Account, customer: JSON) -> None:
    """Make the customer findable by search once the search lag has passed."""

    def publish() -> None:
        if not customer.get("deleted"):
            account.search_index[customer["id"]] = {**customer, "metadata": dict(customer["metadata"])}

    if account.switches.search_lag > 0:
        account.clock.schedule(account.clock.now() + account.switches.search_lag, publish)
    else:
        publish()


def _search(account: Account, params: JSON) -> JSON:
    clauses = [_clause(text) for text in _split(params["query"])]
    found = [row for row in account.search_index.values() if all(_holds(row, *clause) for clause in clauses)]
    found.sort(key=lambda row: row["created"], reverse=True)
    cursor = params.get("page", "0")
    if not cursor.isdecimal():
        raise ParameterError(f"Invalid page: {cursor}", "page")
    start, limit = int(cursor), limit_of(params)
    more = start + limit < len(found)
    return {
        "object": "search_result",
        "data": found[start : start + limit],
        "has_more": more,
        "next_page": str(start + limit) if more else None,
        "url": "/v1/customers/search",
    }


def _split(query: str) -> list[str]:
    """The clauses of a query joined by AND; quoted text is left whole."""
    clauses, rest = [], query
    while True:
        match = CLAUSE.match(rest)
        if match is None:
            raise ParameterError(f"We were unable to parse your search query: {query}", "query")
        clauses.append(match[0])
        rest = rest[match.end() :]
        if not rest:
            return clauses
        if not re.match(r"AND\s", rest, re.IGNORECASE):
            raise ParameterError(f"We were unable to parse your search query: {query}", "query")
        rest = rest[4:]


def _clause(text: str) -> tuple[str | None, str, str]:
    match = CLAUSE.fullmatch(text)
    assert match is not None  # `_split` only returns what matched
    plain: Any = re.compile(r"\\(.)")
    key = None if match["key"] is None else plain.sub(r"\1", match["key"])
    return key, match["field"] or "", plain.sub(r"\1", match["value"])


def _holds(row: JSON, key: str | None, field: str, value: str) -> bool:
    if key is not None:
        return bool(row["metadata"].get(key) == value)
    return (row[field] or "").lower() == value.lower()


def _create_transaction(account: Account, params: JSON, id: str) -> JSON:
    customer = _alive(account, id)
    currency = currency_code(params["currency"])
    if customer["currency"] not in (None, currency):
        raise invalid(f"The customer's currency is {customer['currency']}, not {currency}.", "currency")
    customer["currency"] = currency
    more = {"description": params.get("description"), "metadata": merged({}, params.get("metadata"))}
    return change_balance(account, customer, params["amount"], "adjustment", more=more)


def _transactions(account: Account, params: JSON, id: str) -> JSON:
    _alive(account, id)
    rows = [row for row in account.store.newest("customer_balance_transaction") if row["customer"] == id]
    if "invoice" in params:
        rows = [row for row in rows if row["invoice"] == params["invoice"]]
    return page(rows, params, f"/v1/customers/{id}/balance_transactions")


def _transaction(account: Account, params: JSON, id: str, transaction: str) -> JSON:
    return account.store.get("customer_balance_transaction", transaction)


def _update_transaction(account: Account, params: JSON, id: str, transaction: str) -> JSON:
    """Only words about a transaction can change; money is undone by a reversal."""
    row = account.store.get("customer_balance_transaction", transaction)
    if "description" in params:
        row["description"] = params["description"]
    row["metadata"] = merged(row["metadata"], params.get("metadata"))
    return row


FIELDS: Final = "address balance description email invoice_settings metadata name phone shipping tax_exempt"
CREATE: Final = f"{FIELDS} payment_method test_clock"
BELOW: Final = "/v1/customers/{id}/balance_transactions"
OPERATIONS: Final = (
    Operation("POST", "/v1/customers", "CustomerCreateParams", _create, "customer", CREATE),
    Operation("GET", "/v1/customers", "CustomerListParams", _list, "customer", f"email test_clock {PAGING}"),
    Operation("GET", "/v1/customers/search", "CustomerSearchParams", _search, "customer", "query limit page"),
    Operation("GET", "/v1/customers/{id}", "CustomerRetrieveParams", _retrieve, "customer"),
    Operation("POST", "/v1/customers/{id}", "CustomerUpdateParams", _update, "customer", FIELDS),
    Operation("DELETE", "/v1/customers/{id}", "CustomerDeleteParams", _delete, "customer"),
    Operation(
        "POST", BELOW, "CustomerBalanceTransactionCreateParams", _create_transaction, "customer",
        "amount currency description metadata",
    ),
    Operation("GET", BELOW, "CustomerBalanceTransactionListParams", _transactions, "customer", f"invoice {PAGING}"),
    Operation(
        "GET", BELOW + "/{transaction}", "CustomerBalanceTransactionRetrieveParams", _transaction, "customer",
    ),
    Operation(
        "POST", BELOW + "/{transaction}", "CustomerBalanceTransactionUpdateParams", _update_transaction, "customer",
        "description metadata",
    ),
)  # fmt: skip
