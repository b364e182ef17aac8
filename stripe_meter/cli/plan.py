"""`stripe-meter plan`: how your code and your Stripe account differ, before anything is changed.

Owns how a list of changes is written down, for people and for programs; `apply` shows the same. Only reads.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from stripe_meter.cli.output import Teller
    from stripe_meter.cli.shops import Shop
    from stripe_meter.domain.change import Change

#: Exit status where something differs.
DIFFERS: Final = 3
_SIGNS: Final = {"create": "+", "change": "~", "archive": "-", "renamed": "?", "unmanaged": "!", "kept": "="}
_STYLES: Final = {"create": "green", "change": "yellow", "archive": "red", "renamed": "cyan", "unmanaged": "magenta"}


@click.command()
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
@click.pass_context
def command(ctx: click.Context, target: str, as_json: bool) -> None:
    """Show what `apply` would change in Stripe.

    TARGET is the file of your server, such as server.py, or module:attribute, such as app.server:mcp. It is imported,
    not run.

    \b
    +  create     is missing
    ~  change     exists on other terms; a changed price is made anew and takes the old one's name over
    -  archive    was made for this namespace, and the code no longer wants it
    ?  renamed    something vanished while something alike is new
    !  unmanaged  stands under one of our names, but was not made by this command
    =  kept       no longer wanted, but customers depend on it

    Exit status: 0 nothing to do, 1 error, 3 something differs.
    """
    from stripe_meter.cli.output import Teller
    from stripe_meter.cli.shops import shops

    listed: list[Change] = []
    accounts = []
    teller = Teller(sys.stdout)
    with shops(target) as found:
        for shop in found:
            seen = shop.look().changes
            listed += seen
            accounts.append(as_data(shop, seen))
            if not as_json:
                tell(teller, shop, seen)
    differs = any(change.counts for change in listed)
    if as_json:
        click.echo(json.dumps({"differs": differs, "accounts": accounts}, ensure_ascii=False))
    elif any(change.is_work for change in listed):
        teller.line(f"Make it so: stripe-meter apply {target}")
    elif differs:
        teller.line("Apply has nothing to do here: decide each as it says, then look again.")
    ctx.exit(DIFFERS if differs else 0)


def tell(teller: Teller, shop: Shop, listed: Iterable[Change]) -> None:
    """The whole list, a line for each change and one below for what should be known about it."""
    listed = list(listed)
    teller.line(f"{_capital(shop.where)}, namespace {shop.desired.namespace}")
    for change in listed:
        tell_change(teller, change)
    if not any(change.counts for change in listed):
        teller.line("Nothing to do: what is sold is set up.")
        return
    counts = Counter("by hand" if change.by_hand else change.kind for change in listed if change.counts)
    shown = {"create": "to create", "change": "to change", "archive": "to archive", "by hand": "for you to decide"}
    teller.line(", ".join(f"{counts[kind]} {words}" for kind, words in shown.items() if counts[kind]))


def tell_change(teller: Teller, change: Change) -> None:
    """One change, and below it what should be known about it."""
    teller.line(f"  {line(change)}", _STYLES.get(change.kind, ""))
    for more in _details(change):
        teller.line(f"      {more}")


def line(change: Change) -> str:
    """One change in one line."""
    text = f"{_SIGNS[change.kind]} {change.kind.ljust(9)}  {change.what.ljust(7)}  {change.name}"
    if change.kind == "renamed":
        return f"{text} → {change.shown}?"
    return f"{text}  {change.shown}" if change.shown else text


def as_data(shop: Shop, listed: Iterable[Change]) -> dict[str, Any]:
    """One account's list, for programs."""
    return {
        "mode": shop.mode,
        "namespace": shop.desired.namespace,
        "changes": [
            {
                "kind": change.kind,
                "object": change.what,
                "name": change.name,
                "id": change.id,
                "terms": change.shown or None,
                "differences": [
                    {"field": one.field, "stripe": one.stripe, "code": one.code} for one in change.differences
                ],
                "replaces": change.replaces,
                "by_hand": change.by_hand,
                "note": change.note or None,
                "command": change.command or None,
            }
            for change in listed
        ],
    }


def _details(change: Change) -> Iterable[str]:
    for one in change.differences:
        yield f"{one.field}: {one.stripe} → {one.code}"
    if change.replaces and change.is_work:
        yield "a new price takes the name over, and the old one is switched off"
    yield from (said for said in (change.note, change.command) if said)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
