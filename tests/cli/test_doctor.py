"""`stripe-meter doctor`: each thing that would cost money or trust is planted once, found once, and mended."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest
import stripe as sdk

from tests.cli.conftest import BOTH, EVERY_PLAN, Shop
from tests.cli.support import run, sentence

KEY = "sk_test_emulator"


def checks(found: list[dict[str, str]]) -> list[str]:
    return [finding["check"] for finding in found]


def test_a_healthy_account_has_no_finding(shop: Shop) -> None:
    """0: a doctor who always finds something is not asked again. What nobody can know is said."""
    shop.write({"summarize": BOTH}, EVERY_PLAN)
    shop.apply()
    shop.subscriber("mcp.summarize", plan="pay-as-you-go")
    shop.subscriber("mcp:plan:pro", "mcp:plan:pro:calls", plan="pro")
    done = run("doctor", str(shop.file), env={"STRIPE_METER_EMULATOR": shop.stripe.url})
    assert done.returncode == 0, done.stdout
    assert "nothing found" in done.stdout
    assert "Stripe does not say how many are left this month" in done.stdout
    assert "billing.stats()" in done.stdout


def test_each_finding_says_what_it_costs_and_what_mends_it(shop: Shop) -> None:
    """3, and every line a person needs; nothing is changed by looking."""
    before = shop.dump()
    done = run("doctor", str(shop.file), env={"STRIPE_METER_EMULATOR": shop.stripe.url})
    assert done.returncode == 3
    assert "no meter listens to the event name mcp.summarize" in done.stdout
    assert f"mend   stripe-meter apply {shop.file}" in done.stdout
    assert "costs  with a live key" in done.stdout
    assert shop.dump() == before


def test_without_a_target_only_the_account_is_looked_at(shop: Shop) -> None:
    """The account of the environment, whatever the code says; and it says so."""
    done = run("doctor", "--json", env={"STRIPE_METER_EMULATOR": shop.stripe.url})
    assert done.returncode == 0
    assert any("without a target" in note for note in json.loads(done.stdout)["accounts"][0]["notes"])
    assert "STRIPE_SECRET_KEY" in sentence(run("doctor"))


def _wallet(shop: Shop) -> str:
    return str(shop.v1.customers.create({"metadata": {"stripe_meter_wallet_for": "cus_demo_99"}}).id)


def _invoice_on_wallet(shop: Shop) -> None:
    """A subscription that has ended, and left an invoice."""
    subscription = shop.subscriber("mcp:plan:pro")
    shop.v1.subscriptions.cancel(subscription.id)
    shop.v1.customers.update(subscription.customer, {"metadata": {"stripe_meter_wallet_for": "cus_demo_99"}})


def _subscription_on_wallet(shop: Shop) -> None:
    subscription = shop.subscriber("mcp.summarize", plan="pay-as-you-go")
    shop.v1.customers.update(subscription.customer, {"metadata": {"stripe_meter_wallet_for": "cus_demo_99"}})


def _foreign_transaction(shop: Shop) -> None:
    """What the Dashboard's "adjust balance" cannot do, an invoice can: a transaction that is no adjustment."""
    subscription = shop.subscriber("mcp:plan:pro")
    shop.v1.subscriptions.cancel(subscription.id)
    customer = subscription.customer
    shop.v1.customers.balance_transactions.create(customer, {"amount": -100, "currency": "usd"})
    again = shop.v1.subscriptions.create({"customer": customer, "items": [{"price": shop.price("mcp:plan:pro").id}]})
    shop.v1.subscriptions.cancel(again.id)
    shop.v1.customers.update(customer, {"metadata": {"stripe_meter_wallet_for": "cus_demo_99"}})


def _euros(shop: Shop) -> None:
    shop.v1.customers.balance_transactions.create(_wallet(shop), {"amount": -100, "currency": "eur"})


def _twice(shop: Shop) -> None:
    first = shop.subscriber("mcp.summarize", plan="pay-as-you-go")
    items = [{"price": shop.price("mcp.summarize").id}]
    marks = {"stripe_meter": "mcp", "stripe_meter_plan": "pay-as-you-go"}
    shop.v1.subscriptions.create({"customer": first.customer, "items": items, "metadata": marks})


def _lacking(shop: Shop) -> None:
    shop.subscriber("mcp.summarize", plan="pay-as-you-go")
    shop.write({"summarize": BOTH, "translate": "$0.10"}, EVERY_PLAN)
    shop.apply()


def _old_price(shop: Shop) -> None:
    shop.subscriber("mcp.summarize", plan="pay-as-you-go")
    shop.write({"summarize": ("$0.07", "1 credit")}, EVERY_PLAN)
    shop.apply()


def _cannot_move(shop: Shop) -> None:
    shop.write({"summarize": ("$0.05", "€0.05", "1 credit")}, EVERY_PLAN)
    shop.apply()
    shop.subscriber("mcp.summarize", plan="pay-as-you-go", currency="eur")
    shop.write({"summarize": BOTH}, EVERY_PLAN)
    shop.apply()


