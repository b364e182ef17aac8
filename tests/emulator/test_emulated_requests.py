"""Keys, parameters, idempotency, lists, expansion: what every endpoint has in common."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import stripe

if TYPE_CHECKING:
    from stripe_meter.emulator import Emulator, EmulatorServer
    from tests.emulator.conftest import Shop

DAY = 86_400


def error_of(answer: httpx.Response) -> Any:
    """The error object of an answer."""
    return answer.json()["error"]


def bearer(key: str) -> dict[str, str]:
    """An Authorization header."""
    return {"Authorization": f"Bearer {key}"}


def test_missing_key_is_a_401(server: EmulatorServer) -> None:
    """Stripe answers 401 to a request without a key (docs.stripe.com/api/authentication)."""
    answer = httpx.get(f"{server.url}/v1/customers")
    assert answer.status_code == 401
    assert "did not provide an API key" in error_of(answer)["message"]


@pytest.mark.parametrize("header", ["Basic !!!", "Digest x", "Bearer"])
def test_unreadable_authorization_counts_as_no_key(http: httpx.Client, header: str) -> None:
    """Only bearer and basic authorization carry a key (docs.stripe.com/api/authentication)."""
    answer = http.get("/v1/customers", headers={"Authorization": header})
    assert "did not provide" in error_of(answer)["message"]


def test_basic_authorization_carries_the_key_as_user_name(http: httpx.Client) -> None:
    """Stripe takes the key as user name of basic authorization too (docs.stripe.com/api/authentication)."""
    header = "Basic " + base64.b64encode(b"sk_test_basic:").decode()
    assert http.get("/v1/customers", headers={"Authorization": header}).status_code == 200


def test_publishable_key_cannot_call_the_api(http: httpx.Client) -> None:
    """A publishable key is refused with `secret_key_required` (docs.stripe.com/error-codes)."""
    answer = http.get("/v1/customers", headers=bearer("pk_test_abc"))
    assert (answer.status_code, error_of(answer)["code"]) == (401, "secret_key_required")


def test_live_key_is_refused_and_never_repeated(http: httpx.Client) -> None:
    """An emulator must never see a live key; it does not echo one (emulator design)."""
    answer = http.get("/v1/customers", headers=bearer("sk_live" + "_SECRETSECRET"))
    assert answer.status_code == 401
    assert "SECRET" not in answer.text
    assert "SECRET" not in http.get("/_emulator/state").text + http.get("/_emulator/requests").text


@pytest.mark.parametrize("key", ["nonsense_key_abcdef", "short"])
def test_invalid_key_is_masked_in_the_answer(http: httpx.Client, key: str) -> None:
    """Stripe repeats only the ends of a wrong key."""
    answer = http.get("/v1/customers", headers=bearer(key))
    assert "Invalid API Key provided" in error_of(answer)["message"]
    assert key not in answer.text


def test_revoked_key_stops_working(emulator: Emulator, http: httpx.Client) -> None:
    """A rolled key is answered with 401."""
    emulator.revoke("sk_test_emulator")
    assert http.get("/v1/customers").status_code == 401


def test_restricted_key_without_permission_is_a_403(emulator: Emulator, http: httpx.Client) -> None:
    """A restricted key that lacks a permission is told which one (docs.stripe.com/keys)."""
    emulator.restrict("rk_test_reader", {"rak_customer_write"})
    assert http.get("/v1/customers", headers=bearer("rk_test_reader")).status_code == 200
    answer = http.post("/v1/customers", headers=bearer("rk_test_reader"))
    assert answer.status_code == 403
    assert "rak_customer_write" in error_of(answer)["message"]


def test_unknown_endpoint_is_a_loud_404(http: httpx.Client) -> None:
    """What is not emulated names itself instead of pretending (emulator design)."""
    answer = http.post("/v1/issuing/cards")
    assert answer.status_code == 404
    assert "POST /v1/issuing/cards" in error_of(answer)["message"]


def test_parameter_that_would_be_ignored_is_refused(http: httpx.Client) -> None:
    """A parameter Stripe knows and the emulator does not is never ignored silently (emulator design)."""
    answer = http.post("/v1/customers", data={"tax_exempt": "none", "next_invoice_sequence": "7"})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "next_invoice_sequence")


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("customers", "nope=1", "parameter_unknown", "nope"),
        ("customers", "address[planet]=x", "parameter_unknown", "address[planet]"),
        ("billing/meters", "display_name=a&event_name=b", "parameter_missing", "default_aggregation"),
        ("customers", "balance=ten", "parameter_invalid_integer", "balance"),
        ("products", "name=", "parameter_invalid_empty", "name"),
        ("products", "name=a&active=maybe", None, "active"),
        ("prices", "currency=usd&unit_amount_decimal=x", None, "unit_amount_decimal"),
        ("prices", "currency=usd&recurring[interval]=eon", None, "recurring[interval]"),
        ("prices", "currency=usd&tiers[a]=1", None, "tiers"),
        ("prices", "currency=usd&tiers=1", None, "tiers"),
        ("prices", "currency=usd&recurring=1", None, "recurring"),
        ("prices", "currency[x]=usd", None, "currency"),
        ("customers", "a[b=1", None, "a[b"),
        ("customers", "metadata=x&metadata[a]=1", None, "metadata"),
        ("customers", "metadata[a]=1&metadata=x", None, "metadata"),
        ("customers", "a[b][c][d][e][f][g][h][i][j][k][l][m]=1", None, "a"),
    ],
)
def test_bad_parameter_is_a_400_that_names_it(
    http: httpx.Client, path: str, body: str, code: str | None, param: str
) -> None:
    """Unknown, missing and ill-typed parameters are refused with code and param (docs.stripe.com/error-codes)."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = http.post(f"/v1/{path}", content=body, headers=form)
    assert (answer.status_code, error_of(answer).get("code"), error_of(answer)["param"]) == (400, code, param)


