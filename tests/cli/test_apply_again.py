"""`stripe-meter apply`, cut off anywhere, run twice, run again: always the same account in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.cli.conftest import BOTH, EVERY_PLAN, Shop
from tests.cli.support import TIMEOUT, running

pytestmark = pytest.mark.long

#: More faults than any run makes requests.
ALWAYS = 100_000


def fresh(shop: Shop) -> None:
    """Everything is to be created."""
    shop.write({"summarize": BOTH}, EVERY_PLAN)


def changed(shop: Shop) -> None:
    """Prices are to be replaced, a tool to be archived, a feature and a pack to be created."""
    shop.write({"summarize": BOTH, "translate": "$0.10"}, EVERY_PLAN)
    shop.apply()
    plans = EVERY_PLAN.replace("5000", "6000").replace('["deep"]', '["wide"]').replace("Starter", "Big")
    shop.write({"summarize": ("$0.07", "1 credit")}, plans)


def writes(shop: Shop) -> int:
    return sum(record.method != "GET" for record in shop.stripe.emulator.requests)


def cut_off(shop: Shop, after: int, kind: dict[str, Any]) -> bool:
    """Run until request number `after`, which meets `kind`, and from there on nothing; whether it came so far."""
    faults = shop.stripe.emulator.faults
    faults.add(skip=after, path="/v1", **kind)
    # Every later request finds the process gone: it has no effect.
    faults.add(kind="status", status=503, times=ALWAYS, skip=after, path="/v1")
    done = shop.run("apply", str(shop.file), "--yes")
    faults.clear()
    assert done.exit_code in (0, 1), done.output
    assert "Traceback" not in done.output
    return done.exit_code == 1


@pytest.mark.parametrize("effect", [True, False], ids=["done, answer lost", "never arrived"])
@pytest.mark.parametrize("start", [fresh, changed])
def test_cut_off_at_every_request_it_ends_in_the_same_state(
    make_shop: Callable[[], Shop], start: Callable[[Shop], None], effect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever loses the connection anywhere runs the same command again, and nothing is there twice."""
    monkeypatch.setattr("stripe_meter.gateway.connection._ATTEMPTS", 1)
    whole = make_shop()
    start(whole)
    before = len(whole.stripe.emulator.requests)
    whole.apply()
    requests = len(whole.stripe.emulator.requests) - before
    assert requests > 20
    expected = whole.dump()
    for number in range(requests):
        shop = make_shop()
        start(shop)
        assert cut_off(shop, number, {"kind": "lost", "effect": effect}), f"request {number} never came"
        shop.apply()
        assert shop.dump() == expected, f"cut off at request {number} of {requests}"
        assert shop.plan() == []


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_killed_with_9_it_is_finished_by_the_next_run(make_shop: Callable[[], Shop], share: float) -> None:
    """No file, no lock and no hook is needed: the account itself says what is left to do."""
    whole = make_shop()
    changed(whole)
    before = writes(whole)
    whole.apply()
    count = writes(whole) - before
    shop = make_shop()
    changed(shop)
    faults = shop.stripe.emulator.faults
    faults.add(kind="slow", method="POST", seconds=TIMEOUT, skip=int(count * share), path="/v1")
    with running("apply", str(shop.file), "--yes", env={"STRIPE_METER_EMULATOR": shop.stripe.url}) as command:
        deadline = time.monotonic() + TIMEOUT
        while faults._plan:
            assert time.monotonic() < deadline, "the request never came"
            assert command.process.poll() is None, command.seen
            time.sleep(0.01)
        command.process.kill()
        command.process.wait(TIMEOUT)
    shop.apply()
    assert shop.dump() == whole.dump()


@pytest.mark.parametrize("start", [fresh, changed])
def test_two_at_once_make_one_catalogue(make_shop: Callable[[], Shop], start: Callable[[Shop], None]) -> None:
    """Two pipelines that deploy the same commit end like one."""
    alone, shop = make_shop(), make_shop()
    start(alone)
    alone.apply()
    start(shop)
    env = {"STRIPE_METER_EMULATOR": shop.stripe.url}
    with (
        running("apply", str(shop.file), "--yes", env=env) as one,
        running("apply", str(shop.file), "--yes", env=env) as other,
    ):
        ends = [command.process.wait(TIMEOUT) for command in (one, other)]
        assert ends == [0, 0], (one.seen, other.seen)
    assert shop.plan() == []
    assert shop.dump() == alone.dump()


