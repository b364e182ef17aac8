"""The emulator checks itself: every request and response against Stripe's own types."""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from stripe_meter.emulator import Emulator, sdk_types
from stripe_meter.emulator.api import Call
from stripe_meter.emulator.openapi import OpenApi, load
from tests.emulator.conftest import KEY

if TYPE_CHECKING:
    from tests.emulator.conftest import Shop

SPEC = os.environ.get("STRIPE_OPENAPI_SPEC")
FIXTURES = Path(SPEC).with_name("fixtures-subset.json") if SPEC else Path("none")
# The fixtures are of API version 2026-07-29.dahlia, SDK and file of 2026-10-28.endive. What differs is listed here; a
# field called new is in both of these and not in the SDK of dahlia (15.2.1).
OLDER = {
    "billing_portal.configuration": ".features.subscription_pause: missing in Features",  # new in endive, required
    # Left the API for `parent.subscription_details.subscription`; neither SDK has it, the fixture still says null.
    "invoice": ".subscription: Invoice has no such field",
    "subscription_schedule": ".pause_schedules: missing in SubscriptionSchedule",  # new in endive, required
}
# The file also says which nullable fields are required; these are new in endive.
NEWER = {
    "account": {".business_profile.specified_commercial_transactions_act_url"},
    "billing_portal.configuration": {
        ".features.subscription_pause",
        ".features.subscription_cancel.cancellation_reason.feedback_options",
    },
    "billing_portal.session": {".flow.customer_update", ".flow.subscription_pause"},
    "charge": {".payment_method_details.card.electronic_commerce_indicator"},
    "checkout.session": {".allowed_payment_method_types"},
    "payment_intent": {".allowed_payment_method_types", ".payment_record"},
    "payment_link": {
        f".subscription_data.invoice_settings.{name}"
        for name in ("account_tax_ids", "custom_fields", "description", "footer")
    },
    "product": {".tax_details"},
    "setup_intent": {".allowed_payment_method_types"},
    "subscription": {
        ".cancellation_details.feedback_option",
        ".items.data[0].current_trial",
        ".pending_update.cancel_at_period_end",
        ".trial_settings.end_behavior.billing_cycle_anchor",
    },
    "subscription_item": {".current_trial"},
    "subscription_schedule": {".pause_schedules"},
    "tax_code": {".requirements"},
}
# Expanded objects that the fixtures cut short; a live answer has them whole.
STUBS = re.compile(r"(.*\.transfer_data\.destination|\.customer)\.\w+")
REQUIRED = re.compile(r'(.*): "(\w+)" is a required property')
LEFT = {"invoice": [": Additional properties are not allowed ('subscription' was unexpected)"]}
COUNTERS = {"requests_checked", "responses_checked", "violations"}


def serve(emulator: Emulator, method: str, path: str, body: str = "") -> tuple[int, Any]:
    """One request without HTTP around it."""
    reply = emulator.api.serve(Call(method, path, "", body, {"authorization": f"Bearer {KEY}"}))
    return reply.status, reply.body


def customer_of(emulator: Emulator) -> dict[str, Any]:
    """The stored row of a new customer."""
    _, made = serve(emulator, "POST", "/v1/customers", "email=a@b.c")
    return emulator.account.store.get("customer", made["id"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"created": None}, "created is None, not an integer"),
        ({"created": True}, "created is True, not an integer"),
        ({"livemode": "no"}, "livemode is 'no', not a boolean"),
        ({"email": 5}, "email is 5, not a string"),
        ({"credits": 7}, "credits: Customer has no such field"),
        ({"tax_exempt": "sometimes"}, "tax_exempt is 'sometimes', not one of"),
        ({"metadata": {"a": 1}}, "metadata[a] is 1, not a string"),
        ({"metadata": []}, "metadata is [], not a map"),
        ({"preferred_locales": "en"}, "preferred_locales is 'en', not a list"),
        ({"preferred_locales": [1]}, "preferred_locales[0] is 1, not a string"),
        ({"address": "here"}, "address is 'here' where Address belongs"),
        ({"address": {"planet": "x"}}, "address.planet: Address has no such field"),
        ({"test_clock": {"object": "customer"}}, "test_clock"),
        ({"subscriptions": {"object": "list", "data": [], "has_more": False}}, "subscriptions.url: missing"),
        ({"subscriptions": {"object": "page"}}, "subscriptions is {'object': 'page'}, not a list"),
        ({"object": "customers"}, "Stripe has no object named 'customers'"),
    ],
)
def test_wrong_response_is_a_loud_500_and_recorded(change: dict[str, Any], problem: str) -> None:
    """A response that Stripe could not send is a bug of the emulator and never leaves it."""
    emulator = Emulator()
    row = customer_of(emulator)
    row.update(change)
    status, body = serve(emulator, "GET", f"/v1/customers/{row['id']}")
    assert status == 500
    assert problem in body["error"]["message"]
    assert "bug of the emulator" in body["error"]["message"]
    found = emulator.violations
    assert [one.operation for one in found] == ["GET /v1/customers/{id}"]
    assert problem in found[0].problem


