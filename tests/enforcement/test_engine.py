"""Who may call: refusals, purchases, keys, and what Stripe is asked along the way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from stripe_meter.domain.identity import ApiKey, Caller, Principal
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.tools import Tool
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.accounts import FRESH
from stripe_meter.enforcement.callers import GUESSES_A_MINUTE
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.gate import Admission
from stripe_meter.enforcement.purchases import STRANGERS_A_MINUTE
from stripe_meter.errors import ConfigurationError, KeyRefused, StripeUnavailable
from tests.conftest import PAGES, a_tool, pay, stranger, with_key

pytestmark = pytest.mark.anyio


def asked(stripe: EmulatorServer, since: int = 0) -> list[str]:
    """What reached Stripe, as "METHOD path"."""
    return [f"{record.method} {record.path}" for record in stripe.emulator.requests[since:]]


async def refused(engine: Engine, tool: Tool, caller: Caller) -> Refusal:
    verdict = await engine.admit(tool, caller)
    assert isinstance(verdict, Refusal), verdict
    return verdict


async def admitted(engine: Engine, tool: Tool, caller: Caller) -> Admission:
    verdict = engine.admit_warm(tool, caller) or await engine.admit(tool, caller)
    assert isinstance(verdict, Admission), verdict
    return verdict


def someone(subject: str = "alice") -> Caller:
    """A caller whose access token was verified."""
    principal = Principal("https://issuer.example", subject)
    return Caller(b"p" + principal.digest.encode(), principal=principal, client="203.0.113.7")


async def test_a_stranger_is_refused_with_price_and_link(engine: Engine, stripe: EmulatorServer) -> None:
    """Not a dead end: the link leads to a Checkout without customer."""
    refusal = await refused(engine, a_tool(), stranger())
    assert refusal.reason == "identity_required"
    assert "$0.05 a call" in refusal.text
    assert refusal.checkout_url is not None
    assert refusal.checkout_url in refusal.text
    assert refusal.checkout_url.startswith(stripe.url)


async def test_a_stranger_who_pays_receives_a_key_that_works_at_once(engine: Engine, stripe: EmulatorServer) -> None:
    """Refused, paid, key, served, billed."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    receipt = (await admitted(engine, tool, caller)).settle(1)
    assert receipt is not None
    assert receipt.amount is not None
    assert (receipt.quantity, str(receipt.amount)) == (1, "$0.05")