def test_too_many_parameters_are_refused(http: httpx.Client) -> None:
    """Everything the emulator reads is bounded (emulator design)."""
    answer = http.post("/v1/customers", data={f"metadata[k{number}]": "v" for number in range(2001)})
    assert answer.status_code == 400


def test_body_over_one_megabyte_is_refused(http: httpx.Client) -> None:
    """A request body has a limit of 1 MB (emulator design)."""
    assert http.post("/v1/customers", data={"name": "x" * 1_000_001}).status_code == 413


def test_list_parameters_may_be_given_with_empty_brackets(http: httpx.Client) -> None:
    """`expand[]=a` is how Stripe writes lists (docs.stripe.com/api/expanding_objects)."""
    made = http.post("/v1/customers", data={"email": "a@b.c"}).json()
    found = http.get(f"/v1/customers/{made['id']}?expand[]=subscriptions").json()
    assert found["subscriptions"]["data"] == []


def test_version_request_id_and_date_are_in_the_headers(emulator: Emulator, http: httpx.Client) -> None:
    """Answers echo the version and carry an id; Date is the emulator's clock, also when it was moved."""
    emulator.clock.advance(400 * DAY)
    answer = http.get("/v1/customers", headers={"Stripe-Version": "2025-01-01.old"})
    assert answer.headers["Stripe-Version"] == "2025-01-01.old"
    assert answer.headers["Request-Id"].startswith("req_")
    assert answer.headers["Date"].split()[3] in ("2027", "2028")
    assert len(answer.headers.get_list("Date")) == 1
    assert http.get("/v1/customers").headers["Stripe-Version"] == "2026-10-28.endive"


def test_same_key_and_parameters_replay_the_first_answer(v1: Any, http: httpx.Client) -> None:
    """A repeated POST with its key runs once (docs.stripe.com/api/idempotent_requests)."""
    first = http.post("/v1/customers", data={"name": "A"}, headers={"Idempotency-Key": "k"})
    again = http.post("/v1/customers", data={"name": "A"}, headers={"Idempotency-Key": "k"})
    assert again.json() == first.json()
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    assert len(v1.customers.list().data) == 1


@pytest.mark.parametrize(("path", "name"), [("customers", "B"), ("products", "A")])
def test_same_key_with_other_parameters_is_an_idempotency_error(http: httpx.Client, path: str, name: str) -> None:
    """A key belongs to one request (docs.stripe.com/api/idempotent_requests)."""
    http.post("/v1/customers", data={"name": "A"}, headers={"Idempotency-Key": "k"})
    answer = http.post(f"/v1/{path}", data={"name": name}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, error_of(answer)["type"]) == (400, "idempotency_error")


