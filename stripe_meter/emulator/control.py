"""The control API under /_emulator: clock, faults, keys, requests, state, fidelity.

Owns: what tests and the demo turn from another process. Does not own: anything of Stripe. It is open to this machine
only; a request under another host name is refused, so that no web page can reach it through a rebound name.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stripe_meter.emulator.reading import TooLarge, body_of
from stripe_meter.emulator.resources.webhook_endpoints import is_loopback

if TYPE_CHECKING:
    from stripe_meter.emulator.core import Emulator

Action = Callable[["Emulator", Any], Awaitable[Any]]


def routes(emulator: Emulator) -> list[Route]:
    """The routes of the control API."""
    table: list[tuple[str, str, Action]] = [
        ("GET", "state", _state),
        ("POST", "clock", _clock),
        ("POST", "faults", _add_fault),
        ("DELETE", "faults", _clear_faults),
        ("GET", "requests", _requests),
        ("GET", "fidelity", _fidelity),
        ("POST", "settle", _settle),
        ("POST", "keys", _keys),
    ]
    return [
        Route(f"/_emulator/{name}", _endpoint(emulator, action), methods=[method]) for method, name, action in table
    ]


def _endpoint(emulator: Emulator, action: Action) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if not is_loopback(request.url.hostname):
            return JSONResponse({"error": "the control API answers on loopback names only"}, 403)
        try:
            given: Any = dict(request.query_params)
            if request.method == "POST":
                given = json.loads(await body_of(request) or "{}")
            return JSONResponse(await action(emulator, given))
        except (TooLarge, ValueError, TypeError, KeyError, AttributeError, TimeoutError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)

    return endpoint


async def _state(emulator: Emulator, given: Any) -> Any:
    account = emulator.account
    with account.lock:
        return {
            "now": account.clock.now(),
            "frozen": account.clock.frozen,
            "pending_meter_events": account.usage.pending,
            "meter_errors": list(account.meter_errors),
            "deliveries": [asdict(delivery) for delivery in account.journal.log],
            "objects": account.store.dump(),
        }


async def _clock(emulator: Emulator, given: Any) -> Any:
    for name in given:
        if name not in ("advance", "freeze"):
            raise ValueError(f"unknown field {name}")
    if "freeze" in given:
        (emulator.clock.freeze if given["freeze"] else emulator.clock.unfreeze)()
    if "advance" in given:
        emulator.clock.advance(float(given["advance"]))
    return {"now": emulator.clock.now(), "frozen": emulator.clock.frozen}


async def _add_fault(emulator: Emulator, given: Any) -> Any:
    with emulator.account.lock:
        return asdict(emulator.faults.add(**given))


async def _clear_faults(emulator: Emulator, given: Any) -> Any:
    emulator.faults.clear()
    return {}


async def _requests(emulator: Emulator, given: Any) -> Any:
    since = int(given.get("since", 0))
    return [asdict(record) for record in emulator.requests if record.index >= since]


async def _fidelity(emulator: Emulator, given: Any) -> Any:
    violations = [asdict(violation) for violation in emulator.violations]
    return {"operations": emulator.fidelity(), "violations": violations}


async def _settle(emulator: Emulator, given: Any) -> Any:
    await emulator.settle(float(given.get("timeout", 30.0)))
    return {}


async def _keys(emulator: Emulator, given: Any) -> Any:
    key = given["key"]
    if given.get("revoke"):
        emulator.revoke(key)
    if "missing" in given:
        emulator.restrict(key, [str(name) for name in given["missing"]])
    return {}