def _wrong_formula(shop: Shop) -> None:
    shop.v1.billing.meters.deactivate(shop.meter("mcp.summarize").id)
    formula = {"formula": "count"}
    name = "mcp.summarize"
    shop.v1.billing.meters.create({"display_name": name, "event_name": name, "default_aggregation": formula})


def _new_tool(shop: Shop) -> None:
    shop.write({"summarize": BOTH, "translate": "$0.10"}, EVERY_PLAN)


def _lost_plan(shop: Shop) -> None:
    shop.subscriber("mcp:plan:pro", "mcp:plan:pro:calls", plan="pro")
    shop.write({"summarize": "$0.05"})


def _cancel_at_once(shop: Shop) -> None:
    default = shop.v1.billing_portal.configurations.list({"is_default": True}).data[0].id
    cancel = {"enabled": True, "mode": "immediately"}
    shop.v1.billing_portal.configurations.update(default, {"features": {"subscription_cancel": cancel}})


def _small_bill(shop: Shop) -> None:
    one = shop.subscriber("mcp.summarize", plan="pay-as-you-go")
    payload = {"stripe_customer_id": one.customer, "value": "3"}
    shop.v1.billing.meter_events.create({"event_name": "mcp.summarize", "payload": payload})
    shop.stripe.advance(33 * 86400)


def _small_price(shop: Shop) -> None:
    shop.write({"summarize": BOTH}, EVERY_PLAN.replace("$49.99", "$0.30"))
    shop.apply()


def _archived(shop: Shop) -> None:
    shop.v1.billing.meters.deactivate(shop.meter("mcp.summarize").id)


def _edited(shop: Shop) -> None:
    """A Dashboard's "duplicate price" that took the name over."""
    old = shop.price("mcp.summarize")
    recurring = {"interval": "month", "usage_type": "metered", "meter": old.recurring.meter}
    marks = {"stripe_meter": "mcp"}
    terms = {"currency": "usd", "unit_amount": 500, "product": old.product, "recurring": recurring, "metadata": marks}
    shop.v1.prices.create({**terms, "lookup_key": "mcp.summarize", "transfer_lookup_key": True})


def _by_hand(shop: Shop) -> None:
    """The same by somebody who copied no metadata: nobody's price but theirs."""
    _edited(shop)
    shop.v1.prices.update(shop.price("mcp.summarize").id, {"metadata": {"stripe_meter": ""}})


def _finer_credits(shop: Shop) -> None:
    _wallet(shop)
    shop.write({"summarize": BOTH, "glance": "0.5 credits"}, EVERY_PLAN)


def _permission(shop: Shop) -> None:
    shop.stripe.emulator.restrict(KEY, ["rak_billing_meter_write", "rak_webhook_read"])


