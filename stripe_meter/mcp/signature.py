"""How a decorated tool looks to the frameworks.

Owns the hidden parameter through which a framework hands over its `Context`: keyword-only, absent from the input
schema, not to be filled by a caller. Name, documentation, annotations and schemas stay the tool's own. What cannot be
metered is refused here, at decoration, with a `ConfigurationError` that shows what to write.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from stripe_meter.errors import ConfigurationError
from stripe_meter.mcp import declared, frameworks

#: Both SDKs reject parameter names that begin with an underscore.
HIDDEN: Final = "stripe_meter_ctx"


@dataclass(frozen=True, slots=True)
class Shape:
    """What decoration needs to know about one function.

    Attributes:
        context: Parameter that holds the framework's `Context`: the tool's own or the hidden one.
        is_hidden: True when `context` was added by us and must be taken away again before the tool runs.
        arguments: Names of the tool's parameters but its context, in order.
        filled: Those of them that callers fill.
        may_ask: False where the framework itself asks the client on the tool's behalf and allows no second asker.
    """

    signature: inspect.Signature
    hints: dict[str, Any]
    context: str
    is_hidden: bool
    arguments: tuple[str, ...]
    filled: frozenset[str]
    may_ask: bool


def refuse_unfit(function: object, price: object) -> None:
    """Raise `ConfigurationError` for what `@metered` cannot charge for.

    The order of the questions matters: each one names the most specific mistake.
    """
    shown = "" if price is None else f"price={price!r}"
    if declared.behind(function) is not None:
        raise ConfigurationError(f"{_name(function)} is metered twice; keep one @metered({shown}) above it")
    if getattr(function, "__fastmcp__", None) is not None:
        raise ConfigurationError(
            f"{_name(function)} was already registered, without its price; "
            f"put @mcp.tool first and @metered({shown}) directly below it, above def {_name(function)}"
        )
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigurationError(
            f"{_name(function)} yields, so there is no result that could succeed or fail; collect and return a list"
        )
    if not inspect.isroutine(function):
        raise ConfigurationError(
            f"@metered({shown}) stands on {_name(function)}, which is not a function; "
            f"write def or async def directly below @metered({shown})"
        )


def read(function: Callable[..., Any]) -> Shape:
    """Find the context parameter of `function` and resolve its annotations.

    Raises:
        ConfigurationError: An annotation names something that does not exist at module level at run time.
    """
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"{_name(function)}: the annotation {error.name!r} cannot be resolved; "
            f"define or import {error.name} at the top of the module, outside of functions and of `if TYPE_CHECKING:`"
        ) from None
    signature = inspect.signature(function)
    contexts = context_types()
    own = next((name for name in signature.parameters if _is_context(hints.get(name), contexts)), None)
    resolved = {name for name, hint in hints.items() if _is_resolved(hint)}
    arguments = tuple(name for name in signature.parameters if name != own)
    return Shape(
        signature=signature,
        hints=hints,
        context=own or HIDDEN,
        is_hidden=own is None,
        arguments=arguments,
        filled=frozenset(arguments) - resolved,
        may_ask=not resolved,
    )


def dress(wrapper: Callable[..., Any], shape: Shape, declaration: declared.Declaration) -> None:
    """Give `wrapper` the signature of the tool, plus the hidden parameter where it is needed."""
    annotations = dict(shape.hints)  # a new one: functools.wraps shares the tool's own
    parameters = [p.replace(annotation=annotations.get(p.name, p.annotation)) for p in _parameters(shape)]
    if shape.is_hidden:
        annotations[HIDDEN] = _optional(context_types())
        hidden = inspect.Parameter(HIDDEN, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotations[HIDDEN])
        before_kwargs = (i for i, p in enumerate(parameters) if p.kind is p.VAR_KEYWORD)
        parameters.insert(next(before_kwargs, len(parameters)), hidden)
    returned = annotations.get("return", shape.signature.return_annotation)
    watched = declared.WatchedSignature(parameters, return_annotation=returned)

    def note() -> None:
        declaration.was_registered = True
        if shape.is_hidden:  # the framework that is reading may have been imported after the tool
            annotations[HIDDEN] = _optional(context_types())

    watched.on_read = note
    wrapper.__annotations__ = annotations
    wrapper.__signature__ = watched  # type: ignore[attr-defined]  # functions have it only at run time
    setattr(wrapper, declared.ATTRIBUTE, declaration)


def context_types() -> tuple[type, ...]:
    """The `Context` classes of the frameworks that are loaded; the SDK's is always among them."""
    context = frameworks.sdk_context()
    # Loading FastMCP takes a second, so only an author who has loaded it pays for it.
    if "fastmcp" in sys.modules:
        from fastmcp import Context as FastMCPContext

        return (context, FastMCPContext)
    return (context,)


def _parameters(shape: Shape) -> list[inspect.Parameter]:
    return list(shape.signature.parameters.values())


def _is_context(hint: object, contexts: tuple[type, ...]) -> bool:
    return any(inspect.isclass(part) and issubclass(part, contexts) for part in (hint, *typing.get_args(hint)))


def _is_resolved(hint: object) -> bool:
    return any(type(mark).__name__ == "Resolve" for mark in getattr(hint, "__metadata__", ()))


def _optional(types: tuple[type, ...]) -> Any:
    return typing.Optional[typing.Union[types]]  # noqa: UP007, UP045  # the only form both frameworks look into


def _name(function: object) -> str:
    return getattr(function, "__name__", None) or type(function).__name__