def test_missing_field_is_a_violation() -> None:
    """A field that the SDK's class always has must be there."""
    emulator = Emulator()
    row = customer_of(emulator)
    del row["created"]
    _, body = serve(emulator, "GET", f"/v1/customers/{row['id']}")
    assert "created: missing in Customer" in body["error"]["message"]


def test_deleted_object_has_three_fields() -> None:
    """A deleted object is id, object and deleted, nothing else (docs.stripe.com/api/customers/delete)."""
    emulator = Emulator()
    row = customer_of(emulator)
    path = f"/v1/customers/{row['id']}"
    assert serve(emulator, "DELETE", path)[0] == 200
    row["email"] = "kept@example.com"
    assert serve(emulator, "GET", path)[0] == 500


def test_rows_of_lists_are_checked() -> None:
    """A list is as good as what it holds."""
    emulator = Emulator()
    customer_of(emulator)["balance"] = "0"
    _, body = serve(emulator, "GET", "/v1/customers")
    assert "data[0].balance is '0', not an integer" in body["error"]["message"]


def test_decimals_are_strings_on_the_wire() -> None:
    """The SDK makes Decimals of strings; a number would lose digits."""
    emulator = Emulator()
    _, made = serve(emulator, "POST", "/v1/prices", "currency=usd&unit_amount_decimal=0.5&product_data[name]=x")
    row = emulator.account.store.get("price", made["id"])
    row["unit_amount_decimal"] = 0.5
    assert serve(emulator, "GET", f"/v1/prices/{made['id']}")[0] == 500


def test_object_of_an_event_is_checked() -> None:
    """Webhooks carry objects too: a wrong one is recorded when the event happens."""
    emulator = Emulator()
    customer_of(emulator)["next_invoice_sequence"] = "first"
    row = next(emulator.account.store.all("customer"))
    serve(emulator, "POST", f"/v1/customers/{row['id']}", "name=Ann")
    assert emulator.violations[0].operation == "event customer.updated"


@pytest.mark.parametrize("value", [None, [], "x", {"id": "x"}, {"object": 5}])
def test_answer_that_is_no_object_is_a_violation(value: Any) -> None:
    """Only objects, lists of objects, and nothing ({}) are answers."""
    assert sdk_types.check(value)


@pytest.mark.parametrize(
    ("value", "fine"),
    [
        ({}, True),
        ({"data": [], "next_page_url": None, "previous_page_url": None}, True),
        ({"data": [5], "next_page_url": None, "previous_page_url": None}, False),
        ({"data": [], "next_page_url": 5, "previous_page_url": None}, False),
        ({"data": [], "next_page_url": None, "previous_page_url": None, "total": 0}, False),
        ({"object": "search_result", "data": [], "has_more": False, "url": "/x", "next_page": None}, True),
        ({"object": "search_result", "data": [], "has_more": False, "url": "/x", "next_page": 2}, False),
    ],
)
def test_frames_of_answers_are_known(value: Any, fine: bool) -> None:
    """Lists of v1 and v2 and search results each have their own frame."""
    assert (sdk_types.check(value) is None) is fine


def test_every_operation_has_counters() -> None:
    """A benchmark reads what was checked, per operation."""
    emulator = Emulator()
    serve(emulator, "POST", "/v1/customers", "email=a@b.c")
    serve(emulator, "POST", "/v1/customers", "nope=1")
    report = emulator.fidelity()
    assert report["POST /v1/customers"] == {"requests_checked": 2, "responses_checked": 1, "violations": 0}
    assert len(report) == len(emulator.api.operations)
    assert all(set(counters) == COUNTERS for counters in report.values())


