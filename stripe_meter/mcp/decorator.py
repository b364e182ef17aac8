"""`@metered`: the line an author writes above a tool.

Owns the wrapper around the tool and the order of things in it: who calls, may they, run, charge. Asks the engine for
every decision and the framework for nothing but its `Context`. A direct Python call is plain Python, and so is
whatever a tool calls in turn: only the outermost client call is metered. What the wrapper adds never fails a call
that was admitted; a call that cannot be judged is refused, not served for nothing.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.refusals import Refusal, billing_unavailable
from stripe_meter.domain.tools import Tool
from stripe_meter.domain.usage import Call
from stripe_meter.enforcement import current
from stripe_meter.enforcement.current import override
from stripe_meter.errors import ConfigurationError
from stripe_meter.mcp import refusals, signature, threads
from stripe_meter.mcp.attachment import engine_of
from stripe_meter.mcp.caller import read_caller
from stripe_meter.mcp.calls import Exchange, active, below, current_call, exchange
from stripe_meter.mcp.charging import billable_units, finish
from stripe_meter.mcp.declared import Declaration, HasEngine, remember

if TYPE_CHECKING:
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.enforcement.gate import Admission

__all__ = ["current_call", "metered"]

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("stripe_meter")

#: Advised to callers while the author has something to repair.
_RETRY_MISCONFIGURED: Final = 60.0


def metered(
    price: str | tuple[str, ...] | None = None,
    *,
    name: str | None = None,
    units: Callable[[Call], int] | None = None,
    max_units: int | None = None,
    billing: HasEngine | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Charge for each successful call of a tool. Write it directly below `@mcp.tool()`.

    Args:
        price: Such as `"$0.05"`, `"0.002 eur per word"` or `"free"`; a tuple gives several currencies or kinds.
        name: Billing identity of the tool; the function's name unless given. Keep it when the function is renamed.
        units: Counts what a finished call used, for prices per something; instead of `current_call().add(…)`.
        max_units: The most units one call is charged.
        billing: The `StripeMeter` to use, where one process runs several.

    Raises:
        ConfigurationError: The price is not understood, or what stands below cannot be metered.
    """
    if callable(price):
        raise ConfigurationError('@metered needs a price; write @metered("$0.05")')
    if price is None:
        raise ConfigurationError('@metered() names no price; write @metered("$0.05") or @metered("free")')
    rates = parse_price(price)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature.refuse_unfit(function, price)
        shape = signature.read(function)
        tool = Tool(name or function.__name__, rates, units, max_units)
        looks = function.__name__, function.__doc__ or "", shape.filled
        is_async = inspect.iscoroutinefunction(function)
        declaration = Declaration(tool, *looks, billing, shape.may_ask, is_async)
        wrapper = (_wrap_async if is_async else _wrap_sync)(cast("Any", function), declaration, shape)
        signature.dress(wrapper, shape, declaration)
        remember(declaration)
        return cast("Callable[P, R]", wrapper)

    return decorate


def _wrap_async(
    function: Callable[..., Awaitable[Any]], declaration: Declaration, shape: signature.Shape
) -> Callable[..., Awaitable[Any]]:
    tool, context, is_hidden, names = declaration.tool, shape.context, shape.is_hidden, shape.arguments

    @functools.wraps(function)
    async def metered_tool(*args: Any, **kwargs: Any) -> Any:
        ctx = kwargs.pop(context, None) if is_hidden else kwargs.get(context)
        if ctx is None and active.get() is None:
            return await function(*args, **kwargs)
        within = exchange.get()
        if ctx is None or active.get() is not None or (within is not None and within.is_free):
            # The client called another tool, which calls this one.
            with _detached(declaration):
                return await function(*args, **kwargs)
        if within is not None:
            within.entered = True
        try:
            engine, is_enabled = _engine_for(declaration, within, ctx)
        except ConfigurationError as error:
            return await refusals.refuse(ctx, _misconfigured(declaration, error), may_ask=False)
        if not is_enabled:
            with _detached(declaration):
                return await function(*args, **kwargs)
        caller = read_caller(ctx, engine)
        admission = engine.admit_warm(tool, caller)
        if admission is None:
            verdict = await engine.admit(tool, caller)
            if isinstance(verdict, Refusal):
                return await refusals.refuse(ctx, verdict, may_ask=declaration.may_ask)
            admission = verdict
        call = Call(tool.name, admission.customer, _arguments(args, kwargs, names, context))
        token = active.set(call)
        try:
            result = await function(*args, **kwargs)
        except BaseException:
            finish(within, admission, None)
            raise
        finally:
            active.reset(token)
        finish(within, admission, billable_units(declaration, call, result))
        if within is None and engine.waits:
            await admission.delivered()
        return result

    return metered_tool


