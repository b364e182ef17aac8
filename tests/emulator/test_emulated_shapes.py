"""Every object the emulator makes has the complete field set of the API version, and no field of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import httpx
import pytest

from stripe_meter.emulator.openapi import load

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop

SPEC = os.environ.get("STRIPE_OPENAPI_SPEC")


@pytest.mark.skipif(SPEC is None, reason="STRIPE_OPENAPI_SPEC does not name an OpenAPI file")
def test_every_stored_object_is_a_complete_stripe_object(shop: Shop, http: httpx.Client) -> None:
    """Objects carry exactly the fields that the API version's schema lists (OpenAPI description of Stripe)."""
    _fill(shop)
    openapi = load(str(SPEC))
    assert openapi is not None
    problems, seen = [], set()
    for path in _paths(shop, http):
        answer = http.get(path).json()
        rows = answer["data"] if answer["object"] == "list" else [answer]
        for row in rows + [row["data"]["object"] for row in rows if row["object"] == "event"]:
            kind = f"deleted_{row['object']}" if row.get("deleted") else row["object"]
            seen.add(kind)
            problem = openapi.object(kind, row)
            problems += [f"{kind}{problem}"] if problem else []
    assert not problems, "\n".join(problems)
    assert len(seen) == 26  # every kind of object that can be listed or retrieved


def _paths(shop: Shop, http: httpx.Client) -> list[str]:
    lists = (
        "customers products prices billing/meters subscriptions invoices checkout/sessions events webhook_endpoints "
        "charges credit_notes disputes invoiceitems invoice_payments payment_links refunds subscription_schedules"
    )
    subscription = shop.v1.subscriptions.list().data[0].id
    sessions = http.get("/v1/checkout/sessions?limit=100").json()["data"]
    deleted = [f"/v1/{name}?limit=100" for name in lists.split()]
    found = [f"/v1/payment_intents/{row['payment_intent']}" for row in sessions if row["payment_intent"]]
    found += [f"/v1/setup_intents/{row['setup_intent']}" for row in sessions if row["setup_intent"]]
    found += [f"/v1/checkout/sessions/{row['id']}/line_items" for row in sessions]
    found += [f"/v1/invoices/{row['id']}/lines" for row in http.get("/v1/invoices?limit=100").json()["data"]]
    below = f"/v1/customers/{shop.customer}"
    minute = shop.now - shop.now % 60
    window = f"customer={shop.customer}&start_time={minute - 60 * 86400}&end_time={minute}"
    return [
        "/v1/account",
        *deleted,
        *found,
        f"/v1/subscription_items?subscription={subscription}",
        f"{below}/payment_methods",
        f"{below}/balance_transactions",
        f"{below}?expand[]=subscriptions&expand[]=invoice_settings.default_payment_method",
        f"/v1/prices/{shop.price}?expand[]=tiers&expand[]=currency_options&expand[]=product",
        f"/v1/billing/meters/{shop.meter}/event_summaries?{window}",
        f"/v1/customers/{shop.v1.customers.create({}).id}",
    ]


def _fill(shop: Shop) -> None:
    """One of everything."""
    v1, good = shop.v1, {"success_url": "https://example.com/ok"}
    shop.subscribe(shop.metered(unit_amount=100), shop.fee(2000))
    shop.use("3")
    v1.customers.balance_transactions.create(shop.customer, {"amount": -100, "currency": "usd"})
    pack = v1.prices.create({"currency": "usd", "unit_amount": 500, "product_data": {"name": "Pack"}})
    line = [{"price": pack.id, "quantity": 1}]
    invoiced = {"mode": "payment", "customer_creation": "always", "invoice_creation": {"enabled": True}}
    for params in (
        {"mode": "subscription", "line_items": [{"price": shop.price}]},
        {**invoiced, "line_items": line},
        {"mode": "payment", "line_items": line},
        {"mode": "setup", "currency": "usd", "customer": shop.customer},
    ):
        session = v1.checkout.sessions.create({**good, **params})
        shop.server.complete_checkout(session.url, email="bob@example.com")
    v1.checkout.sessions.create({**good, "mode": "payment", "line_items": line})
    disputed = v1.payment_intents.create(
        {"amount": 900, "currency": "usd", "payment_method": "pm_card_createDispute", "confirm": True}
    )
    assert disputed.latest_charge
    invoice = shop.newest_invoice()
    v1.credit_notes.create({"invoice": invoice.id, "amount": 500, "refund_amount": 500})
    v1.invoice_items.create({"customer": shop.customer, "amount": 100, "currency": "usd"})
    v1.subscription_schedules.create({"from_subscription": v1.subscriptions.list().data[0].id})
    v1.payment_links.create({"line_items": line})
    v1.webhook_endpoints.create({"url": "http://127.0.0.1:1/hook", "enabled_events": ["price.created"]})
    shop.server.advance(32 * 86_400)
