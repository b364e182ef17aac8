"""A caller who has paid: refused by a server, through the emulated Stripe's own Checkout pages, back with an API key.

Owns the purchase and what a test does with the caller afterwards. Nothing is taken for granted on the way: the link is
the one the refusal names, the card is typed into the page, the key is the one the success page would show.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread

from stripe_meter.domain.blueprint import Names
from stripe_meter.domain.identity import Caller
from stripe_meter.domain.plans import Free, Plan
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.terms import whole
from stripe_meter.emulator.browser import pay_by_forms
from stripe_meter.enforcement.credits.grants import give_once
from stripe_meter.enforcement.current import override
from stripe_meter.enforcement.engine import LOCAL_KEY, Engine
from stripe_meter.errors import ConfigurationError, StripeUnavailable
from stripe_meter.mcp.attach import adapter_for
from stripe_meter.mcp.attachment import attachments
from stripe_meter.testing import bills, reading

if TYPE_CHECKING:
    from stripe_meter.domain.tools import Tool
    from stripe_meter.gateway.gateway import Gateway
    from stripe_meter.mcp.declared import Declaration
    from stripe_meter.testing.bills import Invoice

#: Cards by what they do; Stripe's other test numbers work too, by number.
CARDS: Final = {
    "good": "4242 4242 4242 4242",
    "declined": "4000 0000 0000 0002",
    "insufficient funds": "4000 0000 0000 9995",
    "declined later": "4000 0000 0000 0341",
    "3-d secure": "4000 0025 0000 3155",
}
#: Where our pages would be; the payer's browser is ours and does not go there.
_PAGES: Final = "http://127.0.0.1:9"

_numbers = itertools.count(1)
_calling: Final[weakref.WeakKeyDictionary[Engine, list[Caller]]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer of the emulated Stripe who pays for every call. `customer()` makes them.

    Attributes:
        id: `cus_…`.
        api_key: `smk_…`, as the success page shows it.
        url: Of the emulated Stripe.
    """

    id: str
    api_key: str = field(repr=False)
    url: str
    _engine: Engine = field(repr=False, compare=False)
    #: Who may hold usage of theirs that Stripe does not have yet.
    _served_by: set[Engine] = field(default_factory=set, repr=False, compare=False)

    @property
    def headers(self) -> dict[str, str]:
        """For an HTTP client: the header that names this caller."""
        return {"x-api-key": self.api_key}

    @property
    def env(self) -> dict[str, str]:
        """For a server in a process of its own: it bills this caller, on this emulated Stripe."""
        return {"STRIPE_METER_EMULATOR": self.url, LOCAL_KEY: self.api_key}

    @contextmanager
    def calling(self) -> Iterator[Customer]:
        """Be the one who calls this process's servers in memory, until this ends; HTTP callers are not touched.

        A server in memory has one caller at a time: where several are open, the one opened last.
        """
        engine = override.engine or self._engine
        self._served_by.add(engine)
        me = Caller.local(self.api_key)
        callers = _calling.setdefault(engine, [])
        callers.append(me)
        engine.local = me
        try:
            yield self
        finally:
            callers.remove(me)
            if callers:
                engine.local = callers[-1]
            else:
                engine.local = None  # read again from the environment by the next call

    def usage(self, tool: str) -> int:
        """Units that Stripe has counted for this customer on a tool's meter: calls, or what the price counts.

        With `PayAsYouGo(meter="price")` they are those of all tools that share its meter.

        Args:
            tool: Its billing identity: `name=` of `@metered`, else the function's name.

        Raises:
            LookupError: No tool of that name was ever on sale.
            TimeoutError: This process's usage did not reach Stripe within 5 seconds.
        """
        self._deliver()
        return bills.usage(self.url, self.id, self._meter_of(tool))

    def _meter_of(self, tool: str) -> str:
        engine = override.engine or self._engine
        sold = next((known for known in engine.tools if known.name == tool and known.money_rates), None)
        names, plan = Names(engine.settings.namespace), engine.offering.pay_as_you_go
        return f"{names.namespace}.{tool}" if sold is None or plan is None else names.tool(sold, plan)

    def next_invoice(self) -> Invoice:
        """What Stripe would bill if the period ended now.

        Raises:
            StripeUnavailable: Nothing would come: their subscription has ended.
            TimeoutError: As `usage` does.
        """
        self._deliver()
        return bills.next_invoice(self.url, self.id)

    def owed(self) -> str:
        """The total of the next invoice, for people: `$0.15`. Raises what `next_invoice` does."""
        return self.next_invoice().text

    def invoices(self) -> tuple[Invoice, ...]:
        """What Stripe has billed, oldest first; the period that runs is not among it."""
        return bills.invoices(self.url, self.id)

    def _deliver(self) -> None:
        for engine in {*self._served_by, self._engine, override.engine or self._engine}:
            if not engine.flush():
                raise TimeoutError(
                    f"{engine.stats().pending} calls did not reach the emulated Stripe within 5 seconds; "
                    "look for a fault that is still switched on there"
                )
        reading.settle(self.url)


