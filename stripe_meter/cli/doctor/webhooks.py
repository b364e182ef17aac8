"""Checks of what Stripe tells of its own accord: endpoints that lead here, and reports of usage that was not counted.

Without a public address nothing here is found: everything works then, an hour later at most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from stripe_meter.cli.doctor.case import Case, Said, some
from stripe_meter.domain.evidence import Endpoint
from stripe_meter.domain.meter_errors import MeterError
from stripe_meter.enforcement.webhooks.table import SNAPSHOT, THIN

#: Where our pages take webhooks, below their own address.
WEBHOOK: Final = "/webhook"

_LATE: Final = "payments, cancellations, refunds and disputes are noticed late or never"
_UNHEARD: Final = "usage that Stripe does not count is given away, and nobody hears of it"

#: What to do about a report, by Stripe's word; the rest is a fault to be told to us.
_MEND: Final = {
    "archived_meter": "stripe-meter apply server.py",
    "no_meter": "stripe-meter apply server.py",
    "meter_event_customer_not_found": "stripe-meter keys list CUSTOMER, for who was deleted in Stripe",
    "timestamp_in_future": "timedatectl set-ntp true",
    "timestamp_too_far_in_past": "timedatectl set-ntp true",
}


def webhooks(case: Case) -> Said:
    if case.pages is None:
        return
    url = case.pages + WEBHOOK
    yield from _endpoints(url, case.evidence.endpoints, SNAPSHOT, case.evidence.api_version, _LATE)
    yield from _endpoints(url, case.evidence.thin, THIN, None, _UNHEARD)


def _endpoints(
    url: str, found: Sequence[Endpoint] | None, types: Sequence[str], version: str | None, cost: str
) -> Said:
    if found is None:
        return
    create = f"stripe-meter webhook create --url {url}"
    ours = [endpoint for endpoint in found if endpoint.url.rstrip("/") == url]
    kind = "webhook endpoint" if version is not None else "destination for reports about meter events"
    if not ours:
        yield f"no {kind} leads to {url}", cost, create
    for endpoint in ours:
        if not endpoint.enabled:
            yield f"{kind} {endpoint.id} is disabled", cost, create
        elif lacking := endpoint.lacks(types):
            yield f"{kind} {endpoint.id} does not hear {some(lacking)}", cost, create
        if version is not None and endpoint.api_version != version:
            speaks = endpoint.api_version or "the account's default version"
            yield (
                f"{kind} {endpoint.id} speaks {speaks}, this version of stripe-meter {version}",
                "fields have moved between versions, so events may be misread or missed",
                f"stripe delete /v1/webhook_endpoints/{endpoint.id} && {create}",
            )


def meter_errors(case: Case) -> Said:
    by_code: dict[str, list[MeterError]] = defaultdict(list)
    for error in case.evidence.meter_errors:
        by_code[error.code].append(error)
    for code, errors in by_code.items():
        count = sum(error.count for error in errors)
        where = some(sorted({error.meter or "names that no meter listens to" for error in errors}))
        yield (
            f"Stripe did not count {count} meter events in the last week: {code} ({where}; {errors[0].sample})",
            "the calls were served and are never billed",
            _MEND.get(code, f"stripe get /v2/core/events/{errors[0].event}"),
        )
