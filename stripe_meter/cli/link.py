"""`stripe-meter link`: the lasting address of a credit pack, for a website, an e-mail, a README.

Owns how the link is shown. The pack is looked up in the catalogue in Stripe, so no code is needed; the link is found
again by its metadata, so asking twice makes one, and one at an earlier price is closed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import click

from stripe_meter.domain.terms import slug

if TYPE_CHECKING:
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.gateway.links import PaymentLink

_ROUTES: Final = re.compile(r"(/[A-Za-z0-9_.~-]+)+")


def _path(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not _ROUTES.fullmatch(value.rstrip("/")):
        raise click.BadParameter("this is no path; write for example /billing")
    return value.rstrip("/")


@click.command()
@click.argument("pack")
@click.option("--routes", default="/billing", callback=_path, show_default=True, help="Path of our pages.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def command(pack: str, routes: str, as_json: bool) -> None:
    """Print the Payment Link of PACK, made now if there is none yet.

    PACK is the name of a credit pack on sale. Whoever pays gets the credits, and reads on your server's page the API
    key that spends them; for a customer you know add ?client_reference_id=cus_… to the link, and the credits are
    theirs, whoever pays. Links that sell PACK at an earlier price are closed. Stripe has no such links for metered
    prices, so subscriptions are sold by Checkout alone.

    Uses STRIPE_SECRET_KEY, or the stand-in that STRIPE_METER_EMULATOR names, STRIPE_METER_NAMESPACE, and
    STRIPE_METER_PUBLIC_URL, below which payers are led back to your server.
    """
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.gateway.links import SUCCESS

    engine = Engine()
    try:
        settings = engine.settings
        settings.key()
        success = None if settings.public_url is None else f"{settings.public_url}{routes}/{SUCCESS}"

        async def work(gateway: Gateway) -> PaymentLink:
            return await gateway.links.of(await gateway.links.on_sale(slug(pack)), success)

        # Each request is tried three times.
        link = engine.thread.call_blocking(work, 6 * settings.timeout)
    finally:
        engine.close()
    if success is None:
        click.echo(
            "Payers end on a page of Stripe's: your server learns of them by its webhook alone, and who pays without "
            "?client_reference_id=cus_… is shown no API key; stripe-meter doctor names them, and stripe-meter keys "
            "create cus_… makes the key. Set STRIPE_METER_PUBLIC_URL to lead payers to your server, which shows it.",
            err=True,
        )
    for id in link.closed:
        click.echo(f"Closed {id}, which sold this pack at an earlier price.", err=True)
    click.echo(json.dumps({"pack": slug(pack), "url": link.url}) if as_json else link.url)
