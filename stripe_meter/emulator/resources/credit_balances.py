"""What is left of a customer's billing credits, and the transactions that made it so.

Owns: /v1/billing/credit_balance_summary and /credit_balance_transactions. Does not own: the rules (`credits`). A
draft invoice already lowers `available_balance`; `ledger_balance` moves when it is finalised.
"""

from typing import Final

from stripe_meter.emulator import credits
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import Operation


def _summary(account: Account, params: JSON) -> JSON:
    if "customer" not in params:
        raise invalid("Missing required param: customer.", "customer", "parameter_missing")
    customer = existing(account, params["customer"])["id"]
    rows = [row for row in _wanted(account, customer, params["filter"]) if row["voided_at"] is None]
    currencies = sorted({credits.currency_of(row) for row in rows})
    return {
        "object": "billing.credit_balance_summary",
        "balances": [_balance(account, rows, currency) for currency in currencies],
        "customer": customer,
        "customer_account": None,
        "livemode": False,
    }


def _balance(account: Account, rows: list[JSON], currency: str) -> JSON:
    mine = [row for row in rows if credits.currency_of(row) == currency]
    started = [row for row in mine if (row["effective_at"] or row["created"]) <= account.now()]
    return {
        "available_balance": credits.monetary(currency, sum(credits.available(account, row) for row in mine)),
        "ledger_balance": credits.monetary(currency, sum(credits.ledger(account, row) for row in started)),
    }


def _wanted(account: Account, customer: str, wanted: JSON) -> list[JSON]:
    """The grants that a filter means: a single one, or those that would pay for a scope."""
    rows = credits.grants_of(account, customer)
    if wanted["type"] == "credit_grant":
        id = wanted.get("credit_grant")
        if id is None:
            raise invalid("Missing required param: filter[credit_grant].", "filter[credit_grant]", "parameter_missing")
        account.store.get("billing.credit_grant", id, "filter[credit_grant]", 400)
        return [row for row in rows if row["id"] == id]
    scope = wanted.get("applicability_scope")
    if scope is None:
        where = "filter[applicability_scope]"
        raise invalid(f"Missing required param: {where}.", where, "parameter_missing")
    if "prices" in scope:
        ids = [one["id"] for one in scope["prices"]]
        return [row for row in rows if any(credits.applies_to(row, id) for id in ids)]
    return [row for row in rows if "price_type" in row["applicability_config"]["scope"]]


def _transactions(account: Account, params: JSON) -> JSON:
    rows = list(account.store.newest(KIND))
    if "credit_grant" in params:
        rows = [row for row in rows if row["credit_grant"] == params["credit_grant"]]
    if "customer" in params:
        mine = {row["id"] for row in credits.grants_of(account, params["customer"])}
        rows = [row for row in rows if row["credit_grant"] in mine]
    return page(rows, params, ROOT)


def _transaction(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get(KIND, id)


KIND: Final = "billing.credit_balance_transaction"
ROOT: Final = "/v1/billing/credit_balance_transactions"
KEY: Final = "billing_credit_balance"
LIST: Final = "credit_grant customer limit starting_after ending_before"
OPERATIONS: Final = (
    Operation(
        "GET",
        "/v1/billing/credit_balance_summary",
        "billing.CreditBalanceSummaryRetrieveParams",
        _summary,
        KEY,
        "customer filter",
    ),
    Operation("GET", ROOT, "billing.CreditBalanceTransactionListParams", _transactions, KEY, LIST),
    Operation("GET", ROOT + "/{id}", "billing.CreditBalanceTransactionRetrieveParams", _transaction, KEY),
)
