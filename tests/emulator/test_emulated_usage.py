"""Meter events, adjustments and summaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stripe

if TYPE_CHECKING:
    from stripe_meter.emulator import Emulator
    from tests.emulator.conftest import Shop

DAY = 86_400


def errors(emulator: Emulator) -> list[str]:
    """Codes of the events that were accepted and then not counted."""
    return [row["code"] for row in emulator.account.meter_errors]


def summaries(shop: Shop, **more: Any) -> Any:
    """Summaries from the start of the day for two days."""
    start = shop.now - shop.now % DAY
    params = {"customer": shop.customer, "start_time": start, "end_time": start + 2 * DAY, **more}
    return shop.v1.billing.meters.event_summaries.list(shop.meter, params)


def test_accepted_event_is_counted_only_after_the_lag(shop: Shop, emulator: Emulator) -> None:
    """A 200 means received; totals are eventually consistent (docs/verified.md)."""
    emulator.switches.lag = 5
    shop.use("7")
    assert shop.total() == 0
    emulator.clock.advance(4)
    assert shop.total() == 0
    emulator.clock.advance(1)
    assert shop.total() == 7


def test_event_without_time_or_identifier_gets_both(shop: Shop) -> None:
    """Both are generated when left out (docs.stripe.com/api/billing/meter-event/create)."""
    event = shop.use()
    assert event.timestamp == shop.now
    assert event.identifier


def test_repeated_identifier_under_a_new_key_is_a_400(shop: Shop) -> None:
    """Observed on Stripe's test mode: the repeat is refused, not dropped silently (docs/verified.md)."""
    shop.use(identifier="e1")
    with pytest.raises(stripe.InvalidRequestError, match="An event already exists with identifier e1"):
        shop.use(identifier="e1")
    assert shop.total() == 1


def test_repeated_identifier_under_the_same_key_is_replayed(shop: Shop) -> None:
    """Same identifier and same Idempotency-Key: the stored 200 (docs/verified.md)."""
    create = shop.v1.billing.meter_events.create
    params = {"event_name": "calls", "payload": {"stripe_customer_id": shop.customer, "value": "1"}, "identifier": "e"}
    for _ in range(2):
        create(params, {"idempotency_key": "e"})
    assert shop.total() == 1


def test_repeated_identifier_can_be_dropped_silently(shop: Shop, emulator: Emulator) -> None:
    """The documented behaviour, by switch (SDK documentation of `identifier`)."""
    emulator.switches.duplicate_identifier = "silent"
    shop.use(identifier="e1")
    shop.use(identifier="e1")
    assert shop.total() == 1


def test_identifier_is_free_again_after_24_hours(shop: Shop, emulator: Emulator) -> None:
    """Uniqueness holds for a rolling period of 24 hours (SDK documentation of `identifier`)."""
    shop.use(identifier="e1")
    emulator.clock.advance(DAY)
    shop.use(identifier="e1")
    assert shop.total() == 2


def test_identifier_over_100_characters_is_refused(shop: Shop) -> None:
    """An identifier has at most 100 characters (SDK documentation)."""
    with pytest.raises(stripe.InvalidRequestError):
        shop.use(identifier="e" * 101)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"event_name": "unknown"}, "no_meter"),
        ({"payload": {"value": "1"}}, "meter_event_no_customer_defined"),
        ({"payload": {"stripe_customer_id": "cus_none", "value": "1"}}, "meter_event_customer_not_found"),
        ({"value": "many"}, "meter_event_invalid_value"),
        ({"value": "1234567890.123456"}, "meter_event_value_too_many_digits"),
        ({"later": 301}, "timestamp_in_future"),
        ({"later": -35 * DAY - 1}, "timestamp_too_far_in_past"),
    ],
)
def test_wrong_event_is_accepted_and_reported_later(
    shop: Shop, emulator: Emulator, change: dict[str, Any], code: str
) -> None:
    """v1 validates asynchronously, with the codes of Stripe's error report (docs/verified.md)."""
    value, later = change.pop("value", "1"), change.pop("later", None)
    shop.use(value, **change, **({} if later is None else {"timestamp": shop.now + later}))
    assert shop.total() == 0
    assert errors(emulator) == [code]


@pytest.mark.parametrize("later", [300, -35 * DAY])
def test_timestamp_window_includes_its_ends(shop: Shop, later: int) -> None:
    """35 calendar days back to 5 minutes ahead (SDK documentation of `timestamp`)."""
    shop.use("2", timestamp=shop.now + later)
    assert shop.total() == 2


def test_unknown_meter_can_be_refused_at_once(shop: Shop, emulator: Emulator) -> None:
    """Sources disagree on unknown meters; the other behaviour by switch (docs/verified.md)."""
    emulator.switches.unknown_meter = "sync"
    with pytest.raises(stripe.InvalidRequestError, match="No active meter found"):
        shop.use(event_name="unknown")
    shop.use()
    assert shop.total() == 1


def test_event_of_an_inactive_meter_is_lost(shop: Shop, emulator: Emulator) -> None:
    """A deactivated meter loses events with `archived_meter` (docs/verified.md)."""
    shop.v1.billing.meters.deactivate(shop.meter)
    shop.use()
    assert errors(emulator) == ["archived_meter"]


