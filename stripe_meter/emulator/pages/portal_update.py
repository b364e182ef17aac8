"""Switching the plan in the customer portal: what is offered, what it costs today, and the switch.

Owns: this part of the portal's page. Does not own: prorations (`item_changes`). Only licensed subscriptions with one
item are offered a switch; the portal of Stripe cannot update usage-based ones either.
"""

from html import escape

from stripe_meter.emulator import invoicing, item_changes
from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import shown_money
from stripe_meter.emulator.errors import JSON, ApiError
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.pages.price_words import unit_prices
from stripe_meter.emulator.periods import is_metered
from stripe_meter.emulator.resources.portal_flows import offered
from stripe_meter.emulator.resources.subscription_update import check_items_change
from stripe_meter.emulator.views import items_of, live_subscriptions


def choices(account: Account, session: JSON, feature: JSON) -> str:
    """A form for each price that the customer may switch to, with what is due today."""
    if not feature["enabled"]:
        return ""
    flow = session["flow"] or {}
    confirm = flow.get("subscription_update_confirm")
    only = (flow.get("subscription_update") or confirm or {}).get("subscription")
    cards = []
    for row in live_subscriptions(account, session["customer"]):
        item = _switchable(account, row)
        if only in (None, row["id"]) and item is not None:
            prices = [confirm["items"][0]["price"]] if confirm else offered(_configuration(account, session))
            cards += [_card(account, session, row, item, price) for price in prices if price != item["price"]]
    return "".join(cards)


def _configuration(account: Account, session: JSON) -> JSON:
    return account.store.get("billing_portal.configuration", session["configuration"])


def _switchable(account: Account, subscription: JSON) -> JSON | None:
    items = items_of(account, subscription["id"])
    return items[0] if len(items) == 1 and not is_metered(account, items[0]) else None


def _card(account: Account, session: JSON, subscription: JSON, item: JSON, id: str) -> str:
    price = account.store.get("price", id)
    product = account.store.get("product", price["product"])
    words = "<br>".join(escape(text) for text in unit_prices(price, product, subscription["currency"]))
    made = _plan(account, session, subscription, item, id)
    due = 0
    if made.immediate:
        lines = account.pending_lines.get(subscription["id"], []) + made.lines
        due = invoicing.preview(account, subscription, "subscription_update", lines, "in_unstored")["amount_due"]
    shown = escape(shown_money(due, subscription["currency"]))
    return (
        f'<form class="card" method="post" action="/p/session/{escape(session["id"])}">'
        f"<h2>Switch to {escape(product['name'])}</h2><p>{words}</p><p class=soft>Due today: {shown}</p>"
        f'<input type="hidden" name="subscription" value="{escape(subscription["id"])}">'
        f'<input type="hidden" name="price" value="{escape(id)}">'
        '<button name="action" value="update">Confirm the switch</button></form>'
    )


def _plan(account: Account, session: JSON, subscription: JSON, item: JSON, price: str) -> item_changes.Plan:
    feature = _configuration(account, session)["features"]["subscription_update"]
    wanted = [{"id": item["id"], "price": price}]
    check_items_change(account, subscription, wanted)
    restart = feature["billing_cycle_anchor"] == "now"
    return item_changes.plan(account, subscription, wanted, feature["proration_behavior"], restart=restart)


def switch(account: Account, session: JSON, fields: dict[str, str]) -> None:
    """Carry the switch out; raises for a subscription or price that the page did not offer."""
    mine = {row["id"]: row for row in live_subscriptions(account, session["customer"])}
    subscription = mine.get(fields.get("subscription", ""))
    item = _switchable(account, subscription) if subscription is not None else None
    price = fields.get("price", "")
    if subscription is None or item is None or price not in offered(_configuration(account, session)):
        raise ApiError(404, "There is no such plan to switch to.")
    made = _plan(account, session, subscription, item, price)
    item_changes.carry_out(account, made)
    item_changes.bill(account, made, "allow_incomplete")
    emit(account, "customer.subscription.updated", subscription)
