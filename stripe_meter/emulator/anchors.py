"""The next day of the month on which a billing cycle may be anchored.

Owns: `billing_cycle_anchor_config`. Does not own: periods (`billing`). A day the month lacks is its last day; hours,
minutes and seconds not given are those of now, in UTC (docs.stripe.com/billing/subscriptions/billing-cycle).
"""

import calendar
from datetime import UTC, datetime

from stripe_meter.emulator.errors import JSON, invalid


def next_match(now: int, config: JSON) -> int:
    """The first moment after `now` that fits the configuration, in epoch seconds."""
    start = datetime.fromtimestamp(now, UTC)
    if not 1 <= config["day_of_month"] <= 31:
        raise invalid("`day_of_month` must be between 1 and 31.", "billing_cycle_anchor_config[day_of_month]")
    for months in range(14):
        year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
        if config.get("month") in (None, month + 1):
            found = _in_month(start, year, month + 1, config)
            if found > now:
                return found
    raise invalid("`month` must be between 1 and 12.", "billing_cycle_anchor_config[month]")


def _in_month(start: datetime, year: int, month: int, config: JSON) -> int:
    day = min(config["day_of_month"], calendar.monthrange(year, month)[1])
    clock = {name: config.get(name, getattr(start, name)) for name in ("hour", "minute", "second")}
    try:
        return int(start.replace(year=year, month=month, day=day, **clock).timestamp())
    except ValueError:
        raise invalid("Invalid time of day.", "billing_cycle_anchor_config") from None
