"""Reading a wallet's ledger at Stripe, and mending what dead processes left.

Owns the paging that the sum needs, and the three tries of each repair. Runs in the Stripe thread when a wallet is
short, or when somebody looks after it by hand. Two that do it at once share their keys, so it happens once.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from stripe_meter.enforcement.credits.ledger import Entry, Ledger, Write, repairs
from stripe_meter.enforcement.credits.steps import Policy
from stripe_meter.errors import IdempotencyConflict, StripeUnavailable

if TYPE_CHECKING:
    from stripe_meter.gateway.wallets import Transaction, Wallets

log = logging.getLogger("stripe_meter.credits")

_TRIES: Final = 3
#: Where nothing is mended, dead chains stay in the ledger; only the last day tells who may still be using it.
_KEPT: Final = 24 * 3600
#: The moment before which nothing is in doubt is written down when it has moved by this much.
_MOVED: Final = 3600


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look at the whole wallet showed.

    Attributes:
        balance: Of the wallet, in ledger units that can still be taken; negative is a debt.
        returned: Units that were given back (or charged, where negative) for dead chains.
        elsewhere: Units that lie in chains of other processes.
        owed: Units of the debt that lie in no chain: used, although their payment went back.
    """

    balance: int
    returned: int
    elsewhere: int
    owed: int = 0


def entry(row: Transaction) -> Entry:
    """A transaction as the protocol reads it; what is not of our form belongs to no chain."""
    metadata = row.metadata
    chain, number, used = metadata.get("c", ""), metadata.get("n", ""), metadata.get("u", "")
    if metadata.get("sm") != "chain" or not (chain and number.isdigit() and used.isdigit()):
        return Entry(row.id, row.amount, row.created)
    return Entry(row.id, row.amount, row.created, chain, int(number), int(used))


async def survey(
    wallets: Wallets, wallet: str, currency: str, policy: Policy, own: Collection[str] = (), *, mend: bool = True
) -> Findings:
    """List a wallet, mend what is dead if the policy says so, and tell what is where.

    Args:
        own: Chains of this process.
        mend: False only looks.
    """
    balance, settled = await wallets.look(wallet)
    ledger, date, newest = Ledger(), 0, None
    async with aclosing(wallets.pages(wallet)) as pages:
        async for page in pages:
            date = page.date
            if newest is None and page.rows:
                newest = page.rows[0].balance
            ledger.add(entry(row) for row in page.rows)
            if ledger.is_enough(settled if policy.returns else date - _KEPT):
                break
    # Of one listing, so that nothing happened between the balance and what lies in the chains.
    debt = max(0, (newest or 0) - sum(max(0, held.unproven) for held in ledger.chains.values()))
    returned = 0
    if policy.returns and mend:
        for write in repairs(ledger, date, policy.recovery_age, own):
            if await _mended(wallets, wallet, currency, write):
                returned -= write.amount
                held = ledger.chains[write.chain]
                held.total += write.amount
        moment = ledger.settled_before(date, policy.recovery_age)
        if moment > settled + _MOVED:
            await wallets.settled(wallet, moment)
    # Two that took more than there was cannot both use it: what the wallet owes lies with one of them.
    mine = sum(held.unproven for id, held in ledger.chains.items() if id in own)
    owed = max(0, balance - returned - mine)
    return Findings(returned - balance, returned, max(0, ledger.held_elsewhere(own) - owed), debt)


async def _mended(wallets: Wallets, wallet: str, currency: str, write: Write) -> bool:
    for _ in range(_TRIES):
        try:
            await wallets.add(wallet, write.amount, currency, write.key, write.metadata, write.description)
        except StripeUnavailable as error:
            if error.stored:
                return False
        except IdempotencyConflict:
            # Its owner is alive, or another recoverer read another ledger: the next recovery will see.
            return False
        else:
            log.warning(
                "%s: chain %s of a process that ended: %s by %+d", wallet, write.chain, write.description, -write.amount
            )
            return True
    return False
