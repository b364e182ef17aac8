"""`stripe-meter credits`: the prepaid credits of the seller's callers, by hand.

Owns giving credits and showing a wallet. Nothing here sells: packs are bought through Checkout. What is given is a
transaction on the wallet in Stripe, so every server of the account sees it.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.gateway.wallets import Terms, Transaction

T = TypeVar("T")

#: Transactions that `show` lists.
_SHOWN: Final = 10
#: Seconds after which every server has noticed that an empty wallet was filled.
_LAG: Final = 120
_CUSTOMER: Final = re.compile(r"cus_[A-Za-z0-9_]{1,60}")


def _checked(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not _CUSTOMER.fullmatch(value):
        raise click.BadParameter("this is no customer id; it begins with cus_, see the Dashboard")
    return value


_customer = click.argument("customer", callback=_checked)
_credits = click.argument("credits", type=click.IntRange(1, 10_000_000))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
def command() -> None:
    """Give credits to your callers and see what they have.

    CUSTOMER is the caller's customer id in Stripe, cus_…, not that of their wallet. These commands use
    STRIPE_SECRET_KEY, or the stand-in that STRIPE_METER_EMULATOR names, and STRIPE_METER_NAMESPACE.
    """


@command.command()
@_customer
@_credits
@_json
def grant(customer: str, credits: int, as_json: bool) -> None:
    """Give CREDITS to a customer who did not buy them."""
    _give(customer, credits, "grant", "given by the seller", as_json)


@command.command("make-good")
@_customer
@_credits
@click.option("--reason", required=True, help="What the customer reads, such as 'server crash on 3 May'.")
@_json
def make_good(customer: str, credits: int, reason: str, as_json: bool) -> None:
    """Give CREDITS for ones that were lost.

    With Credits(on_crash="keep") a server that is killed keeps what it had taken and not yet used; `credits show` tells
    how much.
    """
    _give(customer, credits, "make-good", reason[:200], as_json)


@command.command()
@_customer
@_json
def show(customer: str, as_json: bool) -> None:
    """Show what a customer has, what servers hold of it right now, and the last transactions."""
    wallet, terms, held, rows = _ask(lambda gateway: _look(gateway, customer))
    if wallet is None:
        if as_json:
            click.echo(
                json.dumps({"customer": customer, "wallet": None, "credits": "0", "set_aside": "0", "owed": "0"})
            )
        else:
            click.echo(f"{customer} never had credits; give some: stripe-meter credits grant {customer} 100")
        return
    left, aside, owed = (_number(max(0, units), terms) for units in held)
    lines: list[dict[str, Any]] = [
        {"created": row.created, "credits": _number(-row.amount, terms), "description": row.description} for row in rows
    ]
    if as_json:
        report: dict[str, Any] = {
            "customer": customer,
            "wallet": wallet,
            "credits": left,
            "set_aside": aside,
            "owed": owed,
        }
        click.echo(json.dumps({**report, "transactions": lines}))
        return
    click.echo(f"{customer} has {left} credits; servers have set aside {aside} more for calls.")
    if held[2]:
        click.echo(f"They owe {owed} credits of a payment that went back; what they get next pays these first.")
    click.echo(f"Wallet {wallet}, newest first:")
    for line in lines:
        moment = f"{datetime.fromtimestamp(line['created'], UTC):%Y-%m-%d %H:%M:%S} UTC"
        sign = "" if str(line["credits"]).startswith("-") else "+"
        click.echo(f"  {moment}  {sign}{line['credits']:<10}  {line['description']}")


def _give(customer: str, credits: int, kind: str, description: str, as_json: bool) -> None:
    from stripe_meter.enforcement.credits.grants import give_once

    async def work(gateway: Gateway) -> tuple[str, str]:
        terms = await gateway.wallets.terms()
        wallet = await gateway.wallets.ensure(customer)
        number = uuid.uuid4().hex
        marks = {"sm": kind, "id": number}
        now = int(gateway.connection.clock.now())
        units = credits * terms.scale
        return wallet, await give_once(
            gateway, wallet, units, terms.currency, f"{kind}:{number}", marks, description, now
        )

    wallet, transaction = _ask(work)
    if as_json:
        click.echo(json.dumps({"customer": customer, "wallet": wallet, "credits": credits, "transaction": transaction}))
        return
    click.echo(f"{customer} was given {credits} credits ({transaction} on wallet {wallet}).")
    click.echo(f"A server that has just refused them for lack of credits notices within {_LAG} s.")


async def _look(gateway: Gateway, customer: str) -> tuple[str | None, Terms, tuple[int, int, int], list[Transaction]]:
    from stripe_meter.enforcement.credits.recovery import survey
    from stripe_meter.enforcement.credits.steps import Policy
    from stripe_meter.gateway.wallets import Terms

    wallet = await gateway.wallets.of(customer)
    if wallet is None:
        return None, Terms(1, ""), (0, 0, 0), []
    terms = await gateway.wallets.terms()
    found = await survey(gateway.wallets, wallet, terms.currency, Policy(), mend=False)
    page = await anext(gateway.wallets.pages(wallet))
    return wallet, terms, (found.balance, found.elsewhere, found.owed), page.rows[:_SHOWN]


def _number(units: int, terms: Terms) -> str:
    whole, part = divmod(abs(units), terms.scale)
    digits = f"{part:0{len(str(terms.scale)) - 1}d}".rstrip("0") if part else ""
    return f"{'-' if units < 0 else ''}{whole}{'.' + digits if digits else ''}"


def _ask(work: Callable[[Gateway], Awaitable[T]]) -> T:
    from stripe_meter.enforcement.engine import Engine

    engine = Engine()
    try:
        engine.settings.key()
        # Each request is tried three times.
        return engine.thread.call_blocking(work, 6 * engine.settings.timeout)
    finally:
        engine.close()
