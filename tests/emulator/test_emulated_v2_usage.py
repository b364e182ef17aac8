"""Meter events of API v2: single events, sessions, and the stream, through the real SDK."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import stripe

from tests.emulator.conftest import KEY

if TYPE_CHECKING:
    from stripe_meter.emulator import Emulator, EmulatorServer
    from tests.emulator.conftest import Shop

DAY = 86_400


@pytest.fixture
def v2(server: EmulatorServer) -> Iterator[Any]:
    """The v2 billing services of the real SDK, pointed at the emulator."""
    transport: Any = stripe.RequestsClient(timeout=10)
    base: Any = {"api": server.url, "meter_events": server.url}
    yield stripe.StripeClient(KEY, base_addresses=base, http_client=transport).v2.billing
    transport.close()


def event(shop: Shop, value: str = "1", **more: Any) -> dict[str, Any]:
    """An event of the shop's customer."""
    return {"event_name": "calls", "payload": {"stripe_customer_id": shop.customer, "value": value}, **more}


def stream(v2: Any, *events: dict[str, Any], key: str | None = None) -> None:
    """Send events with the token of a new session, or with `key`."""
    token = key or v2.meter_event_session.create().authentication_token
    v2.meter_event_stream.create({"events": list(events)}, {"api_key": token})


def codes(emulator: Emulator) -> list[str]:
    """Codes of the events that were accepted and then not counted."""
    return [row["code"] for row in emulator.account.meter_errors]


def test_event_of_v2_is_echoed_with_rfc_3339_times(shop: Shop, v2: Any) -> None:
    """API v2 speaks JSON and RFC 3339 (docs.stripe.com/api/v2/billing-meter)."""
    at = "2026-01-02T03:04:05.678+02:00"
    shop.server.emulator.clock.freeze()
    made = v2.meter_events.create(event(shop, "3", identifier="a"))
    assert (made.object, made.identifier, made.payload["value"], made.livemode) == (
        "v2.billing.meter_event",
        "a",
        "3",
        False,
    )
    assert made.created.endswith("Z")
    assert shop.total() == 3
    with pytest.raises(stripe.InvalidRequestError, match="35 days"):
        v2.meter_events.create(event(shop, timestamp=at))


def test_event_of_v2_counts_at_its_own_time(shop: Shop, v2: Any) -> None:
    """The offset of an RFC 3339 time is part of it."""
    instant = shop.now - 3600
    text = _written(instant, "+02:00", 7200)
    made = v2.meter_events.create(event(shop, timestamp=text))
    assert made.timestamp == text
    records = shop.server.emulator.account.usage.between(shop.meter, shop.customer, 0, 2**40)
    assert [record.timestamp for record in records] == [instant]


def _written(seconds: int, offset: str, shift: int) -> str:
    return datetime.fromtimestamp(seconds + shift, UTC).strftime("%Y-%m-%dT%H:%M:%S") + offset


@pytest.mark.parametrize("text", ["yesterday", "2026-11-01", "2026-11-01T10:00:00", "2026-11-01 10:00:00Z"])
def test_time_that_is_not_rfc_3339_is_a_400(shop: Shop, v2: Any, text: str) -> None:
    """`timestamp` is a date and time with an offset (SDK type of the v2 parameter is a string)."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v2.meter_events.create(event(shop, timestamp=text))
    assert caught.value.param == "timestamp"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"event_name": "unknown"}, "no_meter"),
        ({"payload": {"value": "1"}}, "meter_event_no_customer_defined"),
        ({"payload": {"stripe_customer_id": "cus_none", "value": "1"}}, "meter_event_customer_not_found"),
        ({"timestamp": "2100-01-01T00:00:00Z"}, "timestamp_in_future"),
        ({"timestamp": "2020-01-01T00:00:00Z"}, "timestamp_too_far_in_past"),
    ],
)
def test_wrong_event_of_v2_is_refused_at_once(shop: Shop, v2: Any, change: dict[str, Any], code: str) -> None:
    """v2 validates synchronously (SDK documentation of v2 meter events); the codes are those of Stripe's v2 errors."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v2.meter_events.create({**event(shop), **change})
    assert caught.value.code == code
    assert codes(shop.server.emulator) == []


def test_inactive_meter_is_refused_at_once_by_v2(shop: Shop, v2: Any) -> None:
    """`archived_meter` is among the documented errors of the v2 endpoint."""
    shop.v1.billing.meters.deactivate(shop.meter)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v2.meter_events.create(event(shop))
    assert caught.value.code == "archived_meter"


