"""The overview of the account: customers, meters, invoices, sessions, events, webhook deliveries.

Owns: the page at `/`. Does not own: anything it shows. Only the newest rows of each kind are listed, so the page
stays small however long the emulator runs.
"""

from __future__ import annotations

from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stripe_meter.emulator import credits
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import plain, shown_money
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.pages.layout import badge, moment, page, table
from stripe_meter.emulator.usage import aggregate

if TYPE_CHECKING:
    from stripe_meter.emulator.core import Emulator

SHOWN: Final = 20
FOREVER: Final = 2**40


def routes(emulator: Emulator) -> list[Route]:
    """The overview page."""

    async def show(request: Request) -> Response:
        emulator.clock.run_due()
        with emulator.account.lock:
            return _overview(emulator.account)

    return [Route("/", show, methods=["GET"])]


def _overview(account: Account) -> Response:
    parts = [
        f"<h1>{escape(account.merchant)}</h1>",
        f'<p class="soft">The emulator\'s clock says {moment(account.clock.now())}'
        f"{' and stands still' if account.clock.frozen else ''}. {account.usage.pending} meter events wait.</p>",
        _customers(account),
        _meters(account),
        _subscriptions(account),
        _invoices(account),
        _grants(account),
        _sessions(account),
        _errors(account),
        _events(account),
        _deliveries(account),
    ]
    return page(f"{account.merchant} \u2013 overview", "".join(parts), wide=True)


def _newest(account: Account, kind: str) -> list[JSON]:
    return list(islice(account.store.newest(kind), SHOWN))


def _code(text: str | None) -> str:
    return f"<code>{escape(text)}</code>" if text else "\u2013"


def _customers(account: Account) -> str:
    lines = []
    for row in _newest(account, "customer"):
        if row.get("deleted"):
            lines.append([_code(row["id"]), "deleted", "\u2013"])
        else:
            balance = shown_money(row["balance"], row["currency"] or "usd") if row["balance"] else "\u2013"
            lines.append([_code(row["id"]), escape(row["email"] or "\u2013"), escape(balance)])
    return table("Customers", ("Id", "E-mail", "Balance"), lines)


def _meters(account: Account) -> str:
    lines = []
    for meter in _newest(account, "billing.meter"):
        formula = meter["default_aggregation"]["formula"]
        for customer in account.usage.customers(meter["id"])[:SHOWN] or [""]:
            records = account.usage.between(meter["id"], customer, 0, FOREVER)
            total = plain(aggregate(formula, records))
            name = f"{escape(meter['display_name'])}<br>{_code(meter['event_name'])}"
            lines.append([name, _code(customer), escape(total), badge(meter["status"])])
    return table("Meters", ("Meter", "Customer", "Total", "Status"), lines)


def _subscriptions(account: Account) -> str:
    rows = _newest(account, "subscription")
    lines = [[_code(row["id"]), _code(row["customer"]), badge(row["status"])] for row in rows]
    return table("Subscriptions", ("Id", "Customer", "Status"), lines)


def _invoices(account: Account) -> str:
    lines = []
    for row in _newest(account, "invoice"):
        link = f'<a href="/i/{escape(row["id"])}">{escape(row["number"] or row["id"])}</a>'
        total = escape(shown_money(row["total"], row["currency"]))
        lines.append([link, _code(row["customer"]), total, badge(row["status"])])
    return table("Invoices", ("Invoice", "Customer", "Total", "Status"), lines)


def _grants(account: Account) -> str:
    lines = []
    for row in _newest(account, "billing.credit_grant"):
        currency = credits.currency_of(row)
        left = [shown_money(count(account, row), currency) for count in (credits.available, credits.ledger)]
        ends = "never" if row["expires_at"] is None else moment(row["expires_at"])
        lines.append([_code(row["id"]), _code(row["customer"]), *map(escape, left), ends])
    return table("Credit grants", ("Id", "Customer", "Available", "Ledger", "Expires"), lines)


def _sessions(account: Account) -> str:
    lines = []
    for row in _newest(account, "checkout.session"):
        name = _code(row["id"])
        link = f'<a href="/c/pay/{escape(row["id"])}">{name}</a>' if row["status"] == "open" else name
        lines.append([link, escape(row["mode"]), badge(row["status"])])
    return table("Checkout sessions", ("Id", "Mode", "Status"), lines)


def _errors(account: Account) -> str:
    rows = list(account.meter_errors)[-SHOWN:][::-1]
    lines = [[escape(row["code"]), escape(row["message"]), _code(row["identifier"])] for row in rows]
    return table("Meter events that were not counted", ("Code", "Reason", "Identifier"), lines)


def _events(account: Account) -> str:
    rows = _newest(account, "event")
    lines = [[moment(row["created"]), escape(row["type"]), _code(row["data"]["object"].get("id"))] for row in rows]
    return table("Events", ("Time", "Type", "Object"), lines)


def _deliveries(account: Account) -> str:
    lines = []
    for one in list(account.journal.log)[-SHOWN:][::-1]:
        outcome = one.error or str(one.status)
        lines.append([escape(one.type), escape(one.url), escape(outcome), str(one.attempt)])
    return table("Webhook deliveries", ("Event", "To", "Answer", "Attempt"), lines)