async def customer(server: Any, *, plan: str | None = None, credits: int | None = None, card: str = "good") -> Customer:
    """Somebody new who has paid, as the callers of `server` do: refused, sent to Checkout, given an API key.

    Args:
        server: An `MCPServer` of the MCP SDK or a `FastMCP`, with at least one priced tool.
        plan: Name of the plan they buy, such as `"pro"`; unless given the first on offer, to which a link leads.
            With the name of a `Free` plan, or with `credits` alone, they buy nothing.
        credits: So many credits are given to them, whole, at least 1.
        card: `"good"`, `"declined"`, `"insufficient funds"`, `"declined later"` (taken at Checkout, refused when an
            invoice is due), `"3-d secure"`, or the number of another of Stripe's test cards.

    Raises:
        ConfigurationError: `server` sells nothing, cannot bill, would not bill on an emulated Stripe, or has no such
            plan.
        StripeUnavailable: The emulated Stripe did not answer.
        ValueError: The card was refused, with the words that the payer reads; or there is no such card.
    """
    number = _card_number(card)
    listed = await adapter_for(server).listed(server)
    sold = [declaration for declaration in listed.values() if declaration is not None]
    engine = _engine_for(server, sold)
    url = engine.settings.emulator
    if url is None:
        raise ConfigurationError(
            "customer() pays with a test card, but these tools are billed by Stripe itself; "
            "ask for the fixture stripe_billing, or write `with use(billing):` around it"
        )
    tool = await _tool_for_sale(engine, sold)
    bought = await _purchase(engine, tool, plan, number) if plan is not None or credits is None else None
    if bought is None:
        bought = await engine.thread.call(_acquaintance, 5.0)
    known, api_key = bought
    if credits is not None:
        await engine.thread.call(lambda gateway: _give(gateway, known, whole(credits, 1, "credits")), 5.0)
    await engine.thread.call(lambda _: engine._accounts.refresh(known), 5.0)
    return Customer(known, api_key, url, engine)


async def _purchase(engine: Engine, tool: Tool, plan: str | None, card: str) -> tuple[str, str] | None:
    """Through Checkout: the customer and their API key; None for a plan that is not bought."""
    named = None if plan is None else engine.offering.named(plan)
    if isinstance(named, Free):
        return None
    link = await _link(engine, tool) if named is None else await _link_to(engine, named)
    back = await anyio.to_thread.run_sync(pay_by_forms, link, card, "caller@example.com")
    query = parse_qs(urlsplit(back).query)
    done = await engine.sales.complete(query["session_id"][0], query["claim"][0])
    assert done.customer is not None
    assert done.key is not None
    return done.customer, done.key.reveal()


async def _link(engine: Engine, tool: Tool) -> str:
    """Where a refused stranger is sent."""
    client = f"a test's customer {next(_numbers)}"
    verdict = await engine.admit(tool, Caller(b"a" + client.encode(), client=client, base_url=_PAGES))
    sold = engine.offering.sold_by(tool)
    if not isinstance(verdict, Refusal) or verdict.checkout_url is None or not sold:
        said = verdict.text if isinstance(verdict, Refusal) else "billing is switched off"
        raise StripeUnavailable(f"nobody can buy {tool.name}: {said}", ambiguous=False)
    # With several plans the refusal leads to the page that shows them; who names none takes the first.
    is_choice = verdict.checkout_url.startswith(f"{_PAGES}{engine.routes}/plans?")
    return await _link_to(engine, sold[0]) if is_choice else verdict.checkout_url


async def _link_to(engine: Engine, plan: Plan) -> str:
    """Where somebody goes who has chosen `plan` themselves."""
    order = engine._shelf.order_of(plan)
    session = await engine.thread.call(lambda gateway: gateway.checkout.for_anybody(order, _PAGES), 5.0)
    return str(session.url)


async def _acquaintance(gateway: Gateway) -> tuple[str, str]:
    """Somebody who is known by an API key and has bought nothing."""
    made = await gateway.connection.write(lambda client, options: client.v1.customers.create_async({}, options))
    return made.id, (await gateway.customers.issue_key(made.id)).reveal()


async def _give(gateway: Gateway, customer: str, credits: int) -> None:
    terms = await gateway.wallets.terms()
    wallet = await gateway.wallets.ensure(customer)
    marks = {"sm": "grant", "id": customer}
    now = int(gateway.connection.clock.now())
    key = f"grant:{customer}"
    await give_once(gateway, wallet, credits * terms.scale, terms.currency, key, marks, "given by a test", now)


def _card_number(card: str) -> str:
    number = CARDS.get(card, card).replace(" ", "")
    if not number.isdigit():
        names = ", ".join(f'"{name}"' for name in CARDS)
        raise ValueError(f"card={card!r} is none of {names}, nor the number of a test card")
    return number


def _engine_for(server: Any, sold: Sequence[Declaration]) -> Engine:
    attachment = attachments.get(server)
    named = next((declaration.billing.engine for declaration in sold if declaration.billing is not None), None)
    engine = override.engine or (named if attachment is None else attachment.engine)
    if engine is None:
        raise ConfigurationError(
            "nothing says who bills this server; ask for the fixture stripe_billing, "
            "or write `with use(billing):` around customer()"
        )
    return engine


async def _tool_for_sale(engine: Engine, sold: Sequence[Declaration]) -> Tool:
    """A priced tool that the engine bills, with all of them known to it."""
    takes_all = override.engine is not None
    tools = [d.tool for d in sold if takes_all or d.billing is None or d.billing.engine is engine]
    await engine.prepare(tools)
    priced = next((tool for tool in tools if not tool.is_free), None)
    if priced is None:
        raise ConfigurationError('this server sells nothing; write @metered("$0.05") below @mcp.tool() of one tool')
    return priced