def test_event_of_v2_is_counted_after_the_lag_only(shop: Shop, v2: Any, emulator: Emulator) -> None:
    """Validated synchronously, processed asynchronously (SDK documentation of v2 meter events)."""
    emulator.switches.lag = 5
    v2.meter_events.create(event(shop))
    assert shop.total() == 0
    emulator.clock.advance(5)
    assert shop.total() == 1


def test_repeated_identifier_in_v2_is_duplicate_meter_event(shop: Shop, v2: Any, emulator: Emulator) -> None:
    """The v2 endpoint answers 400 `duplicate_meter_event` (OpenAPI: v2.error.duplicate_meter_event)."""
    v2.meter_events.create(event(shop, identifier="a"))
    with pytest.raises(stripe.InvalidRequestError) as caught:
        v2.meter_events.create(event(shop, identifier="a"))
    assert caught.value.code == "duplicate_meter_event"
    emulator.switches.duplicate_identifier = "silent"
    v2.meter_events.create(event(shop, identifier="a"))
    assert shop.total() == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"event_name": "calls"}', "parameter_missing"),
        ('{"event_name": "calls", "payload": {}, "value": 1}', "parameter_unknown"),
        ('{"event_name": 5, "payload": {}}', "parameter_invalid"),
        ('{"event_name": "calls", "payload": {"value": 1}}', "parameter_invalid"),
        ('{"event_name": "calls", "payload": "x"}', "parameter_invalid"),
        ('{"events": []}', "parameter_unknown"),
        ("[]", None),
        ("{", None),
        ("[" * 100_000, None),
    ],
)
def test_bad_json_is_a_400(http: httpx.Client, body: str, code: str | None) -> None:
    """Bodies of API v2 are JSON with the SDK's types; nothing is converted."""
    answer = http.post("/v2/billing/meter_events", content=body)
    assert (answer.status_code, answer.json()["error"].get("code")) == (400, code)


def test_session_token_lives_fifteen_minutes(shop: Shop, v2: Any, emulator: Emulator) -> None:
    """An expired token raises TemporarySessionExpiredError (OpenAPI: 401 billing_meter_event_session_expired)."""
    session = v2.meter_event_session.create()
    assert session.object == "v2.billing.meter_event_session"
    emulator.clock.advance(15 * 60 - 1)
    stream(v2, event(shop), key=session.authentication_token)
    emulator.clock.advance(1)
    with pytest.raises(stripe.TemporarySessionExpiredError) as caught:
        stream(v2, event(shop), key=session.authentication_token)
    assert (caught.value.http_status, caught.value.code) == (401, "billing_meter_event_session_expired")
    stream(v2, event(shop))
    assert shop.total() == 2


@pytest.mark.parametrize("key", [KEY, "mes_test_unknown"])
def test_stream_is_opened_by_a_session_token_only(shop: Shop, v2: Any, key: str) -> None:
    """The stream requires a meter event session for authentication (SDK documentation)."""
    with pytest.raises(stripe.AuthenticationError):
        stream(v2, event(shop), key=key)


