"""The emulator: one account, its API, and the background work, put together.

Owns: the public class `Emulator`. Does not own: sockets (`server`) or any rule of Stripe. All state is in memory and
ends with the object. Methods that are not coroutines may be called from any thread.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from starlette.applications import Starlette

from stripe_meter.emulator.account import GRACE_SECONDS, Account, Switches
from stripe_meter.emulator.api import Api
from stripe_meter.emulator.app import build_app
from stripe_meter.emulator.clock import Clock
from stripe_meter.emulator.faults import Faults
from stripe_meter.emulator.fidelity import Violation
from stripe_meter.emulator.ids import Ids
from stripe_meter.emulator.requestlog import RequestLog, RequestRecord
from stripe_meter.emulator.traffic import Traffic
from stripe_meter.emulator.webhooks import Courier

LOG: Final = logging.getLogger("stripe_meter.emulator")
POLL_SECONDS: Final = 0.02


class Emulator:
    """A stand-in for one Stripe account.

    `lag`: seconds from a meter event's 200 to its showing up in totals. `grace`: seconds a cycle invoice stays a
    draft. `deterministic`: counted ids such as `cus_demo_1`, with `id_prefix` in the middle. `http_log`: file that
    receives one JSON line per API request. `search_lag`: seconds until search finds a change. `stream`: Stripe offers
    the meter event stream in live mode only; `refused` answers as its sandbox would. `shared_identifiers`: whether an
    identifier used in v1 is a repeat in v2 and on the stream too, which Stripe does not promise. `check_responses`:
    hold every answer against the SDK's types, and against the file that `STRIPE_OPENAPI_SPEC` names, if any.
    """

    def __init__(
        self,
        merchant: str = "Demo Seller",
        *,
        lag: float = 0.3,
        search_lag: float = 0.0,
        grace: float = GRACE_SECONDS,
        deterministic: bool = False,
        id_prefix: str = "demo",
        http_log: str | Path | None = None,
        duplicate_identifier: Literal["error", "silent"] = "error",
        unknown_meter: Literal["async", "sync"] = "async",
        remote_webhooks: bool = False,
        rate_limit: int | None = None,
        stream: Literal["allowed", "refused"] = "allowed",
        shared_identifiers: bool = False,
        check_responses: bool = True,
    ) -> None:
        switches = Switches(lag, search_lag, grace, duplicate_identifier, unknown_meter, remote_webhooks, rate_limit)
        switches.stream, switches.shared_identifiers = stream, shared_identifiers
        self.account = Account(merchant, switches, Ids(deterministic=deterministic, prefix=id_prefix))
        self.api = Api(self.account, check_responses=check_responses)
        self.faults = Faults()
        self.log = RequestLog(http_log)
        self.courier = Courier(self.account)
        self.traffic = Traffic(self.api, self.faults, self.log)
        self.app: Starlette = build_app(self)

    @property
    def clock(self) -> Clock:
        """The emulator's clock."""
        return self.account.clock

    @property
    def switches(self) -> Switches:
        """Behaviour that may be turned while it runs."""
        return self.account.switches

    @property
    def requests(self) -> list[RequestRecord]:
        """The API requests so far, oldest first; the last 100,000 are kept."""
        with self.account.lock:
            return list(self.log.records)

    @property
    def violations(self) -> list[Violation]:
        """Where the emulator broke Stripe's contract; anything in here is a bug of the emulator."""
        with self.account.lock:
            return list(self.api.fidelity.violations)

    def fidelity(self) -> dict[str, dict[str, int]]:
        """Per operation: requests and responses checked, and violations."""
        with self.account.lock:
            return self.api.fidelity.report()

    def revoke(self, key: str) -> None:
        """Answer 401 to this key from now on."""
        self.api.keys.revoked.add(key)

    def restrict(self, key: str, missing: Iterable[str]) -> None:
        """Answer 403 where this key would need one of the `missing` permissions, such as `rak_customer_write`."""
        self.api.keys.missing[key] = frozenset(missing)

    async def settle(self, timeout: float = 30.0) -> None:
        """Wait until every meter event is counted and every webhook was tried once; raises TimeoutError.

        On a frozen clock only what is due is waited for, because the rest would never come.
        """
        deadline = time.monotonic() + timeout
        while True:
            self.clock.run_due()
            self.courier.pump()
            if self.courier.idle and (self.account.usage.pending == 0 or self.clock.frozen):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.account.usage.pending} meter events were not counted in {timeout} s")
            await asyncio.sleep(POLL_SECONDS)

    async def run(self) -> None:
        """Do due work in real time until cancelled; the server runs this beside the app."""
        loop, wake = asyncio.get_running_loop(), asyncio.Event()

        def listener() -> None:
            loop.call_soon_threadsafe(wake.set)

        self.clock.on_change(listener)
        try:
            while True:
                wake.clear()
                try:
                    self.clock.run_due()
                except Exception:
                    LOG.exception("background work failed")
                self.courier.pump()
                await self._wait(wake)
        finally:
            self.clock.off_change(listener)
            await self.courier.close()

    async def _wait(self, wake: asyncio.Event) -> None:
        """Sleep until the next job is due or something earlier is scheduled."""
        try:
            async with asyncio.timeout(self.clock.next_due()):
                await wake.wait()
        except TimeoutError:
            return
