"""What a client sees of a refusal.

    text + `isError: true` + `_meta["stripe-meter/payment-required"]`, and no `structuredContent`: a client that checks
    it against the tool's output schema would throw, and the link would be lost

Owns that form, what becomes of it on frameworks that would lose it, and URL elicitation, which is used only where the
client declares it. The text with the link is the fallback of everything: whatever goes wrong while asking, the caller
still gets it.
"""

from __future__ import annotations

import logging
import sys
import weakref
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain.refusals import Refusal, billing_unavailable
from stripe_meter.mcp.calls import Refused, exchange
from stripe_meter.mcp.frameworks import line_of

if TYPE_CHECKING:
    from mcp.types import CallToolResult, InputRequiredResult

    from stripe_meter.errors import ConfigurationError
    from stripe_meter.mcp.declared import Declaration

log = logging.getLogger("stripe_meter")

META_KEY: Final = "stripe-meter/payment-required"
#: Our name among the questions that one answer may ask.
QUESTION: Final = "stripe_meter.checkout"
#: Advised to callers while the author has something to repair.
_RETRY_MISCONFIGURED: Final = 60.0
#: From this protocol on a question is returned, not sent.
_STATELESS: Final = "2026-07-28"
#: Half of what common clients allow a whole call, because the text must still arrive after a question nobody answers.
_PATIENCE: Final = 25.0

#: The link each session was last asked to open, by the identity of what the session keeps for its whole life.
_asked: dict[int, tuple[weakref.ref[Any], str]] = {}


def as_text(refusal: Refusal) -> CallToolResult:
    """The form that every client shows."""
    from mcp.types import CallToolResult

    return CallToolResult.model_validate(
        {
            "isError": True,
            "content": [{"type": "text", "text": refusal.text}],
            "_meta": {META_KEY: refusal.data()},
        }
    )


def misconfigured(declaration: Declaration, error: ConfigurationError) -> Refusal:
    """The author reads what is wrong; the caller only that billing does not work."""
    if declaration.first_time("configuration"):
        log.error("Tool %r is refused to everybody: %s", declaration.tool.name, error)
    return billing_unavailable(declaration.tool.name, declaration.tool.price, _RETRY_MISCONFIGURED)


async def refuse(ctx: Any, refusal: Refusal, *, may_ask: bool) -> Any:
    """What a refused tool returns, after asking the client to open the link where that is possible.

    Raises the framework's own error where that is all it hands on unharmed.
    """
    question = await ask(ctx, refusal) if may_ask else None
    return _for_framework(ctx, refusal, may_ask=False) if question is None else question


def refuse_blocking(ctx: Any, refusal: Refusal, *, may_ask: bool) -> Any:
    """`refuse` for a tool that runs in a worker thread, or in none of the framework's threads."""
    import anyio.from_thread

    try:
        question = anyio.from_thread.run(ask, ctx, refusal) if may_ask else None
    except RuntimeError:  # on the loop itself: whoever stands around this call may still ask
        return _for_framework(ctx, refusal, may_ask=may_ask)
    return _for_framework(ctx, refusal, may_ask=False) if question is None else question


async def ask(ctx: Any, refusal: Refusal) -> InputRequiredResult | None:
    """Ask the client to open the link, if it can; what the tool must return to ask, or None when the text is due."""
    if refusal.checkout_url is None:
        return None
    try:
        return await _ask(ctx, refusal, refusal.checkout_url)
    except Exception as error:
        log.debug("URL elicitation failed, answering with text: %r", error)
        return None


def _for_framework(ctx: Any, refusal: Refusal, *, may_ask: bool) -> Any:
    line = line_of(type(ctx))
    if line == "fastmcp-3":
        from stripe_meter.mcp import fastmcp3

        return fastmcp3.refused(refusal)
    if line == "mcp-1":
        from stripe_meter.mcp import fastmcp1

        around = exchange.get()
        if around is not None:
            around.refused = Refused(refusal, may_ask)
        raise fastmcp1.tool_error(refusal.text)
    return as_text(refusal)


async def _ask(ctx: Any, refusal: Refusal, url: str) -> InputRequiredResult | None:
    request = ctx.request_context
    session = request.session
    if hasattr(session, "client_capabilities"):
        capabilities, version = session.client_capabilities, request.protocol_version
        can_ask = session.can_send_request
    else:
        capabilities, version, can_ask = _as_declared_to_sdk_1(ctx, session)
    elicitation = getattr(capabilities, "elicitation", None)
    if getattr(elicitation, "url", None) is None:  # `{}` means forms only
        return None
    if version >= _STATELESS:
        return _question(ctx, refusal, url)
    if can_ask and _is_new(session, url):
        import secrets

        import anyio

        with anyio.move_on_after(_PATIENCE):
            await session.elicit_url(refusal.text, url, secrets.token_hex(16), related_request_id=request.request_id)
    # Accepting means "I will open it", not "I have paid", so the text follows whatever was answered.
    return None


def _as_declared_to_sdk_1(ctx: Any, session: Any) -> tuple[Any, str, bool]:
    """Capabilities, protocol and whether a question would reach the client; without a session nothing is declared."""
    declared = session.client_params
    if declared is None:
        return None, "", False
    # The SDK's own FastMCP keeps its settings itself, the standalone one in its module.
    settings = getattr(ctx.fastmcp, "settings", None) or getattr(sys.modules.get("fastmcp"), "settings", None)
    return declared.capabilities, str(declared.protocolVersion), not getattr(settings, "json_response", False)


def _question(ctx: Any, refusal: Refusal, url: str) -> InputRequiredResult | None:
    from mcp.types import ElicitRequest, ElicitRequestURLParams, InputRequiredResult

    if QUESTION in (ctx.input_responses or ()):
        return None  # the client has answered and the call is still unpaid: asking again would loop
    # Without request_state the retry may reach any worker.
    params = ElicitRequestURLParams(message=refusal.text, url=url)
    return InputRequiredResult(input_requests={QUESTION: ElicitRequest(params=params)})


def _is_new(session: Any, url: str) -> bool:
    """Whether this session was not asked to open this very link by the refusal before."""
    anchor = session.client_params  # a session object lives for one request, its client's parameters for all of them
    if anchor is None:
        return True
    key = id(anchor)
    before = _asked.get(key)

    def forget(_: object) -> None:
        _asked.pop(key, None)

    _asked[key] = (weakref.ref(anchor, forget), url)
    return before is None or before[1] != url
