"""`stripe-meter plan`: every way in which code and account can differ shows, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import BOTH, EVERY_PLAN, Shop
from tests.cli.support import run, sentence


def test_a_fresh_account_is_planned_applied_and_then_equal(shop: Shop) -> None:
    """3, 0, 0: a pipeline can tell from the status alone; for every way to sell at once."""
    target = shop.write({"summarize": BOTH}, EVERY_PLAN)
    env = {"STRIPE_METER_EMULATOR": shop.stripe.url}
    first = run("plan", target, env=env)
    assert first.returncode == 3, first.stderr
    assert "+ create     price    mcp:plan:pro  $49.99 a month" in first.stdout
    assert "13 to create" in first.stdout
    assert f"stripe-meter apply {target}" in first.stdout
    assert [record.method for record in shop.stripe.emulator.requests if record.method != "GET"] == []
    assert run("apply", target, "--yes", env=env).returncode == 0
    again = run("plan", target, env=env)
    assert again.returncode == 0, again.stdout
    assert "Nothing to do" in again.stdout


@pytest.mark.anyio
async def test_what_a_server_creates_by_itself_is_what_plan_wants(shop: Shop, make_engine: Callable[..., Any]) -> None:
    """A sandbox that only ever saw servers start needs no apply."""
    from anyio.to_thread import run_sync

    from stripe_meter.domain.plans import CreditPack, Credits, Free, PayAsYouGo, Subscription
    from tests.conftest import a_tool

    shop.write({"summarize": BOTH}, EVERY_PLAN)
    pro = Subscription("pro", "$49.99/month", included=5000, overage="$0.25", features=["deep"])
    packs = Credits([CreditPack(100, "$9.99", "Starter")])
    plans = (PayAsYouGo(volume_discounts=[(100, 10)]), pro, packs, Free(calls=10))
    engine = make_engine(*plans, emulator=shop.stripe.url)
    await engine.prepare([a_tool(price=BOTH)])
    assert await run_sync(shop.plan) == []


def test_no_key_is_needed_to_import_but_one_to_ask(shop: Shop) -> None:
    """The sentence is about the key and comes after the code was read."""
    assert "STRIPE_SECRET_KEY" in sentence(run("plan", str(shop.file)))
    shop.file.write_text("x = 1\n")
    assert "defines no MCP server" in sentence(run("plan", str(shop.file)))


def _feature_gone(shop: Shop) -> None:
    product = next(
        row.id for row in shop.v1.products.list({"limit": 100}).data if row.id.startswith("stripe_meter_mcp_plan_pro_7")
    )
    attached = shop.v1.products.features.list(product).data[0]
    shop.v1.products.features.delete(product, attached.id)


def _product(shop: Shop, **fields: Any) -> None:
    shop.v1.products.update(shop.price("mcp.summarize").product, fields)


def _feature(shop: Shop, **fields: Any) -> None:
    features = shop.v1.entitlements.features
    features.update(features.list().data[0].id, fields)


EDITS: dict[str, tuple[Callable[[Shop], Any], str]] = {
    "price switched off": (lambda s: s.v1.prices.update(s.price("mcp.summarize").id, {"active": False}), "active"),
    "price renamed": (lambda s: s.v1.prices.update(s.price("mcp.summarize").id, {"nickname": "x"}), "nickname"),
    "pack changed": (
        lambda s: s.v1.prices.update(s.price("mcp:pack:starter").id, {"metadata": {"credits": "1000"}}), "credits",
    ),
    "product renamed": (lambda s: _product(s, name="Sums"), "name"),
    "unit label": (lambda s: _product(s, unit_label="page"), "unit label"),
    "product archived": (lambda s: _product(s, active=False), "active"),
    "meter renamed": (lambda s: s.v1.billing.meters.update(s.meter("mcp.summarize").id, {"display_name": "x"}), "name"),
    "meter switched off": (lambda s: s.v1.billing.meters.deactivate(s.meter("mcp.summarize").id), "active"),
    "feature renamed": (lambda s: _feature(s, name="x"), "name"),
    "feature archived": (lambda s: _feature(s, active=False), "active"),
    "feature taken off": (_feature_gone, "features"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_in_the_dashboard_shows_and_can_be_undone(shop: Shop, edit: str) -> None:
    """Whoever edits there by mistake sees which field, and apply brings the code's terms back."""
    shop.write({"summarize": BOTH}, EVERY_PLAN)
    shop.apply()
    change, field = EDITS[edit]
    change(shop)
    (shown,) = shop.plan()
    assert shown["kind"] == "change"
    assert [one["field"] for one in shown["differences"]] == [field]
    shop.apply()
    assert shop.plan() == []


