"""Billing alerts on usage.

Owns: /v1/billing/alerts and setting one off. Does not own: usage. An alert fires once per customer, when the usage
reported after its creation reaches the threshold; it never fires for what came before.
"""

from typing import Any, Final

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.errors import JSON, invalid
from stripe_meter.emulator.events import emit
from stripe_meter.emulator.listing import page
from stripe_meter.emulator.resources.customers import existing
from stripe_meter.emulator.routing import Operation
from stripe_meter.emulator.usage import aggregate

KIND: Final = "billing.alert"
MAX_TITLE: Final = 256
MAX_PER_METER: Final = 25
FOREVER: Final = 2**40


def _create(account: Account, params: JSON) -> JSON:
    wanted: Any = params.get("usage_threshold")
    if wanted is None:
        raise invalid("Missing required param: usage_threshold.", "usage_threshold", "parameter_missing")
    if len(params["title"]) > MAX_TITLE:
        raise invalid(f"A title can have at most {MAX_TITLE} characters.", "title")
    if wanted["gte"] < 1:
        raise invalid("`gte` must be at least 1.", "usage_threshold[gte]")
    meter = account.store.get("billing.meter", wanted["meter"], "usage_threshold[meter]", 400)
    filters = wanted.get("filters")
    for one in filters or ():
        if "customer" not in one:
            raise invalid("A filter of type `customer` must name a customer.", "usage_threshold[filters]")
        if existing(account, one["customer"], "usage_threshold[filters]")["test_clock"] is not None:
            raise invalid("Alerts do not watch customers on test clocks.", "usage_threshold[filters]")
    mine = [row for row in account.store.all(KIND) if row["usage_threshold"]["meter"] == meter["id"]]
    if sum(1 for row in mine if row["status"] != "archived") >= MAX_PER_METER:
        raise invalid(f"A meter can have at most {MAX_PER_METER} alerts.", "usage_threshold[meter]")
    alert: JSON = {
        "id": account.ids.new("alrt"),
        "object": KIND,
        "alert_type": params["alert_type"],
        "livemode": False,
        "status": "active",
        "title": params["title"],
        "usage_threshold": {
            "filters": [{"customer": one["customer"], "type": "customer"} for one in filters] if filters else None,
            "gte": wanted["gte"],
            "meter": meter["id"],
            "recurrence": wanted["recurrence"],
        },
    }
    account.alert_starts[alert["id"]] = account.usage.reported
    return account.store.add(alert)


def check(account: Account, meter: JSON, customer: str) -> None:
    """Set off what the customer's usage of a meter has reached; customers on test clocks are not watched."""
    if account.store.get("customer", customer)["test_clock"] is not None:
        return
    for alert in account.store.all(KIND):
        threshold, key = alert["usage_threshold"], (alert["id"], customer)
        if alert["status"] != "active" or threshold["meter"] != meter["id"] or key in account.alerts_fired:
            continue
        if threshold["filters"] and customer not in [one["customer"] for one in threshold["filters"]]:
            continue
        since = account.alert_starts[alert["id"]]
        records = account.usage.between(meter["id"], customer, 0, FOREVER)
        formula = meter["default_aggregation"]["formula"]
        total = aggregate(formula, [record for record in records if record.number > since])
        if total >= threshold["gte"]:
            account.alerts_fired.add(key)
            emit(account, "billing.alert.triggered", _triggered(account, alert, customer, int(total)))


def _triggered(account: Account, alert: JSON, customer: str, value: int) -> JSON:
    return {
        "object": "billing.alert_triggered",
        "alert": alert,
        "created": account.now(),
        "customer": customer,
        "livemode": False,
        "value": value,
    }


def _retrieve(account: Account, params: JSON, id: str) -> JSON:
    return account.store.get(KIND, id)


def _list(account: Account, params: JSON) -> JSON:
    rows = list(account.store.newest(KIND))
    if "meter" in params:
        rows = [row for row in rows if row["usage_threshold"]["meter"] == params["meter"]]
    return page(rows, params, ROOT)


def _switch(account: Account, id: str, status: str) -> JSON:
    alert = account.store.get(KIND, id)
    if alert["status"] == "archived":
        raise invalid("An archived alert cannot be changed.")
    alert["status"] = status
    return alert


def _activate(account: Account, params: JSON, id: str) -> JSON:
    return _switch(account, id, "active")


def _deactivate(account: Account, params: JSON, id: str) -> JSON:
    return _switch(account, id, "inactive")


def _archive(account: Account, params: JSON, id: str) -> JSON:
    return _switch(account, id, "archived")


ROOT: Final = "/v1/billing/alerts"
KEY: Final = "billing_alert"
LIST: Final = "alert_type meter limit starting_after ending_before"
OPERATIONS: Final = (
    Operation("POST", ROOT, "billing.AlertCreateParams", _create, KEY, "alert_type title usage_threshold"),
    Operation("GET", ROOT, "billing.AlertListParams", _list, KEY, LIST),
    Operation("GET", ROOT + "/{id}", "billing.AlertRetrieveParams", _retrieve, KEY),
    Operation("POST", ROOT + "/{id}/activate", "billing.AlertActivateParams", _activate, KEY),
    Operation("POST", ROOT + "/{id}/deactivate", "billing.AlertDeactivateParams", _deactivate, KEY),
    Operation("POST", ROOT + "/{id}/archive", "billing.AlertArchiveParams", _archive, KEY),
)
