"""Callers who show nothing, where the seller gives them some calls: `Free(…, anonymous_calls=…)`.

Owns how these are counted: by network address and UTC day, in this process alone. There is a bound on the addresses
remembered, and beyond it newcomers are refused, for forgetting others would give them their calls once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stripe_meter.enforcement.counters import Counter
from stripe_meter.enforcement.gate import Admission
from stripe_meter.enforcement.identity.reading import network_of
from stripe_meter.enforcement.offers import Limits, Offer, Terms, shared

if TYPE_CHECKING:
    from stripe_meter.domain.plans import Free
    from stripe_meter.domain.rates import Rate
    from stripe_meter.domain.tools import Tool

#: Addresses of one day.
MOST: Final = 20_000


class Anonymous:
    """Today's calls of callers without identity."""

    def __init__(self) -> None:
        self._day = -1
        self._counters: dict[str, Counter] = {}

    def admit(self, plan: Free, tool: Tool, rate: Rate, client: str, now: float) -> Admission | None:
        """Admit a call for nothing; None when today's are used.

        Args:
            rate: What `tool` takes of the free calls.
            client: Address that the call came from.
            now: Unix seconds.
        """
        day = int(now // 86400)
        if day != self._day:
            self._day, self._counters = day, {}
        network = network_of(client)
        counter = self._counters.get(network)
        if counter is None:
            if len(self._counters) >= MOST:
                return None
            counter = self._counters[network] = Counter(0, plan.anonymous_calls, plan.anonymous_calls)
        most = rate.quantity(tool.max_units or 1)
        if not counter.take(most):
            return None
        terms = shared(Terms("", rate, ledger="allowance"))
        admission = Admission(tool, Offer("", terms, Limits(counter, most)))
        admission.customer = None
        return admission