TERMS: dict[str, tuple[dict[str, Any], str]] = {
    "amount": ({"price": "$0.06"}, "amount in USD"),
    "currency added": ({"price": ("$0.05", "€0.05")}, "amount in EUR"),
    "currency changed": ({"price": "€0.05"}, "currency"),
    "tiers": ({"plans": "[PayAsYouGo(volume_discounts=[(100, 10)])]"}, "amount in USD"),
}


@pytest.mark.parametrize("terms", TERMS)
def test_a_changed_price_is_a_new_one_under_the_same_name(shop: Shop, terms: str) -> None:
    """Stripe's prices never change, so the new one takes the name over and the old one is not sold any more."""
    shop.apply()
    old = shop.price("mcp.summarize").id
    change, field = TERMS[terms]
    shop.write({"summarize": change.get("price", "$0.05")}, str(change.get("plans", "[PayAsYouGo()]")))
    (shown,) = shop.plan()
    assert (shown["kind"], shown["replaces"]) == ("change", True)
    assert field in [one["field"] for one in shown["differences"]]
    shop.apply()
    assert shop.plan() == []
    assert shop.price("mcp.summarize").id != old
    assert shop.v1.prices.retrieve(old).active is False


def test_included_calls_and_interval_are_terms_too(shop: Shop) -> None:
    """What a plan holds is money, even where no amount changes."""
    plan = '[Subscription("pro", "{}", included={}, overage="$0.25")]'
    shop.write(plans=plan.format("$10/month", 100))
    shop.apply()
    shop.write(plans=plan.format("$10/month", 200))
    (shown,) = shop.plan()
    assert shown["differences"] == [
        {"field": "amount in USD", "stripe": "nothing up to 100, then $0.25", "code": "nothing up to 200, then $0.25"}
    ]
    shop.write(plans=plan.format("$10/year", 100))
    assert {one["field"] for change in shop.plan() for one in change["differences"]} == {"interval"}
    shop.apply()
    assert shop.price("mcp:plan:pro").recurring.interval == "year"


def test_a_tool_that_was_renamed_is_asked_about(shop: Shop) -> None:
    """To Stripe it would be another tool: the line to paste keeps history and subscribers together."""
    shop.apply()
    shop.write({"summarise": "$0.05"})
    renamed = shop.plan()[0]
    assert (renamed["kind"], renamed["name"], renamed["terms"]) == ("renamed", "mcp.summarize", "mcp.summarise")
    assert 'name="summarize"' in renamed["note"]
    code = shop.file.read_text().replace("'$0.05')", "'$0.05', name='summarize')")
    shop.file.write_text(code)
    # The product's name is the tool's, which is the old one again.
    assert shop.plan() == []


def test_what_the_code_no_longer_sells_is_archived(shop: Shop) -> None:
    """Nobody can buy it any more; nothing is deleted, and bringing the tool back brings it back."""
    shop.write({"summarize": "$0.05", "translate": "$0.10"})
    shop.apply()
    shop.write()
    assert [kind for kind, _ in shop.kinds()] == ["archive"] * 3
    shop.apply()
    assert shop.plan() == []
    assert shop.meter("mcp.translate").status == "inactive"
    shop.write({"summarize": "$0.05", "translate": "$0.10"})
    assert {kind for kind, _ in shop.kinds()} == {"change"}
    shop.apply()
    assert shop.plan() == []
    assert len(shop.v1.prices.list({"limit": 100}).data) == 2


def test_another_namespace_in_the_same_account_is_left_alone(shop: Shop) -> None:
    """Staging must not archive production."""
    shop.apply()
    shop.write({"other": "$1"})
    shop.run("apply", str(shop.file), "--yes", STRIPE_METER_NAMESPACE="mcp_two")
    assert shop.price("mcp.summarize").active
    shop.write()
    assert shop.plan() == []


def test_two_servers_of_one_file_are_planned_together(shop: Shop) -> None:
    """Compared one by one, each would archive what the other one sells."""
    text = shop.file.read_text()
    second = text.replace("mcp = ", "other = ").replace("@mcp.", "@other.").replace("(mcp)", "(other)")
    second = second.replace("billing", "another").replace("summarize", "translate")
    shop.file.write_text(text + second)
    assert {kind for kind, _ in shop.kinds()} == {"create"}
    shop.apply()
    assert shop.plan() == []
    shop.file.write_text(text + second.replace("'$0.05')", "'$0.07', name='summarize')"))
    assert "on different terms" in shop.run("plan", str(shop.file)).output


