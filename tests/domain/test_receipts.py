"""Ids of receipts: what they say comes back, and nobody but the seller can make one."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe_meter.domain.receipts import Sealer, Voucher
from stripe_meter.domain.usage import Receipt
from stripe_meter.errors import ConfigurationError

RECEIPT = Receipt("summarize", 3, Decimal("0.5"), "usd", "cus_1", billed=2, event_name="mcp.summarize")
SEALER = Sealer("sk_test_seller")


@dataclass
class Merged:
    """Usage on its way to Stripe."""

    name: str
    number: int = 1
    taken: bool | None = None


BATCH = Merged("1790000000.ab12")


def test_an_id_says_what_was_charged() -> None:
    """A refund needs nothing else, so nobody has to keep receipts."""
    voucher = SEALER.unseal(SEALER.seal(RECEIPT, (BATCH, 17)))
    assert voucher == Voucher(
        "usage", "cus_1", "mcp.summarize", 3, 2, Decimal("0.5"), "usd", 1_790_000_000, "1790000000.ab12.17"
    )


@given(place=st.integers(1, 40), other=st.integers(1, 40))
def test_charges_that_share_a_digest_have_signatures_of_their_own(place: int, other: int) -> None:
    """Whoever holds the receipt of one call cannot make that of the next one."""
    mine, theirs = (SEALER.seal(RECEIPT, (BATCH, where)) for where in (place, other))
    forged = f"{theirs.rpartition('.')[0]}.{mine.rpartition('.')[2]}"
    if place == other:
        assert SEALER.unseal(forged).number.endswith(f".{place}")
    else:
        with pytest.raises(ConfigurationError):
            SEALER.unseal(forged)


@given(st.data())
def test_a_changed_character_makes_it_worthless(data: st.DataObject) -> None:
    """Every digit of the amount, the customer and the number is signed."""
    token = SEALER.seal(RECEIPT, (BATCH, 9))
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(codec="ascii").filter(lambda new: new != token[at]))
    with pytest.raises(ConfigurationError, match="no receipt of this seller"):
        SEALER.unseal(token[:at] + letter + token[at + 1 :])


@pytest.mark.parametrize(
    "token",
    [
        "",
        "rcp_",
        "rcp_|.1.",
        ".",
        "\ud800",
        "²",
        "rcp_u|a|b|1|1|5|usd|1.b.².00",
        "x" * 1_000_000,
        f"rcp_{RECEIPT.say()[1]}|1.b.1",
    ],
)
def test_any_text_may_be_shown_as_a_receipt(token: str) -> None:
    """It comes from callers, so nothing in it may do more than be refused."""
    with pytest.raises(ConfigurationError, match="no receipt of this seller"):
        SEALER.unseal(token)


def test_another_sellers_receipt_is_refused() -> None:
    """The signature comes from the Stripe key."""
    with pytest.raises(ConfigurationError):
        Sealer("sk_test_other").unseal(SEALER.seal(RECEIPT, (BATCH, 1)))
