"""Tools without `@metered` that the price list of an attached server puts on sale, metered from its middleware.

Owns which of the names a server lists these are, and the call around such a tool: admit before, settle after, by the
same exchange as a decorated one. Each framework's module brings its `Context` and says how a refusal is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.usage import Call
from stripe_meter.enforcement.current import override
from stripe_meter.errors import ConfigurationError
from stripe_meter.mcp import declared, nesting, refusals
from stripe_meter.mcp.caller import read_caller
from stripe_meter.mcp.calls import active, exchange, running
from stripe_meter.mcp.charging import billable_units, finish, units_of_failure
from stripe_meter.mcp.declared import Declaration, Matches

if TYPE_CHECKING:
    from stripe_meter.domain.pricelist import PriceList

T = TypeVar("T")


def on_sale(found: Matches, prices: PriceList, before: Mapping[str, Declaration | None]) -> Matches:
    """What a server lists, with a declaration for every undecorated tool that `prices` names.

    Args:
        found: What stands behind the names.
        prices: Of the server; its default price touches none of these.
        before: What was on sale at the last look, so that a tool stays the same one.

    Raises:
        ConfigurationError: It cannot be told whether a name that `prices` names is a decorated function, or nobody
            would count what its price counts.
    """
    for name in sorted(found.unsure):
        if name in found.bare:
            found[name] = None
        elif prices.named(name) is not None:
            raise ConfigurationError(
                f"prices name tool {name!r}, which may also be a function with @metered under another name; "
                "register that function under its own name, or write @metered() above the tool"
            )
    for name, declaration in found.items():
        rates = prices.named(name) if declaration is None or name in found.bare else None
        if rates is not None and rates[0].kind != "free":
            known = before.get(name)
            is_same = known is not None and known.is_outside and known.tool.rates == rates
            found[name] = known if is_same else declared.outside(name, rates)
    return found


async def serve(
    declaration: Declaration, ctx: Any, arguments: Mapping[str, Any] | None, work: Callable[[], Awaitable[T]]
) -> T | Refusal:
    """Let the framework do its work on one call, and hold its charge in the exchange; or say why it is refused.

    Args:
        declaration: What `on_sale` made of the tool.
        ctx: The framework's `Context` of this call.
        arguments: What the caller passed.
        work: The rest of the framework's way to the answer.
    """
    within = exchange.get()
    if within is None or nesting.call_around(ctx) is not None or within.entered:
        return await work()  # called by another tool, whose call this is
    within.entered = True
    configured = within.engine if declaration.billing is None else declaration.billing.engine
    engine = override.engine or configured
    if override.engine is not None:
        within.bill_by(engine)
    try:
        if not engine.enabled:
            return await work()
        engine, tool = declaration.serve(engine, configured)
    except ConfigurationError as error:
        return refusals.misconfigured(declaration, error)
    caller = read_caller(ctx, engine)
    admission = engine.admit_warm(tool, caller)
    if admission is None:
        verdict = await engine.admit(tool, caller)
        if isinstance(verdict, Refusal):
            return verdict
        admission = verdict
    call = Call(tool.name, admission.customer, dict(arguments or {}), ctx)
    keys = nesting.keys_of(ctx)
    running.update(dict.fromkeys(keys, call))
    token = active.set(call)
    try:
        result = await work()
    except BaseException as error:
        finish(within, admission, units_of_failure(declaration, tool, call, error))
        raise
    finally:
        active.reset(token)
        call.ended = True
        for key in keys:
            running.pop(key, None)
    finish(within, admission, billable_units(declaration, tool, call, result))
    return result
