"""The accounts that a target sells in, each with everything it wants there and everything it has.

Owns putting together the sellers that share an account and a namespace, and asking Stripe about them from a command.
What is compared, and how, is the domain's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from stripe_meter.domain.change import Change
from stripe_meter.domain.changes import changes, changes_credit_unit, needs_subscribers
from stripe_meter.domain.desired import Desired, desired, together
from stripe_meter.domain.found import Inventory, Subscriber
from stripe_meter.errors import ConfigurationError

if TYPE_CHECKING:
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.gateway.gateway import Gateway

T = TypeVar("T")

WHERE: Final = {"live": "your live Stripe account", "test": "your Stripe sandbox", "emulator": "the stand-in"}
#: Seconds for one piece of work in terms of the timeout of one request: long lists take many.
_PATIENCE: Final = 60


@dataclass(frozen=True, slots=True)
class View:
    """What Stripe has, and how it differs; `subscribers` are read only where they matter."""

    changes: tuple[Change, ...]
    inventory: Inventory
    subscribers: tuple[Subscriber, ...]


@dataclass(frozen=True, slots=True)
class Shop:
    """One namespace of one account. `engine` is any that sells there."""

    engine: Engine
    desired: Desired

    @property
    def mode(self) -> str:
        return self.engine.settings.mode

    @property
    def where(self) -> str:
        return WHERE[self.mode]

    def ask(self, work: Callable[[Gateway], Awaitable[T]]) -> T:
        """Run `work` against the account. Raises `StripeMeterError`."""
        return self.engine.thread.call_blocking(work, _PATIENCE * self.engine.settings.timeout)

    def look(self, *, subscribers: bool = False) -> View:
        """Read the account and compare; `subscribers` reads the subscriptions in any case."""

        async def work(gateway: Gateway) -> View:
            inventory = await gateway.inventories.take(self.desired.blueprint)
            listed = changes(self.desired, inventory)
            people: tuple[Subscriber, ...] = ()
            if subscribers or needs_subscribers(self.desired, inventory, listed):
                people = await gateway.inventories.subscribers()
            wallets, _ = await gateway.inventories.wallets() if changes_credit_unit(listed) else ([], 0)
            return View(tuple(changes(self.desired, inventory, people, credits_sold=bool(wallets))), inventory, people)

        return self.ask(work)


@contextmanager
def shops(target: str) -> Iterator[list[Shop]]:
    """The shops of `target` while the block runs.

    Raises:
        ConfigurationError: The target cannot be imported, sells nothing or nobody knows what, or there is no key.
    """
    from stripe_meter.cli.target import sellers

    engines = sellers(target)
    try:
        if target.endswith(".toml"):
            _refuse_patterns(target, engines)
        groups: dict[tuple[str | None, str, str], list[Engine]] = {}
        for engine in engines:
            settings = engine.settings
            groups.setdefault((settings.emulator, settings.key(), settings.namespace), []).append(engine)
        yield [
            Shop(group[0], together([desired(one.offering, one.tools, one.settings.namespace) for one in group]))
            for group in groups.values()
        ]
    finally:
        for engine in engines:
            engine.close()


def _refuse_patterns(target: str, engines: list[Engine]) -> None:
    """What a pattern stands for only a server can list; taken for nothing, it would be archived."""
    patterns = [pattern for engine in engines for pattern in engine.prices.patterns]
    if patterns:
        raise ConfigurationError(
            f"{target} prices tools as {patterns[0]!r}, and only their server can tell which these are; "
            "write each tool's name below [prices], or name the server's file instead, such as server.py"
        )
