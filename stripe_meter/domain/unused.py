"""What is on offer for nothing: a plan that can pay for no tool, a glob or a feature that fits none.

Owns the sentences about it. None of it is an error, because tools may come while a server serves; most of it is a
typing error, and a pack that no tool takes would be bought in vain. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Final

from stripe_meter.domain.offering import Offering
from stripe_meter.domain.plans import Credits, Free, PayAsYouGo, Plan, Subscription
from stripe_meter.domain.tools import Tool

_FIXES: Final = {
    Credits: 'give one a price such as "1 credit", or write credit_value=… in Credits',
    PayAsYouGo: 'give one a price in money, such as "$0.05"',
    Subscription: "write the feature they ask for into features=[…] of this plan",
}


def unused(offering: Offering, tools: Iterable[Tool]) -> list[str]:
    """A sentence about each part of `offering` that is of no use for all the `tools` of a server."""
    every = list(tools)
    if not every:
        return []
    asked = {tool.feature for tool in every}
    return [said for plan in offering.plans for said in _of_no_use(offering, plan, every, asked)]


def _of_no_use(offering: Offering, plan: Plan, tools: list[Tool], asked: set[str | None]) -> Iterator[str]:
    if isinstance(plan, Free):
        for glob in plan.tools:
            if not any(fnmatchcase(name, glob) for tool in tools for name in tool.names):
                yield f"Free(tools=[{glob!r}]) fits no tool with a price here; look for a typing error"
        return
    sold = [tool for tool in tools if not tool.is_free]
    if sold and all(offering.rate(tool, plan) is None for tool in sold):
        yield f"plan {plan.name!r} is on sale, but can pay for no tool of this server; {_FIXES[type(plan)]}"
    if isinstance(plan, Subscription):
        for feature in plan.features:
            if feature not in asked:
                yield f"feature {feature!r} of plan {plan.name!r} is asked for by no tool; look for a typing error"
