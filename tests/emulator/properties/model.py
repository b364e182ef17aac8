"""A small second account: meters, usage, credits, balance and invoices as Stripe's documentation describes them.

Owns: what should be true after each step, in whole cents and fractions; written from the documentation, without the
emulator's code. Does not own: requests (the test makes both do the same) or arithmetic of prices (`arithmetic`).
Where the documentation leaves the order of lines open, the model states what any order must satisfy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from tests.emulator.properties.arithmetic import Price, boundary

GRACE = 3_600
DAY = 86_400
BACK, AHEAD = 35 * DAY, 300
LEAST_CHARGE = 50
FOREVER = 10**12

Formula = Literal["sum", "count", "last"]


@dataclass
class Event:
    """A meter event that counts from `counted` until `cancelled`."""

    customer: str
    meter: str
    identifier: str
    value: Fraction
    timestamp: int
    received: int
    counted: float
    cancelled: float = FOREVER


@dataclass
class Grant:
    """A credit grant; `prices` is None when it pays for every metered price."""

    id: str
    customer: str
    amount: int
    order: tuple[int, int, int, int, int]
    effective: int
    expires: int
    prices: frozenset[str] | None
    left: int = 0
    used: bool = False
    voided: bool = False
    over: bool = False

    def pays_for(self, price: str) -> bool:
        """Whether the grant's scope holds this price."""
        return self.prices is None or price in self.prices


@dataclass
class Bill:
    """An invoice that should exist: usage of `start` to `end` and fees in advance."""

    subscription: str
    customer: str
    reason: str
    start: int
    end: int
    metered: list[Price]
    fees: list[Price]
    final_at: int
    lines: dict[str, list[int]] = field(default_factory=dict)
    total: int = 0
    due: int = 0
    balance_before: int = 0
    void: bool = False


@dataclass
class Subscription:
    """What is billed to whom; `number` counts whole periods so far."""

    id: str
    customer: str
    prices: list[Price]
    anchor: int
    number: int = 0
    ends: int = FOREVER
    over: bool = False

    @property
    def period(self) -> tuple[int, int]:
        """Start and end of the current period."""
        interval = self.prices[0].interval
        return boundary(self.anchor, interval, self.number), boundary(self.anchor, interval, self.number + 1)


