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

from stripe_meter.domain.usage import Charge, Ledger, Receipt
from stripe_meter.errors import ConfigurationError

PREFIX: Final = "rcp_"
#: Charges that share a digest, and hexadecimal digits of each signature.
_PLACES: Final = 16
_TAG: Final = 16
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

    __slots__ = ("_begun",)

    def __init__(self, stripe_key: str) -> None:
        # The beginning of every signature: the key, and zeros up to the end of SHAKE's first block (168 bytes).
        self._begun = hashlib.shake_128((b"stripe-meter receipts\n" + stripe_key.encode()).ljust(168, b"\0"))

    def seal(self, receipt: Receipt, charge: Charge) -> str:
        """The id of a charged call's receipt.

        Args:
            receipt: May be shared by many charges; keeps the ids that come next for whoever is charged the same again.
            charge: What was counted.
        """
        batch, place = charge
        block, sheet = place // _PLACES, receipt.sheet
        if sheet is None or sheet[0] is not batch or sheet[1] != block:
            sheet = batch, block, *self._sheet((receipt.said or receipt.say())[1], batch.name, block)
            object.__setattr__(receipt, "sheet", sheet)
        return sheet[2] + sheet[3][place % _PLACES]

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
        head, tails = self._sheet(terms, batch, block)
        return hmac.compare_digest(token, head + tails[at])

    def _sheet(self, terms: str, batch: str, block: int) -> tuple[str, list[str]]:
        """How the ids of several charges begin, and how each of them ends.

        SHAKE gives as many bytes as are asked for, so one keyed digest is 16 signatures of 64 bits, none of which tells
        anything of the others. See FIPS 202 for SHAKE; a sponge needs no HMAC around it.
        """
        mac = self._begun.copy()
        mac.update(f"{terms}|{batch}.{block}".encode())
        tags, first = mac.hexdigest(_PLACES * _TAG // 2), block * _PLACES
        tails = [f"{first + at}.{tags[at * _TAG : (at + 1) * _TAG]}" for at in range(_PLACES)]
        return f"{PREFIX}{terms}|{batch}.", tails
