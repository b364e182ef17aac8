"""Comparing two decisions about the same parameters: the schema's, and the emulator's over its API.

Owns: telling a refusal of the shape from any other refusal, counting, and the list of explained differences. Stripe
has no code for every kind of wrong shape, so the words of the message tell: they are those of its errors for unknown,
missing, empty, ill-typed and overlong parameters. Everything else (an object that is missing, a rule between
parameters, `not_emulated`) comes after the shape was found right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.emulator.properties import wire
from tests.emulator.properties.schemas import Contract
from tests.emulator.properties.world import World

SHAPE = re.compile(
    r"Received unknown parameter: |Missing required param: |You passed an empty string for |Invalid value for "
    r"|Invalid (integer|decimal|boolean|object|array|string)\b|Invalid \S+: must be one of |.* at most \d+ characters"
)
EITHER = "one of two is required, which the schema of neither says"
BY_KIND = "required for this type only"
#: Refusals in the words of a wrong shape that come from a rule no schema says, by operation and parameter.
EXPLAINED: dict[tuple[str, str], str] = {
    ("GET /v1/billing/credit_balance_summary", "customer"): EITHER,
    ("GET /v1/billing/credit_balance_summary", "filter[applicability_scope]"): BY_KIND,
    ("GET /v1/billing/credit_balance_summary", "filter[credit_grant]"): BY_KIND,
    ("POST /v1/billing/alerts", "usage_threshold"): BY_KIND,
    ("POST /v1/billing/credit_grants", "amount[monetary]"): BY_KIND,
    ("POST /v1/billing/credit_grants", "customer"): EITHER,
    ("POST /v1/billing/meter_event_adjustments", "cancel[identifier]"): BY_KIND,
    ("POST /v1/billing_portal/sessions", "customer"): EITHER,
    ("POST /v1/billing_portal/sessions", "flow_data[subscription_cancel][subscription]"): BY_KIND,
    ("POST /v1/billing_portal/configurations", "features[subscription_update][products]"): BY_KIND,
    ("POST /v1/billing_portal/configurations/{id}", "features[subscription_update][products]"): BY_KIND,
    ("POST /v1/checkout/sessions", "mode"): "the SDK's documentation names no default",
    ("POST /v1/checkout/sessions", "success_url"): "required but for embedded pages, which are not emulated",
    ("POST /v1/checkout/sessions", "line_items[0][price]"): EITHER,
    ("POST /v1/invoiceitems", "customer"): EITHER,
    ("POST /v1/invoices", "customer"): EITHER,
    ("POST /v1/invoices/create_preview", "customer"): EITHER,
    ("POST /v1/payment_methods/{id}/attach", "customer"): EITHER,
    ("POST /v1/payment_links", "line_items[0][price]"): EITHER,
    ("POST /v1/subscription_items", "price"): EITHER,
    ("POST /v1/subscription_items", "items[0][price]"): EITHER,
    ("POST /v1/subscription_schedules/{id}", "phases[0][items][0][price]"): EITHER,
    ("POST /v1/subscriptions", "customer"): EITHER,
    ("POST /v1/subscriptions", "items"): EITHER,
    ("POST /v1/subscriptions", "items[0][price]"): EITHER,
    ("POST /v1/subscriptions/{id}", "items[0][id]"): BY_KIND,
    ("POST /v1/subscriptions/{id}", "items[0][price]"): EITHER,
    ("POST /v2/core/event_destinations", "webhook_endpoint.url"): BY_KIND,
}


@dataclass
class Outcome:
    """What comparing found."""

    decisions: int = 0
    accepted: int = 0
    refused: int = 0
    answered: int = 0
    explained: int = 0
    disagreements: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Sum up."""
        self.decisions += other.decisions
        self.accepted += other.accepted
        self.refused += other.refused
        self.answered += other.answered
        self.explained += other.explained
        self.disagreements += other.disagreements


def compare(world: World, contract: Contract, values: Iterable[Any]) -> Outcome:
    """Ask both about each different value."""
    outcome, seen, validator = Outcome(), set(), contract.validator()
    for value in values:
        text = wire.as_json(value) if contract.speaks == "json" else wire.encode(value)
        if text in seen:
            continue
        seen.add(text)
        tree = value if contract.speaks == "json" else wire.decode(text)
        right = validator.is_valid(contract.typed(tree))
        _judge(outcome, world, contract, text, right)
    return outcome


def _judge(outcome: Outcome, world: World, contract: Contract, text: str, right: bool) -> None:
    reply = world.serve(contract.method, contract.path, text)
    outcome.decisions += 1
    outcome.accepted += right
    outcome.refused += not right
    outcome.answered += reply.status == 200
    error = reply.body.get("error", {}) if reply.status != 200 else {}
    by_shape = reply.status == 400 and SHAPE.match(error["message"]) is not None
    if right and by_shape and (contract.name, str(error.get("param"))) in EXPLAINED:
        outcome.explained += 1
    elif reply.status >= 500 or by_shape is right:
        told = error.get("message", "200")
        outcome.disagreements.append(f"{contract.name} {text}: {'right' if right else 'wrong'}, but {told}")
