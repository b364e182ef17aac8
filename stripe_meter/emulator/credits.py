"""Billing credits: which grants pay for which metered lines, and what is left of a grant.

Owns: eligibility, order, reservations by drafts, and the transactions that finalising, expiring and voiding post. Does
not own: the endpoints (`resources.credit_grants`) or invoices (`invoicing`). Credits pay for metered lines of
subscription invoices only, before tax and before the customer balance (docs.stripe.com/billing/.../billing-credits).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.events import emit

if TYPE_CHECKING:
    from stripe_meter.emulator.account import Account

MAX_UNUSED: Final = 100
NEVER: Final = 2**62


def monetary(currency: str, value: int) -> JSON:
    """An amount of credit."""
    return {"monetary": {"currency": currency, "value": value}, "type": "monetary"}


def currency_of(grant: JSON) -> str:
    """The currency of a grant."""
    return str(grant["amount"]["monetary"]["currency"])


def grants_of(account: Account, customer: str) -> list[JSON]:
    """The grants of a customer, oldest first."""
    return [row for row in account.store.all("billing.credit_grant") if row["customer"] == customer]


def ledger(account: Account, grant: JSON) -> int:
    """What was posted to a grant: credits minus debits, whatever drafts may want."""
    total = 0
    for row in account.credit_moves[grant["id"]]:
        part = row["credit"] or row["debit"]
        total += part["amount"]["monetary"]["value"] * (1 if row["credit"] else -1)
    return total


def reserved(account: Account, grant: JSON, but: str | None = None) -> int:
    """What drafts (other than `but`) would take from a grant when they are finalised."""
    uses = account.credit_uses.items()
    return sum(amount for id, rows in uses if id != but for _, used, amount in rows if used == grant["id"])


def available(account: Account, grant: JSON) -> int:
    """What a new invoice could use: nothing before `effective_at`, after expiry or voiding, or of a draft's share."""
    now = account.now()
    if grant["voided_at"] is not None or _start(grant) > now or _end(grant) <= now:
        return 0
    return ledger(account, grant) - reserved(account, grant)


def unused(account: Account, customer: str) -> int:
    """How many grants count towards the cap: pending or with a ledger balance, not voided, not expired."""
    rows = [row for row in grants_of(account, customer) if row["voided_at"] is None and _end(row) > account.now()]
    return sum(1 for row in rows if ledger(account, row) > 0)


def applies_to(grant: JSON, price: str) -> bool:
    """Whether the scope of a grant covers a metered price."""
    scope = grant["applicability_config"]["scope"]
    if scope.get("price_type") == "metered":
        return True
    return any(one["id"] == price for one in scope.get("prices", ()))


def post(account: Account, grant: JSON, kind: str, value: int, invoice: JSON | None = None, line: str = "") -> JSON:
    """Write one transaction; `kind` is Stripe's type, which tells credit from debit."""
    is_credit = kind in ("credits_granted", "credits_application_invoice_voided")
    part: JSON = {"amount": monetary(currency_of(grant), value), "type": kind}
    about = {"invoice": invoice["id"], "invoice_line_item": line} if invoice is not None else None
    part["credits_application_invoice_voided" if is_credit else "credits_applied"] = about
    row: JSON = {
        "id": account.ids.new("cbtxn"),
        "object": "billing.credit_balance_transaction",
        "created": account.now(),
        "credit": part if is_credit else None,
        "credit_grant": grant["id"],
        "debit": None if is_credit else part,
        "effective_at": max(account.now(), _start(grant)) if kind == "credits_granted" else account.now(),
        "livemode": False,
        "test_clock": grant["test_clock"],
        "type": "credit" if is_credit else "debit",
    }
    account.credit_moves[grant["id"]].append(row)
    account.store.add(row)
    emit(account, "billing.credit_balance_transaction.created", row)
    return row