def test_checking_can_be_turned_off() -> None:
    """For whoever wants to measure without it."""
    emulator = Emulator(check_responses=False)
    row = customer_of(emulator)
    row["credits"] = 7
    assert serve(emulator, "GET", f"/v1/customers/{row['id']}")[0] == 200
    assert emulator.violations == []


@pytest.mark.skipif(sys.gettrace() is not None, reason="a measurement of traced code says nothing")
def test_checked_request_costs_under_a_millisecond(shop: Shop) -> None:
    """The median of a whole request, checks included, without HTTP around it."""
    invoice = shop.subscribe(shop.fee(2000)).latest_invoice
    emulator = shop.server.emulator
    event = f"event_name=calls&payload[stripe_customer_id]={shop.customer}&payload[value]=1"
    for method, path, body in (("GET", f"/v1/invoices/{invoice}", ""), ("POST", "/v1/billing/meter_events", event)):
        spent = []
        for _ in range(300):
            before = time.perf_counter()
            status, _ = serve(emulator, method, path, body)
            spent.append(time.perf_counter() - before)
            assert status == 200
        assert statistics.median(spent) < 0.001, path


@pytest.fixture(scope="module")
def fixtures() -> dict[str, dict[str, Any]]:
    """Stripe's own sample objects, where they are."""
    if not FIXTURES.exists():
        pytest.skip("no file of fixtures beside STRIPE_OPENAPI_SPEC")
    found: dict[str, dict[str, Any]] = json.loads(FIXTURES.read_text(encoding="utf-8"))["resources"]
    return found


def test_upstream_fixtures_pass_but_for_a_listed_few(fixtures: dict[str, dict[str, Any]]) -> None:
    """Stripe's own sample objects are what the checkers call right (fixtures of stripe/openapi)."""
    assert [name for name, row in fixtures.items() if sdk_types.class_of(row) is None] == []
    found = {name: problem for name, row in fixtures.items() if (problem := sdk_types.check(row)) is not None}
    assert found == OLDER


def test_upstream_fixtures_pass_the_file_but_for_newer_fields(fixtures: dict[str, dict[str, Any]]) -> None:
    """Every sample object has a component in the file, and differs from it only by what came after the sample."""
    openapi = load(str(SPEC))
    assert openapi is not None
    missing: dict[str, set[str]] = {}
    other: dict[str, list[str]] = {}
    for name, row in fixtures.items():
        for difference in openapi.differences(name, row):
            required = REQUIRED.fullmatch(difference)
            if required is None:
                other.setdefault(name, []).append(difference)
            elif not STUBS.fullmatch(field := f"{required[1]}.{required[2]}"):
                missing.setdefault(name, set()).add(field)
    assert (missing, other) == (NEWER, LEFT)


def test_only_a_deleted_discount_keeps_its_fields(fixtures: dict[str, dict[str, Any]]) -> None:
    """Of all deleted objects the discount alone is answered whole (OpenAPI: deleted_discount)."""
    deleted = {name: row for name, row in fixtures.items() if name.startswith("deleted_")}
    whole = [name for name, row in deleted.items() if set(row) != {"id", "object", "deleted"}]
    assert whole == ["deleted_discount"]
    assert sdk_types.check({**fixtures["customer"], "deleted": True}) is not None


@pytest.mark.skipif(SPEC is None, reason="STRIPE_OPENAPI_SPEC does not name an OpenAPI file")
def test_file_sees_what_the_types_cannot() -> None:
    """A nullable field may be missing by the SDK's types; the OpenAPI file says that it is required."""
    emulator = Emulator()
    row = customer_of(emulator)
    del row["email"]
    _, body = serve(emulator, "GET", f"/v1/customers/{row['id']}")
    assert "OpenAPI" in body["error"]["message"]


