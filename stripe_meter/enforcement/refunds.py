"""Taking a charge back: in Stripe first, then in what this process counts itself.

Owns which of this process's counts a refund changes: calls of an allowance or a plan, and what was spent under a cap.
Each is changed once, when the charge is taken back; whoever asks again changes nothing. Other processes see it when
they read the count from Stripe, which they do once a period.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stripe_meter.enforcement.caps import Caps
from stripe_meter.enforcement.counters import Counters
from stripe_meter.enforcement.credits.prepaid import Prepaid

if TYPE_CHECKING:
    from stripe_meter.domain.receipts import Voucher
    from stripe_meter.enforcement.accounts import AccountCache
    from stripe_meter.gateway.gateway import Gateway


class Refunds:
    """Takes charges back; in the Stripe thread."""

    def __init__(self, accounts: AccountCache, counters: Counters, caps: Caps, prepaid: Prepaid) -> None:
        self._accounts, self._counters, self._caps, self._prepaid = accounts, counters, caps, prepaid

    async def take_back(self, gateway: Gateway, voucher: Voucher) -> str:
        """Undo one charge; returns what Stripe was told, as `Corrections.take_back` and `Prepaid.take_back` say it."""
        if voucher.ledger == "credits":
            given = await self._prepaid.take_back(gateway, voucher)
            await gateway.corrections.uncount(voucher)
            return given
        undone = await gateway.corrections.take_back(voucher)
        if undone.is_new:
            await self._caps.give_back(gateway, voucher, self._uncount(voucher))
        return undone.id

    def _uncount(self, voucher: Voucher) -> int:
        """How many units fewer cost money now, of those that are counted here; else as many as the receipt says."""
        counters = self._counters.running(voucher.customer, voucher.event_name, voucher.charged_at)
        saved = [counter.undo(voucher.quantity) for counter in counters]
        if saved and (account := self._accounts.get(voucher.customer)) is not None:
            # An offer from a later pocket was found when this one was empty.
            account.forget_offers()
        return saved[0] if saved else voucher.billed
