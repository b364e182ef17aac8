"""`stripe-meter simulate`: what a month of usage would cost each customer under each plan on offer.

Owns the options and what is printed. Needs no key and reaches no Stripe account.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stripe_meter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stripe_meter.cli.simulate.bills import Bill
    from stripe_meter.cli.simulate.usage import Row


@click.command()
@click.argument("target")
@click.option("--usage", type=click.Path(path_type=Path), required=True, metavar="FILE", help="CSV, one row a call.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(target: str, usage: Path, as_json: bool) -> None:
    """Run a month of usage and print what each customer would be billed under each plan.

    TARGET is the file of your server, such as server.py, module:attribute, or a TOML file with [prices]. It is
    imported, not run, and needs no key: everything happens in a stand-in for Stripe of its own.

    \b
    The columns of FILE:
      time      2026-03-01T09:30:00Z; UTC, all rows in one calendar month
      customer  any name of yours
      plan      name of a plan on offer; empty for a customer who bought none
      tool      billing identity of the tool
      units     what the call counted, for tools priced per something; else empty
      outcome   ok, failed or cancelled

    Every customer lives the month once under each plan, from its first second; the bills are the stand-in's invoices.
    A plan that is paid by the year shows the year's bill. Credits are counted in packs, the first one on offer each
    time they run out. Trials, spend caps, max_unpaid and rate limits are left out.
    """
    from stripe_meter.cli.simulate.month import NO_PLAN, month_of, simulate
    from stripe_meter.cli.simulate.usage import read
    from stripe_meter.cli.target import sellers

    engines = sellers(target)
    if len(engines) > 1:
        raise ConfigurationError(f"{target} sells by several StripeMeters; name one server as module:attribute")
    offering, tools = engines[0].offering, engines[0].tools
    rows = read(usage, tools, [plan.name for plan in offering.plans])
    with _quiet():
        bills = simulate(offering, tools, rows)
    nothing = offering.free.name if offering.free is not None else NO_PLAN
    given = {row.customer: row.plan or nothing for row in rows}
    if as_json:
        click.echo(json.dumps(_data(bills, given, rows), ensure_ascii=False))
    else:
        _print(bills, given, f"{month_of(rows)}, {len(rows)} calls of {len(bills)} customers")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what a server tells of each call: a server framework that is imported shows it on stderr."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def _data(bills: Mapping[str, Mapping[str, Bill]], given: Mapping[str, str], rows: Sequence[Row]) -> dict[str, object]:
    return {
        "month": f"{rows[0].time:%Y-%m}",
        "calls": len(rows),
        "customers": {
            name: {
                "plan": given[name],
                "as_given": mine[given[name]].data(),
                "plans": {plan: bill.data() for plan, bill in mine.items()},
            }
            for name, mine in bills.items()
        },
    }


def _print(bills: Mapping[str, Mapping[str, Bill]], given: Mapping[str, str], title: str) -> None:
    plans = list(next(iter(bills.values())))
    rows = [["customer", "as given", *plans]]
    for name, mine in bills.items():
        rows.append([name, f"{mine[given[name]].total} ({given[name]})", *(mine[plan].text for plan in plans)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    click.echo(f"{title}\n")
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
