"""An emulated account in which every kind of object exists once, so that right parameters reach the endpoints."""

from __future__ import annotations

import json
import re
from typing import Any

from stripe_meter.emulator.api import Reply
from tests.emulator.conftest import KEY
from tests.emulator.properties.desk import Desk

#: The collection of a path, and the operation and parameters that make its member.
MAKERS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("/v1/products", "/v1/products", {"name": "Calls"}),
    ("/v1/billing/meters", "/v1/billing/meters", {
        "display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"},
    }),
    ("/v1/prices", "/v1/prices", {
        "currency": "usd", "unit_amount": 500, "product": "<product>", "recurring": {"interval": "month"},
    }),
    ("/v1/payment_methods", "/v1/payment_methods/pm_card_visa/attach", {"customer": "<customer>"}),
    ("", "/v1/customers/<customer>", {"invoice_settings": {"default_payment_method": "<payment_method>"}}),
    ("/v1/entitlements/features", "/v1/entitlements/features", {"lookup_key": "fast", "name": "Fast"}),
    ("/v1/products/{product}/features", "/v1/products/<product>/features", {"entitlement_feature": "<feature>"}),
    ("/v1/subscriptions", "/v1/subscriptions", {"customer": "<customer>", "items": [{"price": "<price>"}]}),
    ("/v1/customers/{id}/balance_transactions", "/v1/customers/<customer>/balance_transactions", {
        "amount": -700, "currency": "usd",
    }),
    ("/v1/billing/credit_grants", "/v1/billing/credit_grants", {
        "customer": "<customer>",
        "amount": {"type": "monetary", "monetary": {"currency": "usd", "value": 900}},
        "applicability_config": {"scope": {"price_type": "metered"}},
    }),
    ("/v1/billing/alerts", "/v1/billing/alerts", {
        "alert_type": "usage_threshold", "title": "Many", "usage_threshold": {
            "gte": 5, "meter": "<meter>", "recurrence": "one_time",
            "filters": [{"type": "customer", "customer": "<customer>"}],
        },
    }),
    ("/v1/checkout/sessions", "/v1/checkout/sessions", {
        "mode": "subscription", "customer": "<customer>", "success_url": "https://example.com/done",
        "line_items": [{"price": "<price>", "quantity": 1}],
    }),
    ("/v1/payment_intents", "/v1/payment_intents", {
        "amount": 900, "currency": "usd", "customer": "<customer>", "payment_method": "<payment_method>",
        "off_session": True, "confirm": True,
    }),
    ("/v1/setup_intents", "/v1/setup_intents", {"customer": "<customer>"}),
    ("/v1/refunds", "/v1/refunds", {"payment_intent": "<payment_intent>", "amount": 100}),
    ("/v1/payment_links", "/v1/payment_links", {"line_items": [{"price": "<price>", "quantity": 1}]}),
    ("/v1/billing_portal/configurations", "/v1/billing_portal/configurations", {
        "features": {"invoice_history": {"enabled": True}},
    }),
    ("/v1/webhook_endpoints", "/v1/webhook_endpoints", {
        "url": "http://127.0.0.1:9/hook", "enabled_events": ["invoice.paid"],
    }),
    ("/v1/test_helpers/test_clocks", "/v1/test_helpers/test_clocks", {"frozen_time": "<now>"}),
    ("/v1/invoiceitems", "/v1/invoiceitems", {"customer": "<customer>", "amount": 900, "currency": "usd"}),
    ("/v1/subscription_schedules", "/v1/subscription_schedules", {"from_subscription": "<subscription>"}),
    ("/v2/core/event_destinations", "/v2/core/event_destinations", {
        "name": "Errors", "type": "webhook_endpoint", "event_payload": "thin",
        "enabled_events": ["v1.billing.meter.no_meter_found"], "webhook_endpoint": {"url": "http://127.0.0.1:9/thin"},
    }),
)  # fmt: skip
ENTITLEMENTS = "/v1/entitlements/active_entitlements"
#: Strings that mean something by the name of their parameter.
WORDS = {
    "currency": "usd", "url": "https://example.com/", "success_url": "https://example.com/", "event_name": "calls",
    "return_url": "https://example.com/", "email": "ann@example.com", "query": "email:'ann@example.com'",
    "country": "DE", "identifier": "evt-1",
}  # fmt: skip


class World:
    """An account with its objects: the path of an object's collection to its id, and ids by parameter name."""

    def __init__(self) -> None:
        self.desk = Desk(lag=0.0)
        self.ids: dict[str, str] = {}
        self.names = {**WORDS, "now": str(self.desk.now)}
        self._keep("/v1/customers", self.desk.must("POST", "/v1/customers", {"email": "ann@example.com"}))
        for collection, path, params in MAKERS:
            made = self.desk.must("POST", self._filled(path), json.loads(self._filled(json.dumps(params))))
            if collection:
                self._keep(collection, made)
        owner, subscription = {"customer": self.names["customer"]}, {"subscription": self.names["subscription"]}
        self._keep("/v1/invoices", self.desk.rows("/v1/invoices")[0])
        note = {"invoice": self.names["invoice"], "amount": 100, "credit_amount": 100}
        self._keep("/v1/credit_notes", self.desk.must("POST", "/v1/credit_notes", note))
        self._keep("/v1/subscription_items", self.desk.rows("/v1/subscription_items", subscription)[0])
        self._keep("/v1/charges", self.desk.rows("/v1/charges", owner)[0])
        self._keep("/v1/events", self.desk.rows("/v1/events")[0])
        self._keep("/v1/entitlements/active_entitlements", self.desk.rows(ENTITLEMENTS, owner)[0])

    def path(self, template: str) -> str:
        """The path of an operation with the ids of existing objects."""
        known = {"customer": self.names["customer"], "product": self.names["product"]}
        while (match := re.search(r"\{(\w+)\}", template)) is not None:
            before = template[: match.start()].rstrip("/")
            collection = before.replace(known["customer"], "{id}").replace(known["product"], "{product}")
            id = known.get(match[1]) or self.ids.get(collection, "none")
            template = template[: match.start()] + id + template[match.end() :]
        return template

    def serve(self, method: str, template: str, text: str) -> Reply:
        """One request to an operation; the stream takes the token of a session."""
        token = KEY
        if template == "/v2/billing/meter_event_stream":
            token = self.desk.must("POST", "/v2/billing/meter_event_session")["authentication_token"]
        return self.desk.serve(method, self.path(template), text, token)

    def _keep(self, collection: str, made: Any) -> None:
        self.ids[collection] = made["id"]
        self.names.setdefault(made["object"].rpartition(".")[2], made["id"])

    def _filled(self, text: str) -> str:
        return re.sub(r"<(\w+)>", lambda match: self.names[match[1]], text)
