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
from typing import Final

from stripe_meter.domain.usage import Batch, Charge, Ledger
from stripe_meter.errors import ConfigurationError

PREFIX: Final = "rcp_"
#: Charges that share a digest, hexadecimal digits of each signature, and how many digests are remembered.
_PLACES: Final = 32
_TAG: Final = 16
_MOST_SHEETS: Final = 1024
_LONGEST: Final = 512
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
        charged_at: Unix seconds of Stripe's clock, as exact as the meter event that the call became part of.
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


class Sealer:
    """Makes receipts' ids and reads them.

    Args:
        stripe_key: The seller's secret key; the ids tell nothing of it.
    """

    __slots__ = ("_begun", "_sheets")

    def __init__(self, stripe_key: str) -> None:
        # The beginning of every signature: the key, and zeros up to the end of SHAKE's first block (168 bytes).
        self._begun = hashlib.shake_128((b"stripe-meter receipts\n" + stripe_key.encode()).ljust(168, b"\0"))
        self._sheets: dict[tuple[str, Batch, int], tuple[str, str]] = {}

    def seal(self, terms: str, charge: Charge) -> str:
        """The id of a receipt for a charged call.

        Args:
            terms: Of the receipt.
            charge: What was counted.
        """
        batch, place = charge
        key = (terms, batch, place // _PLACES)
        head, tags = self._sheets.get(key) or self._keep(key)
        at = place % _PLACES * _TAG
        return f"{head}{place}.{tags[at : at + _TAG]}"

    def unseal(self, token: str) -> Voucher:
        """What a receipt's id says.

        Raises:
            ConfigurationError: It was not made with this key, or somebody changed it.
        """
        if not self._is_ours(token):
            raise ConfigurationError(
                "this is no receipt of this seller; pass the whole `id` of a receipt, made under the same "
                "STRIPE_SECRET_KEY"
            )
        text = token.removeprefix(PREFIX).rpartition(".")[0]
        ledger, customer, event_name, quantity, billed, unit_amount, currency, number = text.split("|")
        return Voucher(
            _LEDGERS[ledger],
            customer,
            event_name,
            int(quantity),
            int(billed),
            Decimal(unit_amount),
            currency or None,
            int(number.partition(".")[0]),
            number,
        )

    def _is_ours(self, token: str) -> bool:
        """Whether signing the same terms and number gives the same text."""
        if len(token) > _LONGEST or not token.isascii():
            return False
        terms, _, number = token.removeprefix(PREFIX).rpartition("|")
        batch, _, place = number.rpartition(".")[0].rpartition(".")
        if not place.isdigit():
            return False
        block, at = divmod(int(place), _PLACES)
        head, tags = self._sheet(terms, batch, block)
        return hmac.compare_digest(token, f"{head}{int(place)}.{tags[at * _TAG : (at + 1) * _TAG]}")

    def _keep(self, key: tuple[str, Batch, int]) -> tuple[str, str]:
        """Whoever is charged again before their usage was sent has terms and batch in common with the call before."""
        terms, batch, block = key
        if len(self._sheets) >= _MOST_SHEETS:
            self._sheets.clear()
        sheet = self._sheets[key] = self._sheet(terms, batch.name, block)
        return sheet

    def _sheet(self, terms: str, batch: str, block: int) -> tuple[str, str]:
        """How the ids of several charges begin, and their signatures.

        SHAKE gives as many bytes as are asked for, so one keyed digest is 32 signatures of 64 bits, none of which tells
        anything of the others. See FIPS 202 for SHAKE; a sponge needs no HMAC around it.
        """
        mac = self._begun.copy()
        mac.update(f"{terms}|{batch}.{block}".encode())
        return f"{PREFIX}{terms}|{batch}.", mac.hexdigest(_PLACES * _TAG // 2)
