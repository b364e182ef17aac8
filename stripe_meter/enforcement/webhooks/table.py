"""The table of events: which of Stripe's events are handled, by what, and why.

The same table makes the endpoints (`stripe-meter webhook create`) and is what the doctor compares them with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stripe_meter.enforcement.webhooks import accounts, purchases, reports, reversals
from stripe_meter.enforcement.webhooks.desk import Handler


@dataclass(frozen=True, slots=True)
class Row:
    """One type of event.

    Attributes:
        handler: What is done.
        reason: Why, in one line.
        is_money: Money moved: what a process took and did not finish, the next one looks for.
    """

    handler: Handler
    reason: str
    is_money: bool = False


TABLE: Final[dict[str, Row]] = {
    "checkout.session.completed": Row(
        purchases.session_done, "what was bought is there, also when the payer does not come back", True
    ),
    "checkout.session.async_payment_succeeded": Row(
        purchases.session_done, "a bank transfer arrives days after its Checkout", True
    ),
    "checkout.session.async_payment_failed": Row(
        purchases.session_failed, "a bank transfer that never came is worth a word in the log"
    ),
    "payment_intent.succeeded": Row(
        purchases.paid, "packs paid without Checkout: links, saved cards, automatic top-up", True
    ),
    "customer.subscription.created": Row(purchases.subscribed, "a second subscription bills every call twice", True),
    "customer.subscription.updated": Row(accounts.changed, "past due, another plan, another price: asked differently"),
    "customer.subscription.deleted": Row(accounts.changed, "whoever has left is not served any more"),
    "customer.subscription.paused": Row(accounts.changed, "a trial that ended without a card bills nothing"),
    "customer.subscription.resumed": Row(accounts.changed, "a paused customer is served again at once"),
    "invoice.paid": Row(accounts.changed, "whoever has paid is served at once, and may owe anew"),
    "invoice.payment_failed": Row(accounts.changed, "what cannot be charged is not lent any further"),
    "invoice.finalization_failed": Row(accounts.not_finalised, "an invoice that cannot be finished is never paid"),
    "invoice.voided": Row(accounts.changed, "a debt that was waived stands in nobody's way"),
    "entitlements.active_entitlement_summary.updated": Row(accounts.changed, "premium tools open and close"),
    "customer.updated": Row(accounts.changed, "revoked keys, changed caps and cards count at once"),
    "customer.deleted": Row(accounts.deleted, "a deleted customer's usage is billed to nobody"),
    "refund.created": Row(reversals.refunded, "credits that were paid back are taken back", True),
    "refund.updated": Row(reversals.refunded, "a refund may be cancelled while it is pending", True),
    "refund.failed": Row(reversals.refunded, "a refund that did not arrive gives its credits again", True),
    "charge.dispute.created": Row(reversals.disputed, "who takes money back through the bank gets no more", True),
    "charge.dispute.updated": Row(reversals.disputed, "a question of the bank's may become a dispute", True),
    "charge.dispute.closed": Row(reversals.disputed, "a dispute that is won gives everything again", True),
    "v1.billing.meter.error_report_triggered": Row(reports.reported, "usage that was not counted is never billed"),
    "v1.billing.meter.no_meter_found": Row(reports.reported, "usage that no meter listens to is never billed"),
}

#: Stripe delivers these without their content, through a destination of its own.
THIN: Final = tuple(type for type in TABLE if type.startswith("v1."))
SNAPSHOT: Final = tuple(type for type in TABLE if not type.startswith("v1."))
MONEY: Final = tuple(type for type, row in TABLE.items() if row.is_money)
