"""`stripe-meter apply`: create in Stripe what a server sells.

Owns asking and telling; what is created is the catalogue's to decide. Only adds: an object that exists is never
changed. Running it again does nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from stripe_meter.errors import StripeUnavailable

if TYPE_CHECKING:
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.engine import Engine


@click.command()
@click.argument("target")
@click.option("--yes", is_flag=True, help="Create without asking, with a live key too.")
def command(target: str, yes: bool) -> None:
    """Create the meter, product and price of every tool that your server sells.

    TARGET is the file of your server, such as server.py, or module:attribute, such as app.server:mcp. It is imported,
    not run.

    With a test key a server does this by itself at its first call. With a live key it refuses to, because meters can
    never be deleted: this command shows what is missing, asks, and creates it.
    """
    from stripe_meter.cli.target import servers_in

    for engine, tools in _on_sale(servers_in(target)).items():
        try:
            _apply(engine, tools, yes)
        finally:
            engine.close()


def _on_sale(servers: list[Any]) -> dict[Engine, list[Tool]]:
    """The tools of `servers`, by who bills them."""
    import anyio

    from stripe_meter.enforcement import current
    from stripe_meter.mcp.attach import adapter_for
    from stripe_meter.mcp.attachment import attachments

    sold: dict[Engine, list[Tool]] = {}
    for server in servers:
        attachment = attachments.get(server)
        declarations = anyio.run(adapter_for(server).listed, server)
        for declaration in filter(None, declarations.values()):
            if declaration.billing is not None:
                engine = declaration.billing.engine
            else:
                engine = attachment.engine if attachment is not None else current.find(None)
            sold.setdefault(engine, []).append(declaration.tool)
    if not sold:
        raise click.ClickException(
            'no tool of this server has a price; write @metered(price="$0.05") below its @mcp.tool()'
        )
    return sold


def _apply(engine: Engine, tools: list[Tool], yes: bool) -> None:
    import anyio

    settings = engine.settings
    settings.key()
    where = {"live": "your live Stripe account", "test": "your Stripe sandbox", "emulator": "the stand-in"}[
        settings.mode
    ]
    missing = _missing(engine, tools)
    if not missing:
        click.echo(f"Nothing to do: all tools with a price are set up in {where}.")
        return
    click.echo(f"Missing in {where} (meter, product and price of each):")
    for tool in missing:
        click.echo(f"  {settings.namespace}.{tool.name}  {tool.price}")
    if settings.mode == "live" and not yes:
        click.confirm("Create them? A meter can be switched off later, never deleted.", abort=True)
    engine.provision = True
    anyio.run(engine.prepare, tools)
    left = _missing(engine, missing)
    if left:
        raise StripeUnavailable(
            f"not created: {', '.join(tool.name for tool in left)}; run the same command again", ambiguous=True
        )
    click.echo(f"Created: {', '.join(tool.name for tool in missing)}.")


def _missing(engine: Engine, tools: list[Tool]) -> list[Tool]:
    priced = {tool.name: tool for tool in tools if not tool.is_free}
    found = engine.thread.call_blocking(
        lambda gateway: gateway.catalogue.find(priced.values()), 6 * engine.settings.timeout
    )
    return [tool for name, tool in priced.items() if name not in found]