def _wrap_sync(function: Callable[..., Any], declaration: Declaration, shape: signature.Shape) -> Callable[..., Any]:
    tool, context, is_hidden, names = declaration.tool, shape.context, shape.is_hidden, shape.arguments

    @functools.wraps(function)
    def metered_tool(*args: Any, **kwargs: Any) -> Any:
        ctx = kwargs.pop(context, None) if is_hidden else kwargs.get(context)
        if ctx is None and active.get() is None:
            return function(*args, **kwargs)
        within = exchange.get()
        if ctx is None or active.get() is not None or (within is not None and within.is_free):
            # The client called another tool, which calls this one.
            with _detached(declaration):
                return function(*args, **kwargs)
        if within is not None:
            within.entered = True
        try:
            engine, is_enabled = _engine_for(declaration, within, ctx)
        except ConfigurationError as error:
            return refusals.refuse_blocking(ctx, _misconfigured(declaration, error), may_ask=False)
        if not is_enabled:
            with _detached(declaration):
                return function(*args, **kwargs)
        caller = read_caller(ctx, engine)
        admission = engine.admit_warm(tool, caller)
        if admission is None:
            ahead = None if within is None else within.decided(engine, tool)
            verdict = engine.admit_blocking(tool, caller) if ahead is None else ahead
            if isinstance(verdict, Refusal):
                return refusals.refuse_blocking(ctx, verdict, may_ask=declaration.may_ask)
            admission = verdict
        call = Call(tool.name, admission.customer, _arguments(args, kwargs, names, context))
        token = active.set(call)
        try:
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                return _finish_later(result, declaration, (within, engine, admission), call)
            threads.raise_if_cancelled()
        except BaseException:
            finish(within, admission, None)
            raise
        finally:
            active.reset(token)
        finish(within, admission, billable_units(declaration, call, result))
        if within is None and engine.waits:
            threads.wait_delivered(admission)
        return result

    return metered_tool


async def _finish_later(
    result: Awaitable[Any], declaration: Declaration, admitted: tuple[Exchange | None, Engine, Admission], call: Call
) -> Any:
    """The rest of a `def` tool that returned a coroutine, for the frameworks that await it."""
    within, engine, admission = admitted
    token = active.set(call)
    try:
        returned = await result
    except BaseException:
        finish(within, admission, None)
        raise
    finally:
        active.reset(token)
    finish(within, admission, billable_units(declaration, call, returned))
    if within is None and engine.waits:
        await admission.delivered()
    return returned


@contextmanager
def _detached(declaration: Declaration) -> Iterator[None]:
    """Run a tool as plain Python: what it adds to its call must not land on the bill of a tool around it."""
    token = active.set(Call(declaration.tool.name))
    try:
        yield
    finally:
        active.reset(token)


def _engine_for(declaration: Declaration, within: Exchange | None, ctx: Any) -> tuple[Engine, bool]:
    """The engine that bills this call and whether it bills at all. Raises `ConfigurationError`."""
    chosen = override.engine
    if chosen is not None:
        return _engine_instead(chosen, declaration, within)
    if declaration.billing is not None:
        explicit: Engine | None = declaration.billing.engine
    elif within is not None:
        explicit = below.get() or within.engine
        if explicit is declaration.served_by:
            return explicit, explicit.enabled
    else:
        explicit = engine_of(ctx)
    engine = current.find(explicit)
    is_enabled = engine.enabled
    if is_enabled and declaration.served_by is not engine:
        engine.register(declaration.tool)
        declaration.served_by = engine
    return engine, is_enabled


def _engine_instead(engine: Engine, declaration: Declaration, within: Exchange | None) -> tuple[Engine, bool]:
    """A test's engine in place of any other: its Checkout leads to the pages of the server that is answering."""
    if within is not None and within.engine is not engine:
        engine.routes = within.engine.routes
        within.engine = engine
    if engine.enabled and declaration.served_by is not engine:
        engine.register(declaration.tool)
        declaration.served_by = engine
    return engine, engine.enabled


def _misconfigured(declaration: Declaration, error: ConfigurationError) -> Refusal:
    """The author reads what is wrong; the caller only that billing does not work."""
    if declaration.first_time("configuration"):
        log.error("Tool %r is refused to everybody: %s", declaration.tool.name, error)
    return billing_unavailable(declaration.tool.name, declaration.tool.price, _RETRY_MISCONFIGURED)


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any], names: tuple[str, ...], context: str) -> dict[str, Any]:
    if not args and context not in kwargs:
        return kwargs
    return {**dict(zip(names, args, strict=False)), **{k: v for k, v in kwargs.items() if k != context}}