def test_key_is_forgotten_after_exactly_24_hours(emulator: Emulator, http: httpx.Client) -> None:
    """Keys are pruned at 24 hours of the emulator's clock (docs/verified.md)."""
    head = {"Idempotency-Key": "k"}
    first = http.post("/v1/customers", headers=head).json()["id"]
    emulator.clock.advance(DAY - 1)
    assert http.post("/v1/customers", headers=head).json()["id"] == first
    emulator.clock.advance(1)
    assert http.post("/v1/customers", headers=head).json()["id"] != first


def test_refused_parameters_are_not_kept_under_the_key(http: httpx.Client) -> None:
    """Validation failures are not stored (docs.stripe.com/api/idempotent_requests)."""
    head = {"Idempotency-Key": "k"}
    assert http.post("/v1/customers", data={"balance": "x"}, headers=head).status_code == 400
    assert http.post("/v1/customers", data={"balance": "1"}, headers=head).status_code == 200


def test_error_of_a_started_endpoint_is_kept(http: httpx.Client) -> None:
    """Once an endpoint ran, its answer is replayed whatever it was (docs.stripe.com/api/idempotent_requests)."""
    head = {"Idempotency-Key": "k"}
    data = {"currency": "usd", "unit_amount": "1", "product": "prod_later"}
    assert http.post("/v1/prices", data=data, headers=head).status_code == 400
    http.post("/v1/products", data={"id": "prod_later", "name": "x"})
    assert http.post("/v1/prices", data=data, headers=head).headers["Idempotent-Replayed"] == "true"


def test_key_longer_than_255_characters_is_refused(http: httpx.Client) -> None:
    """Keys have at most 255 characters (docs.stripe.com/api/idempotent_requests)."""
    assert http.post("/v1/customers", headers={"Idempotency-Key": "k" * 256}).status_code == 400


def test_malformed_form_under_a_key_is_a_400(http: httpx.Client) -> None:
    """A body that cannot be decoded is refused with or without a key."""
    form = {"Idempotency-Key": "k", "Content-Type": "application/x-www-form-urlencoded"}
    assert http.post("/v1/customers", content="a[b=1", headers=form).status_code == 400


def test_key_on_a_get_has_no_effect(http: httpx.Client) -> None:
    """Only POST requests are idempotent by key (docs.stripe.com/api/idempotent_requests)."""
    head = {"Idempotency-Key": "k"}
    http.get("/v1/customers", headers=head)
    assert http.get("/v1/products", headers=head).status_code == 200


def test_lists_hold_ten_objects_newest_first_and_page_on(v1: Any) -> None:
    """The default limit is 10; the SDK pages with starting_after (docs.stripe.com/api/pagination)."""
    ids = [v1.customers.create({}).id for _ in range(23)]
    first = v1.customers.list()
    assert [row.id for row in first.data] == ids[:-11:-1]
    assert first.has_more
    assert [row.id for row in first.auto_paging_iter()] == ids[::-1]


def test_ending_before_walks_back(v1: Any) -> None:
    """`ending_before` returns the page in front of an object (docs.stripe.com/api/pagination)."""
    ids = [v1.customers.create({}).id for _ in range(5)]
    page = v1.customers.list({"ending_before": ids[0], "limit": 2})
    assert [row.id for row in page.data] == [ids[2], ids[1]]
    assert page.has_more
    assert not v1.customers.list({"ending_before": ids[2], "limit": 3}).has_more


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "starting_after=cus_x", "starting_after=cus_x&ending_before=cus_y"]
)
def test_bad_paging_is_a_400(http: httpx.Client, query: str) -> None:
    """Limits run from 1 to 100 and cursors must exist (docs.stripe.com/api/pagination)."""
    assert http.get(f"/v1/customers?{query}").status_code == 400


def test_created_filter_takes_a_time_or_bounds(v1: Any, emulator: Emulator) -> None:
    """Lists filter by creation time (docs.stripe.com/api/customers/list)."""
    first = v1.customers.create({})
    emulator.clock.advance(10)
    second = v1.customers.create({})

    def found(bounds: Any) -> list[str]:
        return [row.id for row in v1.customers.list({"created": bounds}).data]

    assert found(first.created) == [first.id]
    assert found({"gt": first.created}) == [second.id]
    assert found({"lt": second.created}) == [first.id]
    assert found({"gte": first.created, "lte": second.created}) == [second.id, first.id]


