"""Serving one API request, without HTTP around it.

Owns: the order of things: key, route, idempotency, contract, endpoint, expansion. Does not own: reading sockets or
acting out faults (`app`). Every failure becomes Stripe's error body; an error of the emulator itself is logged and
answered as a 500, which is kept under the idempotency key as Stripe keeps its own.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stripe_meter.emulator import contract, contract_json, forms
from stripe_meter.emulator.account import API_VERSION, Account, Caller
from stripe_meter.emulator.auth import Keys
from stripe_meter.emulator.errors import JSON, ApiError, ParameterError
from stripe_meter.emulator.expand import present
from stripe_meter.emulator.fidelity import Fidelity
from stripe_meter.emulator.idempotency import KEPT_SECONDS_V2, Idempotency
from stripe_meter.emulator.resources import (
    account as account_resource,
)
from stripe_meter.emulator.resources import (
    alerts,
    charges,
    checkout_sessions,
    credit_balances,
    credit_grants,
    credit_notes,
    customers,
    events,
    features,
    intents,
    invoice_items,
    invoice_preview,
    invoices,
    meter_events,
    meters,
    payment_links,
    payment_methods,
    portal,
    prices,
    products,
    refunds,
    subscription_items,
    subscription_schedules,
    subscriptions,
    test_clocks,
    v2_core,
    v2_meter_events,
    webhook_endpoints,
)
from stripe_meter.emulator.routing import Operation, Router

RESOURCES: Final = (
    account_resource,
    alerts,
    charges,
    checkout_sessions,
    credit_balances,
    credit_grants,
    credit_notes,
    customers,
    events,
    features,
    intents,
    invoice_items,
    invoice_preview,
    invoices,
    meter_events,
    meters,
    payment_links,
    payment_methods,
    portal,
    prices,
    products,
    refunds,
    subscription_items,
    subscription_schedules,
    subscriptions,
    test_clocks,
    v2_core,
    v2_meter_events,
    webhook_endpoints,
)
LOG: Final = logging.getLogger("stripe_meter.emulator")


@dataclass(frozen=True, slots=True)
class Call:
    """An API request as it arrived; header names in lower case."""

    method: str
    path: str
    query: str = ""
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str | None:
        """The idempotency key; only POST has one that counts, in API v2 DELETE as well."""
        counts = self.method == "POST" or (self.v2 and self.method == "DELETE")
        return self.headers.get("idempotency-key") if counts else None

    @property
    def v2(self) -> bool:
        """Whether this is a request to API v2, which speaks JSON."""
        return self.path.startswith("/v2/")

    def parameters(self) -> JSON:
        """The decoded parameters of query and body; raises ParameterError when they are malformed."""
        body = contract_json.decode(self.body) if self.v2 else forms.decode(self.body)
        return {**forms.decode(self.query), **body}


@dataclass(slots=True)
class Reply:
    """What to answer."""

    status: int
    body: JSON
    headers: dict[str, str] = field(default_factory=dict)


class Api:
    """The API of one emulated account."""

    def __init__(self, account: Account, *, check_responses: bool = True) -> None:
        self.account = account
        self.keys = Keys()
        self._idempotency = Idempotency()
        self._idempotency_v2 = Idempotency(KEPT_SECONDS_V2)
        self.operations = [operation for module in RESOURCES for operation in module.OPERATIONS]
        self._router = Router(self.operations)
        self.fidelity = Fidelity(self.operations, check_responses=check_responses)
        account.watch_event = self.fidelity.event
        self._by_session = {operation.path for operation in self.operations if operation.opened_by == "session"}

    def serve(self, call: Call) -> Reply:
        """Answer one request; never raises."""
        with self.account.lock:
            request = self.account.ids.new("req")
            self.account.caller = Caller(request, call.key)
            try:
                self._catch_up()
                reply = self._guarded(call)
            except ApiError as error:
                reply = Reply(error.status, error.body(), error.headers)
            finally:
                self.account.caller = Caller()
            self._catch_up()
        reply.headers["Request-Id"] = request
        reply.headers["Stripe-Version"] = call.headers.get("stripe-version", API_VERSION)
        if call.key is not None:
            reply.headers["Idempotency-Key"] = call.key
        return reply

    def _catch_up(self) -> None:
        """Do due work before and after a request, so that a lag of zero means at once."""
        try:
            self.account.clock.run_due()
        except Exception:
            LOG.exception("background work failed")

    def keys_of(self, call: Call) -> Idempotency:
        """The kept answers of the call's API."""
        return self._idempotency_v2 if call.v2 else self._idempotency

    def keep(self, call: Call, reply: Reply) -> None:
        """Keep `reply` as the answer of the call's idempotency key, whatever really happened; v2 keeps no failure."""
        if call.key is not None and not (call.v2 and reply.status >= 400):
            with self.account.lock:
                keys = self.keys_of(call)
                keys.drop(call.key)
                keys.begin(call.key, _fingerprint(call), self.account.clock.now())
                keys.keep(call.key, reply.status, reply.body)

    def knows(self, call: Call) -> bool:
        """Whether the call's idempotency key was used before: its answer is kept, or its first request is running."""
        return call.key is not None and self.keys_of(call).has(call.key, self.account.clock.now())

    def forget(self, call: Call) -> None:
        """Forget the call's idempotency key."""
        if call.key is not None:
            self.keys_of(call).drop(call.key)

    def claim(self, call: Call) -> None:
        """Mark the call's key as in progress, for a request whose effect comes later."""
        if call.key is not None:
            self.keys_of(call).begin(call.key, _fingerprint(call), self.account.clock.now())

    def _authorized(self, call: Call) -> tuple[Operation, tuple[str, ...]]:
        """The operation a call asks for and the ids in its path, once the caller may call it."""
        header = call.headers.get("authorization")
        if call.path in self._by_session:
            self.account.stream_tokens.check(header, self.account.clock.now())
            return self._router.find(call.method, call.path)
        key = self.keys.check(header)
        operation, ids = self._router.find(call.method, call.path)
        self.keys.permit(key, operation.permission)
        return operation, ids

    def _guarded(self, call: Call) -> Reply:
        operation, ids = self._authorized(call)
        if call.key is None:
            return Reply(200, self._run(operation, call, ids))
        now = self.account.clock.now()
        entry = self.keys_of(call).recall(call.key, _fingerprint(call), now)
        if entry is not None and entry.body is not None:
            return Reply(entry.status or 500, entry.body, {"Idempotent-Replayed": "true"})
        self.keys_of(call).begin(call.key, _fingerprint(call), now)
        return self._first(operation, call, ids, call.key)

    def _first(self, operation: Operation, call: Call, ids: tuple[str, ...], key: str) -> Reply:
        """Run the first request of a key and keep its answer, unless its parameters were at fault or API v2 failed."""
        try:
            reply = Reply(200, self._run(operation, call, ids))
        except ApiError as error:
            if call.v2 or isinstance(error, ParameterError):
                self.keys_of(call).drop(key)
                raise
            reply = Reply(error.status, error.body(), error.headers)
        self.keys_of(call).keep(key, reply.status, reply.body)
        return reply

    def _read(self, operation: Operation, call: Call) -> JSON:
        """Typed parameters that the operation takes; raises ParameterError for all others."""
        read = contract_json.read if call.v2 and call.method == "POST" else contract.read
        try:
            given = call.parameters()
            # A cursor that the emulator itself put into `next_page_url`; no parameter type knows it.
            cursor = {"page": given.pop("page")} if call.v2 and "page" in given else {}
            params = {**read(contract.params_class(operation.params), given), **cursor}
        finally:
            self.fidelity.request(operation)
        operation.check_supported(params)
        return params

    def _run(self, operation: Operation, call: Call, ids: tuple[str, ...]) -> JSON:
        params = self._read(operation, call)
        try:
            answer = present(self.account, operation.handler(self.account, params, *ids), params.get("expand", ()))
            self.fidelity.accepted(operation, params)
            self.fidelity.response(operation, answer)
        except ApiError:
            raise
        except Exception as error:
            LOG.exception("the emulator failed on %s %s", call.method, call.path)
            message = f"The emulator itself failed: {type(error).__name__}."
            raise ApiError(500, message, type="api_error") from error
        return answer


def _fingerprint(call: Call) -> str:
    try:
        parameters: Any = call.parameters()
    except ParameterError:
        parameters = [call.query, call.body]
    return json.dumps([call.method, call.path, parameters], sort_keys=True)
