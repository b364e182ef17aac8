"""A seller's months, made up step by step: the emulator's books against a second, small account.

Meters, events, corrections, prices, grants, balances, subscriptions and time in any order; every few steps both must
agree to the cent. `HYPOTHESIS_PROFILE=deep` tries for minutes instead of seconds.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.emulator.properties.arithmetic import Interval, Price
from tests.emulator.properties.books import Books
from tests.emulator.properties.desk import Desk
from tests.emulator.properties.effort import effort
from tests.emulator.properties.model import (
    AHEAD,
    BACK,
    DAY,
    FOREVER,
    GRACE,
    Bill,
    Event,
    Formula,
    Grant,
    Model,
    Subscription,
    number_of,
)
from tests.emulator.properties.strategies import EVENTS, GRANTS, INTERVALS, PAUSES, prices

#: 2030-01-30 10:00 UTC: a month that ends on the 31st, before one that has 28 days.
BEGIN = 1_895_997_600 // 60 * 60
#: Ben's card is declined, so that there are open invoices to void.
CARDS = {"ann": "pm_card_visa", "ben": "pm_card_chargeCustomerFail"}
CUSTOMERS = tuple(CARDS)
FORMULAS: tuple[Formula, ...] = ("sum", "count", "last")


class Months(RuleBasedStateMachine):
    """Both accounts, and the rules that change them together."""

    steps = 0

    @initialize(lag=st.sampled_from([0.0, 7.5]), balance=st.sampled_from([0, 0, -900, 700]), data=st.data())
    def open(self, lag: float, balance: int, data: st.DataObject) -> None:
        """Two customers, a meter of each formula, and a price on each."""
        self.desk = Desk(BEGIN, lag=lag, grace=float(GRACE))
        self.books = Books(self.desk)
        self.ids = {name: self.books.customer(name, balance, CARDS[name]) for name in CUSTOMERS}
        self.meters = {formula: self.books.meter(formula) for formula in FORMULAS}
        self.model = Model(BEGIN, lag, {self.meters[formula]: formula for formula in FORMULAS})
        self.model.balances = dict.fromkeys(self.ids.values(), balance)
        self.product = self.desk.must("POST", "/v1/products", {"name": "Calls"})["id"]
        self.prices: list[Price] = []
        self.invoices: dict[int, str] = {}
        self._sell(data)
        for who in CUSTOMERS:
            for terms in data.draw(st.lists(GRANTS, min_size=2, max_size=3)):
                self._grant(who, terms, data)

    # -- what people do ---------------------------------------------------------------------------------------------

    @rule(who=st.sampled_from(CUSTOMERS), meter=st.integers(0, 5), events=EVENTS, pause=PAUSES)
    def use(self, who: str, meter: int, events: list[tuple[str, int, int]], pause: int) -> None:
        """After a while, some calls of tools; mostly of those that the customer pays for."""
        self._advance(self.model.now + pause)
        live = self._live(who)
        paid = [price.meter for price in live.prices if price.meter] if live else []
        meters = [*paid, *paid, *self.meters.values()]
        for value, since, identifier in events:
            self._event(who, meters[meter % len(meters)], value, since, f"event-{identifier}")

    @rule(who=st.sampled_from(CUSTOMERS), meter=st.integers(0, 5), events=EVENTS, late=EVENTS)
    def work_until_billed(
        self, who: str, meter: int, events: list[tuple[str, int, int]], late: list[tuple[str, int, int]]
    ) -> None:
        """A period with calls, some of them reported only in its grace, and its final invoice."""
        self.use(who, meter, events, 7200)
        self.wait_for_period_end(60)
        self.use(who, meter, late, 60)
        self._advance(self.model.now + GRACE)

    def _event(self, who: str, meter: str, value: str, since: int, identifier: str) -> None:
        """An event counts once per identifier and day, inside the window, if its value is a number."""
        customer, formula, at = self.ids[who], self.model.formulas[meter], self.model.now + since
        while formula == "last" and any(one.timestamp == at and one.meter == meter for one in self.model.events):
            at -= 1  # which of two events of one second is the last is not documented
        if self._too_late(customer, at):
            return
        reply = self.desk.ask("POST", "/v1/billing/meter_events", {
            "event_name": formula, "identifier": identifier, "timestamp": at,
            "payload": {"stripe_customer_id": customer, "value": value},
        })  # fmt: skip
        if self.model.repeated(identifier):
            assert reply.status == 400
            assert "already exists" in reply.body["error"]["message"]
            return
        assert reply.status == 200, reply.body
        number = number_of(value) if formula != "count" else Fraction(1)
        fine = number is not None and -BACK <= at - self.model.now <= AHEAD
        counted = self.model.now + self.model.lag if fine else FOREVER
        self.model.events.append(Event(customer, meter, identifier, number or Fraction(0), at, self.model.now, counted))

    @rule(data=st.data())
    def correct(self, data: st.DataObject) -> None:
        """An adjustment takes a whole event back within 24 hours of its receipt."""
        identifier = data.draw(st.sampled_from(["never sent", *(one.identifier for one in self.model.events[-8:])]))
        rows = [one for one in self.model.events if one.identifier == identifier]
        event = next((one for one in reversed(rows) if one.received > self.model.now - DAY), None)
        if event is not None and (event.cancelled < FOREVER or self._too_late(event.customer, event.timestamp)):
            return
        name = self.model.formulas[event.meter] if event else "sum"
        cancel = {"event_name": name, "type": "cancel", "cancel": {"identifier": identifier}}
        reply = self.desk.ask("POST", "/v1/billing/meter_event_adjustments", cancel)
        assert reply.status == (400 if event is None else 200), reply.body
        if event is not None:
            event.cancelled = self.model.now + self.model.lag

    @precondition(lambda self: any(self._live(who) is None for who in CUSTOMERS))
    @rule(data=st.data())
    def subscribe_again(self, data: st.DataObject) -> None:
        """Whoever has no subscription takes one, at new prices."""
        self._sell(data)

    def _sell(self, data: st.DataObject) -> None:
        interval = data.draw(INTERVALS)
        for meter in (None, *self.meters.values()):
            self._price(data, interval, meter)
        for who in CUSTOMERS:
            if self._live(who) is None:
                self._subscribe(who, data)

    def _subscribe(self, who: str, data: st.DataObject) -> None:
        """One live subscription a customer, with prices of one interval and of different meters."""
        customer = self.ids[who]
        offered = [one for one in self.prices[-4:] if who == "ann" or one.meter]
        chosen = data.draw(st.lists(st.sampled_from(offered), min_size=1, unique=True))
        items = [{"price": price.id} for price in chosen]
        made = self.desk.must("POST", "/v1/subscriptions", {"customer": customer, "items": items})
        subscription = Subscription(made["id"], customer, chosen, self.model.now)
        for bill in self.model.begin(subscription):
            self._finish(bill)

    @precondition(lambda self: any(self._cancellable()))
    @rule(data=st.data(), how=st.sampled_from(["now, billed", "now, not billed", "later"]))
    def cancel(self, data: st.DataObject, how: str) -> None:
        """Cancel now, with or without a bill for the usage so far, or at the end of the period."""
        subscription = data.draw(st.sampled_from(self._cancellable()))
        path = f"/v1/subscriptions/{subscription.id}"
        if how == "later":
            self.desk.must("POST", path, {"cancel_at_period_end": True})
            subscription.ends = subscription.period[1]
            return
        billed = how == "now, billed"
        self.desk.must("DELETE", path, {"invoice_now": billed})
        for bill in self.model.cancel(subscription, billed):
            self._finish(bill)

    @rule(who=st.sampled_from(CUSTOMERS), terms=st.lists(GRANTS, min_size=1, max_size=3), data=st.data())
    def grant(self, who: str, terms: list[dict[str, Any]], data: st.DataObject) -> None:
        """Give credits, perhaps later, for a while, or for some prices only."""
        for one in terms:
            self._grant(who, one, data)

    def _grant(self, who: str, terms: dict[str, Any], data: st.DataObject) -> None:
        now, customer = self.model.now, self.ids[who]
        start = now + (terms["starts"] or 0)
        metered = [one.id for one in self.prices[-4:] if one.meter]
        chosen = (
            data.draw(st.lists(st.sampled_from(metered), min_size=1, max_size=2, unique=True))
            if terms["scoped"]
            else None
        )
        scope = {"prices": [{"id": id} for id in chosen]} if chosen else {"price_type": "metered"}
        params: dict[str, Any] = {
            "customer": customer,
            "amount": {"type": "monetary", "monetary": {"currency": "usd", "value": terms["value"]}},
            "applicability_config": {"scope": scope},
        }
        params |= {name: terms[name] for name in ("priority", "category") if terms[name] is not None}
        params |= {} if terms["starts"] is None else {"effective_at": start}
        expires = self._expiry(who, start, terms["ends"])
        params |= {} if expires == FOREVER else {"expires_at": expires}
        made = self.desk.must("POST", "/v1/billing/credit_grants", params)
        priority = 50 if terms["priority"] is None else terms["priority"]
        order = (priority, expires, 0 if terms["category"] == "promotional" else 1, start, now)
        prices = frozenset(chosen) if chosen else None
        value = terms["value"]
        self.model.grants[made["id"]] = Grant(made["id"], customer, value, order, start, expires, prices, value)

    @rule(data=st.data(), how=st.sampled_from(["expire", "void"]))
    def end_grant(self, data: st.DataObject, how: str) -> None:
        """Expire a grant, or void one that was never used; ended grants stay ended."""
        grants = [one for one in self.model.grants.values() if not self._draft(one.customer)]
        if not grants:
            return
        grant = data.draw(st.sampled_from(grants))
        reply = self.desk.ask("POST", f"/v1/billing/credit_grants/{grant.id}/{how}")
        over = grant.voided or grant.expires <= self.model.now
        assert reply.status == (400 if over or (how == "void" and grant.used) else 200), reply.body
        if reply.status == 200:
            grant.left, grant.over, grant.voided = 0, True, how == "void"
            grant.expires = grant.expires if grant.voided else self.model.now

    @rule(who=st.sampled_from(CUSTOMERS), amount=st.integers(-3000, 1500).filter(bool))
    def adjust_balance(self, who: str, amount: int) -> None:
        """A transaction answers with the balance that it leaves."""
        customer = self.ids[who]
        params = {"amount": amount, "currency": "usd"}
        made = self.desk.must("POST", f"/v1/customers/{customer}/balance_transactions", params)
        self.model.balances[customer] += amount
        assert made["ending_balance"] == self.model.balances[customer]

    @precondition(lambda self: self.model.drafts)
    @rule(charge=st.sampled_from([49, 50, 51]))
    def aim_at_the_minimum(self, charge: int) -> None:
        """Bring what a draft will charge close to the smallest amount that Stripe charges."""
        bill = self.model.drafts[0]
        wanted = charge - self._invoice(bill)["total"] - self.model.balances[bill.customer]
        who = next(name for name, id in self.ids.items() if id == bill.customer)
        self.adjust_balance(who, wanted or 1)
        self._advance(self.model.now + GRACE)

    @rule(data=st.data())
    def void_invoice(self, data: st.DataObject) -> None:
        """Voiding gives credits and balance back; credits of an expired grant are gone."""
        ben = self.ids["ben"]
        owing = [one for one in self.model.bills if one.customer == ben and one.due and not one.void]
        if not owing or self._draft(ben):
            return
        bill = data.draw(st.sampled_from(owing))
        self.desk.must("POST", f"/v1/invoices/{self.invoices[id(bill)]}/void")
        bill.void = True
        self.model.balances[ben] += bill.balance_before
        for _, grant, amount in self.books.uses(ben, self._invoice(bill)):
            if self.model.grants[grant].expires > self.model.now:
                self.model.grants[grant].left += amount

    @rule(after=st.sampled_from([0, 60, GRACE - 60, GRACE, GRACE + 60]))
    def wait_for_period_end(self, after: int) -> None:
        """The next period ends, and its grace is running or over."""
        ends = [one.period[1] for one in self.model.subscriptions.values() if not one.over]
        self._advance(max([self.model.now, *(end + after for end in sorted(ends)[:1])]))

    # -- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def the_books_agree(self) -> None:
        """All of it, every fourth step: a difference does not go away by itself, and looking takes time."""
        self.steps += 1
        if self.steps % 4 == 1:
            for check in CHECKS:
                check(self)

    def nothing_breaks_the_contract(self) -> None:
        """Every answer and every event so far was what Stripe's types allow."""
        assert self.desk.emulator.violations == []

    def summaries_are_the_usage(self) -> None:
        """The total of a range is that of the events in it: start inclusive, end exclusive."""
        for start, end in ((self.model.now - 40 * DAY, self.model.now + 600), (self.model.now - 3600, self.model.now)):
            self._compare_usage(start, end)

    def _compare_usage(self, start: int, end: int) -> None:
        for customer in self.ids.values():
            for meter in self.meters.values():
                total = self.books.used(meter, customer, start, end)
                assert total == float(self.model.usage(customer, meter, start, end, self.model.now))

    def balances_are_the_sum_of_their_transactions(self) -> None:
        """Newest first, each transaction ends where the sum of all before it ends."""
        for customer in self.ids.values():
            total = 0
            for row in reversed(self.desk.rows(f"/v1/customers/{customer}/balance_transactions")):
                total += row["amount"]
                assert row["ending_balance"] == total
            told = self.desk.must("GET", f"/v1/customers/{customer}")["balance"]
            assert told == total == self.model.balances[customer]

    def credits_are_the_sum_of_their_transactions(self) -> None:
        """What is left of each grant, told by summary and by transactions, but for what a draft has put aside."""
        for grant in self.model.grants.values():
            available, ledger, posted = self.books.credits(grant.customer, grant.id)
            started = grant.effective <= self.model.now
            if self._draft(grant.customer):
                assert 0 <= available <= ledger <= posted <= grant.left
            else:
                assert posted == grant.left
                assert available == ledger == (grant.left if started else 0)

    def nothing_is_billed_twice(self) -> None:
        """There are exactly the invoices that the model knows; what each one bills is held to it when it is final."""
        for customer in self.ids.values():
            rows = self.desk.rows("/v1/invoices", {"customer": customer})
            assert len(rows) == sum(1 for bill in self.model.bills if bill.customer == customer)

    def drafts_show_the_usage_so_far(self) -> None:
        """Usage reported in the grace of a period still reaches its invoice."""
        for bill in self.model.drafts:
            invoice = self._invoice(bill)
            assert invoice["status"] == "draft"
            assert self.books.amounts(invoice) == _totals(self.model.priced(bill, self.model.now))

    def previews_price_the_running_period(self) -> None:
        """A preview is the usage so far and the next fees; nothing of it is billed yet."""
        for one in (one for one in self.model.subscriptions.values() if not one.over):
            metered = [price for price in one.prices if price.meter]
            fees = [] if one.ends < FOREVER else [price for price in one.prices if not price.meter]
            bill = Bill(one.id, one.customer, "upcoming", *one.period, metered, fees, 0)
            preview = self.desk.must("POST", "/v1/invoices/create_preview", {"subscription": one.id})
            lines = _totals(self.model.priced(bill, self.model.now))
            assert preview["subtotal"] == sum(lines.values())
            assert preview["lines"]["has_more"] or self.books.amounts(preview) == lines

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _advance(self, target: int) -> None:
        self.desk.emulator.clock.advance(target - self.desk.emulator.clock.now())
        for bill in self.model.advance(target):
            self._finish(bill)

    def _finish(self, bill: Bill) -> None:
        """Hold a final invoice to the model: lines, credits, total, what is due, balance."""
        bill.lines = self.model.priced(bill, self.model.now)
        invoice = self._invoice(bill)
        assert invoice["billing_reason"] == bill.reason
        assert self.books.amounts(invoice) == _totals(bill.lines)
        uses = self.books.uses(bill.customer, invoice)
        self.model.pay_by_credits(bill, uses)
        self.model.settle(bill)
        shown = sum(one["amount"] for one in invoice["total_pretax_credit_amounts"])
        assert shown == sum(amount for *_, amount in uses)
        assert invoice["subtotal"] - shown == invoice["total"] == bill.total
        assert (invoice["starting_balance"], invoice["amount_due"]) == (bill.balance_before, bill.due)
        paid = "paid" if not bill.due or bill.customer == self.ids["ann"] else "open"
        assert (invoice["status"], invoice["amount_paid"]) == (paid, bill.due if paid == "paid" else 0)

    def _invoice(self, bill: Bill) -> Any:
        """The invoice of a bill: subscriptions have theirs in the same order in both accounts."""
        if id(bill) not in self.invoices:
            mine = [one for one in self.model.bills if one.subscription == bill.subscription]
            rows = self.desk.rows("/v1/invoices", {"subscription": bill.subscription})[::-1]
            assert len(rows) >= len(mine), "an invoice is missing"
            self.invoices[id(bill)] = rows[mine.index(bill)]["id"]
        return self.desk.must("GET", f"/v1/invoices/{self.invoices[id(bill)]}")

    def _expiry(self, who: str, start: int, ends: int | str | None) -> int:
        """When a grant expires: close to the end of a period if that is wanted and still to come."""
        live = self._live(who)
        if live is not None and isinstance(ends, str) and live.period[1] > start:
            return live.period[1] + (GRACE // 2 if ends == "in the grace" else 0)
        return start + ends if isinstance(ends, int) else FOREVER

    def _draft(self, customer: str) -> Bill | None:
        return next((one for one in self.model.drafts if one.customer == customer), None)

    def _cancellable(self) -> list[Subscription]:
        """Live subscriptions; while a draft waits, which of two invoices gets the credits is not documented."""
        rows = self.model.subscriptions.values()
        old = [one for one in rows if not one.over and one.anchor <= self.model.now - GRACE]
        return [one for one in old if not self._draft(one.customer)]

    def _live(self, who: str) -> Subscription | None:
        rows = self.model.subscriptions.values()
        return next((one for one in rows if one.customer == self.ids[who] and not one.over), None)

    def _too_late(self, customer: str, at: int) -> bool:
        """Late usage of a period after whose end a grant ran out: what it may still pay is not documented."""
        draft = self._draft(customer)
        if draft is None or not draft.start <= at < draft.end:
            return False
        mine = [one for one in self.model.grants.values() if one.customer == customer]
        return any(draft.end <= one.expires <= self.model.now for one in mine)

    def _price(self, data: st.DataObject, interval: Interval, meter: str | None) -> None:
        wanted = data.draw(prices(interval, meter))
        made = self.desk.must("POST", "/v1/prices", {**wanted.params(), "product": self.product})
        self.prices.append(Price(**{**vars(wanted), "id": made["id"]}))


def _totals(lines: dict[str, list[int]]) -> dict[str, int]:
    return {price: sum(amounts) for price, amounts in lines.items()}


CHECKS = (
    Months.nothing_breaks_the_contract,
    Months.summaries_are_the_usage,
    Months.balances_are_the_sum_of_their_transactions,
    Months.credits_are_the_sum_of_their_transactions,
    Months.nothing_is_billed_twice,
    Months.drafts_show_the_usage_so_far,
    Months.previews_price_the_running_period,
)
TestMonths = Months.TestCase
TestMonths.settings = effort(examples=40, deep_examples=600, steps=30)
