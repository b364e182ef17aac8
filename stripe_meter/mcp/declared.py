"""What `@metered` has decorated in this process.

Owns the list of declarations (weakly: a tool that is gone is not sold) and how a declaration is found for a name
that a server lists. Frameworks do not tell which function stands behind a name, so the function's name and
parameters decide, and whether a framework ever read its signature. Does no I/O.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import re
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from stripe_meter.domain.rates import Rate
from stripe_meter.domain.tools import Tool
from stripe_meter.errors import ConfigurationError

if TYPE_CHECKING:
    from stripe_meter.enforcement.engine import Engine

#: What a server may list and Stripe's names cannot hold.
_NO_IDENTITY: Final = re.compile(r"[^A-Za-z0-9_.\-]")
#: Where a wrapper carries its declaration.
ATTRIBUTE: Final = "__stripe_meter__"

log = logging.getLogger("stripe_meter")


class HasEngine(Protocol):
    """What `billing=` takes: a `StripeMeter`."""

    @property
    def engine(self) -> Engine: ...


class Matches(dict[str, "Declaration | None"]):
    """What stands behind each name that a server lists: a declaration, or None where there is certainly none.

    Attributes:
        unsure: Names that are left out, because they may stand for a metered function that was registered under a
            name of the author's choice, or for one of several that look alike and cost different prices.
        bare: Names that stand for no metered function of ours, whatever one of that name looks like: the function was
            seen, or runs in another server.
    """

    unsure: frozenset[str] = frozenset()
    bare: frozenset[str] = frozenset()

    def settled(self, server: Any) -> Matches:
        """Look at the functions themselves, where a server of the SDK has them by a private name."""
        get_tool = getattr(getattr(server, "_tool_manager", None), "get_tool", None)
        functions = {name: getattr(get_tool(name), "fn", None) for name in (*self, *self.unsure)} if get_tool else {}
        for name, function in functions.items():
            metered = behind(function)
            if metered is not None:
                self[name] = metered
            elif function is not None:
                self.bare |= {name}
                self.setdefault(name, None)
        self.unsure -= frozenset(self)
        return self.known_by_name()

    def known_by_name(self) -> Matches:
        """Tell each declaration what it is listed as; once it is certain which one stands behind a name."""
        for name, declaration in self.items():
            if declaration is not None:
                declaration.is_listed_as(name)
        return self


class Served(NamedTuple):
    """Who bills a tool, and the tool as it is sold there. One value, for both must be read at once."""

    engine: Engine
    tool: Tool


@dataclass(frozen=True, slots=True)
class Looks:
    """What a server tells about a tool that it lists."""

    parameters: frozenset[str]
    description: str


@dataclass(slots=True, weakref_slot=True, eq=False)
class Declaration:
    """One decorated function.

    Attributes:
        tool: What is sold, as declared; a price list may have to add what it costs.
        function: Name of the function, under which frameworks list it unless told otherwise.
        description: Its docstring, which frameworks list with it unless told otherwise.
        parameters: Names of the parameters that callers can fill.
        billing: The `StripeMeter` named at the decorator, or None.
        may_ask: False where the framework forbids the tool to answer with a question.
        is_async: True for `async def`.
        was_registered: True once somebody read the wrapper's signature, as frameworks do with what they register.
        served: The engine this tool was last made known to, and the tool as it is sold there; never one that is
            switched off.
        claimed_by: The server that lists it, once one was found to.
        is_outside: True for a tool without decorator, which the server's price list puts on sale.
    """

    tool: Tool
    function: str
    description: str
    parameters: frozenset[str]
    billing: HasEngine | None = None
    may_ask: bool = True
    is_async: bool = False
    was_registered: bool = False
    served: Served | None = None
    claimed_by: weakref.ref[object] | None = None
    is_outside: bool = False
    complaints: set[str] = field(default_factory=set)

    def serve(self, engine: Engine, priced_by: Engine | None = None) -> Served:
        """Make the tool known to `engine`, once.

        Args:
            engine: Bills it.
            priced_by: Whose price list counts where that is not the one who bills, as in a test.

        Raises:
            ConfigurationError: Nothing gives it a price, or no plan can charge for it.
        """
        served = self.served
        if served is None or served.engine is not engine:
            served = self.served = Served(engine, engine.register((priced_by or engine).priced(self.tool)))
        return served

    def is_listed_as(self, name: str) -> None:
        """Remember a name by which the author may price it."""
        if name not in self.tool.names:
            self.tool, self.served = replace(self.tool, listed=(*self.tool.listed, name)), None

    def may_be_claimed_by(self, server: object) -> bool:
        return self.claimed_by is None or self.claimed_by() is server

    def first_time(self, complaint: str) -> bool:
        """True once for each kind of complaint, so that a busy tool does not flood the log."""
        if complaint in self.complaints:
            return False
        self.complaints.add(complaint)
        return True


class WatchedSignature(inspect.Signature):
    """A signature that tells when it is read."""

    __slots__ = ("on_read",)

    on_read: Callable[[], None] | None

    @property
    def parameters(self) -> MappingProxyType[str, inspect.Parameter]:
        notify = getattr(self, "on_read", None)  # absent on the copies that `replace` makes
        if notify is not None:
            notify()
        return super().parameters


_declarations: weakref.WeakValueDictionary[int, Declaration] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)
#: Number of the newest declaration; what was matched before it may be out of date.
latest = 0


def remember(declaration: Declaration) -> None:
    global latest
    latest = next(_numbers)
    _declarations[latest] = declaration


def behind(function: object) -> Declaration | None:
    """The declaration that `function`, or anything it wraps, carries."""
    while function is not None:
        found = getattr(function, ATTRIBUTE, None)
        if isinstance(found, Declaration):
            return found
        function = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
    return None


def match(server: object, listed: Mapping[str, Looks]) -> Matches:
    """Find the declarations behind the names that a server lists.

    Args:
        server: Whoever lists them; a declaration that another server has claimed is not looked for here.
        listed: What each listed tool looks like.

    Returns:
        The declaration behind each name, as far as that can be told.

    Raises:
        ConfigurationError: `@metered` stands above the framework's decorator, so the tool would be free.
    """
    newest_first = [declaration for _, declaration in sorted(_declarations.items(), reverse=True)]
    found, doubtful = Matches(), set[str]()
    for name, looks in listed.items():
        fitting = [d for d in newest_first if d.function == name and d.parameters == looks.parameters]
        registered = _likely([d for d in fitting if d.was_registered], looks, server)
        if len({(d.tool.name, d.tool.rates) for d in registered}) > 1:
            doubtful.add(name)
        elif registered:
            found[name] = registered[0]
        elif fitting:
            raise ConfigurationError(wrong_order(name))
    claimed = {id(declaration) for declaration in found.values()}
    free = [d for d in newest_first if d.was_registered and id(d) not in claimed and d.may_be_claimed_by(server)]
    for name, looks in listed.items():
        if name not in found and name not in doubtful:
            alike = [d for d in free if d.parameters == looks.parameters]
            twins = [d for d in alike if d.description and d.description == looks.description]
            if len(twins) == 1 or not alike:
                found[name] = twins[0] if twins else None
    bare = [name for name in listed if found.get(name) is None and name not in doubtful]
    _refuse_bare(bare, listed, newest_first, server)
    found.unsure = frozenset(listed) - frozenset(found)
    return found


def _likely(alike: list[Declaration], looks: Looks, server: object) -> list[Declaration]:
    """Of functions that look alike, those that are known to be this server's, else those that no server has yet."""
    described = [d for d in alike if d.description == looks.description] or alike
    free = [d for d in described if d.may_be_claimed_by(server)]
    return [d for d in free if d.claimed_by is not None] or free or described


