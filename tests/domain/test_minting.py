"""The mark by which a seller knows the API keys it made."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from stripe_meter.domain.identity import ApiKey
from stripe_meter.domain.minting import Mint

MINT = Mint("sk_test_of_the_seller")


@given(st.from_regex(r"cus_[A-Za-z0-9_]{1,40}[A-Za-z0-9]", fullmatch=True))
def test_a_key_that_was_made_here_is_known_again(customer: str) -> None:
    """Also after it was written down and read, whatever the customer's id looks like."""
    key = MINT.new(customer)
    assert ApiKey.parse(key.reveal()) == key
    assert MINT.made(key)


def test_what_was_invented_or_changed_bears_no_mark() -> None:
    """Else whoever has one good key could make a thousand that cost a read each."""
    key = MINT.new("cus_1")
    changed = "B" if key.secret[0] == "A" else "A"
    others = [
        ApiKey.new("cus_1"),
        replace(key, customer="cus_2"),
        replace(key, id=key.id[:-1] + ("b" if key.id[-1] == "a" else "a")),
        replace(key, secret=changed + key.secret[1:]),
        replace(key, secret=key.secret[:-10] + key.secret[:10]),
    ]
    assert not any(MINT.made(other) for other in others)


def test_another_sellers_key_is_none_of_ours() -> None:
    """The mark comes from the Stripe key, which no other seller has."""
    assert not Mint("sk_test_of_another").made(MINT.new("cus_1"))


def test_no_two_keys_are_alike() -> None:
    """The mark takes ten of forty characters; the rest is chance."""
    assert len({MINT.new("cus_1").secret for _ in range(100)}) == 100
