"""`stripe-meter webhook`: let Stripe tell the server what happens.

Owns making the endpoints from the table of events that the server handles, and showing their secrets, once. Stripe
signs whole events and reports about meter events with secrets of their own, so there are two endpoints at one address.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import click

if TYPE_CHECKING:
    from stripe_meter.domain.evidence import Endpoint
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.gateway.endpoints import Endpoints, Made
    from stripe_meter.gateway.gateway import Gateway

T = TypeVar("T")

_VARIABLE: Final = "STRIPE_WEBHOOK_SECRET"

_url = click.option(
    "--url",
    help="Where your server takes webhooks; without it STRIPE_METER_PUBLIC_URL and /billing/webhook.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@dataclass(frozen=True, slots=True)
class Kinds:
    """Endpoints of one address: for whole events, and for those without content; newest first."""

    whole: list[Endpoint]
    thin: list[Endpoint]


@click.group()
def command() -> None:
    """Let Stripe tell your server what happens: create and rotate endpoints.

    With webhooks your server notices cancellations, refunds and disputes at once; without them it looks itself, once an
    hour. The secrets are shown once: set them as STRIPE_WEBHOOK_SECRET, separated by commas.
    """


@command.command()
@_url
@_json
def create(url: str | None, as_json: bool) -> None:
    """Make the endpoints, or let those that are there hear all that the server handles."""
    from stripe_meter.enforcement.webhooks.table import SNAPSHOT, THIN

    async def work(endpoints: Endpoints, address: str) -> tuple[list[Made], list[str]]:
        found = await _at(endpoints, address)
        made: list[Made] = []
        if not found.whole:
            made.append(await endpoints.make_whole(address, SNAPSHOT))
        if not found.thin:
            made.append(await endpoints.make_thin(address, THIN))
        for endpoint, types in [(one, SNAPSHOT) for one in found.whole] + [(one, THIN) for one in found.thin]:
            if not endpoint.enabled or endpoint.lacks(types):
                await endpoints.complete(endpoint, types)
        return made, [one.id for one in (*found.whole, *found.thin)]

    address, (made, kept) = _ask(url, work)
    if as_json:
        click.echo(json.dumps({"url": address, "made": _shown(made), "kept": kept}))
        return
    click.echo(f"Stripe tells {address} what happens: {', '.join([*(one.id for one in made), *kept])}.")
    if kept:
        click.echo("Those that were there showed their secrets then; if one is lost: stripe-meter webhook rotate")
    if made:
        _tell(made, "It is shown this once. Set it where your server runs" + (", beside what is set:" if kept else ":"))


@command.command()
@_url
@click.option("--finish", is_flag=True, help="Delete the older endpoints, once every server has the new secrets.")
@_json
def rotate(url: str | None, finish: bool, as_json: bool) -> None:
    """Make new endpoints with new secrets beside the old ones; --finish deletes the old ones.

    Between the two every event is delivered twice, which changes nothing.
    """
    if finish:
        _finish(url, as_json)
        return
    from stripe_meter.enforcement.webhooks.table import SNAPSHOT, THIN

    async def work(endpoints: Endpoints, address: str) -> tuple[Kinds, list[Made]]:
        found = await _at(endpoints, address)
        return found, [await endpoints.make_whole(address, SNAPSHOT), await endpoints.make_thin(address, THIN)]

    address, (found, made) = _ask(url, work)
    if warning := _not_the_usual(address, found):
        click.echo(warning, err=True)
    if as_json:
        click.echo(json.dumps({"url": address, "made": _shown(made)}))
        return
    _tell(made, "These are shown this once. Set them before the ones that are set now, which stay for the time being:")
    click.echo("Then restart your servers, and end with: stripe-meter webhook rotate --finish")


def _not_the_usual(address: str, found: Kinds) -> str | None:
    """What to say of a rotation that does not begin with one endpoint of each kind."""
    if not (found.whole or found.thin):
        return f"No endpoint led to {address} before, so there is nothing to rotate: is the address right?"
    if max(len(found.whole), len(found.thin)) > 1:
        return (
            "An earlier rotation was not finished. --finish keeps the endpoints made just now and deletes all others, "
            "those of the earlier rotation, too: first give every server the secrets shown now."
        )
    return None


def _finish(url: str | None, as_json: bool) -> None:
    async def work(endpoints: Endpoints, address: str) -> list[str]:
        found = await _at(endpoints, address)
        old = [*found.whole[1:], *found.thin[1:]]
        for endpoint in old:
            await endpoints.delete(endpoint)
        return [endpoint.id for endpoint in old]

    address, deleted = _ask(url, work)
    if as_json:
        click.echo(json.dumps({"url": address, "deleted": deleted}))
    elif not deleted:
        click.echo(f"{address} has no older endpoints.")
    else:
        click.echo(f"Deleted {', '.join(deleted)}; their secrets can be taken out of {_VARIABLE}.")


async def _at(endpoints: Endpoints, address: str) -> Kinds:
    def here(found: Sequence[Endpoint]) -> list[Endpoint]:
        return [endpoint for endpoint in found if endpoint.url.rstrip("/") == address]

    return Kinds(here(await endpoints.whole()), here(await endpoints.thin()))


def _tell(made: Sequence[Made], text: str) -> None:
    click.echo(f"{text}\n\n  {_VARIABLE}={','.join(one.secret for one in made)}\n")


def _shown(made: Sequence[Made]) -> list[dict[str, str]]:
    return [{"id": one.id, "secret": one.secret} for one in made]


def _address(engine: Engine, url: str | None) -> str:
    from stripe_meter.errors import ConfigurationError

    if url is None and engine.settings.public_url is None:
        raise ConfigurationError(
            "where should Stripe deliver to? Add --url https://your.server/billing/webhook, or set "
            "STRIPE_METER_PUBLIC_URL"
        )
    address = url or f"{engine.settings.public_url}{engine.routes}/webhook"
    return address.rstrip("/")


def _ask(url: str | None, work: Callable[[Endpoints, str], Awaitable[T]]) -> tuple[str, T]:
    from stripe_meter.enforcement.engine import Engine

    engine = Engine()
    try:
        engine.settings.key()
        address = _address(engine, url)

        async def run(gateway: Gateway) -> T:
            from stripe_meter.gateway.endpoints import Endpoints

            return await work(Endpoints(gateway.connection), address)

        return address, engine.thread.call_blocking(run, 12 * engine.settings.timeout)
    finally:
        engine.close()
