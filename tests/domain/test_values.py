"""Tools, plans, keys, calls, receipts and accounts as values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_meter.domain.account import Subscription
from stripe_meter.domain.identity import ApiKey, Caller, Principal, stored_keys
from stripe_meter.domain.offering import Offering
from stripe_meter.domain.plans import PayAsYouGo
from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.refusals import billing_unavailable, payment_required
from stripe_meter.domain.tools import Tool
from stripe_meter.domain.usage import Call, MeterEvent, Receipt, event_timestamp
from stripe_meter.errors import ConfigurationError, PaymentRequired


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "so much: fun"}, "cannot name a meter"),
        ({"name": "x" * 61}, "cannot name a meter"),
        ({"max_units": 0}, "max_units=0 cannot be used; write a whole number, at least 1"),
        ({"max_units": 1.5}, r"max_units=1\.5 cannot be used; write a whole number"),
        ({"max_units": float("nan")}, "max_units=nan cannot be used"),
        ({"max_units": True}, "max_units=True cannot be used"),
        ({"max_units": "100"}, "max_units='100' cannot be used"),
        ({"units": 5}, "units=5 counts nothing; write a function"),
        ({"name": 5}, "name=5 cannot name a tool"),
        ({"units": lambda call: 1}, "priced per call"),
    ],
)
def test_a_tool_that_contradicts_itself_is_refused(options: dict[str, Any], message: str) -> None:
    """At decoration, with the fix."""
    with pytest.raises(ConfigurationError, match=message):
        Tool(**{"name": "summarize", "rates": parse_price("$0.05"), **options})


def test_pay_as_you_go_needs_a_money_price() -> None:
    """A rate that no plan on sale can charge is an error before the first call."""
    offering = Offering([PayAsYouGo()])
    with pytest.raises(ConfigurationError, match="no plan on sale can charge"):
        offering.check(Tool("summarize", parse_price("1 credit")))
    offering.check(Tool("ping", parse_price("free")))
    with pytest.raises(ConfigurationError, match="nobody can ever pay 1 credit a call"):
        offering.check(Tool("summarize", parse_price(("1 credit", "$0.05"))))


def test_a_tool_picks_the_rate_of_the_customers_currency() -> None:
    """And the first money rate where the author named none."""
    tool = Tool("summarize", parse_price(("1 credit", "$0.05", "€0.04")))
    assert [tool.rate_in(currency).currency for currency in ("eur", "usd", "gbp")] == ["eur", "usd", "usd"]
    assert tool.price == "1 credit a call or $0.05 a call or €0.04 a call"


def test_an_api_key_opens_only_the_customer_that_keeps_its_hash() -> None:
    """The form proves nothing; the hash in the metadata does."""
    key = ApiKey.new("cus_123")
    assert ApiKey.parse(key.reveal()) == key
    assert key.opens(stored_keys({key.metadata_key: f"{key.hash} 1700000000"}))
    assert not key.opens(())
    assert not key.opens(stored_keys({key.metadata_key: "0" * 64, "stripe_meter_key_x": "no hash"}))
    assert not ApiKey.new("cus_123").opens(stored_keys({key.metadata_key: key.hash}))


def test_an_api_key_never_shows_its_secret_by_accident() -> None:
    """Neither in a repr nor in its masked form."""
    key = ApiKey.new("cus_123")
    caller = Caller(b"k", api_key=key.reveal())
    for text in (repr(key), key.masked, repr(caller)):
        assert key.secret not in text


@pytest.mark.parametrize(
    "text", ["", "smk_", "smk_cus_1", "sk_test_123", "smk_cus_1_" + "a" * 41, "smk_cus_1_" + "a" * 4000]
)
def test_text_that_is_no_key_is_no_key(text: str) -> None:
    """Malformed keys never reach Stripe."""
    assert ApiKey.parse(text) is None


@given(st.from_regex(r"cus_[A-Za-z0-9]{1,40}", fullmatch=True))
def test_keys_of_any_customer_read_back(customer: str) -> None:
    """Stripe's ids and the emulator's (with underscores) alike."""
    for name in (customer, f"cus_demo_{customer[4:]}"):
        key = ApiKey.new(name)
        assert ApiKey.parse(f" {key.reveal()} ") == key


def test_principals_differ_by_issuer_and_subject() -> None:
    """Two issuers may use the same subject."""
    digests = {Principal(issuer, subject).digest for issuer in ("a", "b") for subject in ("1", "2")}
    assert len(digests) == 4


@given(st.floats(1.5e9, 4e9))
def test_event_timestamps_are_never_on_a_full_minute(now: float) -> None:
    """Summaries split there. A little ahead, for Stripe never bills usage that is dated before its item began."""
    second = event_timestamp(now)
    assert second % 60 != 0
    assert now + 1 < second <= now + 3


def test_a_meter_event_is_strings_on_the_wire() -> None:
    """`payload` takes strings only (docs.stripe.com/api/billing/meter-event/create)."""
    event = MeterEvent("mcp.summarize", "cus_1", 12, "sm_1", 1700000001)
    assert event.params()["payload"] == {"stripe_customer_id": "cus_1", "value": "12"}


@pytest.mark.parametrize("units", [-1, 1.5, True, "2"])
def test_a_call_counts_whole_units_only(units: Any) -> None:
    """A float never reaches a meter."""
    with pytest.raises(ValueError, match="whole"):
        Call("translate").add(units)


def test_units_added_to_a_call_sum_up() -> None:
    """Several steps of one tool count together."""
    call = Call("translate")
    assert call.added is None
    call.add()
    call.add(4)
    assert call.added == 5


def test_a_receipt_states_exact_minor_units() -> None:
    """As a decimal string, never as a float."""
    paid = Receipt("summarize", 3, Decimal("3.75"), "eur", "cus_1", billed=3).meta()
    assert (paid["amount"], paid["currency"], paid["text"], paid["charged"]) == ("11.25", "eur", "€0.1125", True)
    assert Receipt("ping").meta() == {"tool": "ping", "charged": False}


def test_a_subscription_without_a_card_or_in_trial_is_not_solvent() -> None:
    """A trial bills no metered usage, and an active subscription alone proves no funds."""
    assert Subscription("sub_1", "active", (), has_payment_method=True).is_solvent
    assert not Subscription("sub_1", "active", (), has_payment_method=False).is_solvent
    assert not Subscription("sub_1", "trialing", (), has_payment_method=True).is_solvent


def test_a_refusal_carries_data_an_agent_can_act_on() -> None:
    """The link only where paying helps, the waiting time only where waiting does."""
    pay = payment_required("summarize", "$0.05 a call", "https://pay.example/1")
    wait = billing_unavailable("summarize", "$0.05 a call", 5.0)
    assert pay.data() == {
        "reason": "payment_required",
        "tool": "summarize",
        "price": "$0.05 a call",
        "checkout_url": "https://pay.example/1",
    }
    assert wait.data()["retry_after_seconds"] == 5.0
    error = pay.error()
    assert isinstance(error, PaymentRequired)
    assert (error.reason, error.checkout_url) == ("payment_required", "https://pay.example/1")
