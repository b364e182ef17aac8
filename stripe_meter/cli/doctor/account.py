"""Checks of everything beside the catalogue: subscriptions, wallets, the key, the clock, the portal, bills.

One small function for each thing that can be wrong. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Final

from stripe_meter.cli.doctor.case import Case, Said, some
from stripe_meter.domain.evidence import smallest_charge
from stripe_meter.domain.found import Subscriber
from stripe_meter.domain.money import Money

#: Seconds that a clock may be off.
_OFF: Final = 5.0


def two_subscriptions(case: Case) -> Said:
    by_customer: dict[str, list[Subscriber]] = defaultdict(list)
    for one in case.ours:
        by_customer[one.customer].append(one)
    for customer, held in by_customer.items():
        if len(held) > 1:
            oldest, *newer = sorted(held, key=lambda one: (one.created, one.id))
            cost = f"the same call is billed twice; the server goes by the oldest, {oldest.id}"
            mend = " && ".join(f"stripe delete /v1/subscriptions/{one.id} -d invoice_now=true" for one in newer)
            yield f"{customer} has {len(held)} live subscriptions", cost, mend


def wallets_with_subscriptions(case: Case) -> Said:
    wallets = {wallet.customer for wallet in case.evidence.wallets}
    for one in case.evidence.subscribers:
        if one.customer in wallets:
            cost = "its invoices are paid out of the credits that the customer bought"
            mend = f"stripe delete /v1/subscriptions/{one.id} -d invoice_now=true"
            yield f"wallet {one.customer} has the subscription {one.id}", cost, mend


def wallets_with_invoices(case: Case) -> Said:
    for wallet in case.evidence.wallets:
        if wallet.invoices:
            cost = "Stripe pays invoices of a wallet out of the credits that the customer bought"
            mend = f"stripe get /v1/invoices -d customer={wallet.customer}, and void what is open"
            yield f"wallet {wallet.customer} has invoices: {some(wallet.invoices)}", cost, mend


def foreign_transactions(case: Case) -> Said:
    currencies = {
        spec.amounts[0][0] for spec in case.desired.blueprint.prices if dict(spec.metadata).get("credits") is not None
    }
    for wallet in case.evidence.wallets:
        cost = "the sum of its ledger is not what was bought and used, so credits are lost or given away"
        mend = f"stripe get /v1/customers/{wallet.customer}/balance_transactions, then stripe-meter credits make-good"
        if wallet.foreign:
            told = some(f"{id} ({kind})" for id, kind in wallet.foreign)
            yield f"wallet {wallet.customer} has transactions that are not ours: {told}", cost, mend
        if currencies and (others := set(wallet.currencies) - currencies):
            told = f"{some(sorted(others))} and not {some(sorted(currencies))}".upper().replace("AND NOT", "and not")
            yield f"wallet {wallet.customer} is in {told}", cost, mend


def permissions(case: Case) -> Said:
    if case.evidence.lacking:
        mend = "Dashboard → Developers → API keys → edit the restricted key"
        yield (
            f"the key may not {', '.join(case.evidence.lacking)}",
            "what needs it fails when it is needed, or was not checked here",
            mend,
        )


def clock(case: Case) -> Said:
    offset = case.evidence.offset
    if abs(offset) > _OFF:
        cost = "usage stamped minutes ahead is rejected days later; it is corrected while Stripe answers"
        way = "behind" if offset > 0 else "ahead of"
        yield f"this machine's clock is {abs(offset):.0f} s {way} Stripe's", cost, "timedatectl set-ntp true"


def cancelling(case: Case) -> Said:
    portal = case.evidence.portal
    if portal is not None and portal.can_cancel and portal.mode == "immediately":
        cost = "usage of the running month that was not invoiced is given away"
        if portal.prorates != "none":
            cost += ", and the rest of a fee paid back"
        where = f"/v1/billing_portal/configurations/{portal.id}"
        mend = f"stripe post {where} -d 'features[subscription_cancel][mode]=at_period_end'"
        yield f"the default portal ({portal.id}) lets customers cancel at once", cost, mend


def sold_without_key(case: Case) -> Said:
    for customer in case.evidence.keyless:
        cost = "they did not come back to the page that shows it, and cannot use what they bought without it"
        yield f"{customer} has paid and was shown no API key", cost, f"stripe-meter keys create {customer}"


def small_bills(case: Case) -> Said:
    ours = {one.customer for one in case.ours}
    small = [
        bill
        for bill in case.evidence.bills
        if bill.customer in ours and 0 < bill.total < smallest_charge(bill.currency)
    ]
    if small:
        told = some(f"{bill.customer} {Money(Decimal(bill.total), bill.currency)}" for bill in small)
        cost = "Stripe charges nothing and carries them as a debt, which a customer who leaves never pays"
        yield f"bills under Stripe's smallest charge: {told}", cost, "raise the price, or sell credits or a monthly fee"