DOCUMENT = {
    "components": {
        "schemas": {
            "customer": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "description": "Id."},
                    "object": {"enum": ["customer"], "type": "string"},
                    "name": {"type": "string", "nullable": True},
                    "friend": {"anyOf": [{"type": "string"}, {"$ref": "#/components/schemas/customer"}]},
                },
                "required": ["id", "name"],
            }
        }
    },
    "paths": {
        "/v1/customers": {
            "get": {
                "parameters": [{"in": "query", "name": "limit", "schema": {"type": "integer"}, "required": True}],
                "responses": {"200": {"content": {"application/json": {"schema": {"type": "object"}}}}},
            },
            "post": {
                "requestBody": {
                    "content": {
                        "application/x-www-form-urlencoded": {
                            "schema": {
                                "type": "object",
                                "properties": {"name": {"type": "string", "maxLength": 5}, "items": {"type": "array"}},
                                "additionalProperties": False,
                            }
                        }
                    }
                },
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/customer"}}}}
                },
            },
        }
    },
}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"id": "cus_1", "name": None, "friend": "cus_2"}, None),
        ({"id": "cus_1", "name": "A", "friend": {"id": "cus_2", "name": "B"}}, None),
        ({"id": "cus_1"}, '"name" is a required property'),
        ({"id": "cus_1", "name": "A", "extra": 1}, "Additional properties are not allowed"),
        ({"id": 5, "name": "A"}, "is not of type"),
        ({"data": [{"id": "cus_1"}], "next_page_url": None}, '"name" is a required property'),
    ],
)
def test_file_closes_objects_and_knows_what_is_required(answer: dict[str, Any], problem: str | None) -> None:
    """OpenAPI 3.0 read as JSON Schema: nullable, references, no field that is not listed."""
    found = OpenApi(DOCUMENT).response("POST", "/v1/customers", answer)
    assert found is None if problem is None else problem in str(found)


def test_answer_of_an_unlisted_operation_is_checked_by_name() -> None:
    """A file may know an object and not every operation that answers it."""
    openapi, row = OpenApi(DOCUMENT), {"object": "customer", "id": "cus_1"}
    assert '"name" is a required property' in str(openapi.response("GET", "/v1/unlisted", row))
    assert openapi.response("GET", "/v1/unlisted", {"object": "list", "data": [{**row, "name": None}]}) is None
    assert openapi.response("GET", "/v1/unlisted", {"object": "list", "data": [row]}) is not None
    assert openapi.response("GET", "/v1/unlisted", {"object": "stranger"}) is None


@pytest.mark.parametrize(
    ("method", "path", "params", "fine"),
    [
        ("POST", "/v1/customers", {"name": "Ann", "items": [{"id": "si_1", "deleted": True}]}, True),
        ("POST", "/v1/customers", {"name": "Annabel"}, False),
        ("POST", "/v1/customers", {"email": "a"}, False),
        ("GET", "/v1/customers", {"limit": 3}, True),
        ("GET", "/v1/customers", {}, False),
        ("GET", "/v1/unlisted", {"x": 1}, True),
    ],
)
def test_file_knows_what_a_request_may_hold(method: str, path: str, params: dict[str, Any], fine: bool) -> None:
    """Bodies and queries alike; an operation the file lacks is not checked."""
    assert (OpenApi(DOCUMENT).request(method, path, params) is None) is fine


def test_request_the_file_refuses_is_a_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the emulator accepted and the file does not allow is a bug of the emulator too."""
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    monkeypatch.setenv("STRIPE_OPENAPI_SPEC", str(file))
    emulator = Emulator()
    status, body = serve(emulator, "POST", "/v1/customers", "name=Annabel")
    assert (status, "the request was accepted, but" in body["error"]["message"]) == (500, True)
    assert emulator.fidelity()["POST /v1/customers"]["violations"] == 1
    assert OpenApi(DOCUMENT).object("customer", {"id": "cus_1", "name": None}) is None


def test_violation_reaches_http_as_a_500(http: httpx.Client, emulator: Emulator) -> None:
    """Nobody gets a wrong object by mistake."""
    made = http.post("/v1/customers").json()
    emulator.account.store.get("customer", made["id"])["extra"] = 1
    assert http.get(f"/v1/customers/{made['id']}").status_code == 500
    told = http.get("/_emulator/fidelity").json()
    assert told["operations"]["GET /v1/customers/{id}"]["violations"] == 1
    assert "extra" in told["violations"][0]["problem"]


@pytest.mark.skipif(not os.environ.get("STRIPE_OPENAPI_SPEC"), reason="STRIPE_OPENAPI_SPEC names no file")
def test_object_inside_an_event_is_held_against_the_file_too(emulator: Emulator) -> None:
    """A webhook's object reaches a seller's code as surely as an answer does."""
    with emulator.account.lock:
        _, customer = serve(emulator, "POST", "/v1/customers", "name=Ann")
        emulator.api.fidelity.event("customer.updated", {**customer, "tax_exempt": "maybe"})
    assert {one.source for one in emulator.violations} == {"SDK", "OpenAPI"}
