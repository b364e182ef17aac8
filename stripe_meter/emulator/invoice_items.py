"""Invoice items: single amounts that wait for the customer's next invoice.

Owns: the object and the invoice line it becomes. Does not own: the endpoints (`resources.invoice_items`). An item of a
subscription waits for that subscription's next invoice, any other for one made by the API.
"""

from decimal import Decimal

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.billing import plain, price_quantity
from stripe_meter.emulator.errors import JSON
from stripe_meter.emulator.metadata import merged


def new_item(account: Account, customer: JSON, fields: JSON) -> JSON:
    """A stored item for a one-time price, or for a plain amount."""
    now = account.now()
    price = account.store.find("price", (fields.get("pricing") or {}).get("price"))
    quantity = fields.get("quantity", 1)
    currency = fields["currency"]
    amount = fields.get("amount", 0)
    pricing = None
    if price is not None:
        parts = price_quantity(price, currency, Decimal(quantity))
        amount = sum(part.amount for part in parts)
        unit = None if parts[0].unit is None else plain(parts[0].unit)
        details = {"price": price["id"], "product": price["product"]}
        pricing = {"price_details": details, "type": "price_details", "unit_amount_decimal": unit}
    about = {"subscription": fields.get("subscription")}
    row: JSON = {
        "id": account.ids.new("ii"),
        "object": "invoiceitem",
        "amount": amount,
        "currency": currency,
        "customer": customer["id"],
        "customer_account": None,
        "date": now,
        "description": fields.get("description") or _name_of(account, price),
        "discountable": True,
        "discounts": [],
        "frozen_fields": [],
        "invoice": None,
        "livemode": False,
        "metadata": merged({}, fields.get("metadata")),
        "net_amount": amount,
        "parent": {"subscription_details": about, "type": "subscription_details"} if about["subscription"] else None,
        "period": {"start": now, "end": now},
        "pricing": pricing,
        "proration": False,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "tax_rates": [],
        "test_clock": customer["test_clock"],
    }
    customer["currency"] = customer["currency"] or currency
    return account.store.add(row)


def _name_of(account: Account, price: JSON | None) -> str | None:
    return None if price is None else str(account.store.get("product", price["product"])["name"])


def spec(account: Account, row: JSON) -> JSON:
    """The line that an item becomes."""
    period = row["period"]
    line: JSON = {"item": row, "start": period["start"], "end": period["end"], "usage": False, "proration": False}
    if row["pricing"] is None:
        return {**line, "amount": row["amount"], "description": row["description"] or "Invoice item"}
    return {**line, "item": {**row, "price": row["pricing"]["price_details"]["price"]}}


def pending(account: Account, customer: JSON, currency: str) -> list[JSON]:
    """A customer's waiting items in a currency, without those of a subscription."""
    rows = account.store.all("invoiceitem")
    mine = [row for row in rows if row["customer"] == customer["id"] and row["currency"] == currency]
    return [row for row in mine if row["invoice"] is None and row["parent"] is None]