def test_a_meter_with_a_priced_item_is_never_switched_off(shop: Shop) -> None:
    """Usage of the running month would vanish; the price is archived, the meter goes on until the last item ends."""
    shop.write({"summarize": "$0.05", "translate": "$0.10"})
    shop.apply()
    subscription = shop.subscriber("mcp.summarize", "mcp.translate", plan="pay-as-you-go")
    shop.write()
    shown = {(change["object"], change["kind"]): change for change in shop.plan()}
    assert "1 customer is on it" in shown["price", "archive"]["note"]
    assert "1 customer is billed by it" in shown["meter", "kept"]["note"]
    shop.apply()
    assert shop.kinds() == [("kept", "mcp.translate")]
    assert shop.meter("mcp.translate").status == "active"
    shop.v1.subscriptions.cancel(subscription.id, {"invoice_now": True})
    assert shop.kinds() == [("archive", "mcp.translate")]


def test_who_is_left_on_a_price_that_nothing_counts_is_named_until_they_are_moved(shop: Shop) -> None:
    """Their calls are refused, so plan and apply end with 3 and the same words, however often, until it is mended."""
    shop.write({"summarize": "$0.01 per word"})
    shop.apply()
    customer = shop.subscriber("mcp.summarize", plan="pay-as-you-go").customer
    shop.write({"summarize": "$1"})
    assert "their calls are refused until then" in shop.run("plan", str(shop.file)).stdout
    said = f"1 customer is on an old price ({customer}), and their calls are refused: nothing counts"
    for command in ("apply --yes", "plan", "apply --yes", "plan"):
        name, *options = command.split()
        done = shop.run(name, str(shop.file), *options)
        assert done.exit_code == 3, done.output
        assert done.stdout.count(said) == 1
        assert "stripe-meter apply server.py --subscriptions" in done.stdout
    shop.write({"summarize": "$2"})
    assert shop.run("apply", str(shop.file), "--yes").exit_code == 3
    assert [change["by_hand"] for change in shop.plan()] == [True]
    shop.apply("--subscriptions")
    assert shop.plan() == []


def test_a_plan_that_was_removed_while_people_are_on_it_stays(shop: Shop) -> None:
    """They pay for it: apply does the rest, leaves the plan, and says what becomes of them and what to type."""
    both = '[PayAsYouGo(), Subscription("pro", "$10/month", included=100)]'
    shop.write(plans=both)
    shop.apply()
    subscription = shop.subscriber("mcp:plan:pro", "mcp:plan:pro:calls", plan="pro")
    shop.write({"summarize": "$0.05", "translate": "$0.10"})
    lost = next(change for change in shop.plan() if change["object"] == "plan")
    assert (lost["kind"], lost["name"], lost["by_hand"]) == ("kept", "pro", True)
    assert subscription.customer in lost["note"]
    assert "is not offered any more: its included calls are served, nothing beyond them" in lost["note"]
    assert f"stripe post /v1/subscriptions/{subscription.id} -d cancel_at_period_end=true" in lost["command"]
    done = shop.run("apply", str(shop.file), "--yes")
    assert done.exit_code == 3
    assert shop.price("mcp.translate").active
    assert shop.price("mcp:plan:pro").active
    shop.write({"summarize": "$0.05", "translate": "$0.10"}, both)
    assert shop.plan() == []
    shop.v1.subscriptions.cancel(subscription.id)
    shop.write({"summarize": "$0.05", "translate": "$0.10"})
    assert {kind for kind, _ in shop.kinds()} == {"archive"}


