"""One customer, one period: any quantity of any price, and any set of credit grants.

What a course of months reaches only now and then is tried here directly: usage that ends exactly with a tier, and
grants that differ in one term only.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.emulator.properties.arithmetic import Price
from tests.emulator.properties.books import Books
from tests.emulator.properties.desk import Desk
from tests.emulator.properties.effort import effort
from tests.emulator.properties.model import DAY, FOREVER, GRACE, Bill, Grant, Model
from tests.emulator.properties.strategies import EDGES, prices

BEGIN = 1_896_000_000
QUANTITIES = st.one_of(st.integers(0, 400).map(Decimal), st.decimals(0, 90, places=3))
#: Few values a term, so that grants often differ in one only: value, priority, days, category.
TERMS = st.tuples(
    st.integers(1, 300),
    st.sampled_from([None, 49, 50, 51]),
    st.sampled_from([None, None, 32, 33]),
    st.sampled_from(["paid", "promotional"]),
)


class Shop:
    """An account with one customer, who subscribes to one price and has used a quantity of it."""

    def __init__(self, price: Price, quantity: Decimal) -> None:
        self.desk = Desk(BEGIN, lag=0.0, grace=float(GRACE))
        self.books = Books(self.desk)
        self.customer = self.books.customer("ann", 0, "pm_card_visa")
        meter, product = self.books.meter("sum"), self.desk.must("POST", "/v1/products", {"name": "Calls"})["id"]
        params = {**Price(**{**vars(price), "meter": meter}).params(), "product": product}
        self.price = Price(**{**vars(price), "id": self.desk.must("POST", "/v1/prices", params)["id"], "meter": meter})
        items = {"customer": self.customer, "items": [{"price": self.price.id}]}
        self.subscription = self.desk.must("POST", "/v1/subscriptions", items)["id"]
        payload = {"stripe_customer_id": self.customer, "value": f"{quantity:f}"}
        self.desk.must("POST", "/v1/billing/meter_events", {"event_name": "sum", "payload": payload})


@effort(examples=150, deep_examples=2_000)
@given(price=prices("month", "to be made"), data=st.data())
def test_any_quantity_of_any_price_costs_what_the_tariff_says(price: Price, data: st.DataObject) -> None:
    """Tiers, packages, decimals and rounding decide what people pay; a cent off is a wrong bill."""
    ends = [tier.up_to for tier in price.tiers if tier.up_to] or list(EDGES)
    near = [Decimal(end) + step for end in ends for step in (Decimal(0), Decimal("0.001"), Decimal(1))]
    quantity = data.draw(st.one_of(st.sampled_from(near), QUANTITIES))
    shop = Shop(price, quantity)
    preview = shop.desk.must("POST", "/v1/invoices/create_preview", {"subscription": shop.subscription})
    assert shop.books.amounts(preview) == {shop.price.id: sum(price.lines(Fraction(quantity)))}
    assert shop.desk.emulator.violations == []


@effort(examples=120, deep_examples=2_000)
@given(terms=st.lists(TERMS, min_size=2, max_size=5), cents=st.integers(1, 900))
def test_any_set_of_grants_pays_in_the_documented_order(
    terms: list[tuple[int, int | None, int | None, str]], cents: int
) -> None:
    """Priority, then earlier expiry, then promotional: the wrong grant used first is money that expires unused."""
    shop = Shop(Price("", "month", "to be made", "1"), Decimal(cents))
    model = Model(BEGIN, 0.0, {})
    for value, priority, days, category in terms:
        expires = FOREVER if days is None else BEGIN + days * DAY
        params: dict[str, Any] = {
            "customer": shop.customer,
            "amount": {"type": "monetary", "monetary": {"currency": "usd", "value": value}},
            "applicability_config": {"scope": {"price_type": "metered"}},
            "category": category,
        }
        params |= {} if priority is None else {"priority": priority}
        params |= {} if days is None else {"expires_at": expires}
        id = shop.desk.must("POST", "/v1/billing/credit_grants", params)["id"]
        order = (50 if priority is None else priority, expires, 0 if category == "promotional" else 1, BEGIN, BEGIN)
        model.grants[id] = Grant(id, shop.customer, value, order, BEGIN, expires, None, value)
    shop.desk.emulator.clock.advance(31 * DAY + GRACE)
    invoice = shop.desk.rows("/v1/invoices", {"customer": shop.customer})[0]
    bill = Bill(shop.subscription, shop.customer, "", BEGIN, invoice["period_end"], [shop.price], [], 0)
    bill.lines = {shop.price.id: [cents]}
    model.pay_by_credits(bill, shop.books.uses(shop.customer, invoice))
    assert invoice["total"] == bill.total == max(0, cents - sum(value for value, *_ in terms))