#: What is planted, who finds it, what the problem says, what the command says.
PLANTED: dict[str, tuple[Callable[[Shop], Any], str, str, str]] = {
    "new tool": (_new_tool, "missing_objects", "price mcp.translate", "stripe-meter apply"),
    "unheard event": (_new_tool, "unheard_events", "mcp.translate", "stripe-meter apply"),
    "archived meter": (_archived, "archived_meters", "mcp.summarize", "stripe-meter apply"),
    "aggregation": (_wrong_formula, "wrong_aggregation", "aggregation is count, not sum", "/deactivate"),
    "price edited": (_edited, "prices_that_differ", "Stripe has $5.00", "stripe-meter apply"),
    "price by hand": (_by_hand, "prices_that_differ", "made by somebody else", '-d "metadata[stripe_meter]=mcp"'),
    "finer credits": (_finer_credits, "prices_that_differ", "would change their worth", "in your code, choose prices"),
    "lacking item": (_lacking, "lacking_items", "cus_demo_1 lacks mcp.translate", "--subscriptions"),
    "old price": (_old_price, "lacking_items", "cus_demo_1 pays mcp.summarize as an older price", "--subscriptions"),
    "cannot move": (_cannot_move, "lacking_items", "cannot be moved to the price in force of", "at_period_end"),
    "lost plan": (
        _lost_plan,
        "lost_plans",
        "plan pro: it is not offered any more: its included calls are served, nothing beyond them; 1 customer is on it",
        "put it back into the code, or end each subscription with its period: stripe post /v1/subscriptions/sub_demo_1",
    ),
    "two subscriptions": (_twice, "two_subscriptions", "cus_demo_1 has 2 live", "/v1/subscriptions/sub_demo_2"),
    "wallet invoiced": (_invoice_on_wallet, "wallets_with_invoices", "in_demo_1", "void"),
    "wallet subscribed": (_subscription_on_wallet, "wallets_with_subscriptions", "sub_demo_1", "stripe delete"),
    "wallet used": (_foreign_transaction, "foreign_transactions", "applied_to_invoice", "make-good"),
    "wallet in euros": (_euros, "foreign_transactions", "EUR and not USD", "make-good"),
    "cancel at once": (_cancel_at_once, "cancelling", "lets customers cancel at once", "at_period_end"),
    "small bill": (_small_bill, "small_bills", "cus_demo_1 $0.15", "raise the price"),
    "small price": (_small_price, "small_prices", "mcp:plan:pro costs $0.30", "$0.50"),
    "permission": (_permission, "permissions", "write Meters", "restricted key"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_found(shop: Shop, what: str) -> None:
    """A check that finds nothing is worse than none."""
    plant, check, problem, command = PLANTED[what]
    shop.write({"summarize": BOTH}, EVERY_PLAN)
    shop.apply()
    assert shop.doctor() == []
    plant(shop)
    found = [finding for finding in shop.doctor() if finding["check"] == check]
    assert problem in " ".join(finding["problem"] for finding in found)
    assert command in " ".join(finding["command"] for finding in found)


@pytest.mark.parametrize("what", ["archived meter", "price edited", "lacking item", "old price", "new tool"])
def test_the_command_that_is_named_mends_it(shop: Shop, what: str) -> None:
    """Advice that does not help costs trust as well."""
    shop.write({"summarize": BOTH}, EVERY_PLAN)
    shop.apply()
    PLANTED[what][0](shop)
    (command,) = {finding["command"] for finding in shop.doctor()}
    program, *arguments = shlex.split(command)
    assert program == "stripe-meter"
    assert shop.run(*arguments, "--yes").exit_code == 0
    assert shop.doctor() == []


def test_a_permission_that_is_missing_is_named_and_the_rest_examined(shop: Shop) -> None:
    """One permission too few must not hide everything else."""
    shop.write({"summarize": BOTH}, EVERY_PLAN)
    shop.apply()
    _twice(shop)
    lacking = ["rak_webhook_read", "rak_customer_read", "rak_checkout_session_write", "rak_dispute_read"]
    shop.stripe.emulator.restrict(KEY, lacking)
    found = {finding["check"]: finding["problem"] for finding in shop.doctor()}
    assert set(found) == {"permissions", "two_subscriptions"}
    assert "read Disputes" in found["permissions"]
    assert "write Checkout Sessions" in found["permissions"]


def test_webhooks_are_looked_for_where_the_server_is(shop: Shop) -> None:
    """None; then one that is off and speaks another version; one that hears too little; then what the command makes."""
    shop.apply()
    there = {"STRIPE_METER_PUBLIC_URL": "http://127.0.0.1:9"}
    none = shop.doctor(str(shop.file), **there)
    assert [finding["problem"].split(" leads to ")[0] for finding in none] == [
        "no webhook endpoint",
        "no destination for reports about meter events",
    ]
    endpoints = shop.v1.webhook_endpoints
    url = {"url": "http://127.0.0.1:9/billing/webhook", "enabled_events": ["*"]}
    old = endpoints.create({**url, "api_version": "2024-06-20"}).id
    endpoints.update(old, {"disabled": True})
    problems = [finding["problem"] for finding in shop.doctor(str(shop.file), **there) if old in finding["problem"]]
    assert [problem.split(old)[1].split()[0] for problem in problems] == ["is", "speaks"]
    assert "2024-06-20" in problems[1]
    endpoints.delete(old)
    endpoints.create({**url, "enabled_events": ["invoice.paid"], "api_version": sdk.api_version})
    lacking, _ = shop.doctor(str(shop.file), **there)
    assert "does not hear checkout.session.completed" in lacking["problem"]
    program, *arguments = shlex.split(lacking["command"])
    assert (program, shop.run(*arguments).exit_code) == ("stripe-meter", 0)
    assert shop.doctor(str(shop.file), **there) == []
    assert shop.doctor() == []


def test_usage_that_was_not_counted_is_found(shop: Shop) -> None:
    """The calls were served; whoever does not look learns of it from an invoice that is too small."""
    shop.apply()
    payload = {"stripe_customer_id": "cus_none", "value": "1"}
    for name in ("mcp.summarize", "mcp.summarize", "nothing"):
        shop.v1.billing.meter_events.create({"event_name": name, "payload": payload})
    shop.stripe.settle()
    shop.stripe.advance(2)
    found = {f["problem"].split(": ")[1].split()[0]: f for f in shop.doctor() if f["check"] == "meter_errors"}
    assert set(found) == {"meter_event_customer_not_found", "no_meter"}
    assert "did not count 2 meter events" in found["meter_event_customer_not_found"]["problem"]
    shop.stripe.advance(8 * 86400)
    assert "meter_errors" not in [finding["check"] for finding in shop.doctor()]


def test_a_clock_that_is_off_is_found(shop: Shop) -> None:
    """Usage stamped by it would be rejected when nobody looks any more."""
    shop.apply()
    shop.stripe.advance(90)
    (found,) = shop.doctor()
    assert found["check"] == "clock"
    assert "behind Stripe's" in found["problem"]