def test_what_somebody_else_made_is_never_touched(shop: Shop) -> None:
    """A price by hand under our name is used as it is; one on other terms is left to its maker."""
    shop.apply()
    ours = shop.price("mcp.summarize")
    by_hand = {"currency": "usd", "product": ours.product, "lookup_key": "mcp.summarize", "nickname": "$0.05",
               "recurring": {"interval": "month", "usage_type": "metered", "meter": ours.recurring.meter},
               "transfer_lookup_key": True, "tax_behavior": "exclusive"}  # fmt: skip
    same = shop.v1.prices.create({**by_hand, "unit_amount": 5}).id
    shop.v1.prices.update(ours.id, {"active": False})
    assert shop.kinds() == [("unmanaged", "mcp.summarize")]
    other = shop.v1.prices.create({**by_hand, "unit_amount": 7}).id
    shop.v1.prices.update(same, {"active": False})
    (shown,) = shop.plan()
    assert (shown["kind"], shown["by_hand"]) == ("unmanaged", True)
    assert shop.run("apply", str(shop.file), "--yes").exit_code == 3
    assert shop.price("mcp.summarize").id == other
    assert f'stripe post /v1/prices/{other} -d "metadata[stripe_meter]=mcp"' in shown["command"]
    shop.v1.prices.update(other, {"metadata": {"stripe_meter": "mcp"}})
    shop.apply()
    assert shop.plan() == []


def test_where_apply_would_do_nothing_it_is_not_named(shop: Shop) -> None:
    """What only a person can decide would stay however often it is typed; both are said where there are both."""
    _dear_by_hand(shop)
    alone = shop.run("plan", str(shop.file))
    assert alone.exit_code == 3
    assert "1 for you to decide" in alone.stdout
    assert "stripe-meter apply" not in alone.stdout
    shop.write({"summarize": "$0.05", "translate": "$0.10"})
    assert "Make it so: stripe-meter apply" in shop.run("plan", str(shop.file)).stdout


def _dear_by_hand(shop: Shop) -> None:
    """Our price, and then one that somebody made in the Dashboard in its place."""
    shop.apply()
    ours = shop.price("mcp.summarize")
    recurring = {"interval": "month", "usage_type": "metered", "meter": ours.recurring.meter}
    terms = {"currency": "usd", "unit_amount": 7, "product": ours.product, "recurring": recurring}
    shop.v1.prices.create({**terms, "lookup_key": "mcp.summarize", "transfer_lookup_key": True})
    shop.v1.prices.update(ours.id, {"active": False})


def test_a_meter_that_counts_wrongly_is_not_built_upon(shop: Shop) -> None:
    """A price on it would bill wrongly for ever; mended, apply goes on."""
    wrong = shop.v1.billing.meters.create(
        {"display_name": "x", "event_name": "mcp.summarize", "default_aggregation": {"formula": "count"}}
    )
    shown = {change["object"]: change for change in shop.plan()}
    assert shown["meter"]["differences"][0] == {"field": "aggregation", "stripe": "count", "code": "sum"}
    assert shown["price"]["by_hand"]
    assert shop.run("apply", str(shop.file), "--yes").exit_code == 3
    assert shop.v1.prices.list().data == []
    shop.v1.billing.meters.deactivate(wrong.id)
    shop.apply()
    assert shop.price("mcp.summarize").recurring.meter != wrong.id


def test_credits_that_are_held_keep_their_unit(shop: Shop) -> None:
    """A finer unit would make credits already bought worth a tenth."""
    plans = '[Credits([CreditPack(100, "$9.99", "Starter")])]'
    shop.write({"summarize": "1 credit"}, plans)
    shop.apply()
    shop.write({"summarize": "0.5 credits"}, plans)
    assert shop.plan()[0]["replaces"]
    assert not shop.plan()[0]["by_hand"]
    shop.v1.customers.create({"metadata": {"stripe_meter_wallet_for": "cus_1"}})
    (shown,) = shop.plan()
    assert shown["by_hand"]
    assert "change their worth" in shown["note"]


def test_reading_costs_few_reads_whatever_the_size(shop: Shop) -> None:
    """Stripe rations reads for the whole account."""
    shop.write({f"tool{number}": "$0.05" for number in range(20)})
    shop.apply()
    before = len(shop.stripe.emulator.requests)
    assert shop.plan() == []
    assert len(shop.stripe.emulator.requests) - before == 4


def test_credits_that_are_held_keep_their_currency(shop: Shop) -> None:
    """A wallet has one currency for ever, so packs in another one could not be spent beside it."""
    shop.write({"summarize": "1 credit"}, '[Credits([CreditPack(100, "$9.99", "Starter")])]')
    shop.apply()
    shop.write({"summarize": "1 credit"}, '[Credits([CreditPack(100, "€9.99", "Starter")])]')
    assert not shop.plan()[0]["by_hand"]
    shop.v1.customers.create({"metadata": {"stripe_meter_wallet_for": "cus_1"}})
    (shown,) = shop.plan()
    assert shown["by_hand"]
    assert "keep the currency" in shown["command"]