async def test_a_warm_call_asks_stripe_nothing(engine: Engine, stripe: EmulatorServer) -> None:
    """0 requests over 10,000 calls; usage follows in one."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    await admitted(engine, tool, caller)
    before = len(stripe.emulator.requests)
    for _ in range(10_000):
        admission = engine.admit_warm(tool, caller)
        assert admission is not None
        admission.settle(1)
    engine.flush(10.0)
    since = asked(stripe, before)
    assert set(since) == {"POST /v1/billing/meter_events"}
    assert len(since) <= 3


async def test_a_cold_account_costs_one_read(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """Stripe rations reads: 10,000 a month for the whole account."""
    tool = a_tool()
    caller = await pay(make_engine(), stripe, tool)
    fresh = make_engine()
    await fresh.prepare([tool])
    before = len(stripe.emulator.requests)
    await admitted(fresh, tool, caller)
    assert [line.split("/")[2] for line in asked(stripe, before)] == ["customers"]


async def test_fifty_cold_callers_share_one_read(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """Single flight."""
    tool = a_tool()
    caller = await pay(make_engine(), stripe, tool)
    fresh = make_engine()
    await fresh.prepare([tool])
    before = len(stripe.emulator.requests)
    verdicts = await asyncio.gather(*(fresh.admit(tool, caller) for _ in range(50)))
    assert all(isinstance(verdict, Admission) for verdict in verdicts)
    assert len(asked(stripe, before)) == 1


async def test_the_key_is_shown_once(engine: Engine, stripe: EmulatorServer) -> None:
    """A second visit, or a second process, finds it shown already."""
    refusal = await refused(engine, a_tool(), stranger())
    back = stripe.complete_checkout(str(refusal.checkout_url), email="caller@example.com")
    query = parse_qs(urlsplit(back).query)
    session, claim = query["session_id"][0], query["claim"][0]
    first, second = await asyncio.gather(engine.sales.complete(session, claim), engine.sales.complete(session, claim))
    assert sorted([first.key is not None, second.key is not None]) == [False, True]
    third = await engine.sales.complete(session, claim)
    assert third.already_shown
    assert third.key is None


async def test_a_session_id_alone_shows_no_key(engine: Engine, stripe: EmulatorServer) -> None:
    """The id stands in the Checkout link, so others may know it; the claim only came back with the payer."""
    refusal = await refused(engine, a_tool(), stranger())
    back = stripe.complete_checkout(str(refusal.checkout_url), email="caller@example.com")
    session = parse_qs(urlsplit(back).query)["session_id"][0]
    for claim in (None, "x" * 32):
        assert (await engine.sales.complete(session, claim)).customer is None
    assert (await engine.sales.complete("cs_unknown_1", "x" * 32)).customer is None


async def test_a_success_link_expires(engine: Engine, stripe: EmulatorServer) -> None:
    """A link found in an old browser history is worth nothing."""
    refusal = await refused(engine, a_tool(), stranger())
    back = stripe.complete_checkout(str(refusal.checkout_url), email="caller@example.com")
    query = parse_qs(urlsplit(back).query)
    stripe.advance(24 * 3600)
    done = await engine.sales.complete(query["session_id"][0], query["claim"][0])
    assert (done.key, done.is_late) == (None, True)


async def test_an_unpaid_session_shows_nothing(engine: Engine, stripe: EmulatorServer) -> None:
    """Coming to the success page is not paying."""
    refusal = await refused(engine, a_tool(), stranger())
    session = str(refusal.checkout_url).rpartition("/")[2]
    assert (await engine.sales.complete(session, "x" * 32)).customer is None


async def test_a_known_caller_gets_the_same_link_everywhere(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Every process comes to one session by one deterministic key, whatever it knows of the others."""
    tool = a_tool()
    links = {(await refused(make_engine(), tool, someone())).checkout_url for _ in range(3)}
    assert len(links) == 1
    made = [r for r in stripe.emulator.requests if (r.method, r.path) == ("POST", "/v1/checkout/sessions")]
    assert len({record.idempotency_key for record in made}) == 1


async def test_a_known_caller_who_pays_is_served_without_any_webhook(engine: Engine, stripe: EmulatorServer) -> None:
    """The next call looks whether the open session was paid."""
    tool = a_tool()
    refusal = await refused(engine, tool, someone())
    assert refusal.reason == "payment_required"
    stripe.complete_checkout(str(refusal.checkout_url))
    admission = await admitted(engine, tool, someone())
    assert admission.customer is not None


