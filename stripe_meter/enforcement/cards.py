"""Cards that were saved: which one is charged from now on, and what its owner agreed to.

Owns taking a finished setup in, as often as it is told: by the success page, by a webhook, by both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stripe_meter.gateway.gateway import Gateway


async def keep_card(gateway: Gateway, intent: str) -> str | None:
    """Charge a card that was saved (`seti_…`) from now on, and note what its owner agreed to; as often as it is told.

    Returns:
        Whose card it is, `cus_…`, or None when it is none of ours or was not saved.
    """
    saved = await gateway.setups.read(intent)
    if saved is None or saved.is_kept:
        return None if saved is None else saved.customer
    await gateway.setups.make_default(saved.customer, saved.method)
    if saved.terms is not None:
        await gateway.top_ups.agree(saved.customer, saved.method, saved.terms, saved.created)
    await gateway.setups.mark_kept(intent)
    return saved.customer
