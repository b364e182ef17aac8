"""`stripe-meter explain`: why a customer's call of a tool is served or refused.

Owns how an explanation is shown, to people and to programs. Only reads Stripe; what it finds out it finds with the
same questions, in the same order, as a server that decides on a call.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.enforcement.standing import Explanation

#: Exit status where the call would be refused.
REFUSED: Final = 3
_CUSTOMER: Final = re.compile(r"cus_[A-Za-z0-9_]{1,60}")
_TARGETS: Final = ("server.py", "stripe-meter.toml")


def _customer(ctx: click.Context, param: click.Parameter, value: str) -> str:
    # It does not repeat what was typed: somebody may have pasted an API key.
    if not _CUSTOMER.fullmatch(value):
        raise click.BadParameter("this is no customer id; it begins with cus_, see the Dashboard or the audit log")
    return value


@click.command()
@click.argument("customer", callback=_customer)
@click.argument("tool")
@click.argument("target", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
@click.pass_context
def command(ctx: click.Context, customer: str, tool: str, target: str | None, as_json: bool) -> None:
    """Show which pocket would pay a customer's next call of TOOL, or why it is refused and what to do.

    CUSTOMER is the customer's id in Stripe, cus_…. TARGET is the file of your server, module:attribute or a TOML file;
    unless given, server.py or stripe-meter.toml of this folder. It is imported, not run.

    Every plan on offer is named, in the order in which a server asks them, with why it pays or not. What only the
    running server knows is not seen: calls of the last minute under a rate limit, and usage on its way to Stripe.

    Exit status: 0 the call would be served, 1 error, 3 it would be refused.
    """
    from stripe_meter.cli.target import sellers

    engines = sellers(_target(target))
    try:
        engine, sold = _sold(engines, tool)
        engine.settings.key()
        found = engine.thread.call_blocking(
            lambda gateway: engine.desk.explain(gateway, customer, sold), 12 * engine.settings.timeout
        )
    finally:
        for engine in engines:
            engine.close()
    if as_json:
        click.echo(json.dumps(_data(found), ensure_ascii=False))
    else:
        _tell(found)
    ctx.exit(0 if found.paying is not None else REFUSED)


def _target(named: str | None) -> str:
    found = named or next((name for name in _TARGETS if Path(name).is_file()), None)
    if found is None:
        raise click.UsageError("name your server as well: stripe-meter explain CUSTOMER TOOL server.py")
    return found


def _sold(engines: list[Engine], name: str) -> tuple[Engine, Tool]:
    """The tool of that name and who sells it."""
    for engine in engines:
        for tool in engine.tools:
            if tool.name == name:
                return engine, tool
    known = ", ".join(sorted(tool.name for engine in engines for tool in engine.tools))
    raise click.ClickException(f"no tool is sold as {name!r}; there are: {known}")


def _data(found: Explanation) -> dict[str, Any]:
    pockets = [{"name": p.name, "pays": p.pays, "why": p.why, "remedy": p.remedy or None} for p in found.pockets]
    return {
        "customer": found.customer,
        "tool": found.tool,
        "price": found.price,
        "served": found.paying is not None,
        "paid_from": None if found.paying is None else found.paying.name,
        "pockets": pockets,
        "stop": found.stop,
        "limits": list(found.limits),
        "remedy": found.remedy or None,
    }


def _tell(found: Explanation) -> None:
    paying = found.paying
    verdict = "would be refused" if paying is None else f"would be served, paid from: {paying.name}"
    click.echo(f"{found.tool} ({found.price}), called by {found.customer}: {verdict}")
    for pocket in found.pockets:
        click.echo(f"  {'+' if pocket.pays else '-'} {pocket.name}: {pocket.why}")
    if not found.pockets and found.stop is None:
        click.echo("  - nothing they have bought covers it")
    for limit in found.limits:
        click.echo(f"  ~ at most {limit}: only the running server knows how many were made")
    if found.stop is not None:
        click.echo(f"  ! {found.stop}")
    if found.remedy:
        click.echo(f"What to do: {found.remedy}")
