"""Tools with which a caller's agent looks after its own billing: opt-in, free, and for the verified caller alone.

Owns what they are called, what they answer and whom they act for. No argument names a customer, so nobody can act for
somebody else. Buying and changing a plan give a link that a person opens and confirms; the one thing an agent can do by
itself is to lower the spending limit. A link is kept for half a minute, so that an agent in a loop costs no requests.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain import refusals as sentences
from stripe_meter.domain.refusals import Refusal
from stripe_meter.enforcement.current import override
from stripe_meter.errors import NotForSale, StripeMeterError, StripeUnavailable, TooMany
from stripe_meter.mcp import refusals, signature
from stripe_meter.mcp.attachment import Attachment
from stripe_meter.mcp.caller import read_caller
from stripe_meter.mcp.decorator import metered

if TYPE_CHECKING:
    from stripe_meter.domain.identity import Caller
    from stripe_meter.enforcement.desk import Status
    from stripe_meter.enforcement.engine import Engine

_PRICE: Final = "nothing"
_RETRY: Final = 60.0
_KEPT: Final = 30.0
_MOST: Final = 10_000
#: Characters of an argument: more are refused, and of those so many are repeated.
_LONGEST, _SHOWN = 80, 20

Answer = dict[str, Any]


def add(server: Any, attachment: Attachment) -> None:
    """Register the tools with `server`, by the public decorator that every framework has."""
    office = _Office(attachment)
    for function in (_billing_status, _choose_plan, _buy_credits, _manage_billing, _set_spend_cap):
        server.tool()(_as_tool(function(office), attachment))


def _as_tool(function: Callable[..., Any], attachment: Attachment) -> Callable[..., Any]:
    """Metered as free: no price list can put a price on it, and it is handed the framework's `Context`."""
    function.__annotations__["ctx"] = typing.Optional[typing.Union[signature.context_types()]]  # noqa: UP007, UP045  # the form that frameworks look into
    return metered("free", billing=attachment)(function)