@dataclass
class Model:
    """The second account; `now` is in epoch seconds."""

    now: int
    lag: float
    formulas: dict[str, Formula]
    events: list[Event] = field(default_factory=list)
    grants: dict[str, Grant] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    drafts: list[Bill] = field(default_factory=list)
    bills: list[Bill] = field(default_factory=list)
    balances: dict[str, int] = field(default_factory=dict)

    # -- usage ------------------------------------------------------------------------------------------------------

    def repeated(self, identifier: str) -> bool:
        """Whether an identifier was used in the last 24 hours."""
        return any(one.identifier == identifier and one.received > self.now - DAY for one in self.events)

    def usage(self, customer: str, meter: str, start: int, end: int, at: float) -> Fraction:
        """The total of a customer's events with `start <= timestamp < end`, by what was counted at `at`."""
        rows = [one for one in self.events if (one.customer, one.meter) == (customer, meter)]
        rows = [one for one in rows if start <= one.timestamp < end and one.counted <= at < one.cancelled]
        if self.formulas[meter] == "count":
            return Fraction(len(rows))
        if self.formulas[meter] == "last":
            return max(rows, key=lambda one: one.timestamp).value if rows else Fraction(0)
        return sum((one.value for one in rows), Fraction(0))

    def priced(self, bill: Bill, at: float) -> dict[str, list[int]]:
        """The lines of a bill per price, with the usage known at `at`; usage below nothing bills as nothing."""
        lines = {price.id: price.lines(Fraction(1)) for price in bill.fees}
        for price in bill.metered:
            assert price.meter is not None
            used = max(Fraction(0), self.usage(bill.customer, price.meter, bill.start, bill.end, at))
            lines[price.id] = price.lines(used)
        return lines

    # -- time -------------------------------------------------------------------------------------------------------

    def begin(self, subscription: Subscription) -> Iterator[Bill]:
        """A new subscription: fees of the first period are billed at once, usage only when the period is over."""
        self.subscriptions[subscription.id] = subscription
        fees = [price for price in subscription.prices if price.meter is None]
        if fees:
            yield self._bill(subscription, "subscription_create", *subscription.period, [], fees, self.now)

    def advance(self, target: int) -> Iterator[Bill]:
        """Let time pass; yields each bill at the moment it becomes final, in order."""
        while (due := self._next()) is not None and due[0] <= target:
            self.now = max(self.now, due[0])
            if isinstance(due[1], Bill):
                self.drafts.remove(due[1])
                yield due[1]
            elif isinstance(due[1], Subscription):
                self._roll(due[1])
            else:
                self.expire(due[1])
        self.now = target

    def _next(self) -> tuple[int, Bill | Subscription | Grant] | None:
        jobs: list[tuple[int, Bill | Subscription | Grant]] = [(bill.final_at, bill) for bill in self.drafts]
        jobs += [(one.period[1], one) for one in self.subscriptions.values() if not one.over]
        jobs += [(one.expires, one) for one in self.grants.values() if not one.over and one.expires < FOREVER]
        return min(jobs, key=lambda job: job[0]) if jobs else None

    def _roll(self, subscription: Subscription) -> None:
        start, end = subscription.period
        subscription.number += 1
        metered = [price for price in subscription.prices if price.meter is not None]
        last = subscription.ends <= end
        fees = [] if last else [price for price in subscription.prices if price.meter is None]
        subscription.over = last
        if metered or fees:
            self.drafts.append(self._bill(subscription, "subscription_cycle", start, end, metered, fees, end + GRACE))

    def cancel(self, subscription: Subscription, invoice_now: bool) -> Iterator[Bill]:
        """Cancel at once: the usage so far is billed now, or never."""
        subscription.over = True
        metered = [price for price in subscription.prices if price.meter is not None]
        if invoice_now and metered:
            yield self._bill(subscription, "manual", subscription.period[0], self.now, metered, [], self.now)

    def _bill(
        self,
        of: Subscription,
        reason: str,
        start: int,
        end: int,
        metered: list[Price],
        fees: list[Price],
        final_at: int,
    ) -> Bill:
        bill = Bill(of.id, of.customer, reason, start, end, metered, fees, final_at)
        self.bills.append(bill)
        return bill

    # -- credits ----------------------------------------------------------------------------------------------------

    def eligible(self, bill: Bill) -> list[Grant]:
        """Grants that may pay, first to use first: by the end of the invoiced period, not by today."""
        mine = [one for one in self.grants.values() if one.customer == bill.customer and not one.voided]
        return sorted((one for one in mine if one.effective <= bill.end < one.expires), key=lambda one: one.order)

    def pay_by_credits(self, bill: Bill, uses: list[tuple[str, str, int]]) -> None:
        """Hold what the grants paid, (price, grant, amount), to the rules; then take it from them."""
        grants = self.eligible(bill)
        owed = {price.id: sum(bill.lines[price.id]) for price in bill.metered}
        for price, id, amount in uses:
            assert amount > 0
            assert self.grants[id] in grants, f"{id} is not eligible for a period that ends at {bill.end}"
            assert self.grants[id].pays_for(price), f"the scope of {id} does not hold {price}"
            owed[price] -= amount
            self.grants[id].left -= amount
            self.grants[id].used = True
        assert min(owed.values(), default=0) >= 0, "credits paid more than a line's amount"
        assert all(grant.left >= 0 for grant in grants), "a grant paid more than it had"
        for grant in grants:
            unpaid = [price for price, rest in owed.items() if rest and grant.pays_for(price)]
            assert not (grant.left and unpaid), f"{grant.id} has {grant.left} left, but {unpaid} is not paid"
        spent = {id for _, id, _ in uses}
        for later in (grant for grant in grants if grant.id in spent):
            sooner = [one for one in grants if one.order < later.order and one.prices in (None, later.prices)]
            assert not any(one.left for one in sooner), f"{later.id} was used before {sooner}"
        bill.total = sum(sum(amounts) for amounts in bill.lines.values()) - sum(amount for *_, amount in uses)

    def expire(self, grant: Grant) -> None:
        """What is left of a grant is gone, but for what an invoice of an ended period may still want."""
        grant.over = True
        kept = any(one.customer == grant.customer and one.end < grant.expires for one in self.drafts)
        if not kept:
            grant.left = 0

    # -- balance ----------------------------------------------------------------------------------------------------

    def settle(self, bill: Bill) -> None:
        """Finalising uses the balance up (negative is credit); what is too small to charge becomes debt."""
        bill.balance_before = self.balances[bill.customer]
        owed = bill.total + bill.balance_before
        bill.due = owed if owed >= LEAST_CHARGE else 0
        self.balances[bill.customer] = 0 if bill.due else owed
        if not any(one.customer == bill.customer for one in self.drafts):
            for grant in self.grants.values():
                if grant.customer == bill.customer and grant.expires <= self.now:
                    grant.left = 0


def number_of(text: str) -> Fraction | None:
    """The value of an event, or None when it is no plain number of at most 15 digits."""
    digits = text.lstrip("-").replace(".", "", 1)
    return Fraction(text) if digits.isdecimal() and len(digits) <= 15 else None
