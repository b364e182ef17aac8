"""What the emulator's side of the comparison says, read over its API in the words of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.emulator.properties.desk import Desk

TRANSACTIONS = "/v1/billing/credit_balance_transactions"


@dataclass(frozen=True)
class Books:
    """The emulator's account."""

    desk: Desk

    def customer(self, name: str, balance: int, card: str) -> str:
        """A new customer with a balance and a card, by its id."""
        id = str(self.desk.must("POST", "/v1/customers", {"name": name, "balance": balance})["id"])
        method = self.desk.must("POST", f"/v1/payment_methods/{card}/attach", {"customer": id})["id"]
        settings = {"invoice_settings": {"default_payment_method": method}}
        self.desk.must("POST", f"/v1/customers/{id}", settings)
        return id

    def meter(self, formula: str) -> str:
        """A new meter whose events are named like its formula, by its id."""
        params = {"display_name": formula, "event_name": formula, "default_aggregation": {"formula": formula}}
        return str(self.desk.must("POST", "/v1/billing/meters", params)["id"])

    def used(self, meter: str, customer: str, start: int, end: int) -> float:
        """A customer's total in one bucket; no summary means no usage."""
        params = {"customer": customer, "start_time": start, "end_time": end}
        rows = self.desk.must("GET", f"/v1/billing/meters/{meter}/event_summaries", params)["data"]
        return float(rows[0]["aggregated_value"]) if rows else 0.0

    def credits(self, customer: str, grant: str) -> tuple[int, int, int]:
        """Available and ledger balance of one grant, and the sum of its transactions."""
        params = {"customer": customer, "filter": {"type": "credit_grant", "credit_grant": grant}}
        told = self.desk.must("GET", "/v1/billing/credit_balance_summary", params)["balances"]
        available = sum(one["available_balance"]["monetary"]["value"] for one in told)
        ledger = sum(one["ledger_balance"]["monetary"]["value"] for one in told)
        rows = self.desk.rows(TRANSACTIONS, {"credit_grant": grant})
        parts = [(1, row["credit"]) if row["credit"] else (-1, row["debit"]) for row in rows]
        return available, ledger, sum(sign * part["amount"]["monetary"]["value"] for sign, part in parts)

    def lines(self, invoice: Any) -> list[Any]:
        """All lines of an invoice; ten of them are in the invoice itself."""
        lines = invoice["lines"]
        return self.desk.rows(f"/v1/invoices/{invoice['id']}/lines") if lines["has_more"] else list(lines["data"])

    def amounts(self, invoice: Any) -> dict[str, int]:
        """What each price of an invoice comes to."""
        found: dict[str, int] = {}
        for line in self.lines(invoice):
            found[price_of(line)] = found.get(price_of(line), 0) + line["amount"]
        return found

    def uses(self, customer: str, invoice: Any) -> list[tuple[str, str, int]]:
        """Which grant paid how much for which price of an invoice, by the transactions: (price, grant, amount)."""
        prices = {line["id"]: price_of(line) for line in self.lines(invoice)}
        found = []
        for row in self.desk.rows(TRANSACTIONS, {"customer": customer}):
            applied = (row["debit"] or {}).get("credits_applied")
            if applied and applied["invoice"] == invoice["id"]:
                amount = row["debit"]["amount"]["monetary"]["value"]
                found.append((prices[applied["invoice_line_item"]], row["credit_grant"], amount))
        return found


def price_of(line: Any) -> str:
    """The price of an invoice line."""
    return str(line["pricing"]["price_details"]["price"])
