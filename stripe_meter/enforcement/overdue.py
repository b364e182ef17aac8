"""Subscribers whose subscription pays nothing now: their last invoice failed, or there is no card to charge.

Owns when such a customer is looked at again, and the refusal that sends them to their open invoice. A look is one read,
of the invoice where there is one; once that is paid the account is read anew, so whoever pays goes on in every process
within a minute, told by a webhook or not. Looks grow rarer while nothing changes, because Stripe rations reads. Lives
in the Stripe thread's loop.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stripe_meter.domain import refusals
from stripe_meter.errors import StripeUnavailable

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account, Subscription
    from stripe_meter.domain.refusals import Refusal
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.accounts import AccountCache
    from stripe_meter.enforcement.shelf import Shelf
    from stripe_meter.gateway.gateway import Gateway

log = logging.getLogger("stripe_meter")

#: Seconds between two looks at one customer, at first and at most; each time twice as long.
_FIRST: Final = 5.0
_MOST_SECONDS: Final = 60.0
_MOST: Final = 10_000


@dataclass(slots=True)
class _Watch:
    """The last look at a customer: when, at which invoice, and where that can be paid."""

    invoice: str | None
    url: str | None = None
    due: float = 0.0
    pause: float = _FIRST


class Overdue:
    """Looks at insolvent subscribers, by customer."""

    def __init__(self, shelf: Shelf, accounts: AccountCache) -> None:
        self._shelf, self._accounts = shelf, accounts
        self._watches: dict[str, _Watch] = {}

    async def look(self, gateway: Gateway, account: Account) -> Account | None:
        """The account as it is now where it may have changed; None where it has not, or it is too early to look."""
        assert account.subscription is not None
        invoice, now = _unpaid(account.subscription), self._accounts.monotonic()
        watch = self._watches.get(account.customer)
        if watch is None or watch.invoice != invoice:
            while len(self._watches) >= _MOST:
                self._watches.pop(next(iter(self._watches)))
            watch = self._watches[account.customer] = _Watch(invoice)
        if now < watch.due:
            return None
        watch.due, watch.pause = now + watch.pause, min(_MOST_SECONDS, 2 * watch.pause)
        if invoice is not None:
            watch.url = await gateway.accounts.invoice_url(invoice)
            if watch.url is not None:
                return None
        try:
            current = await self._accounts.refresh(account.customer)
        except StripeUnavailable as error:
            log.info("whether %s can be served again is not known now: %s", account.customer, error)
            return None
        return current if _differs(current, account) else None

    def refusal(self, tool: Tool, account: Account) -> Refusal:
        """Where to pay, after a look."""
        quote, subscription = self._shelf.quote(tool), account.subscription
        assert subscription is not None
        watch = self._watches.get(account.customer)
        if watch is not None and watch.url is not None and watch.invoice == _unpaid(subscription):
            return refusals.invoice_open(tool.name, quote, watch.url)
        why = f"is {subscription.status}" if subscription.status != "active" else "has no payment method"
        return refusals.subscription_unusable(tool.name, quote, why)


def _unpaid(subscription: Subscription) -> str | None:
    """The invoice that keeps a subscription from being served, or None."""
    return None if subscription.status == "active" else subscription.latest_invoice


def _differs(current: Account, known: Account) -> bool:
    """Whether the customer, or what they are subscribed to, is in another state than before."""
    return (current.deleted, current.is_disputed, current.subscription, current.wallet) != (
        known.deleted,
        known.is_disputed,
        known.subscription,
        known.wallet,
    )