def test_expand_puts_objects_in_place_of_ids(shop: Shop) -> None:
    """Expandable fields become objects, through lists as well (docs.stripe.com/api/expanding_objects)."""
    made = shop.subscribe()
    paths = ["customer", "items.data.price.product", "items.data.price.tiers", "default_payment_method"]
    found = shop.v1.subscriptions.retrieve(made.id, {"expand": paths})
    assert found.customer.email == "ann@example.com"
    assert found["items"].data[0].price.product.name == "Calls"
    assert found.default_payment_method is None


def test_expansion_into_an_empty_field_is_harmless(shop: Shop, http: httpx.Client) -> None:
    """An expandable field that is null stays null."""
    pack = shop.v1.prices.create({"currency": "usd", "unit_amount": 500, "product": shop.product}).id
    session = shop.v1.checkout.sessions.create(
        {"mode": "payment", "line_items": [{"price": pack, "quantity": 1}], "success_url": "http://x/"}
    )
    assert http.get(f"/v1/checkout/sessions/{session.id}?expand[]=subscription.latest_invoice").status_code == 200
    invoices = "expand[]=data.parent.subscription_details.subscription.customer"
    assert http.get(f"/v1/invoices?{invoices}").status_code == 400
    shop.server.complete_checkout(session.url, email="b@example.com")
    assert http.get("/v1/invoices?expand[]=data.customer").status_code == 200


def test_more_than_four_levels_are_refused(http: httpx.Client) -> None:
    """`data` counts as a level, and four is the limit (docs/verified.md)."""
    answer = http.get("/v1/subscriptions?expand[]=data.items.data.price.tiers")
    assert (answer.status_code, "4 levels" in error_of(answer)["message"]) == (400, True)


@pytest.mark.parametrize("path", ["nothing", "metadata", "invoice_settings", "email", "subscriptions.foo"])
def test_unknown_expansion_is_a_400(http: httpx.Client, path: str) -> None:
    """What cannot be expanded is refused (docs.stripe.com/api/expanding_objects)."""
    id = http.post("/v1/customers", data={"email": "a@b.c"}).json()["id"]
    assert "cannot be expanded" in error_of(http.get(f"/v1/customers/{id}?expand[]={path}"))["message"]


@pytest.mark.parametrize("path", ["customer", "data", "data.nothing"])
def test_unknown_expansion_of_a_list_is_a_400(v1: Any, http: httpx.Client, path: str) -> None:
    """Lists are expanded through `data`, and only where there is something to expand."""
    v1.customers.create({})
    assert http.get(f"/v1/customers?expand[]={path}").status_code == 400


def test_tiers_and_currency_options_only_come_when_asked_for(shop: Shop) -> None:
    """Includable fields are left out of plain answers (docs.stripe.com/api/prices/object)."""
    tiers = [{"up_to": 10, "unit_amount": 0}, {"up_to": "inf", "unit_amount": 2}]
    terms = {"billing_scheme": "tiered", "tiers_mode": "graduated", "tiers": tiers}
    price = shop.metered(**terms, currency_options={"eur": {"tiers": tiers}})
    plain = shop.v1.prices.retrieve(price)
    full = shop.v1.prices.retrieve(price, {"expand": ["tiers", "currency_options.eur.tiers"]})
    assert "tiers" not in plain
    assert "currency_options" not in plain
    assert [tier.up_to for tier in full.tiers] == [10, None]
    assert full.currency_options["eur"]["tiers"][1]["unit_amount"] == 2


def test_expand_of_currency_options_below_tiers_is_refused(shop: Shop, http: httpx.Client) -> None:
    """There is nothing to expand inside an includable field but its tiers."""
    assert http.get(f"/v1/prices/{shop.price}?expand[]=currency_options.usd.nope").status_code == 400


def test_sdk_raises_its_own_error_classes(v1: Any) -> None:
    """Error bodies are shaped so that the SDK recognises them."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v1.customers.retrieve("cus_none")
    assert (caught.value.http_status, caught.value.code) == (404, "resource_missing")


@pytest.mark.parametrize("path", ["tax", "sources", "default_source", "cash_balance", "tax_ids"])
def test_expansion_that_only_stripe_knows_is_not_emulated(http: httpx.Client, path: str) -> None:
    """Right code must be told that the emulator falls short, not that it is wrong."""
    id = http.post("/v1/customers").json()["id"]
    error = error_of(http.get(f"/v1/customers/{id}?expand[]={path}"))
    assert (error["code"], error["param"]) == ("not_emulated", "expand")
