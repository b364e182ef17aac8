"""A month at a seller's: every event of the table happens, and what the books must say in the end."""

from __future__ import annotations

from typing import Any

import httpx
import stripe as sdk

from stripe_meter.domain.account import METADATA_DISPUTE
from stripe_meter.domain.identity import METADATA_WALLET
from stripe_meter.emulator import EmulatorServer

DAY = 86_400
MARKS = {"stripe_meter": "mcp"}
UNITS = 100

#: What each buyer has in the end: credits, and whether they are stopped.
EXPECTED: dict[str, tuple[int, bool]] = {
    "plain": (100, False),
    "refunded in part": (63, False),
    "refunded in two parts": (0, False),
    "refund fails": (100, False),
    "dispute runs": (0, True),
    "dispute won": (100, False),
    "dispute lost": (0, True),
    "bank": (100, False),
    "bank fails": (0, False),
    "card on file": (100, False),
}


class Story:
    """What happened at Stripe; nobody at the seller's has heard of any of it."""

    def __init__(self, stripe: EmulatorServer, client: sdk.StripeClient) -> None:
        self.stripe, self.client, self.v1 = stripe, client, client.v1
        self.buyers: dict[str, str] = {}
        self.twice = ""
        pack: Any = {"currency": "usd", "unit_amount": 900, "product_data": {"name": "pack"}}
        self.pack = self.v1.prices.create(pack).id

    def tell(self) -> None:
        """Let everything happen."""
        self.subscriptions()
        self.usage()
        self.packs()
        self.disputes()
        self.second_subscription()

    # Packs.

    def packs(self) -> None:
        """Packs bought in every way, and refunds."""
        self.buy("plain")
        part = self.buy("refunded in part")
        self.v1.refunds.create({"payment_intent": part, "amount": 333})
        twice = self.buy("refunded in two parts")
        self.v1.refunds.create({"payment_intent": twice, "amount": 450})
        self.v1.refunds.create({"payment_intent": twice, "amount": 450})
        self.v1.refunds.create({"payment_intent": self.buy("refund fails", "4000000000005126")})
        for name, number in (("bank", "000123456789"), ("bank fails", "000222222227")):
            self.buy(name, bank=number)
        self.stripe.advance(5 * DAY)
        self.saved_card("card on file")

    def buy(self, name: str, card: str = "4242424242424242", *, bank: str | None = None) -> str:
        """Buy a pack through Checkout and close the page; the payment, if it is there at once."""
        customer = self.buyers[name] = self.v1.customers.create({"name": name}).id
        params: Any = {
            "mode": "payment",
            "customer": customer,
            "line_items": [{"price": self.pack, "quantity": 1}],
            "payment_intent_data": {"metadata": {**MARKS, "stripe_meter_units": str(UNITS)}},
            "success_url": "http://127.0.0.1:9/success",
            "metadata": MARKS,
        }
        session = self.v1.checkout.sessions.create(params)
        assert session.url is not None
        if bank is not None:
            assert httpx.post(session.url, data={"bank": bank}).status_code == 303
            return ""
        self.stripe.complete_checkout(session.url, card=card)
        return str(self.v1.checkout.sessions.retrieve(session.id).payment_intent)

    def saved_card(self, name: str) -> None:
        """A pack charged to a saved card, without any Checkout."""
        customer = self.buyers[name] = self.v1.customers.create({"name": name}).id
        card = self.v1.payment_methods.attach("pm_card_visa", {"customer": customer})
        params: Any = {
            "amount": 900,
            "currency": "usd",
            "customer": customer,
            "payment_method": card.id,
            "off_session": True,
            "confirm": True,
            "metadata": {**MARKS, "stripe_meter_units": str(UNITS)},
        }
        self.v1.payment_intents.create(params)

    def disputes(self) -> None:
        """Three card holders complain; one is right, one is not, of one nobody knows yet."""
        for name in ("dispute runs", "dispute won", "dispute lost"):
            payment = self.buy(name, "4000000000000259")
            self.stripe.advance(1)
            (dispute,) = self.v1.disputes.list({"payment_intent": payment}).data
            if name == "dispute won":
                self.v1.disputes.update(dispute.id, {"evidence": {"product_description": "words"}, "submit": False})
                self.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
            elif name == "dispute lost":
                self.v1.disputes.close(dispute.id)

    # Subscriptions.

    def price(self, **terms: Any) -> str:
        """A monthly fee."""
        params: Any = {
            "currency": "usd",
            "unit_amount": 2000,
            "tax_behavior": "exclusive",
            "recurring": {"interval": "month"},
            "product_data": {"name": "fee"},
        }
        params.update(terms)
        return self.v1.prices.create(params).id

    def subscribe(self, customer: str, price: str, **more: Any) -> Any:
        """A subscription of ours."""
        params: Any = {"customer": customer, "items": [{"price": price}], "metadata": MARKS, **more}
        return self.v1.subscriptions.create(params)

    def payer(self, card: str = "pm_card_visa") -> str:
        """A customer with a card."""
        customer = self.v1.customers.create({"address": {"country": "US"}}).id
        method = self.v1.payment_methods.attach(card, {"customer": customer})
        self.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method.id}})
        return customer

    def subscriptions(self) -> None:
        """Renewed, failed, paused and resumed, without an address for tax, entitled, voided, cancelled, deleted."""
        fee = self.price()
        product = str(self.v1.prices.retrieve(fee).product)
        feature = self.v1.entitlements.features.create({"name": "premium", "lookup_key": "premium"})
        self.v1.products.features.create(product, {"entitlement_feature": feature.id})
        renewed, leaving = self.payer(), self.payer()
        self.subscribe(renewed, fee)
        self.v1.subscriptions.cancel(self.subscribe(leaving, fee).id)
        self.v1.customers.delete(leaving)
        self.subscribe(self.payer("pm_card_chargeCustomerFail"), fee, payment_behavior="allow_incomplete")
        nowhere = self.payer()
        self.subscribe(nowhere, fee, automatic_tax={"enabled": True})
        self.v1.customers.update(nowhere, {"address": ""})
        end: Any = {"end_behavior": {"missing_payment_method": "pause"}}
        idle = self.v1.customers.create({}).id
        paused = self.subscribe(idle, fee, trial_period_days=1, trial_settings=end)
        self.stripe.advance(3 * DAY)
        card = self.v1.payment_methods.attach("pm_card_visa", {"customer": idle})
        self.v1.subscriptions.update(paused.id, {"default_payment_method": card.id})
        self.v1.subscriptions.resume(paused.id)
        self.stripe.advance(30 * DAY)
        open_ = self.v1.invoices.list({"status": "open", "limit": 1}).data
        self.v1.invoices.void_invoice(open_[0].id)

    def second_subscription(self) -> None:
        """Bought in two tabs."""
        self.twice = self.payer()
        fee = self.price()
        self.subscribe(self.twice, fee)
        self.stripe.advance(2)
        self.subscribe(self.twice, fee)

    # Usage that is not counted.

    def usage(self) -> None:
        """One event of a customer who does not exist, one of a name that no meter listens to."""
        params: Any = {
            "display_name": "calls",
            "event_name": "calls",
            "default_aggregation": {"formula": "sum"},
            "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
            "value_settings": {"event_payload_key": "value"},
        }
        self.v1.billing.meters.create(params)
        for name in ("calls", "nothing"):
            self.v1.billing.meter_events.create(
                {"event_name": name, "payload": {"stripe_customer_id": "cus_none", "value": "1"}}
            )
        self.stripe.settle()
        self.stripe.advance(2)

    # The books.

    def books(self) -> dict[str, tuple[int, bool]]:
        """Credits of each buyer by the sum of their ledger, and whether they are stopped."""
        return {name: books_of(self.stripe, customer) for name, customer in self.buyers.items()}

    def live(self) -> list[str]:
        """Subscriptions of the customer who bought twice that still run."""
        rows = self.v1.subscriptions.list({"customer": self.twice}).data
        return [row.status for row in rows]


def books_of(stripe: EmulatorServer, customer: str) -> tuple[int, bool]:
    """Credits by the sum of the ledger, which must be the balance; and whether the customer is stopped."""
    store = stripe.emulator.account.store
    metadata = store.get("customer", customer)["metadata"]
    wallet = metadata.get(METADATA_WALLET)
    rows = [row for row in store.all("customer_balance_transaction") if row["customer"] == wallet]
    assert len({(row["metadata"]["sm"], *row["metadata"].values()) for row in rows}) == len(rows)
    total = -sum(row["amount"] for row in rows)
    assert wallet is None or total == -store.get("customer", wallet)["balance"]
    return total, any(name.startswith(METADATA_DISPUTE) for name in metadata)


def ledger(stripe: EmulatorServer) -> list[tuple[str, int, str]]:
    """Every transaction of every wallet, without its time: whose, how much, and what it says."""
    store = stripe.emulator.account.store
    owners = {row["metadata"].get(METADATA_WALLET): row["id"] for row in store.all("customer")}
    rows = store.all("customer_balance_transaction")
    return sorted((owners[row["customer"]], row["amount"], row["description"]) for row in rows)
