"""`stripe-meter doctor`: what would cost money or trust later, found now.

Owns the words around the findings, for people and for programs. What is looked at is the gateway's, what counts as a
finding is one small function each in `checks`. Changes nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from stripe_meter.cli.doctor.case import Case, Finding
    from stripe_meter.cli.output import Teller
    from stripe_meter.cli.shops import Shop
    from stripe_meter.gateway.gateway import Gateway

#: Exit status where something was found.
FINDINGS: Final = 3


@click.command()
@click.argument("target", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
@click.pass_context
def command(ctx: click.Context, target: str | None, as_json: bool) -> None:
    """Find what would cost you money or trust later, and what mends it.

    TARGET is the file of your server, such as server.py, or module:attribute, such as app.server:mcp. Without it only
    the account is looked at, not whether it fits your code.

    It changes nothing. Commands that begin with `stripe` are those of Stripe's own command line; with a live key add
    --live to them.

    Exit status: 0 nothing found, 1 error, 3 something found.
    """
    from stripe_meter.cli.doctor.checks import examine
    from stripe_meter.cli.output import Teller

    teller = Teller(sys.stdout)
    accounts: list[dict[str, Any]] = []
    with _shops(target) as shops:
        for shop in shops:
            case = _case(shop, target)
            findings = examine(case)
            accounts.append(_as_data(shop, case, findings))
            if not as_json:
                _tell(teller, shop, case, findings)
    found = any(account["findings"] for account in accounts)
    if as_json:
        click.echo(json.dumps({"found": found, "accounts": accounts}, ensure_ascii=False))
    ctx.exit(FINDINGS if found else 0)


@contextmanager
def _shops(target: str | None) -> Iterator[list[Shop]]:
    """Those of `target`, or the account of the environment with nothing wanted in it."""
    from stripe_meter.cli.shops import Shop, shops

    if target is not None:
        with shops(target) as found:
            yield found
        return
    from stripe_meter.domain.blueprint import Blueprint
    from stripe_meter.domain.desired import Desired
    from stripe_meter.enforcement.engine import Engine

    engine = Engine()
    try:
        engine.settings.key()
        yield [Shop(engine, Desired(Blueprint(engine.settings.namespace, (), (), (), ()), {}))]
    finally:
        engine.close()


def _case(shop: Shop, target: str | None) -> Case:
    from stripe_meter.cli.doctor.case import Case
    from stripe_meter.domain.evidence import Evidence
    from stripe_meter.gateway.checkup import Checkup

    async def look(gateway: Gateway) -> Evidence:
        return await Checkup(gateway.connection, gateway.inventories).look(shop.desired.blueprint)

    settings = shop.engine.settings
    pages = None if settings.public_url is None else settings.public_url + shop.engine.routes
    return Case(target, shop.desired, shop.ask(look), pages)


def _tell(teller: Teller, shop: Shop, case: Case, findings: list[Finding]) -> None:
    teller.line(f"{shop.where[0].upper()}{shop.where[1:]}, namespace {shop.desired.namespace}")
    for finding in findings:
        teller.line(f"  ✗ {finding.problem}", "bold")
        teller.line(f"      costs  {finding.cost}")
        teller.line(f"      mend   {finding.command}")
    if not findings:
        teller.line("  ✓ nothing found", "green")
    for note in _notes(case):
        teller.line(f"  · {note}")


def _notes(case: Case) -> list[str]:
    """What is no finding, and what nobody can know from here."""
    notes = [
        f"looking took {case.evidence.reads} reads; Stripe does not say how many are left this month: it allows 10,000 "
        "for the whole account, more with more transactions, and counts your other software too",
        "usage that a running server has not sent yet is known to that server only: billing.stats()",
        *case.evidence.gaps,
    ]
    if case.target is None:
        notes.append("without a target it was not checked whether the account fits your code: doctor server.py")
    if case.pages is None:
        notes.append("webhook endpoints were not checked: STRIPE_METER_PUBLIC_URL does not say where your server is")
    return notes


def _as_data(shop: Shop, case: Case, findings: list[Finding]) -> dict[str, Any]:
    return {
        "mode": shop.mode,
        "namespace": shop.desired.namespace,
        "findings": [asdict(finding) for finding in findings],
        "notes": _notes(case),
    }