def test_event_of_a_deleted_customer_is_reported(shop: Shop, emulator: Emulator) -> None:
    """A deleted customer is not found (docs/verified.md)."""
    shop.v1.customers.delete(shop.customer)
    shop.use()
    assert errors(emulator) == ["meter_event_customer_not_found"]


def test_decimals_and_negative_values_add_up_exactly(shop: Shop) -> None:
    """Values are decimal strings, negative allowed (docs/verified.md)."""
    for value in ("0.1", "0.2", "10", "-0.05"):
        shop.use(value)
    assert shop.total() == 10.25


@pytest.mark.parametrize(("formula", "total"), [("count", 3), ("last", 1)])
def test_other_formulas_count_or_keep_the_last(shop: Shop, formula: str, total: int) -> None:
    """`count` ignores values, `last` takes the latest timestamp (docs.stripe.com/api/billing/meter/object)."""
    terms = {"display_name": "x", "event_name": "x", "default_aggregation": {"formula": formula}}
    meter = shop.v1.billing.meters.create(terms)
    for value, back in (("5", 20), ("1", 0), ("9", 10)):
        shop.use(value, event_name="x", timestamp=shop.now - back)
    shop.meter = meter.id
    assert shop.total() == total


def test_adjustment_cancels_a_whole_event_within_24_hours(shop: Shop, emulator: Emulator) -> None:
    """Cancelling by identifier works for 24 hours after receipt (docs/verified.md)."""
    shop.subscribe()
    shop.use("5", identifier="a")
    shop.use("3", identifier="b")
    adjust = shop.v1.billing.meter_event_adjustments.create
    base = {"event_name": "calls", "type": "cancel"}
    assert adjust({**base, "cancel": {"identifier": "a"}}).status == "pending"
    assert shop.total() == 3
    emulator.clock.advance(DAY)
    with pytest.raises(stripe.InvalidRequestError):
        adjust({**base, "cancel": {"identifier": "b"}})
    with pytest.raises(stripe.InvalidRequestError):
        adjust(base)
    assert shop.total() == 3


def test_adjustment_of_an_event_that_was_never_counted_changes_nothing(shop: Shop) -> None:
    """Cancelling a rejected event has nothing to cancel."""
    shop.use("bad", identifier="a")
    adjust = shop.v1.billing.meter_event_adjustments.create
    adjust({"event_name": "calls", "type": "cancel", "cancel": {"identifier": "a"}})
    assert shop.total() == 0


@pytest.mark.parametrize(("window", "step"), [(None, 30), ("hour", 60), ("day", 3600)], ids=["minute", "hour", "day"])
def test_misaligned_summary_window_is_a_400(shop: Shop, window: str | None, step: int) -> None:
    """Bounds align with minutes, UTC hours or UTC days (SDK documentation of event summaries)."""
    start = shop.now - shop.now % DAY
    grouping = {"value_grouping_window": window} if window else {}
    for params in ({"start_time": start + step}, {"end_time": start + DAY + step}):
        with pytest.raises(stripe.InvalidRequestError, match="align"):
            summaries(shop, **params, **grouping)


def test_empty_summary_window_is_a_400(shop: Shop) -> None:
    """The end must come after the start."""
    start = shop.now - shop.now % DAY
    with pytest.raises(stripe.InvalidRequestError):
        summaries(shop, end_time=start)


def test_summaries_group_by_hour_with_gaps_and_ten_a_page(shop: Shop) -> None:
    """Hours without usage are left out; a page holds ten (docs/verified.md)."""
    start = shop.now - shop.now % DAY - 2 * DAY
    for hour in (*range(12), 20):
        shop.use("1", timestamp=start + hour * 3600 + 5)
    page = summaries(shop, start_time=start, value_grouping_window="hour")
    assert (len(page.data), page.has_more) == (10, True)
    rows = list(page.auto_paging_iter())
    assert [(row.start_time - start) // 3600 for row in rows] == [20, *range(11, -1, -1)]
    assert rows[0].end_time - rows[0].start_time == 3600


def test_summary_window_includes_its_start_and_not_its_end(shop: Shop) -> None:
    """`start_time` is inclusive, `end_time` exclusive (SDK documentation of event summaries)."""
    start = shop.now - shop.now % DAY
    shop.use("1", timestamp=start)
    shop.use("10", timestamp=start - 60)
    assert summaries(shop, end_time=start + 60).data[0].aggregated_value == 1
    assert summaries(shop, start_time=start - 60, end_time=start).data[0].aggregated_value == 10


def test_names_and_identifiers_have_at_most_100_characters(shop: Shop) -> None:
    """OpenAPI, `maxLength`: an event name, an identifier and a key of the payload that are longer are refused."""
    long = "x" * 101
    billing = shop.v1.billing
    cancel = {"type": "cancel", "cancel": {"identifier": long}}
    base = {"display_name": "d", "event_name": "e", "default_aggregation": {"formula": "sum"}}
    attempts: list[tuple[Any, dict[str, Any], str]] = [
        (billing.meter_events.create, {"event_name": long, "payload": {"value": "1"}}, "event_name"),
        (billing.meter_event_adjustments.create, {"event_name": "calls", **cancel}, "cancel[identifier]"),
        (billing.meters.create, {**base, "value_settings": {"event_payload_key": long}}, "value_settings"),
    ]
    for attempt, params, param in attempts:
        with pytest.raises(stripe.InvalidRequestError) as caught:
            attempt(params)
        assert str(caught.value.param).startswith(param)
