"""A month of usage, run through the engine and a stand-in for Stripe of its own.

Owns the stand-in, its clock, and its customers: one for each customer of the file and each plan on offer, all of them
living the same month. Calls take the way they take in a server – admitted, settled, sent as meter events – and the
bills are the stand-in's invoices. What is not lived through: trials and spend caps are left out, and credit packs are
counted by `packs`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.cli.simulate.bills import Bill, lines_until
from stripe_meter.cli.simulate.packs import by_packs
from stripe_meter.cli.simulate.usage import Row
from stripe_meter.domain.identity import ApiKey, Caller, credential
from stripe_meter.domain.offering import Offering
from stripe_meter.domain.periods import reset_after
from stripe_meter.domain.plans import Credits, Free, PayAsYouGo, Plan, Subscription
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.tools import Tool
from stripe_meter.enforcement.engine import Engine
from stripe_meter.errors import StripeUnavailable
from stripe_meter.testing.reading import get, post

if TYPE_CHECKING:
    from stripe_meter.emulator import EmulatorServer
    from stripe_meter.enforcement.flusher.thread import StripeThread
    from stripe_meter.gateway.gateway import Gateway

NO_PLAN: Final = "no plan"
#: The calendar repeats after so many years, so that a month in the past can be lived in the future of a clock.
_CYCLE: Final = 28
_PAGES: Final = "http://127.0.0.1:9"
_FLUSH_SECONDS: Final = 300.0
#: Nobody limits a stand-in.
_RATE: Final = 100_000.0
#: Cycle invoices are drafts for an hour.
_GRACE: Final = 2 * 3600


class _Engine(Engine):
    """An engine that asks its stand-in as often as it likes."""

    def _open(self, thread: StripeThread) -> Gateway:
        from stripe_meter.gateway.limiter import RateLimiter

        gateway = super()._open(thread)
        gateway.connection.limiter = gateway.connection.event_limiter = RateLimiter(_RATE)
        return gateway


@dataclass(slots=True)
class _Buyer:
    """One customer of the file under one plan."""

    plan: Plan | None
    id: str
    caller: Caller
    served: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def plan_name(self) -> str:
        return NO_PLAN if self.plan is None else self.plan.name


def simulate(offering: Offering, tools: Sequence[Tool], rows: Sequence[Row]) -> dict[str, dict[str, Bill]]:
    """What each customer of `rows` would be billed under each plan on offer, by the names of both.

    Raises:
        StripeMeterError: The offering contradicts itself, or the stand-in did not answer.
    """
    plans: list[Plan | None] = [_plain(plan) for plan in offering.plans]
    if offering.free is None and any(row.plan is None for row in rows):
        plans.append(None)
    sold = [plan for plan in plans if plan is not None]
    with _seller(sold, rows[0].time) as (engine, month):
        import anyio

        anyio.run(engine.prepare, tools)
        customers = sorted({row.customer for row in rows})
        lived = [plan for plan in plans if not isinstance(plan, Credits)]
        buyers = {name: [month.buyer(engine, name, plan) for plan in lived] for name in customers}
        anyio.run(month.live, engine, rows, buyers)
        month.end(engine, yearly=any(isinstance(p, Subscription) and p.fee.interval == "year" for p in sold))
        bills = {name: {buyer.plan_name: month.bill(buyer) for buyer in mine} for name, mine in buyers.items()}
        if offering.credits is not None:
            scale = offering.scale(tools)
            for name in customers:
                mine = [row for row in rows if row.customer == name]
                bills[name][offering.credits.name] = by_packs(offering, offering.credits, scale, mine)
    order = [NO_PLAN if plan is None else plan.name for plan in plans]
    return {name: {plan: bills[name][plan] for plan in order} for name in customers}


def _plain(plan: Plan) -> Plan:
    """Without a trial, a rate limit and `max_unpaid`: the whole month is lived in seconds, and billed afterwards."""
    if isinstance(plan, PayAsYouGo):
        return replace(plan, max_unpaid=None)
    if isinstance(plan, Subscription):
        return replace(plan, trial_days=None, trial_calls=None, rate_limit=None)
    return plan


@contextmanager
def _seller(plans: Sequence[Plan], first: datetime) -> Iterator[tuple[Engine, Month]]:
    from stripe_meter.emulator import Emulator, EmulatorServer
    from stripe_meter.settings import Settings

    emulator = Emulator("Simulation", deterministic=True, id_prefix="sim", lag=0.0, check_responses=False)
    with EmulatorServer(emulator) as server:
        month = Month(server, first, next((p.reset_day for p in plans if isinstance(p, Free)), 1))
        settings = Settings(
            emulator=server.url,
            public_url=_PAGES,
            namespace="sim",
            enabled=True,
            durability="batched",
            timeout=60,
            # Usage waits for the end of the period.
            max_unsent_seconds=86400,
            max_unsent_amount=10**15,
            # What they would spend, not where they would be stopped.
            spend_cap=None,
            rate_limit=None,
        )
        engine = _Engine(plans, settings)
        engine.keep_time_by(month.monotonic, emulator.clock.now)
        try:
            yield engine, month
        finally:
            engine.close()


class Month:
    """The month, on the clock of the stand-in.

    The stand-in's clock stands at the time of each call. The engine's moves only where something starts anew: what it
    knows of its customers is as old as a minute of a real month is, and is not read again and again.
    """

    def __init__(self, server: EmulatorServer, first: datetime, reset_day: int) -> None:
        self._url = server.url
        self._clock = server.emulator.clock
        self._clock.freeze()
        self._reset_day = reset_day
        start = first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        years = 0
        while start.replace(year=start.year + years).timestamp() <= self._clock.now():
            years += _CYCLE
        self._years = years
        begin = start.replace(year=start.year + years)
        self.begin = int(begin.timestamp())
        self.ends = {
            "month": reset_after(self.begin, 1),
            "year": int(begin.replace(year=begin.year + 1).timestamp()),
        }
        self._clock.advance(self.begin - self._clock.now())
        self._origin = time.monotonic()
        self._known_until = float(self.begin)

    def monotonic(self) -> float:
        return self._origin + self._known_until - self.begin

    def buyer(self, engine: Engine, name: str, plan: Plan | None) -> _Buyer:
        """A customer with an API key and, for a plan that is subscribed to, a card and the subscription."""
        id = post(self._url, "/v1/customers", name=name)["id"]
        key = ApiKey.new(id)
        card = post(self._url, "/v1/payment_methods/pm_card_visa/attach", customer=id)["id"]
        known = {f"metadata[{key.metadata_key}]": key.hash, "invoice_settings[default_payment_method]": card}
        post(self._url, f"/v1/customers/{id}", **known)
        if plan is not None and not isinstance(plan, Free):
            self._subscribe(engine, id, plan)
        caller = Caller(credential("k", key.reveal()), key.reveal(), client=id)
        return _Buyer(plan, id, caller)

    def _subscribe(self, engine: Engine, customer: str, plan: Plan) -> None:
        order = engine.order(plan)
        form: dict[str, object] = {
            "customer": customer,
            "currency": order.currency,
            "billing_mode[type]": "flexible",
            "metadata[stripe_meter]": engine.settings.namespace,
            "metadata[stripe_meter_plan]": plan.name,
        }
        for number, (price, quantity) in enumerate(order.lines):
            form[f"items[{number}][price]"] = price
            if quantity is not None:
                form[f"items[{number}][quantity]"] = quantity
        if order.lines:
            post(self._url, "/v1/subscriptions", **form)

    async def live(self, engine: Engine, rows: Sequence[Row], buyers: Mapping[str, Sequence[_Buyer]]) -> None:
        """Call what was called, when it was called, for every buyer alike."""
        anew = reset_after(self.begin, self._reset_day)
        for row in rows:
            now = row.time.replace(year=row.time.year + self._years).timestamp()
            if now >= anew:
                self._deliver(engine)
                self._clock.advance(max(0.0, now - self._clock.now()))
                self._known_until, anew = now, reset_after(now, self._reset_day)
            self._clock.advance(max(0.0, now - self._clock.now()))
            for buyer in buyers[row.customer]:
                await _call(engine, row, buyer)
        self._deliver(engine)

    def _deliver(self, engine: Engine) -> None:
        if not engine.flush(_FLUSH_SECONDS):
            raise StripeUnavailable("the stand-in did not take all usage; run the same command again", ambiguous=False)

    def end(self, engine: Engine, *, yearly: bool) -> None:
        """Let every period that is billed end, and its invoices become final."""
        self._clock.advance(self.ends["year" if yearly else "month"] + _GRACE - self._clock.now())

    def bill(self, buyer: _Buyer) -> Bill:
        """What the invoices say of the first period."""
        interval = buyer.plan.fee.interval if isinstance(buyer.plan, Subscription) else "month"
        rows: list[dict[str, Any]] = []
        currency = None
        for invoice in reversed(get(self._url, "/v1/invoices", customer=buyer.id, limit=100)["data"]):
            currency = invoice["currency"]
            rows += get(self._url, f"/v1/invoices/{invoice['id']}/lines", limit=100)["data"]
        lines = lines_until(rows, self.ends[interval])
        return Bill(buyer.plan_name, currency, lines, interval, buyer.served, buyer.refused)


async def _call(engine: Engine, row: Row, buyer: _Buyer) -> None:
    admission = engine.admit_warm(row.tool, buyer.caller)
    if admission is None:
        verdict = await engine.admit(row.tool, buyer.caller)
        if isinstance(verdict, Refusal):
            if verdict.reason == "billing_unavailable":
                raise StripeUnavailable(f"line {row.line} could not be decided: {verdict.text}", ambiguous=False)
            buyer.refused[verdict.reason] += 1
            return
        admission = verdict
    buyer.served += 1
    if row.is_charged:
        admission.settle(row.charged_units)
    else:
        admission.release()


def month_of(rows: Sequence[Row]) -> str:
    """For people: `March 2026`."""
    return f"{rows[0].time.astimezone(UTC):%B %Y}"
