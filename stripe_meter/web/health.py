"""Routes for whoever runs the server: is it alive, may it get calls, what has it done.

Owns their words and figures. None of them asks Stripe, so a probe costs nothing. Names no customer and no amount that
belongs to one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from starlette.responses import Response

from stripe_meter import __version__
from stripe_meter.errors import StripeMeterError
from stripe_meter.web.answers import json, text
from stripe_meter.web.visit import Visit

#: Of the text format that every Prometheus reads.
METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


async def healthz(visit: Visit) -> Response:
    """This process answers."""
    return json({"status": "ok"})


async def readyz(visit: Visit) -> Response:
    """Whether this process may get calls; why not is in the log, not here."""
    if visit.engine.stopping or not _can_bill(visit):
        return json({"status": "not ready"}, 503, {"Retry-After": "5"})
    return json({"status": "ready"})


async def metrics(visit: Visit) -> Response:
    """The figures in the format of Prometheus."""
    return text("\n".join(_lines(visit)) + "\n", METRICS)


async def stats(visit: Visit) -> Response:
    """The figures as JSON, with what Stripe has reported."""
    engine, usage = visit.engine, visit.engine.stats()
    return json(
        {
            "version": __version__,
            "mode": engine.settings.mode,
            "namespace": engine.settings.namespace,
            "ready": not engine.stopping and _can_bill(visit),
            "plans": [plan.name for plan in engine.offering.plans],
            "tools": len(engine.tools),
            "usage": {
                "accepted": usage.accepted,
                "delivered": usage.delivered,
                "pending": usage.pending,
                "rejected": usage.rejected,
                "meter_events": usage.events_sent,
                "unsent_seconds": round(usage.unsent_seconds, 3),
                "uncounted": usage.uncounted,
                "late": usage.late,
            },
            "meter_errors": [_report(error) for error in engine.sales.meter_errors()],
        }
    )


def _report(error: Any) -> dict[str, Any]:
    return {"code": error.code, "meter": error.meter, "count": error.count, "until": error.until}


def _lines(visit: Visit) -> Iterator[str]:
    usage = visit.engine.stats()
    fates = {"delivered": usage.delivered, "pending": usage.pending, "rejected": usage.rejected}
    yield from _head("stripe_meter_calls", "gauge", "Charged calls of this process by what became of them.")
    yield from (f'stripe_meter_calls{{fate="{fate}"}} {count}' for fate, count in fates.items())
    yield from _one("stripe_meter_calls_accepted_total", "counter", "Charged calls.", usage.accepted)
    yield from _one("stripe_meter_events_total", "counter", "Meter events that Stripe accepted.", usage.events_sent)
    yield from _one("stripe_meter_unsent_seconds", "gauge", "Age of the oldest unsent usage.", usage.unsent_seconds)
    says = "Units that Stripe took and had not counted an hour after their day."
    yield from _one("stripe_meter_uncounted_units_total", "counter", says, usage.uncounted)
    says = "Units that Stripe took when the invoice of their period was probably final."
    yield from _one("stripe_meter_late_units_total", "counter", says, usage.late)
    lost = sum(error.count for error in visit.engine.sales.meter_errors())
    yield from _one("stripe_meter_meter_errors", "gauge", "Meter events that Stripe's latest reports reject.", lost)
    is_ready = not visit.engine.stopping and _can_bill(visit)
    yield from _one("stripe_meter_ready", "gauge", "1 while this process may get calls.", int(is_ready))


def _one(name: str, kind: str, says: str, value: float) -> Iterator[str]:
    yield from _head(name, kind, says)
    yield f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def _head(name: str, kind: str, says: str) -> Iterator[str]:
    yield f"# HELP {name} {says}"
    yield f"# TYPE {name} {kind}"


def _can_bill(visit: Visit) -> bool:
    """The settings can be read, there is a key, and the plans fit together; asks nobody."""
    try:
        return not visit.engine.enabled or bool(visit.engine.settings.key() and visit.engine.offering)
    except StripeMeterError:
        return False
