"""Between HTTP and the API: rate limit, planned faults, and the request log.

Owns: deciding what really happens to one request. Does not own: endpoints (`api`) or sockets (`app`). A lost answer
comes back as None: the request may have taken effect, but nobody may be told.
"""

import asyncio
import time
from collections import deque
from typing import Final

from stripe_meter.emulator.api import Api, Call, Reply
from stripe_meter.emulator.faults import Fault, Faults
from stripe_meter.emulator.requestlog import RequestLog

GARBAGE: Final = "<html><body><h1>502 Bad Gateway</h1></body></html>"


class Traffic:
    """The way every API request takes."""

    def __init__(self, api: Api, faults: Faults, log: RequestLog) -> None:
        self._api = api
        self._faults = faults
        self._log = log
        self._recent: deque[float] = deque()

    async def handle(self, call: Call) -> Reply | str | None:
        """Answer a request: a reply, a text that is no JSON, or None for an answer that got lost."""
        with self._api.account.lock:
            fault = self._faults.take(call.method, call.path)
        slow = fault if fault is not None and fault.kind == "slow" else None
        if slow is not None and not slow.effect:
            await asyncio.sleep(slow.seconds)
        with self._api.account.lock:
            answer = self._act(call, fault)
            self._log.add(call, answer.status if isinstance(answer, Reply) else 200 if answer else None)
        if slow is not None and slow.effect:
            await asyncio.sleep(slow.seconds)
        return answer

    def _act(self, call: Call, fault: Fault | None) -> Reply | str | None:
        if self._over_limit():
            limit = Fault("status", status=429, reason="global-rate")
            return Reply(429, limit.body(), limit.headers())
        if fault is None or fault.kind == "slow":
            return self._api.serve(call)
        if fault.kind == "status":
            return self._status(call, fault)
        if fault.kind == "late":
            # A repeat under a key that was used before would not take effect again, however late it comes.
            if not self._api.knows(call):
                self._later(call, fault.seconds)
            return None
        if fault.effect is not False:
            self._api.serve(call)
        return GARBAGE if fault.kind == "garbage" else None

    def _status(self, call: Call, fault: Fault) -> Reply:
        reply = Reply(fault.status, fault.body(), fault.headers())
        is_repeat = self._api.knows(call)
        if fault.effect:
            reply.headers.update(self._api.serve(call).headers)
            if not fault.stored and not is_repeat:
                self._api.forget(call)
        if fault.stored and not is_repeat:
            self._api.keep(call, reply)
        return reply

    def _later(self, call: Call, seconds: float) -> None:
        """Execute after the connection is gone; until then the key answers that it is in use."""
        clock = self._api.account.clock
        self._api.claim(call)

        def execute() -> None:
            self._api.forget(call)
            self._api.serve(call)

        clock.schedule(clock.now() + seconds, execute)

    def _over_limit(self) -> bool:
        limit = self._api.account.switches.rate_limit
        if limit is None:
            return False
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if len(self._recent) >= limit:
            return True
        self._recent.append(now)
        return False