def outside(name: str, rates: tuple[Rate, ...]) -> Declaration:
    """A tool that nobody decorated, on sale by the name that its server lists.

    Raises:
        ConfigurationError: It costs something that nobody would count.
    """
    tool = Tool(_NO_IDENTITY.sub("_", name)[:60], rates)
    if tool.is_dynamic:
        unit = next(rate.unit for rate in rates if rate.unit != "call")
        raise ConfigurationError(
            f"tool {name!r} is priced per {unit}, but nothing in it counts {unit}s; price it per call, "
            "or write @metered(units=…) above it"
        )
    return Declaration(tool, name, "", frozenset(), is_async=True, is_outside=True)


def _refuse_bare(
    names: list[str], listed: Mapping[str, Looks], declarations: list[Declaration], server: object
) -> None:
    """Raise for a listed tool that is the bare function of a declaration which nobody registered."""
    unregistered = [d for d in declarations if not d.was_registered and d.may_be_claimed_by(server)]
    for name in names:
        looks = listed[name]
        for declaration in unregistered:
            if declaration.parameters != looks.parameters or declaration.description != looks.description:
                continue
            if looks.description:
                raise ConfigurationError(wrong_order(name, declaration.function))
            if declaration.first_time("order"):
                log.error("Tool %r may be free by mistake: %s", name, wrong_order(name, declaration.function))


def wrong_order(name: str, function: str | None = None) -> str:
    """The sentence for a tool that was registered without its price."""
    return (
        f"tool {name!r} would be free: @metered stands above the server's own decorator; "
        f"put @mcp.tool() first and @metered(…) directly below it, above def {function or name}"
    )


def price_meta(rates: tuple[Rate, ...]) -> dict[str, Any]:
    """The JSON form of a tool's price that travels in `_meta` of `tools/list`."""
    return {"text": " or ".join(str(rate) for rate in rates), "rates": [_rate(rate) for rate in rates]}


def _rate(rate: Rate) -> dict[str, Any]:
    return {
        "kind": rate.kind,
        "amount": f"{rate.amount.normalize():f}",
        "currency": rate.currency,
        "per": rate.per,
        "unit": rate.unit,
        "started": rate.started,
    }
