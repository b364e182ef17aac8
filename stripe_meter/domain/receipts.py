"""A receipt's id: everything a refund has to know, signed, so that nobody has to keep it.

Owns its text form, `rcp_` with the fields of a `Voucher` between bars and a signature behind the last point. The key
comes from the seller's Stripe key, so only their own processes make or accept one; a caller who changes a digit has no
receipt any more. It holds no secret and no personal data.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final

from stripe_meter.domain.usage import Ledger, Receipt
from stripe_meter.errors import ConfigurationError

PREFIX: Final = "rcp_"
_LEDGERS: Final[dict[str, Ledger]] = {"u": "usage", "p": "plan", "c": "credits", "a": "allowance"}


@dataclass(frozen=True, slots=True)
class Voucher:
    """What one receipt says was charged.

    Attributes:
        customer: `cus_…`.
        event_name: Of the meter it was counted on.
        quantity: Units on that meter; for credits ledger units.
        billed: Units of these that cost money.
        unit_amount: Minor units for one of them.
        currency: Lower-case ISO code, or None where no money was at stake.
        charged_at: Unix seconds of Stripe's clock.
        number: Unique among all receipts of the seller.
    """

    ledger: Ledger
    customer: str
    event_name: str
    quantity: int
    billed: int
    unit_amount: Decimal
    currency: str | None
    charged_at: int
    number: str


def signing_key(stripe_key: str) -> bytes:
    """The key for `seal` and `unseal`; it tells nothing of the Stripe key it comes from."""
    return hashlib.sha256(b"stripe-meter receipts\n" + stripe_key.encode()).digest()


def seal(receipt: Receipt, charged_at: int, number: str, key: bytes) -> str:
    """The id of a receipt for a charged call."""
    text = f"{_terms(receipt)}|{charged_at}|{number}"
    mac = _keyed(key).copy()  # as `_mac` does; a call less for every receipt
    mac.update(text.encode())
    return f"{PREFIX}{text}.{mac.hexdigest()}"


def unseal(token: str, key: bytes) -> Voucher:
    """What a receipt's id says.

    Raises:
        ConfigurationError: It was not made with this key, or somebody changed it.
    """
    text, _, mac = token.removeprefix(PREFIX).rpartition(".")
    parts = text.split("|")
    if not token.startswith(PREFIX) or len(parts) != 9 or not hmac.compare_digest(mac, _mac(text, key)):
        raise ConfigurationError(
            "this is no receipt of this seller; pass the whole `id` of a receipt, made under the same STRIPE_SECRET_KEY"
        )
    ledger, customer, event_name, quantity, billed, unit_amount, currency, charged_at, number = parts
    return Voucher(
        _LEDGERS[ledger],
        customer,
        event_name,
        int(quantity),
        int(billed),
        Decimal(unit_amount),
        currency or None,
        int(charged_at),
        number,
    )


@lru_cache(maxsize=1024)
def _terms(receipt: Receipt) -> str:
    """What is the same in most receipts of one customer; writing it anew would take longer than signing it."""
    return (
        f"{receipt.ledger[0]}|{receipt.customer}|{receipt.event_name}|{receipt.quantity}|{receipt.billed}|"
        f"{receipt.unit_amount}|{receipt.currency or ''}"
    )


def _mac(text: str, key: bytes) -> str:
    mac = _keyed(key).copy()
    mac.update(text.encode())
    return mac.hexdigest()


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> hashlib.blake2b:
    """The beginning of every signature with `key`; taking it in anew would be half of the work."""
    return hashlib.blake2b(digest_size=12, key=key)
