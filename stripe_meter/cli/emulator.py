"""`stripe-meter emulator`: the stand-in for Stripe in the foreground.

Owns its port and what is printed about it. Everything it holds is in memory and gone when it ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=4242, show_default=True, metavar="N", help="0: any free."
)
@click.option(
    "--http-log",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one JSON line per request: method, path, body, status. Empties the file first.",
)
def command(port: int, http_log: Path | None) -> None:
    """Run the stand-in for Stripe until Ctrl-C.

    It speaks the part of Stripe's HTTP that stripe-meter uses, with a hosted Checkout page, meters, invoices and an
    overview page. It listens on this machine only and keeps nothing.

    Point a server at it with STRIPE_METER_EMULATOR, which wins over any key: nothing can reach Stripe then. To run one
    server with a stand-in of its own, `stripe-meter dev server.py` is shorter.
    """
    from stripe_meter.cli import standin
    from stripe_meter.cli.ending import wait_until_told
    from stripe_meter.cli.output import Teller

    teller = Teller(sys.stdout)
    with standin.serving(port=port, http_log=http_log) as server:
        teller.pair("Stand-in", f"{server.url}   customers, meters, invoices, events")
        teller.pair("Use it", f"export STRIPE_METER_EMULATOR={server.url}")
        teller.pair("Pay", standin.CARDS)
        wait_until_told(begin=lambda: teller.line("Ctrl-C to stop."))