def test_again_it_writes_nothing(shop: Shop) -> None:
    """A pipeline may run it on every commit."""
    fresh(shop)
    shop.apply()
    before = writes(shop)
    assert "Nothing to do" in shop.apply().stdout
    assert writes(shop) == before


def test_subscribers_get_new_tools_and_changed_prices(shop: Shop) -> None:
    """Ten calls at 5 cents, a change to 7, ten more: $1.20 is billed, and the new tool from now on."""
    shop.apply()
    subscription = shop.subscriber("mcp.summarize", plan="pay-as-you-go")
    use(shop, subscription.customer, "mcp.summarize", 10)
    shop.stripe.advance(3 * 86400)
    shop.write({"summarize": "$0.07", "translate": "$0.10"})
    told = shop.apply("--subscriptions").stdout
    assert f"move  {subscription.id}  {subscription.customer}  mcp.summarize  $0.05 -> $0.07" in told
    assert f"add   {subscription.id}  {subscription.customer}  mcp.translate  no item -> $0.10" in told
    assert len(shop.items(subscription.id)) == 2
    assert "every subscriber has all items" in shop.apply("--subscriptions").stdout
    shop.stripe.advance(60)
    use(shop, subscription.customer, "mcp.summarize", 10)
    use(shop, subscription.customer, "mcp.translate", 1)
    shop.stripe.advance(32 * 86400)
    bill = shop.v1.invoices.list({"customer": subscription.customer}).data[0]
    assert bill.total == 50 + 70 + 10


def test_without_the_option_subscribers_stay_on_their_price(shop: Shop) -> None:
    """What somebody agreed to changes only when the seller says so."""
    shop.apply()
    subscription = shop.subscriber("mcp.summarize", plan="pay-as-you-go")
    before = shop.items(subscription.id)
    shop.write({"summarize": "$0.07"})
    assert "1 customer is on the old price until `apply --subscriptions`" in shop.apply().stdout
    assert shop.items(subscription.id) == before


def test_a_changed_fee_is_due_from_the_next_period(shop: Shop) -> None:
    """Nobody pays twice for a month: $10 now, $12 then."""
    plan = '[Subscription("pro", "{}/month", included=100)]'
    shop.write(plans=plan.format("$10"))
    shop.apply()
    subscription = shop.subscriber("mcp:plan:pro", "mcp:plan:pro:calls", plan="pro")
    shop.write(plans=plan.format("$12"))
    shop.apply("--subscriptions")
    shop.stripe.advance(32 * 86400)
    bills = [row.total for row in shop.v1.invoices.list({"customer": subscription.customer}).data]
    assert sorted(bills) == [1000, 1200]


def test_links_at_an_old_price_are_closed(shop: Shop) -> None:
    """A payment link sells at the price it was made with for ever, on pages nobody thinks of any more."""
    plan = '[Credits([CreditPack(100, "{}", "Starter")])]'
    shop.write({"summarize": "1 credit"}, plan.format("$9.99"))
    shop.apply()
    old = shop.run("link", "Starter").stdout.strip().splitlines()[-1]
    assert httpx.get(old).status_code == 303
    shop.write({"summarize": "1 credit"}, plan.format("$19.99"))
    assert "Closed plink_" in shop.apply().stdout
    assert httpx.get(old).status_code == 404
    new = shop.run("link", "Starter").stdout.strip().splitlines()[-1]
    assert "19.99" in httpx.get(new, follow_redirects=True).text
    assert "Closed" not in shop.apply().stdout
    assert httpx.get(new).status_code == 303


def test_who_cannot_be_moved_is_named(shop: Shop) -> None:
    """A subscriber who pays in euros cannot hold a dollar price; the others are moved all the same."""
    shop.write({"summarize": ("$0.05", "€0.05")})
    shop.apply()
    euros = shop.subscriber("mcp.summarize", plan="pay-as-you-go", currency="eur")
    dollars = shop.subscriber("mcp.summarize", plan="pay-as-you-go")
    shop.write({"summarize": "$0.07"})
    done = shop.run("apply", str(shop.file), "--yes", "--subscriptions")
    assert done.exit_code == 1
    assert f"{euros.customer}" in done.stderr
    assert "EUR" in done.stderr
    assert [price for _, price in shop.items(dollars.id)] == [shop.price("mcp.summarize").id]


def use(shop: Shop, customer: str, event_name: str, units: int) -> None:
    """Usage as a server reports it."""
    payload = {"stripe_customer_id": customer, "value": str(units)}
    shop.v1.billing.meter_events.create({"event_name": event_name, "payload": payload})
    shop.stripe.settle()