async def test_one_principal_is_one_customer_and_two_are_two(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Found or created, in any process, also while search lags behind."""
    stripe.emulator.switches.search_lag = 3600.0
    tool = a_tool()
    for _ in range(2):
        engine = make_engine()
        await refused(engine, tool, someone("alice"))
        await refused(engine, tool, someone("bob"))
    stripe.advance(7200)
    await refused(make_engine(), tool, someone("alice"))
    made = {
        record.body["metadata"]["stripe_meter_principal"]
        for record in stripe.emulator.requests
        if (record.method, record.path) == ("POST", "/v1/customers")
    }
    customers = [line for line in stripe.emulator.requests if line.path == "/v1/checkout/sessions"]
    assert len(made) == 2
    assert len({record.body["customer"] for record in customers}) == 2


async def test_first_calls_of_one_principal_share_one_look(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """An agent starts with twenty calls at once, and Stripe rations reads."""
    tool = a_tool()
    await refused(make_engine(), tool, someone())
    engine = make_engine()
    await engine.prepare([tool])
    before = len(stripe.emulator.requests)
    await asyncio.gather(*(refused(engine, tool, someone()) for _ in range(20)))
    assert asked(stripe, before).count("GET /v1/customers/search") == 1


async def test_an_impatient_agent_does_not_drain_the_reads(engine: Engine, stripe: EmulatorServer) -> None:
    """While a purchase is open, looking follows a back-off, whoever hammers."""
    tool = a_tool()
    await refused(engine, tool, someone())
    before = len(stripe.emulator.requests)
    for _ in range(30):
        await refused(engine, tool, someone())
    assert len(asked(stripe, before)) <= 2


async def test_invented_keys_are_stopped_before_stripe_is_asked(engine: Engine, stripe: EmulatorServer) -> None:
    """Guessing must not drain the account's reads."""
    tool = a_tool()
    await engine.prepare([tool])
    before = len(stripe.emulator.requests)
    reasons = [
        (await refused(engine, tool, with_key(ApiKey.new(f"cus_guess{number}").reveal()))).reason
        for number in range(4 * GUESSES_A_MINUTE)
    ]
    reads = [line for line in asked(stripe, before) if line.startswith("GET /v1/customers")]
    assert len(reads) == GUESSES_A_MINUTE
    assert reasons[-1] == "rate_limited"
    assert isinstance(await engine.admit(tool, with_key("smk_nonsense")), Refusal)


async def test_a_wrong_secret_for_a_real_customer_is_refused(engine: Engine, stripe: EmulatorServer) -> None:
    """A customer id is no secret; the key is."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    customer = (await admitted(engine, tool, caller)).customer
    refusal = await refused(engine, tool, with_key(ApiKey.new(str(customer)).reveal()))
    assert refusal.reason == "identity_required"
    assert "not valid" in refusal.text
    assert str(customer) not in refusal.text


async def test_a_revoked_key_is_refused_once_the_snapshot_is_renewed(engine: Engine, stripe: EmulatorServer) -> None:
    """Revocation lags by at most the freshness of a snapshot, and other keys of the customer stay good."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    customer = str((await admitted(engine, tool, caller)).customer)
    other = with_key((await engine.thread.call(lambda g: g.customers.issue_key(customer), 5.0)).reveal())
    await admitted(engine, tool, other)
    key = ApiKey.parse(str(caller.api_key))
    assert key is not None
    assert await engine.thread.call(lambda g: g.customers.revoke_key(customer, key.id), 5.0)
    await engine.thread.call(lambda _: engine._accounts.refresh(customer), 5.0)
    assert engine.admit_warm(tool, caller) is None
    assert (await refused(engine, tool, caller)).reason == "identity_required"
    await admitted(engine, tool, other)


async def test_a_revoked_key_is_refused_however_its_customer_is_read_again(
    engine: Engine, stripe: EmulatorServer
) -> None:
    """A new tool of theirs makes us read the account, and nothing that was read may be believed for a key it lost."""
    tool, new = a_tool(), a_tool("translate")
    caller = await pay(engine, stripe, tool)
    customer = str((await admitted(engine, tool, caller)).customer)
    key = ApiKey.parse(str(caller.api_key))
    assert key is not None
    assert await engine.thread.call(lambda g: g.customers.revoke_key(customer, key.id), 5.0)
    assert (await refused(engine, new, caller)).reason == "identity_required"
    assert (await refused(engine, tool, caller)).reason == "identity_required"


async def test_a_tool_that_is_newer_than_the_subscription_is_added_before_its_first_call(
    engine: Engine, stripe: EmulatorServer
) -> None:
    """Otherwise Stripe would take the usage and never bill it."""
    old, new = a_tool(), a_tool("translate", "$0.002 per word")
    caller = await pay(engine, stripe, old)
    before = len(stripe.emulator.requests)
    receipt = (await admitted(engine, new, caller)).settle(250)
    assert receipt is not None
    assert receipt.amount is not None
    assert receipt.amount.minor == Decimal("50")
    assert "POST /v1/subscription_items" in asked(stripe, before)
    await admitted(engine, old, caller)


async def test_two_new_tools_are_called_at_once(engine: Engine, stripe: EmulatorServer) -> None:
    """The account that is on its way for the one was read before the other one was added to the subscription."""
    one, other = a_tool("one"), a_tool("other")
    caller = await pay(engine, stripe, a_tool())
    await engine.prepare([one, other])
    first = asyncio.create_task(admitted(engine, one, caller))
    await until_asked(stripe, "GET /v1/customers/", seconds=0.5)
    await admitted(engine, other, caller)
    await first


async def test_a_key_that_was_made_while_its_customer_is_read(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """An answer that is on its way does not know it, which is no reason to refuse it for an hour."""
    tool, seller, server = a_tool(), make_engine(), make_engine()
    caller = await pay(seller, stripe, tool)
    customer = str((await admitted(seller, tool, caller)).customer)
    await server.prepare([tool])
    first = asyncio.create_task(admitted(server, tool, caller))
    await until_asked(stripe, "GET /v1/customers/", seconds=0.5)
    made = await seller.thread.call(lambda g: g.customers.issue_key(customer), 5.0)
    await admitted(server, tool, with_key(made.reveal()))
    await first


async def until_asked(stripe: EmulatorServer, request: str, seconds: float) -> None:
    """Let the next such request be answered so late, and wait until the emulator has made the answer."""
    method, path = request.split()
    before = len(stripe.emulator.requests)
    stripe.emulator.faults.add(kind="slow", method=method, path=path, effect=True, seconds=seconds)
    while not any(line.startswith(request) for line in asked(stripe, before)):  # noqa: ASYNC110  # in another thread
        await asyncio.sleep(0.01)


async def test_the_price_charged_is_the_one_of_the_customers_item(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A changed price in the code changes nothing for who subscribed before; the receipt must not lie."""
    caller = await pay(make_engine(), stripe, a_tool(price="$0.05"))
    with caplog.at_level(logging.WARNING, "stripe_meter"):
        receipt = (await admitted(make_engine(), a_tool(price="$0.07"), caller)).settle(1)
    assert receipt is not None
    assert str(receipt.amount) == "$0.05"
    assert "Stripe's price is the one that counts" in caplog.text


async def test_a_free_tool_needs_nobody(engine: Engine, stripe: EmulatorServer) -> None:
    """No identity, no Stripe, no charge."""
    admission = engine.admit_warm(a_tool("ping", "free"), stranger())
    assert admission is not None
    receipt = admission.settle(1)
    assert receipt is not None
    assert receipt.amount is None
    assert stripe.emulator.requests == []


async def test_switched_off_everything_is_free_and_says_so(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """STRIPE_METER_ENABLED=false."""
    engine = make_engine(enabled=False)
    with caplog.at_level(logging.WARNING, "stripe_meter"):
        await engine.prepare([a_tool()])
    assert engine.admit_warm(a_tool(), stranger()) is not None
    assert "served free" in caplog.text
    cold = make_engine(enabled=False)
    assert isinstance(await cold.admit(a_tool(), stranger()), Admission)
    assert stripe.emulator.requests == []


async def test_an_admission_ends_once(engine: Engine, stripe: EmulatorServer) -> None:
    """Settled is settled, released is released."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    first = await admitted(engine, tool, caller)
    assert first.settle(1) is not None
    assert first.settle(1) is None
    second = await admitted(engine, tool, caller)
    assert second.release().quantity == 0
    assert second.settle(1) is None
    third = await admitted(engine, tool, caller)
    assert third.settle(0) is not None
    assert engine.stats().accepted == 1


@pytest.mark.parametrize("card", ["4000000000000002", "4000000000009995"])
async def test_a_declined_card_buys_nothing(engine: Engine, stripe: EmulatorServer, card: str) -> None:
    """Declined and insufficient funds: the page says so, the call stays refused."""
    tool = a_tool()
    refusal = await refused(engine, tool, someone())
    with pytest.raises(Exception, match=r"(?i)declined|insufficient|card"):
        stripe.complete_checkout(str(refusal.checkout_url), card=card)
    assert (await refused(engine, tool, someone())).reason == "payment_required"


async def test_an_unpaid_invoice_is_what_the_link_leads_to(engine: Engine, stripe: EmulatorServer) -> None:
    """past_due: another Checkout would not help, the open invoice does."""
    tool = a_tool(price="$5")
    caller = await pay(engine, stripe, tool, card="4000000000000341")
    (await admitted(engine, tool, caller)).settle(1)
    engine.flush(5.0)
    stripe.settle()
    stripe.advance(32 * 86400)
    await engine.thread.call(lambda _: engine._accounts.refresh(str(caller_customer(caller))), 5.0)
    refusal = await refused(engine, tool, caller)
    assert refusal.reason == "payment_required"
    assert "last invoice is not paid" in refusal.text
    assert refusal.checkout_url is not None


def caller_customer(caller: Caller) -> str:
    key = ApiKey.parse(str(caller.api_key))
    assert key is not None
    return key.customer


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 429, "retry_after": 1},
        {"kind": "garbage"},
        {"kind": "lost", "effect": False},
        {"kind": "slow", "seconds": 3.0},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
async def test_when_stripe_cannot_be_asked_the_caller_is_told_to_wait(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, fault: dict[str, Any]
) -> None:
    """Within the timeout, with a reason and a time; never an exception, never served on credit."""
    engine = make_engine(timeout=0.3)
    await engine.prepare([tool := a_tool()])
    stripe.emulator.faults.add(path="/v1/customers", times=50, **fault)
    refusal = await refused(engine, tool, with_key(ApiKey.new("cus_1").reveal()))
    assert refusal.reason == "billing_unavailable"
    assert refusal.retry_after is not None
    stripe.emulator.faults.clear()


async def test_an_outage_keeps_known_customers_served(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """From the last snapshot, for a day; usage arrives when Stripe is back."""
    engine = make_engine(timeout=2.0)
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    await admitted(engine, tool, caller)
    now = engine._accounts.monotonic()
    engine._accounts.monotonic = lambda: now + 2 * 3600
    stripe.emulator.faults.add(times=1000, kind="status", status=503)
    for _ in range(3):
        (await admitted(engine, tool, caller)).settle(1)
    engine._accounts.monotonic = lambda: now + 25 * 3600
    assert engine.admit_warm(tool, caller) is None
    assert (await refused(engine, tool, caller)).reason == "billing_unavailable"
    stripe.emulator.faults.clear()
    assert engine.flush(20.0)
    assert engine.stats().delivered == 3


async def test_a_stale_snapshot_is_renewed_beside_the_call(engine: Engine, stripe: EmulatorServer) -> None:
    """A little before it ends: nobody waits, and one read renews it for all."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    customer = str((await admitted(engine, tool, caller)).customer)
    before = len(stripe.emulator.requests)
    now = engine._accounts.monotonic()
    engine._accounts.monotonic = lambda: now + FRESH - 60
    for _ in range(20):
        assert engine.admit_warm(tool, caller) is not None
    await engine.thread.call(lambda _: asyncio.sleep(0), 5.0)
    async with asyncio.timeout(5):
        while not asked(stripe, before):  # noqa: ASYNC110  # the read is made by another thread
            await asyncio.sleep(0.01)
    assert asked(stripe, before) == [f"GET /v1/customers/{customer}"]


async def test_a_deleted_customer_is_nobody(engine: Engine, stripe: EmulatorServer) -> None:
    """Stripe answers 200 with `deleted: true`."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    customer = caller_customer(caller)
    await admitted(engine, tool, caller)
    await engine.thread.call(
        lambda g: g.connection.write(lambda client, options: client.v1.customers.delete_async(customer)), 5.0
    )
    await engine.thread.call(lambda _: engine._accounts.refresh(customer), 5.0)
    assert (await refused(engine, tool, caller)).reason == "identity_required"


async def test_live_mode_creates_nothing_by_itself(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """A typo must not become an immutable live price: the error names the command."""
    engine = make_engine()
    live = type(engine.settings)
    engine._given = live(stripe_secret_key="sk_live_abcd", public_url=PAGES)
    assert engine.settings.mode == "live"
    test_gateway = make_engine()
    shelf = engine._shelf
    engine.register(a_tool())
    with pytest.raises(ConfigurationError, match="stripe-meter apply"):
        await test_gateway.thread.call(lambda gateway: shelf.stock(gateway, create=False), 5.0)
    assert not [record for record in stripe.emulator.requests if record.method == "POST"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda stripe: stripe.emulator.revoke("sk_test_emulator"), "rolled or revoked"),
        (lambda stripe: stripe.emulator.restrict("sk_test_emulator", {"rak_plan_read"}), "lacks a permission"),
    ],
)
async def test_a_key_that_stripe_refuses_is_found_before_the_first_call(
    engine: Engine, stripe: EmulatorServer, spoil: Callable[[EmulatorServer], None], says: str
) -> None:
    """Each with its own sentence, none with the key."""
    spoil(stripe)
    with pytest.raises(KeyRefused, match=says) as caught:
        await engine.prepare([a_tool()])
    assert "sk_test_emulator" not in str(caught.value)
    refusal = await refused(engine, a_tool(), stranger())
    assert refusal.reason == "billing_unavailable"
    assert "key" not in refusal.text.lower()


async def test_without_a_key_nothing_starts(make_engine: Callable[..., Engine]) -> None:
    """One sentence that names the variable and the two commands that need none."""
    engine = make_engine(emulator=None)
    with pytest.raises(KeyRefused, match=r"STRIPE_SECRET_KEY.*stripe-meter dev.*stripe-meter demo"):
        await engine.prepare([a_tool()])


async def test_a_server_that_starts_in_an_outage_serves_later(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Stripe being down is no reason not to start."""
    engine = make_engine(timeout=0.3)
    stripe.emulator.faults.add(times=1000, kind="status", status=503)
    await engine.prepare([tool := a_tool()])
    stripe.emulator.faults.clear()
    assert (await refused(engine, tool, stranger())).reason == "identity_required"


async def test_two_tools_of_one_name_and_two_prices_are_refused(engine: Engine) -> None:
    """They would share money."""
    engine.register(a_tool(price="$0.05"))
    engine.register(a_tool(price="$0.05"))
    with pytest.raises(ConfigurationError, match="two tools are called 'summarize'"):
        engine.register(a_tool(price="$0.06"))


async def test_tools_without_a_common_currency_are_refused(engine: Engine) -> None:
    """One subscription is paid in one currency, so nobody could ever buy both."""
    engine.register(a_tool("dollars", "$0.05"))
    engine.register(a_tool("both", ("€0.04", "$0.05")))
    with pytest.raises(ConfigurationError, match=r"one subscription is paid in one currency"):
        engine.register(a_tool("euros", "€0.04"))


async def test_a_purchase_is_made_in_the_common_currency(engine: Engine, stripe: EmulatorServer) -> None:
    """Whichever of its currencies a tool names first."""
    tools = [a_tool("both", ("€0.04", "$0.05")), a_tool("dollars", "$0.06")]
    await engine.prepare(tools)
    caller = await pay(engine, stripe, tools[0])
    for tool, cents in zip(tools, (Decimal(5), Decimal(6)), strict=True):
        receipt = (await admitted(engine, tool, caller)).settle(1)
        assert receipt is not None
        assert (receipt.currency, receipt.unit_amount) == ("usd", cents)


async def test_the_price_quoted_is_the_one_that_stripe_charges(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """A price in the code that Stripe does not know yet must not be promised."""
    await make_engine().prepare([a_tool(price="$0.05")])
    changed = make_engine()
    await changed.prepare([a_tool(price="$0.10")])
    refusal = await refused(changed, a_tool(price="$0.10"), stranger())
    assert refusal.price == "$0.05 a call"
    assert [str(rate) for rate in changed.rates(a_tool(price="$0.10"))] == ["$0.05 a call"]


async def test_a_link_that_was_paid_is_not_handed_out_again(engine: Engine, stripe: EmulatorServer) -> None:
    """Whoever comes next from the same address gets one that is open."""
    tool = a_tool()
    first = await refused(engine, tool, stranger())
    again = await refused(engine, tool, stranger())
    assert first.checkout_url == again.checkout_url
    stripe.complete_checkout(str(first.checkout_url), email="caller@example.com")
    now = engine._accounts.monotonic()
    engine._purchases._monotonic = lambda: now + 10.0
    assert (await refused(engine, tool, stranger())).checkout_url != first.checkout_url


async def test_links_for_strangers_have_a_budget(engine: Engine, stripe: EmulatorServer) -> None:
    """Anybody can ask for one, from as many addresses as they like."""
    tool = a_tool()
    reasons = [
        (await refused(engine, tool, stranger(f"203.0.113.{number}"))).reason
        for number in range(STRANGERS_A_MINUTE + 5)
    ]
    assert reasons.count("identity_required") == STRANGERS_A_MINUTE
    assert set(reasons[STRANGERS_A_MINUTE:]) == {"rate_limited"}


async def test_a_client_that_calls_itself_local_is_a_stranger(engine: Engine, stripe: EmulatorServer) -> None:
    """Who is local is said by the transport, not by a header; a stranger must not ride on another one's purchase."""
    tool = a_tool()
    refusal = await refused(engine, tool, stranger("local"))
    stripe.complete_checkout(str(refusal.checkout_url), email="victim@example.com")
    assert (await refused(engine, tool, stranger("local"))).reason == "identity_required"


async def test_a_principal_whose_customer_was_deleted_gets_a_new_one(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """The idempotency key of the first create would replay the deleted one for a day."""
    tool = a_tool()
    await refused(make_engine(), tool, someone())
    (customer,) = [row["id"] for row in stripe.emulator.account.store.all("customer")]
    engine = make_engine()
    await engine.prepare([tool])
    await engine.thread.call(
        lambda g: g.connection.write(lambda client, options: client.v1.customers.delete_async(customer)), 5.0
    )
    await refused(engine, tool, someone())
    sessions = [r.body["customer"] for r in stripe.emulator.requests if r.path == "/v1/checkout/sessions"]
    assert sessions[-1] != customer
    with pytest.raises(ConfigurationError, match="was deleted"):
        await engine.thread.call(lambda g: g.customers.keys(customer), 5.0)


async def test_a_stdio_server_with_a_secret_key_is_warned(
    make_engine: Callable[..., Engine], caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and without the key."""
    engine = make_engine(emulator=None, stripe_secret_key="sk_test_canary42")
    with caplog.at_level(logging.WARNING, "stripe_meter"):
        for _ in range(2):
            engine._look_at(Caller(b"local", is_local=True))
    assert caplog.text.count("holds your Stripe secret key") == 1
    assert "canary42" not in caplog.text


async def test_more_tools_than_a_subscription_holds_are_refused(engine: Engine) -> None:
    """Stripe's bound is 20 items."""
    with pytest.raises(ConfigurationError, match="21 priced tools"):
        await engine.prepare([a_tool(f"tool{number}") for number in range(21)])


async def test_without_a_known_address_no_link_is_made(
    make_engine: Callable[..., Engine], stripe: EmulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A forged Host header must not decide where the payer, and their key, end up."""
    engine = make_engine(public_url=None)
    with caplog.at_level(logging.ERROR, "stripe_meter"):
        assert (await refused(engine, a_tool(), stranger())).reason == "billing_unavailable"
    assert "STRIPE_METER_PUBLIC_URL" in caplog.text
    known = Caller(b"a", client="127.0.0.1", base_url="http://127.0.0.1:8000")
    assert (await refused(engine, a_tool(), known)).checkout_url is not None
    session = [record for record in stripe.emulator.requests if record.path == "/v1/checkout/sessions"][-1]
    assert session.body["success_url"].startswith("http://127.0.0.1:8000/billing/success?")


async def test_a_local_caller_who_pays_is_recognised_without_a_key(engine: Engine, stripe: EmulatorServer) -> None:
    """On stdio the process serves one caller, so the purchase it linked to is theirs."""
    tool, local = a_tool(), Caller(b"local", is_local=True)
    refusal = await refused(engine, tool, local)
    stripe.complete_checkout(str(refusal.checkout_url), email="caller@example.com")
    assert (await admitted(engine, tool, local)).customer is not None
    assert engine.admit_warm(tool, local) is not None


async def test_admission_blocks_only_where_there_is_no_loop(engine: Engine, stripe: EmulatorServer) -> None:
    """The same verdicts for a thread of its own."""
    tool = a_tool()
    caller = await pay(engine, stripe, tool)
    assert isinstance(await asyncio.to_thread(engine.admit_blocking, tool, caller), Admission)
    engine.close()
    assert isinstance(await asyncio.to_thread(engine.admit_blocking, tool, stranger()), Refusal)
    with pytest.raises(StripeUnavailable, match="shutting down"):
        await engine.thread.call(lambda gateway: gateway.accounts.read("cus_1"), 1.0)
