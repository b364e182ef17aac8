"""`stripe-meter webhook`: endpoints from the table of events, their secrets shown once, and rotation."""

from __future__ import annotations

import json
from typing import Any

import pytest
import stripe as sdk

from stripe_meter.enforcement.webhooks.table import SNAPSHOT, THIN
from tests.cli.conftest import Shop

THERE = {"STRIPE_METER_PUBLIC_URL": "http://127.0.0.1:9"}
URL = "http://127.0.0.1:9/billing/webhook"


def told(shop: Shop, *arguments: str) -> dict[str, Any]:
    """What a command says as JSON."""
    done = shop.run("webhook", *arguments, "--json", **THERE)
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def endpoints(shop: Shop) -> list[tuple[str, list[str], str | None]]:
    """Address, types and version of each endpoint for whole events."""
    rows = shop.v1.webhook_endpoints.list({"limit": 100}).data
    return [(row.url, list(row.enabled_events), row.api_version) for row in rows]


def test_endpoints_are_made_from_the_table(shop: Shop) -> None:
    """What the server handles is what it is told, in the form it understands."""
    done = shop.run("webhook", "create", **THERE)
    assert done.exit_code == 0, done.output
    assert endpoints(shop) == [(URL, list(SNAPSHOT), sdk.api_version)]
    with shop.stripe.emulator.account.lock:
        (thin,) = shop.stripe.emulator.account.store.all("v2.core.event_destination")
        secrets = sorted(shop.stripe.emulator.account.webhook_secrets.values())
    assert (thin["event_payload"], thin["enabled_events"]) == ("thin", list(THIN))
    (line,) = (line for line in done.output.splitlines() if "STRIPE_WEBHOOK_SECRET=" in line)
    assert sorted(line.strip().removeprefix("STRIPE_WEBHOOK_SECRET=").split(",")) == secrets


def test_a_second_time_nothing_is_made_and_no_secret_is_shown(shop: Shop) -> None:
    """It may stand in a deployment script."""
    first = told(shop, "create")
    again = shop.run("webhook", "create", **THERE)
    assert "whsec_" not in again.output
    assert "stripe-meter webhook rotate" in again.output
    assert told(shop, "create") == {"url": URL, "made": [], "kept": [one["id"] for one in first["made"]]}
    assert len(endpoints(shop)) == 1


def test_an_endpoint_that_hears_too_little_is_completed(shop: Shop) -> None:
    """After an update of this library, for example; what else it hears stays."""
    made = shop.v1.webhook_endpoints.create({"url": URL, "enabled_events": ["invoice.paid", "price.created"]})
    shop.v1.webhook_endpoints.update(made.id, {"disabled": True})
    assert [one["id"].startswith("ed_") for one in told(shop, "create")["made"]] == [True]
    ((_, events, _),) = endpoints(shop)
    assert set(events) == {*SNAPSHOT, "price.created"}
    assert shop.v1.webhook_endpoints.retrieve(made.id).status == "enabled"


def test_rotation_has_two_steps_between_which_both_secrets_are_good(shop: Shop) -> None:
    """Nothing is lost while servers are restarted one by one."""
    old = {one["id"] for one in told(shop, "create")["made"]}
    assert told(shop, "rotate", "--finish")["deleted"] == []
    new = told(shop, "rotate")["made"]
    assert len(endpoints(shop)) == 2
    assert len({one["secret"] for one in new}) == 2
    assert set(told(shop, "rotate", "--finish")["deleted"]) == old
    assert told(shop, "create")["kept"] == [one["id"] for one in new]


def test_a_rotation_that_nobody_finished_is_told(shop: Shop) -> None:
    """--finish would delete the pair that servers may have by now; and an address without endpoints may be mistyped."""
    said = [shop.run("webhook", "rotate", **THERE).stderr for _ in range(3)]
    assert "no endpoint led to" in said[0].lower()
    assert said[1] == ""
    assert "An earlier rotation was not finished" in said[2]
    assert "first give every server the secrets shown now" in said[2]


def test_an_address_may_be_named(shop: Shop) -> None:
    """A server may be mounted elsewhere; only its own endpoints are touched."""
    other = "http://127.0.0.1:9/else/webhook"
    made = shop.run("webhook", "create", "--url", f"{other}/", **THERE)
    assert made.exit_code == 0, made.output
    told(shop, "create")
    assert sorted(url for url, _, _ in endpoints(shop)) == [URL, other]
    told(shop, "rotate", "--url", other)
    assert len(told(shop, "rotate", "--finish", "--url", other)["deleted"]) == 2
    assert sorted(url for url, _, _ in endpoints(shop)) == [URL, other]


@pytest.mark.parametrize("command", [("create",), ("rotate",), ("rotate", "--finish")])
def test_without_an_address_it_is_asked_for(shop: Shop, command: tuple[str, ...]) -> None:
    """One sentence, and nothing is made."""
    done = shop.run("webhook", *command)
    assert done.exit_code == 1
    assert "--url https://your.server/billing/webhook" in done.output
    assert endpoints(shop) == []
