"""The table of everything the doctor checks, in the order in which it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stripe_meter.cli.doctor import account, catalogue, webhooks
from stripe_meter.cli.doctor.case import Case, Finding, Said

CHECKS: Final[dict[str, Callable[[Case], Said]]] = {
    check.__name__: check
    for check in (
        account.permissions,
        catalogue.missing_objects,
        catalogue.unheard_events,
        catalogue.archived_meters,
        catalogue.wrong_aggregation,
        catalogue.prices_that_differ,
        catalogue.lacking_items,
        catalogue.lost_plans,
        catalogue.small_prices,
        account.two_subscriptions,
        account.wallets_with_subscriptions,
        account.wallets_with_invoices,
        account.foreign_transactions,
        webhooks.webhooks,
        webhooks.meter_errors,
        account.clock,
        account.cancelling,
        account.sold_without_key,
        account.small_bills,
    )
}


def examine(case: Case) -> list[Finding]:
    """Everything that all checks find."""
    return [Finding(name, *said) for name, check in CHECKS.items() for said in check(case)]
