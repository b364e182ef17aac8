"""`stripe-meter keys`: the API keys of the seller's callers.

Owns how keys are shown: whole once, when made, and never again. Keys live as hashes in the customer's metadata in
Stripe, so what is done here holds for every server of the account once its snapshot of the customer is renewed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

import click

from stripe_meter.enforcement import audit

if TYPE_CHECKING:
    from stripe_meter.domain.identity import ApiKey
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.gateway.gateway import Gateway

T = TypeVar("T")

#: Hours a running server may go on with what it knew of a customer, without webhooks and where it has had any.
_LAG_HOURS: Final = 1
_LAG_HOURS_WHEN_TOLD: Final = 24
_CUSTOMER: Final = re.compile(r"cus_[A-Za-z0-9_]{1,60}")
_KEY_ID: Final = re.compile(r"[A-Za-z0-9]{6}")


def _of_form(pattern: re.Pattern[str], otherwise: str) -> Callable[[click.Context, click.Parameter, str], str]:
    """A check of one argument. It does not repeat what was typed: somebody may have pasted a whole key."""

    def check(ctx: click.Context, param: click.Parameter, value: str) -> str:
        if not pattern.fullmatch(value):
            raise click.BadParameter(otherwise)
        return value

    return check


_customer = click.argument(
    "customer", callback=_of_form(_CUSTOMER, "this is no customer id; it begins with cus_, see the Dashboard")
)
_key_id = click.argument(
    "key_id", callback=_of_form(_KEY_ID, "this is no key id; it is the first column of `stripe-meter keys list`")
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
def command() -> None:
    """Create, list, rotate and revoke your callers' API keys.

    A caller who pays through a Checkout link gets a key on the page after it. These commands do the same by hand: for a
    customer you made in the Dashboard, a second key, or one that was lost. CUSTOMER is the customer's id in Stripe,
    cus_…, as the Dashboard shows it.

    They use STRIPE_SECRET_KEY, or the stand-in that STRIPE_METER_EMULATOR names.
    """


@command.command()
@_customer
@_json
def create(customer: str, as_json: bool) -> None:
    """Make a key and show it, this once.

    It works at once. Give it to the caller over a channel you trust; who has it spends on that customer's card.
    """
    with _engine() as engine:
        key, created = issue(engine, customer)
    if as_json:
        click.echo(json.dumps({"customer": customer, "id": key.id, "key": key.reveal(), "created": created}))
        return
    _show(key)
    click.echo(f"Take it back: stripe-meter keys revoke {customer} {key.id}")


@command.command()
@_customer
@_key_id
@_json
def rotate(customer: str, key_id: str, as_json: bool) -> None:
    """Make a key that takes the place of another one; both work until you revoke the old one.

    Give the caller the new key, wait until they use it, then revoke the old one.
    """
    with _engine() as engine:
        if key_id not in _ask(engine, lambda gateway: gateway.customers.keys(customer)):
            raise _no_such_key(customer, key_id)
        key, created = issue(engine, customer)
    if as_json:
        row = {"customer": customer, "id": key.id, "key": key.reveal(), "created": created, "replaces": key_id}
        click.echo(json.dumps(row))
        return
    _show(key)
    click.echo("The old key works as before. Once the caller uses the new one:")
    click.echo(f"  stripe-meter keys revoke {customer} {key_id}")


@command.command("list")
@_customer
@_json
def list_(customer: str, as_json: bool) -> None:
    """List the ids of a customer's keys and when they were made, never the keys themselves."""
    with _engine() as engine:
        found = _ask(engine, lambda gateway: gateway.customers.keys(customer))
    oldest_first = sorted(found.items(), key=lambda entry: (entry[1], entry[0]))
    if as_json:
        rows = [{"id": key_id, "created": created} for key_id, created in oldest_first]
        click.echo(json.dumps({"customer": customer, "keys": rows}))
        return
    if not oldest_first:
        click.echo(f"{customer} has no API key; make one: stripe-meter keys create {customer}")
    for key_id, created in oldest_first:
        click.echo(f"{key_id}  {_moment(created)}")


@command.command()
@_customer
@_key_id
@_json
def revoke(customer: str, key_id: str, as_json: bool) -> None:
    """Take a key back.

    Servers that served it lately keep a snapshot of the customer and may accept it for up to one hour more. With a
    webhook endpoint the process that gets the event refuses it within seconds, and others behind the same endpoint
    within a day.
    """
    with _engine() as engine:
        was_there = _ask(engine, lambda gateway: gateway.customers.revoke_key(customer, key_id))
        hours = _LAG_HOURS_WHEN_TOLD if engine.settings.webhook_secrets else _LAG_HOURS
        if was_there:
            audit.record("key", action="revoked", customer=customer, key=key_id)
    if not was_there:
        raise _no_such_key(customer, key_id)
    if as_json:
        click.echo(json.dumps({"customer": customer, "id": key_id, "revoked": True, "lag_seconds": hours * 3600}))
        return
    click.echo(f"Key {key_id} of {customer} is revoked.")
    click.echo(
        f"A running server that has just served it may accept it for up to {hours} h more; a restart ends that. "
        "The process that hears of it by a webhook refuses it within seconds."
    )


def _show(key: ApiKey) -> None:
    click.echo(f"New API key of {key.customer}, shown only now:\n\n  {key.reveal()}\n")
    click.echo("How a caller uses it:")
    click.echo("  over HTTP   send the header  x-api-key: <key>")
    click.echo("  over stdio  set STRIPE_METER_API_KEY=<key> in the server's environment")


def _no_such_key(customer: str, key_id: str) -> click.ClickException:
    return click.ClickException(f"{customer} has no key {key_id}; see `stripe-meter keys list {customer}`")


def issue(engine: Engine, customer: str) -> tuple[ApiKey, int]:
    """A new key of `customer` and when it was made (Unix seconds). Raises `StripeMeterError`."""

    async def work(gateway: Gateway) -> tuple[ApiKey, int]:
        created = int(gateway.connection.clock.now())
        return await gateway.customers.issue_key(customer, created=created), created

    key, created = _ask(engine, work)
    audit.record("key", action="made", customer=customer, key=key.id)
    return key, created


def _ask(engine: Engine, work: Callable[[Gateway], Awaitable[T]]) -> T:
    engine.settings.key()
    # Each request is tried three times.
    return engine.thread.call_blocking(work, 6 * engine.settings.timeout)


@contextmanager
def _engine() -> Iterator[Engine]:
    from stripe_meter.enforcement.engine import Engine

    engine = Engine()
    try:
        yield engine
    finally:
        engine.close()


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC" if seconds else "at an unknown time"
