"""`stripe-meter apply`: make Stripe hold what the code sells, and what subscribers need of it.

Owns asking, telling how far it is, and checking at the end. What differs is the domain's to say, and the same as `plan`
shows. Nothing is kept between runs: whoever is cut off runs it again, and what is done is not done twice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from stripe_meter.errors import StripeFault, StripeRejected, StripeUnavailable

if TYPE_CHECKING:
    from stripe_meter.cli.output import Teller
    from stripe_meter.cli.shops import Shop, View
    from stripe_meter.domain.change import Change
    from stripe_meter.domain.migration import Step
    from stripe_meter.gateway.gateway import Gateway

T = TypeVar("T")
#: After the first round only what two runs at once left behind can be open.
_ROUNDS = 3


@click.command()
@click.argument("target")
@click.option("--yes", is_flag=True, help="Do it without asking, in live mode too.")
@click.option("--subscriptions", is_flag=True, help="Also give existing subscribers new tools and changed prices.")
@click.pass_context
def command(ctx: click.Context, target: str, yes: bool, subscriptions: bool) -> None:
    """Create, change and archive in Stripe what your code says.

    TARGET is the file of your server, such as server.py, or module:attribute, such as app.server:mcp. It is imported,
    not run. `stripe-meter plan TARGET` shows the same changes and makes none.

    With a test key a server creates what is missing by itself. With a live key it does not, because prices cannot be
    changed there and meters never deleted: this command shows what it is about to do, and asks.

    A changed price is a new one; subscribers stay on the old one until you say --subscriptions. Usage so far is billed
    at the old price, a changed fee is due from the next period on, and included calls and discounts of a changed price
    start anew with the change.

    Exit status: 0 done, 1 error, 3 done, but something is left that only you can decide.
    """
    from stripe_meter.cli.output import Teller
    from stripe_meter.cli.plan import DIFFERS
    from stripe_meter.cli.shops import shops

    teller = Teller(sys.stdout)
    left = False
    with shops(target) as found:
        for shop in found:
            told, view = _catalogue(shop, teller, yes=yes)
            if subscriptions:
                _subscriptions(shop, teller, yes=yes)
                view = shop.look()
            left = _left(view, told, teller) or left
    ctx.exit(DIFFERS if left else 0)


def _left(view: View, told: View, teller: Teller) -> bool:
    """Whether something is left for a person; says what was not told before."""
    from stripe_meter.cli.plan import tell_change

    left = [change for change in view.changes if change.by_hand]
    for change in left:
        if change not in told.changes:
            tell_change(teller, change)
    return bool(left)


def _catalogue(shop: Shop, teller: Teller, *, yes: bool) -> tuple[View, View]:
    """Work off the changes; what was found, and what there is then."""
    from stripe_meter.cli.plan import tell

    told = view = shop.look()
    tell(teller, shop, view.changes)
    announced = {change.name for change in view.changes}
    work = _work(view)
    if work:
        _confirm(shop, yes, _question(shop, work))
    rounds = 0
    while work and rounds < _ROUNDS:
        rounds += 1
        for link in _carry_out(shop, view, work):
            teller.line(f"Closed {link}, which sold at an old price: stripe-meter link PACK makes a new payment link.")
        view = shop.look()
        # What nobody was asked about waits for the next run, but for a price that was replaced meanwhile.
        work = [change for change in _work(view) if change.name in announced or _is_stray(change)]
    if work:
        raise StripeUnavailable(
            f"not done: {', '.join(f'{change.what} {change.name}' for change in work)}; run the same command again",
            ambiguous=True,
        )
    if rounds:
        teller.line("Done.")
    return told, view


def _is_stray(change: Change) -> bool:
    """A price that lost its name to another one, because two did this at once."""
    return change.kind == "archive" and change.what == "price" and change.name == change.id


def _work(view: View) -> list[Change]:
    return [change for change in view.changes if change.is_work]


def _carry_out(shop: Shop, view: View, work: Sequence[Change]) -> list[str]:
    """Make the changes; returns the payment links that were closed with a price."""
    from stripe_meter.gateway.editing import Editor

    async def editor(gateway: Gateway) -> Editor:
        return Editor(gateway.connection, gateway.catalogue, view.inventory)

    one = shop.ask(editor)
    with _progress(work, lambda change: f"{change.kind} {change.what} {change.name}") as steps:
        for number, change in enumerate(steps):
            try:
                shop.ask(lambda _, change=change: one.carry_out(change))  # type: ignore[misc]  # bound per round
            except StripeUnavailable as error:
                names = ", ".join(f"{later.what} {later.name}" for later in work[number:])
                raise StripeUnavailable(
                    f"{error}; not done: {names}; what is done stays, run the same command again", ambiguous=True
                ) from None
            except StripeFault as error:
                raise StripeRejected(f"{change.kind} {change.what} {change.name}: {error}") from None
    return one.closed


def _subscriptions(shop: Shop, teller: Teller, *, yes: bool) -> None:
    """Bring subscribers up to date with the catalogue, which is done by now."""
    from stripe_meter.domain.migration import steps
    from stripe_meter.gateway.migration import Migration

    view = shop.look(subscribers=True)
    found = steps(shop.desired, view.inventory, view.subscribers)
    todo = [step for step in found if step.why_not is None]
    for step in found:
        teller.line(f"  {_step(step)}")
    if not found:
        teller.line("Subscriptions: every subscriber has all items at the prices in force.")
    if todo:
        _confirm(shop, yes, f"Change {len({step.subscriber.id for step in todo})} subscriptions in {shop.where}?")
    failed = [f"{_step(step)}: {step.why_not}" for step in found if step.why_not is not None]

    async def carry_out(gateway: Gateway, step: Step) -> None:
        await Migration(gateway.connection, gateway.accounts).carry_out(step)

    with _progress(todo, lambda step: f"{step.subscriber.id} {step.name}") as rows:
        for step in rows:
            try:
                shop.ask(lambda gateway, step=step: carry_out(gateway, step))  # type: ignore[misc]  # bound per round
            except StripeUnavailable as error:
                raise StripeUnavailable(
                    f"{error}; stopped at {step.subscriber.id}; what is done stays, run the same command again",
                    ambiguous=True,
                ) from None
            except StripeFault as error:
                failed.append(f"{_step(step)}: {error}")
    if failed:
        raise StripeRejected(f"left as they are: {'; '.join(failed)}")
    if todo:
        teller.line(f"Subscriptions: {len(todo)} items brought up to date.")


def _step(step: Step) -> str:
    verb = "add " if step.kind == "lacks" else "move"
    return f"{verb}  {step.subscriber.id}  {step.subscriber.customer}  {step.name}  {step.shown}"


def _question(shop: Shop, work: Iterable[Change]) -> str:
    text = "Make these changes? A meter can be switched off later, never deleted; a price never changed."
    if any(change.kind == "archive" for change in work):
        text += (
            f" What is archived is not sold any more: if another server sells it under namespace "
            f"{shop.desired.namespace}, say no, and give it a STRIPE_METER_NAMESPACE of its own."
        )
    return text


def _confirm(shop: Shop, yes: bool, question: str) -> None:
    if shop.mode == "live" and not yes:
        click.confirm(question, abort=True)


@contextmanager
def _progress(work: Sequence[T], name: Callable[[T], str]) -> Iterator[Iterator[T]]:
    """Hand out `work` one by one, with a bar on a terminal."""
    if not work or not sys.stderr.isatty():
        yield iter(work)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=len(work))

        def rows() -> Iterator[T]:
            for one in work:
                bar.update(task, description=name(one))
                yield one
                bar.advance(task)

        yield rows()
