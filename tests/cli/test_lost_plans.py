"""Plans that the code does not know any more: whoever is on one, or has ordered a change to one, is not forgotten."""

from __future__ import annotations

import re
from typing import Any, Final

import httpx
import pytest

from tests.cli.conftest import Shop

KEY: Final = {"Authorization": "Bearer sk_test_emulator"}
PRO: Final = '[PayAsYouGo(), Subscription("pro", "$10/month", included=3)]'
MAX: Final = PRO.replace("pro", "max")
BOTH: Final = PRO.replace("]", ', Subscription("max", "$20/month", included=9)]')


def lost_plan(shop: Shop, name: str) -> dict[str, Any]:
    """The line of `plan` about it; there is one."""
    (found,) = [change for change in shop.plan() if (change["object"], change["name"]) == ("plan", name)]
    assert found["by_hand"]
    return found


def on_pro(shop: Shop) -> Any:
    """A subscription to pro."""
    return shop.subscriber("mcp:plan:pro", "mcp:plan:pro:calls", plan="pro")


def ordered_pro(shop: Shop) -> tuple[Any, str]:
    """A subscription that changes from pay-as-you-go to pro, and its schedule."""
    shop.write(plans=PRO)
    shop.apply()
    subscription = shop.subscriber("mcp.summarize", plan="pay-as-you-go")
    return subscription, shop.order(subscription, "mcp:plan:pro", "mcp:plan:pro:calls", plan="pro")


def test_a_plan_that_was_ordered_is_kept_like_one_that_people_are_on(shop: Shop) -> None:
    """Stripe begins the change whatever became of its prices: they would pay the fee and be refused every call."""
    subscription, schedule = ordered_pro(shop)
    shop.write()
    lost = lost_plan(shop, "pro")
    assert f"1 ordered a change to it ({subscription.customer})" in lost["note"]
    assert lost["command"].endswith(f"back: stripe post /v1/subscription_schedules/{schedule}/release")
    assert shop.run("apply", str(shop.file), "--yes").exit_code == 3
    assert shop.price("mcp:plan:pro").active
    assert shop.price("mcp:plan:pro:calls").active
    assert shop.meter("mcp:calls").status == "active"
    assert "1 ordered a change to it" in " ".join(finding["problem"] for finding in shop.doctor())
    shop.v1.subscription_schedules.release(schedule)
    assert {kind for kind, _ in shop.kinds()} == {"archive"}


def test_an_ordered_plan_is_kept_though_its_price_was_replaced_meanwhile(shop: Shop) -> None:
    """The price that they ordered is in no list of active ones any more, and still the one that Stripe will bill."""
    ordered_pro(shop)
    shop.write(plans=PRO.replace("included=3", "included=4"))
    shop.apply()
    shop.write()
    assert shop.run("apply", str(shop.file), "--yes").exit_code == 3
    assert shop.meter("mcp:calls").status == "active"


def test_who_changes_to_a_plan_that_is_sold_is_not_to_be_ended(shop: Shop) -> None:
    """They leave the lost plan by themselves; ending them would lose a customer who has chosen to stay."""
    shop.write(plans=PRO)
    shop.apply()
    subscription = on_pro(shop)
    schedule = shop.order(subscription, "mcp.summarize", plan="pay-as-you-go")
    shop.write()
    command = lost_plan(shop, "pro")["command"]
    assert "wait, for with their next period" in command
    assert "stripe post" not in command
    shop.v1.subscription_schedules.release(schedule)
    assert f"stripe post /v1/subscriptions/{subscription.id} -d cancel" in lost_plan(shop, "pro")["command"]


def test_the_command_that_ends_a_subscription_lets_its_schedule_go_first(shop: Shop) -> None:
    """Stripe refuses to cancel what a schedule manages, so the command alone would fail."""
    shop.write(plans=BOTH)
    shop.apply()
    subscription = on_pro(shop)
    shop.order(subscription, "mcp:plan:max", "mcp:plan:max:calls", plan="max")
    shop.write()
    command = lost_plan(shop, "pro")["command"]
    for path, data in re.findall(r"stripe post (/v1/\S+)(?: -d (\S+))?", command):
        done = httpx.post(shop.stripe.url + path, data=dict([data.split("=")] if data else []), headers=KEY)
        assert done.status_code == 200, done.text
    assert shop.v1.subscriptions.retrieve(subscription.id).cancel_at_period_end


def test_who_is_on_a_plan_that_was_archived_elsewhere_shows(shop: Shop) -> None:
    """Nothing is left to archive then, and "nothing to do" would hide who pays for a plan that nobody serves."""
    shop.write(plans=BOTH)
    shop.apply()
    customer = on_pro(shop).customer
    for key in ("mcp:plan:pro", "mcp:plan:pro:calls"):
        shop.v1.prices.update(shop.price(key).id, {"active": False})
    for row in shop.v1.products.list({"limit": 100}).data:
        if "plan_pro" in row.id:
            shop.v1.products.update(row.id, {"active": False})
    shop.write(plans=MAX.replace("$10", "$20").replace("included=3", "included=9"))
    assert customer in lost_plan(shop, "pro")["note"]


def test_who_is_on_pay_as_you_go_under_its_old_name_shows(shop: Shop) -> None:
    """All prices stay as they are when only the plan's name changes, and each of its subscribers is refused."""
    shop.apply()
    customer = shop.subscriber("mcp.summarize", plan="pay-as-you-go").customer
    shop.write(plans='[PayAsYouGo(name="metered")]')
    assert customer in lost_plan(shop, "pay-as-you-go")["note"]


@pytest.mark.parametrize("people", [0, 1])
def test_a_plan_that_was_renamed_is_asked_about(shop: Shop, people: int) -> None:
    """With people on it, it is theirs that a new name takes away, so there the line to paste matters most."""
    shop.write(plans=PRO)
    shop.apply()
    for _ in range(people):
        on_pro(shop)
    shop.write(plans=PRO.replace("pro", "pros"))
    renamed = shop.plan()[0]
    assert (renamed["kind"], renamed["name"], renamed["terms"]) == ("renamed", "mcp:plan:pro", "mcp:plan:pros")
    assert 'Subscription("pro", …)' in renamed["note"]


@pytest.mark.parametrize(("plans", "reads"), [(PRO, 0), (BOTH, 1)])
def test_subscriptions_are_read_only_where_a_plan_was_lost(shop: Shop, plans: str, reads: int) -> None:
    """There may be thousands, and Stripe rations reads for the whole account."""
    shop.write(plans=plans)
    shop.apply()
    shop.write(plans=PRO)
    shop.apply()
    before = len(shop.stripe.emulator.requests)
    assert shop.plan() == []
    asked = [record.path for record in shop.stripe.emulator.requests[before:]]
    assert asked.count("/v1/subscriptions") == reads
