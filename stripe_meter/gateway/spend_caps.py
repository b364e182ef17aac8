"""What bounds a customer's spending: the limit they set for themselves, and the sum of what they spent.

Owns writing both. The limit is one number in their metadata, in whole minor units of their currency, read with the
account; the sum is kept on a meter without a price, and what a refund takes back is a negative event on it.
"""

from __future__ import annotations

from typing import Any

from stripe_meter.domain.identity import METADATA_CAP
from stripe_meter.domain.receipts import Voucher
from stripe_meter.domain.usage import MeterEvent
from stripe_meter.errors import StripeRejected
from stripe_meter.gateway.connection import Connection


async def write(connection: Connection, customer: str, minor: int) -> None:
    """From now on `customer` (`cus_…`) is to spend at most `minor` in the seller's interval."""
    await connection.write(
        lambda client, options: client.v1.customers.update_async(
            customer, {"metadata": {METADATA_CAP: str(minor)}}, options
        )
    )


async def give_back(connection: Connection, event_name: str, voucher: Voucher, spent: int) -> None:
    """Take `spent` off the sum at the moment at which it was charged; doing it again within a day changes nothing."""
    identifier = f"void:{voucher.number}:spend"
    params: Any = MeterEvent(event_name, voucher.customer, -spent, identifier, voucher.charged_at).params()
    try:
        await connection.write(
            lambda client, options: client.v1.billing.meter_events.create_async(params, options), key=identifier
        )
    except StripeRejected as error:
        if "already exists with identifier" not in str(error):
            raise
