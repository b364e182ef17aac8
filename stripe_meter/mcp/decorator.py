"""`@metered`: the line an author writes above a tool.

Owns the wrapper around the tool and the order of things in it: who calls, may they, run, charge. Asks the engine for
every decision and the framework for nothing but its `Context`. A direct Python call is plain Python, and so is
whatever a tool calls in turn: only the outermost client call is metered. What the wrapper adds never fails a call
that was admitted; a call that cannot be judged is refused, not served for nothing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast, overload

from stripe_meter.domain.pricelist import Price
from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.refusals import Refusal
from stripe_meter.domain.terms import check_name
from stripe_meter.domain.tools import Tool
from stripe_meter.domain.usage import Call
from stripe_meter.enforcement import current
from stripe_meter.enforcement.current import override
from stripe_meter.enforcement.flusher import signals
from stripe_meter.errors import ConfigurationError
from stripe_meter.mcp import nesting, refusals, signature, threads
from stripe_meter.mcp.attachment import engine_of
from stripe_meter.mcp.caller import read_caller
from stripe_meter.mcp.calls import Exchange, active, below, current_call, exchange, running
from stripe_meter.mcp.charging import PLAIN, billable_units, finish, say_unkept, units_of_failure
from stripe_meter.mcp.declared import Declaration, HasEngine, Served, remember

if TYPE_CHECKING:
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.enforcement.gate import Admission

__all__ = ["current_call", "metered"]

P = ParamSpec("P")
R = TypeVar("R")


@overload
def metered(price: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def metered(
    price: Price | None = None,
    *,
    name: str | None = None,
    units: Callable[[Call], int] | None = None,
    max_units: int | None = None,
    feature: str | None = None,
    charge_on: Literal["success", "always"] = "success",
    billing: HasEngine | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def metered(
    price: Price | Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    units: Callable[[Call], int] | None = None,
    max_units: int | None = None,
    feature: str | None = None,
    charge_on: Literal["success", "always"] = "success",
    billing: HasEngine | None = None,
) -> Any:
    """Charge for each successful call of a tool. Write it directly below `@mcp.tool()`.

    Args:
        price: Such as `"$0.05"`, `"0.002 eur per word"` or `"free"`; a tuple gives several currencies or kinds. Left
            out, `prices` and `default_price` of the `StripeMeter` say it, by `name`.
        name: Billing identity of the tool; the function's name unless given. Keep it when the function is renamed.
        units: Counts what a finished call used, for prices per something; instead of `current_call().add(…)`.
        max_units: The most units one call is charged.
        feature: What the caller's plan has to unlock: one of the `features` of a `Subscription`.
        charge_on: `"always"` charges calls that fail, or that the client gives up, as well; only those that the tool
            itself makes free with `current_call().cancel()` stay free.
        billing: The `StripeMeter` to use, where one process runs several.

    Raises:
        ConfigurationError: The price is not understood, or what stands below cannot be metered.
    """
    if price is not None and not isinstance(price, (str, tuple)) and callable(price):
        return metered()(price)
    if charge_on not in ("success", "always"):
        raise ConfigurationError(f'charge_on={charge_on!r} cannot be used; write "success" or "always"')
    if feature is not None:
        check_name(feature, "feature")
    rates = () if price is None else parse_price(price)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature.refuse_unfit(function, price)
        shape = signature.read(function)
        tool = Tool(name or function.__name__, rates, units, max_units, feature, charge_on == "always")
        looks = function.__name__, function.__doc__ or "", shape.filled
        is_async = inspect.iscoroutinefunction(function)
        declaration = Declaration(tool, *looks, billing, shape.may_ask, is_async)
        wrapper = (_wrap_async if is_async else _wrap_sync)(cast("Any", function), declaration, shape)
        signature.dress(wrapper, shape, declaration)
        remember(declaration)
        signals.take()
        return cast("Callable[P, R]", wrapper)

    return decorate


def _wrap_async(
    function: Callable[..., Awaitable[Any]], declaration: Declaration, shape: signature.Shape
) -> Callable[..., Awaitable[Any]]:
    context, is_hidden, names = shape.context, shape.is_hidden, shape.arguments

    @functools.wraps(function)
    async def metered_tool(*args: Any, **kwargs: Any) -> Any:
        ctx = kwargs.pop(context, None) if is_hidden else kwargs.get(context)
        around, within = active.get(), exchange.get()
        # Always so in a copied context whose call is over; else seldom, and then it costs another look.
        if around.ended if around is not None else within.is_closed if within is not None else running:
            around, within = _surroundings(ctx)
        if ctx is None and around is None:
            return await function(*args, **kwargs)
        if ctx is None or around is not None or (within is not None and within.is_free):
            # The client called another tool, which calls this one.
            with _detached(declaration, ctx if around is None else around.origin):
                return await function(*args, **kwargs)
        served = declaration.served
        if within is not None:
            within.entered = True
        if served is None or within is None or served.engine is not within.biller:
            try:
                served = _served(declaration, within, ctx)
            except ConfigurationError as error:
                return await refusals.refuse(ctx, refusals.misconfigured(declaration, error), may_ask=False)
        if served is None:
            with _detached(declaration, ctx):
                return await function(*args, **kwargs)
        engine, tool = served
        caller = read_caller(ctx, engine)
        admission = engine.admit_warm(tool, caller)
        if admission is None:
            verdict = await engine.admit(tool, caller)
            if isinstance(verdict, Refusal):
                return await refusals.refuse(ctx, verdict, may_ask=declaration.may_ask)
            admission = verdict
        arguments = _arguments(args, kwargs, names, context) if args or context in kwargs else kwargs
        call = Call(tool.name, admission.customer, arguments, ctx)
        token, key = active.set(call), id(ctx)
        running[key] = call
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            finish(within, admission, units_of_failure(declaration, tool, call, error))
            raise
        finally:
            active.reset(token)
            call.ended = True
            running.pop(key, None)
        # What most calls are, without a call of its own.
        is_one = type(result) in PLAIN and call.added is None and not (call.cancelled or tool.is_dynamic)
        units = 1 if is_one else billable_units(declaration, tool, call, result)
        if within is not None:
            within.hold(admission, units)
            return result
        finish(None, admission, units)
        if engine.thread.waits:
            await admission.delivered()
        return result

    return metered_tool


def _wrap_sync(function: Callable[..., Any], declaration: Declaration, shape: signature.Shape) -> Callable[..., Any]:
    context, is_hidden, names = shape.context, shape.is_hidden, shape.arguments

    @functools.wraps(function)
    def metered_tool(*args: Any, **kwargs: Any) -> Any:
        ctx = kwargs.pop(context, None) if is_hidden else kwargs.get(context)
        around, within = active.get(), exchange.get()
        # Always so in a copied context whose call is over; else seldom, and then it costs another look.
        if around.ended if around is not None else within.is_closed if within is not None else running:
            around, within = _surroundings(ctx)
        if ctx is None and around is None:
            return function(*args, **kwargs)
        if ctx is None or around is not None or (within is not None and within.is_free):
            # The client called another tool, which calls this one.
            with _detached(declaration, ctx if around is None else around.origin):
                return function(*args, **kwargs)
        served = declaration.served
        if within is not None:
            within.entered = True
        if served is None or within is None or served.engine is not within.biller:
            try:
                served = _served(declaration, within, ctx)
            except ConfigurationError as error:
                return refusals.refuse_blocking(ctx, refusals.misconfigured(declaration, error), may_ask=False)
        if served is None:
            with _detached(declaration, ctx):
                return function(*args, **kwargs)
        engine, tool = served
        caller = read_caller(ctx, engine)
        admission = engine.admit_warm(tool, caller)
        if admission is None:
            ahead = None if within is None else within.decided(engine, tool)
            verdict = engine.admit_blocking(tool, caller) if ahead is None else ahead
            if isinstance(verdict, Refusal):
                return refusals.refuse_blocking(ctx, verdict, may_ask=declaration.may_ask)
            admission = verdict
        arguments = _arguments(args, kwargs, names, context) if args or context in kwargs else kwargs
        call = Call(tool.name, admission.customer, arguments, ctx)
        token, key = active.set(call), id(ctx)
        running[key] = call
        try:
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                return _finish_later(result, declaration, (within, engine, admission), call)
            threads.raise_if_cancelled()
        except BaseException as error:
            finish(within, admission, units_of_failure(declaration, tool, call, error))
            raise
        finally:
            active.reset(token)
            call.ended = True
            running.pop(key, None)
        # What most calls are, without a call of its own.
        is_one = type(result) in PLAIN and call.added is None and not (call.cancelled or tool.is_dynamic)
        units = 1 if is_one else billable_units(declaration, tool, call, result)
        if within is not None:
            within.hold(admission, units)
            return result
        finish(None, admission, units)
        if engine.thread.waits and not threads.wait_delivered(admission) and engine.thread.is_sync:
            say_unkept(declaration)
        return result

    return metered_tool


async def _finish_later(
    result: Awaitable[Any], declaration: Declaration, admitted: tuple[Exchange | None, Engine, Admission], call: Call
) -> Any:
    """The rest of a `def` tool that returned a coroutine, for the frameworks that await it."""
    within, engine, admission = admitted
    call.ended = False
    token = active.set(call)
    running[id(call.origin)] = call
    try:
        returned = await result
    except BaseException as error:
        finish(within, admission, units_of_failure(declaration, admission.tool, call, error))
        raise
    finally:
        active.reset(token)
        call.ended = True
        running.pop(id(call.origin), None)
    finish(within, admission, billable_units(declaration, admission.tool, call, returned))
    if within is None and engine.thread.waits:
        await admission.delivered()
    return returned


@contextmanager
def _detached(declaration: Declaration, origin: object | None) -> Iterator[None]:
    """Run a tool as plain Python: what it adds to its call must not land on the bill of a tool around it."""
    call = Call(declaration.tool.name, origin=origin)
    token = active.set(call)
    try:
        yield
    finally:
        active.reset(token)
        call.ended = True


def _surroundings(ctx: Any) -> tuple[Call | None, Exchange | None]:
    """The call that this one is part of, and the message that it answers, where a plain look is not enough.

    Args:
        ctx: The framework's `Context` that the tool was called with, or None.
    """
    around, within = nesting.call_around(ctx), exchange.get()
    # On an attached server the message of any other request would be an open one, so a closed one is ctx's own.
    if within is not None and within.is_closed and engine_of(ctx) is None:
        within = None
    if around is None and within is None and ctx is not None:
        around = nesting.call_left(ctx)
    return around, within


def _served(declaration: Declaration, within: Exchange | None, ctx: Any) -> Served | None:
    """Who bills this call of which tool; None while billing is switched off. Raises `ConfigurationError`."""
    chosen = override.engine
    if chosen is not None:
        return _instead(chosen, declaration, within)
    served = declaration.served
    if declaration.billing is not None:
        explicit: Engine | None = declaration.billing.engine
    elif within is not None:
        mounted = below.get()
        explicit = within.engine if mounted is None or mounted.around is not within else mounted.engine
    else:
        explicit = engine_of(ctx)
    if served is not None and served.engine is explicit:
        return served
    engine = current.find(explicit)
    return declaration.serve(engine) if engine.enabled else None


def _instead(engine: Engine, declaration: Declaration, within: Exchange | None) -> Served | None:
    """A test's engine in place of any other; what was configured still says the price."""
    configured = None if within is None else within.engine
    if declaration.billing is not None:
        configured = declaration.billing.engine
    if within is not None:
        within.bill_by(engine)
    return declaration.serve(engine, configured) if engine.enabled else None


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any], names: tuple[str, ...], context: str) -> dict[str, Any]:
    return {**dict(zip(names, args, strict=False)), **{k: v for k, v in kwargs.items() if k != context}}