def allocate(account: Account, invoice: JSON, metered: list[tuple[JSON, str]]) -> list[tuple[str, str, int]]:
    """Which grant pays how much of which line: (line, grant, amount), in the order Stripe uses grants."""
    rows = [row for row in grants_of(account, invoice["customer"]) if _eligible(row, invoice)]
    left = {row["id"]: ledger(account, row) - reserved(account, row, invoice["id"]) for row in rows}
    uses = []
    for line, price in metered:
        owed = line["amount"]
        for grant in sorted(rows, key=_order):
            amount = min(owed, left[grant["id"]])
            if amount > 0 and applies_to(grant, price):
                left[grant["id"]] -= amount
                owed -= amount
                uses.append((line["id"], grant["id"], amount))
    return uses


def show(invoice: JSON, uses: list[tuple[str, str, int]], transactions: dict[tuple[str, str], str]) -> int:
    """Write the credits into invoice and lines; returns their sum. Drafts have no transactions yet."""
    lines = {line["id"]: line for line in invoice["lines"]["data"]}
    rows = []
    for line, grant, amount in uses:
        row: JSON = {"amount": amount, "type": "credit_balance_transaction"}
        row["credit_balance_transaction"] = transactions.get((line, grant))
        lines[line]["pretax_credit_amounts"].append(row)
        rows.append(dict(row))
    invoice["total_pretax_credit_amounts"] = rows
    return sum(amount for _, _, amount in uses)


def settle(account: Account, invoice: JSON) -> None:
    """Finalising turns what the draft reserved into debits; what an expired grant kept back for it expires."""
    uses = account.credit_uses.pop(invoice["id"], [])
    transactions = {}
    for line, id, amount in uses:
        grant = account.store.get("billing.credit_grant", id)
        transactions[line, id] = post(account, grant, "credits_applied", amount, invoice, line)["id"]
    for line_row in invoice["lines"]["data"]:
        line_row["pretax_credit_amounts"] = []
    show(invoice, uses, transactions)
    for grant in grants_of(account, invoice["customer"]):
        expire_due(account, grant)


def give_back(account: Account, invoice: JSON) -> None:
    """Voiding an invoice returns its credits; those of an expired grant expire at once."""
    for row in tuple(account.store.all("billing.credit_balance_transaction")):
        applied = (row["debit"] or {}).get("credits_applied")
        if applied is not None and applied["invoice"] == invoice["id"]:
            grant = account.store.get("billing.credit_grant", row["credit_grant"])
            value = row["debit"]["amount"]["monetary"]["value"]
            kind = "credits_application_invoice_voided"
            post(account, grant, kind, value, invoice, applied["invoice_line_item"])
            expire_due(account, grant)


def expire_due(account: Account, grant: JSON) -> None:
    """Take away what is left of a grant whose time is over, except what a draft still may use."""
    if grant["voided_at"] is None and _end(grant) <= account.now():
        rest = ledger(account, grant) - reserved(account, grant)
        if rest > 0:
            post(account, grant, "credits_expired", rest)


def schedule_expiry(account: Account, grant: JSON) -> None:
    """Have the grant expire at its time."""
    if grant["expires_at"] is not None:
        account.clock.schedule(grant["expires_at"], lambda: expire_due(account, grant))


def _eligible(grant: JSON, invoice: JSON) -> bool:
    """By the end of the invoiced period, not by today: effective_at <= period_end < expires_at."""
    if grant["voided_at"] is not None or currency_of(grant) != invoice["currency"]:
        return False
    return bool(_start(grant) <= invoice["period_end"] < _end(grant))


def _order(grant: JSON) -> tuple[Any, ...]:
    promotional_first = 0 if grant["category"] == "promotional" else 1
    return (grant["priority"], _end(grant), promotional_first, _start(grant), grant["created"])


def _start(grant: JSON) -> int:
    start: int | None = grant["effective_at"]
    return grant["created"] if start is None else start


def _end(grant: JSON) -> int:
    end: int | None = grant["expires_at"]
    return NEVER if end is None else end