def test_session_token_opens_nothing_but_the_stream(v2: Any, http: httpx.Client) -> None:
    """A session token is no API key."""
    token = v2.meter_event_session.create().authentication_token
    assert http.get("/v1/customers", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_forgotten_token_is_wrong_and_not_expired(shop: Shop, v2: Any, emulator: Emulator) -> None:
    """The emulator keeps ended tokens for a day only, so that they do not pile up."""
    old = v2.meter_event_session.create().authentication_token
    emulator.clock.advance(2 * DAY)
    v2.meter_event_session.create()
    with pytest.raises(stripe.AuthenticationError):
        stream(v2, event(shop), key=old)


def test_stream_counts_a_hundred_events_and_answers_with_nothing(shop: Shop, v2: Any) -> None:
    """Up to 100 events per request, empty answer (SDK documentation of the stream)."""
    stream(v2, *(event(shop, "2", identifier=f"e{number}") for number in range(100)))
    assert shop.total() == 200


@pytest.mark.parametrize("count", [0, 101])
def test_stream_takes_one_to_a_hundred_events(shop: Shop, v2: Any, count: int) -> None:
    """`events` holds 1 to 100 events; nothing of a refused batch is counted."""
    with pytest.raises(stripe.InvalidRequestError):
        stream(v2, *(event(shop) for _ in range(count)))
    assert shop.total() == 0


def test_wrong_event_of_the_stream_is_reported_later(shop: Shop, v2: Any, emulator: Emulator) -> None:
    """The stream validates asynchronously (SDK documentation of the stream)."""
    stream(v2, event(shop, event_name="unknown"), event(shop, "many"), event(shop))
    assert codes(emulator) == ["no_meter", "meter_event_invalid_value"]
    assert shop.total() == 1


def test_repeats_within_the_stream_count_once(shop: Shop, v2: Any) -> None:
    """Uniqueness holds within a rolling 24 hours; the stream has no answer to refuse with."""
    stream(v2, event(shop, identifier="a"), event(shop, identifier="a"))
    stream(v2, event(shop, identifier="a"))
    assert shop.total() == 1


@pytest.mark.parametrize(("shared", "total"), [(False, 3), (True, 1)])
def test_identifiers_are_unique_within_one_road(
    shop: Shop, v2: Any, emulator: Emulator, shared: bool, total: int
) -> None:
    """That v1, v2 and stream know each other's identifiers is promised nowhere; by switch."""
    emulator.switches.shared_identifiers = shared
    emulator.switches.duplicate_identifier = "silent"
    shop.use(identifier="a")
    v2.meter_events.create(event(shop, identifier="a"))
    stream(v2, event(shop, identifier="a"))
    assert shop.total() == total


def test_identifier_over_100_characters_is_refused_by_v2(shop: Shop, v2: Any) -> None:
    """The limit of 100 characters is taken to hold for v2 as well."""
    with pytest.raises(stripe.InvalidRequestError):
        v2.meter_events.create(event(shop, identifier="e" * 101))


def test_event_of_the_stream_can_be_cancelled(shop: Shop, v2: Any) -> None:
    """An adjustment names an identifier, not the road it came by."""
    stream(v2, event(shop, "5", identifier="a"), event(shop, "2", identifier="b"))
    adjustment = {"event_name": "calls", "type": "cancel", "cancel": {"identifier": "a"}}
    shop.v1.billing.meter_event_adjustments.create(adjustment)
    assert shop.total() == 2


def test_stream_can_be_refused_as_in_a_sandbox(shop: Shop, v2: Any, emulator: Emulator) -> None:
    """The stream is documented for live mode only; a switch refuses session and stream."""
    token = v2.meter_event_session.create().authentication_token
    emulator.switches.stream = "refused"
    with pytest.raises(stripe.InvalidRequestError, match="live mode"):
        v2.meter_event_session.create()
    with pytest.raises(stripe.InvalidRequestError, match="live mode"):
        stream(v2, event(shop), key=token)


def test_key_of_v2_replays_a_success_for_thirty_days(shop: Shop, http: httpx.Client, emulator: Emulator) -> None:
    """v2 keys live 30 days (docs.stripe.com/api-v2-overview)."""
    head, body = {"Idempotency-Key": "k"}, event(shop, identifier="a")
    first = http.post("/v2/billing/meter_events", json=body, headers=head)
    emulator.clock.advance(30 * DAY - 1)
    again = http.post("/v2/billing/meter_events", json=body, headers=head)
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true")
    emulator.clock.advance(1)
    assert "Idempotent-Replayed" not in http.post("/v2/billing/meter_events", json=body, headers=head).headers


def test_key_of_v2_runs_failed_work_again(shop: Shop, http: httpx.Client, emulator: Emulator) -> None:
    """v2 re-runs a failed request instead of replaying the failure (docs.stripe.com/api-v2-overview)."""
    head, body = {"Idempotency-Key": "k"}, event(shop, event_name="later")
    assert http.post("/v2/billing/meter_events", json=body, headers=head).status_code == 400
    formula = {"formula": "sum"}
    shop.v1.billing.meters.create({"display_name": "L", "event_name": "later", "default_aggregation": formula})
    assert http.post("/v2/billing/meter_events", json=body, headers=head).status_code == 200
    emulator.faults.add(kind="status", status=500, stored=True, path="/v2/billing")
    head = {"Idempotency-Key": "other"}
    assert http.post("/v2/billing/meter_events", json=body, headers=head).status_code == 500
    assert http.post("/v2/billing/meter_events", json=body, headers=head).status_code == 200


def test_key_of_v2_with_another_body_is_an_idempotency_error(shop: Shop, http: httpx.Client) -> None:
    """A key belongs to one request in v2 too."""
    head = {"Idempotency-Key": "k"}
    http.post("/v2/billing/meter_events", json=event(shop), headers=head)
    answer = http.post("/v2/billing/meter_events", json=event(shop, "2"), headers=head)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "idempotency_error")


def test_keys_of_v1_and_v2_are_apart(shop: Shop, http: httpx.Client) -> None:
    """Keys of the two APIs do not meet."""
    head = {"Idempotency-Key": "k"}
    assert http.post("/v1/customers", headers=head).status_code == 200
    assert http.post("/v2/billing/meter_events", json=event(shop), headers=head).status_code == 200
