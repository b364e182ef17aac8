"""`stripe-meter demo`: the whole story on this machine, always against the stand-in.

Owns the options, putting stand-in, demo server and tour together, and what is printed at the end. The tour itself
decides what is true; its first untrue step ends the command with status 1.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from stripe_meter.domain.rates import Rate, parse_price
from stripe_meter.errors import ConfigurationError, PriceError, StripeMeterError

if TYPE_CHECKING:
    from stripe_meter.cli.demo_child import DemoServer
    from stripe_meter.cli.output import Teller
    from stripe_meter.cli.tour import Buyer, Outcome, Tour
    from stripe_meter.emulator import EmulatorServer

#: Enough to look at; a tour of so many calls takes a minute or two.
MOST_CALLS: Final = 10_000


def _read_price(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, Rate]:
    """A price of one call, in money."""
    try:
        (rate,) = parse_price(value)
    except PriceError as error:
        raise click.BadParameter(str(error)) from None
    if rate.kind != "money" or rate.unit != "call":
        raise click.BadParameter(f'the demo sells by the call and for money, not {value!r}; write for example "$0.05"')
    return value, rate


@click.command()
@click.option("--once", is_flag=True, help="End after the tour instead of serving until Ctrl-C.")
@click.option("--pause", is_flag=True, help="Wait until you have paid on the Checkout page in your browser.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout at the end; implies --once.")
@click.option(
    "--calls",
    type=click.IntRange(1, MOST_CALLS),
    default=12,
    show_default=True,
    metavar="N",
    help="Calls that succeed and are billed.",
)
@click.option(
    "--fail",
    type=click.IntRange(0, MOST_CALLS),
    default=1,
    show_default=True,
    metavar="M",
    help="Calls that fail and are free.",
)
@click.option(
    "--price",
    callback=_read_price,
    default="$0.05",
    show_default=True,
    metavar="P",
    help='Price of one call, such as "0.0375 eur".',
)
@click.option(
    "--http-log",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one JSON line per request that reached the stand-in: method, path, body, status.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="Port of the demo's MCP server; 8000 or a free one unless given.",
)
def command(
    once: bool,
    pause: bool,
    as_json: bool,
    calls: int,
    fail: int,
    price: tuple[str, Rate],
    http_log: Path | None,
    port: int | None,
) -> None:
    """See a tool being sold: listed, refused, paid for, called, billed.

    Starts a stand-in for Stripe and a real MCP server on this machine, calls it as a client would, pays on the hosted
    Checkout page with a test card, and ends the month to see the invoice. Every line is checked while it is told: if
    one is not true the demo ends with status 1 and says which.

    Your STRIPE_SECRET_KEY is never used. Afterwards everything keeps serving, for you to look around.
    """
    from importlib.metadata import version

    from stripe_meter.cli import demo_child, standin
    from stripe_meter.cli.output import Teller

    if int(version("mcp").partition(".")[0]) < 2:
        raise ConfigurationError("the demo is a server of the MCP SDK 2; run pip install 'mcp>=2.3' for it")
    # Whoever ends the demo ends the server it started as well, and asyncio knows how to end on a SIGINT.
    signal.signal(signal.SIGTERM, lambda signum, frame: signal.raise_signal(signal.SIGINT))
    teller = Teller(sys.stderr if as_json else sys.stdout)
    text, rate = price
    assert rate.currency is not None
    began = time.monotonic()
    teller.line("Starting a stand-in Stripe and a demo server …   (your STRIPE_SECRET_KEY is not used)")
    with ExitStack() as running:
        stand_in = running.enter_context(standin.serving(http_log=http_log, deterministic=True))
        child = running.enter_context(demo_child.running(text, rate.currency, stand_in.url, port))
        # Imports take as long as the server's start, so they happen meanwhile.
        from stripe_meter.cli.tour import Order, Tour

        child.wait()
        teller.line(f"Ready in {time.monotonic() - began:.1f} s")
        teller.line()
        tour = Tour(Order(calls, fail, text, rate), stand_in, child.url, teller)
        by_hand = running.enter_context(_hand(stand_in.url)) if pause else None
        outcome = _take(tour, by_hand)
        if as_json:
            click.echo(json.dumps(asdict(outcome)))
        elif not once:
            _serve(teller, tour, outcome, stand_in, child)


def _take(tour: Tour, by_hand: Callable[[str], Buyer | None] | None) -> Outcome:
    """Run the tour; whatever its tasks raise comes out as one sentence."""
    import anyio

    try:
        return anyio.run(tour.run, by_hand)
    except Exception as error:
        leaves = list(_leaves(error))
        ours = next((leaf for leaf in leaves if isinstance(leaf, StripeMeterError)), None)
        raise ours or StripeMeterError(
            f"the demo server did not answer: {type(leaves[0]).__name__}: {leaves[0]}"
        ) from None


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


@contextmanager
def _hand(stand_in: str) -> Iterator[Callable[[str], Buyer | None]]:
    """How the tour learns that a person has paid, and gets a key of its own from the seller's side."""
    from stripe_meter.cli import keys, standin
    from stripe_meter.cli.tour import Buyer
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.settings import Settings

    engine = Engine(settings=Settings(emulator=stand_in, namespace="mcp"))

    def look(url: str) -> Buyer | None:
        session = standin.read(stand_in, f"checkout/sessions/{url.rpartition('/')[2]}")
        if session["status"] != "complete":
            return None
        key, _ = keys.issue(engine, session["customer"])
        return Buyer(session["customer"], key)

    try:
        yield look
    finally:
        engine.close()


def _serve(teller: Teller, tour: Tour, outcome: Outcome, stand_in: EmulatorServer, child: DemoServer) -> None:
    from stripe_meter.cli import standin
    from stripe_meter.cli.ending import wait_until_told

    assert tour.buyer is not None
    # The server learns from any answer of the stand-in that its clock has moved on; else the first call from now on
    # would be dated in the month that is closed.
    standin.page(f"{child.url}/billing/success?session_id=cs_demo_0")
    teller.line()
    teller.pair("Look around", f"Dashboard stand-in {stand_in.url}   Invoice {stand_in.url}/i/{outcome.invoice}")
    teller.pair("Try it", f"{child.url}/mcp   header  x-api-key: {tour.buyer.key.reveal()}")
    teller.pair("Your turn", "stripe-meter dev server.py")
    if not wait_until_told(child.is_alive, begin=lambda: teller.line("Ctrl-C to stop.")):
        raise StripeMeterError("the demo server ended by itself; run `stripe-meter demo` again")