class _Office:
    """Who asks, and what they were answered a moment ago."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._answers: dict[tuple[str, ...], tuple[float, Answer]] = {}

    @property
    def engine(self) -> Engine:
        return override.engine or self._attachment.engine

    async def serve(
        self, ctx: Any, tool: str, work: Callable[[Engine, Caller, str | None], Awaitable[Answer]], said: str = ""
    ) -> Any:
        """Do `work` for whoever calls, who is verified; what goes wrong is answered in a sentence.

        Args:
            said: The argument they gave. Names and amounts are short, and a sentence that repeats it should be too.
        """
        engine = self.engine
        try:
            _check_length(said)
            caller = await engine.identity.asked(read_caller(ctx, engine))
            customer = await engine.sales.identify(caller)
            return await work(engine, caller, customer)
        except NotForSale as error:
            refusal = Refusal("payment_required", str(error), tool, _PRICE)
        except TooMany as error:
            refusal = sentences.rate_limited(tool, _PRICE, str(error), error.retry_after)
        except StripeMeterError as error:
            wait = error.retry_after if isinstance(error, StripeUnavailable) else None
            refusal = sentences.billing_unavailable(tool, _PRICE, wait or _RETRY)
            refusals.log.error("%s could not be answered: %s", tool, error)
        return await refusals.refuse(ctx, refusal, may_ask=False)

    async def linked(
        self, ctx: Any, tool: str, about: str, work: Callable[[Engine, Caller, str | None], Awaitable[str]]
    ) -> Any:
        """`serve` for what is answered with a link; the same one for half a minute."""

        async def answered(engine: Engine, caller: Caller, customer: str | None) -> Answer:
            key, now = (tool, about, customer or "", caller.credential.hex()), engine.desk.now()
            known = self._answers.get(key)
            if known is not None and now < known[0]:
                return known[1]
            url = await work(engine, caller, customer)
            answer = {
                "text": f"Open this link to go on; nothing happens before a person confirms there: {url}",
                "url": url,
            }
            while len(self._answers) >= _MOST:
                self._answers.pop(next(iter(self._answers)))
            self._answers[key] = now + _KEPT, answer
            return answer

        return await self.serve(ctx, tool, answered, about)


def _billing_status(office: _Office) -> Callable[..., Any]:
    async def billing_status(ctx: Any = None) -> Answer:
        """What you have with this server: plan, free calls, included calls, credits, spending limit. Costs nothing."""

        async def work(engine: Engine, caller: Caller, customer: str | None) -> Answer:
            if customer is None:
                return {"text": "Nobody knows you here yet. See what is on offer with choose_plan.", "known": False}
            status = await engine.desk.status(customer)
            told = asdict(status)
            told["pockets"] = [{"name": p.name, "pays": p.pays, "why": p.why} for p in status.pockets]
            return {"text": _sentences(status), "known": True, **told}

        result: Answer = await office.serve(ctx, "billing_status", work)
        return result

    return billing_status


def _choose_plan(office: _Office) -> Callable[..., Any]:
    async def choose_plan(plan: str | None = None, ctx: Any = None) -> Answer:
        """What can be bought here or, with the name of a plan, the link on which a person subscribes to it or changes
        to it. Costs nothing; a person pays on the page."""

        async def listed(engine: Engine, caller: Caller, customer: str | None) -> Answer:
            window = await engine.sales.front.window(customer)
            wares = [{"plan": w.plan, "title": w.title, "terms": list(w.terms), "pack": w.pack} for w in window.wares]
            lines = [f"{ware.title} ({ware.plan}): {'; '.join(ware.terms)}" for ware in window.wares]
            if window.free is not None:
                lines.append(f"Without paying: {window.free}")
            return {"text": "\n".join(lines) or "There is nothing more you could buy here.", "on_offer": wares}

        async def link(engine: Engine, caller: Caller, customer: str | None) -> str:
            return await _checkout(engine, caller, customer, plan, None)

        if plan is None:
            result: Answer = await office.serve(ctx, "choose_plan", listed)
            return result
        linked: Answer = await office.linked(ctx, "choose_plan", plan, link)
        return linked

    return choose_plan


def _buy_credits(office: _Office) -> Callable[..., Any]:
    async def buy_credits(pack: str | None = None, ctx: Any = None) -> Answer:
        """The link on which a person buys a pack of credits: the one of that name, or the first. Costs nothing; a
        person pays on the page."""

        async def link(engine: Engine, caller: Caller, customer: str | None) -> str:
            credits = engine.offering.credits
            if credits is None:
                raise NotForSale("This seller has no credits on offer; see choose_plan.")
            return await _checkout(engine, caller, customer, None, pack or credits.packs[0].name)

        result: Answer = await office.linked(ctx, "buy_credits", pack or "", link)
        return result

    return buy_credits


def _manage_billing(office: _Office) -> Callable[..., Any]:
    async def manage_billing(ctx: Any = None) -> Answer:
        """The link to the page on which a person changes the card, sees invoices or cancels. Costs nothing."""

        async def link(engine: Engine, caller: Caller, customer: str | None) -> str:
            if customer is None:
                raise NotForSale("Nobody knows you here yet, so there is nothing to manage. See choose_plan.")
            return await engine.sales.portal(customer, return_url=f"{await engine.sales.pages(caller)}/cancel")

        result: Answer = await office.linked(ctx, "manage_billing", "", link)
        return result

    return manage_billing


def _set_spend_cap(office: _Office) -> Callable[..., Any]:
    async def set_spend_cap(amount: str, ctx: Any = None) -> Answer:
        """Lower your spending limit, for example to "$5". It can never be raised here. Costs nothing."""

        async def work(engine: Engine, caller: Caller, customer: str | None) -> Answer:
            if customer is None:
                raise NotForSale("Nobody knows you here yet, so nothing is billed to you. See choose_plan.")
            limit = await engine.desk.limit(customer, amount)
            return {"text": f"Your spending limit is {limit}. Only the seller can raise it again.", "limit": limit}

        result: Answer = await office.serve(ctx, "set_spend_cap", work, amount)
        return result

    return set_spend_cap


def _check_length(said: str) -> None:
    if len(said) > _LONGEST:
        raise NotForSale(f"{said[:_SHOWN]!r}… is too long for a name or an amount; see choose_plan.")


async def _checkout(engine: Engine, caller: Caller, customer: str | None, plan: str | None, pack: str | None) -> str:
    pages = await engine.sales.pages(caller)
    if customer is None and caller.is_local:
        return await engine.sales.front.buy_locally(plan, pack, pages)  # recognised by paying
    return await engine.sales.checkout(customer, plan, pack=pack, pages=pages, may_agree=False)  # read in a chat


def _sentences(status: Status) -> str:
    lines = [f"You are on plan {status.plan} ({status.status})." if status.plan is not None else "You are on no plan."]
    if status.plan is not None and not status.has_card:
        lines.append("No payment method is on file; add one with manage_billing.")
    lines += [f"{pocket.name}: {pocket.why}" for pocket in status.pockets]
    if status.cap is not None:
        lines.append(f"Spending limit {status.cap.limit}, of which {status.cap.spent} is gone.")
    return "\n".join(lines)
