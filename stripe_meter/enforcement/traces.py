"""What was decided on a call and from what: the trace that `STRIPE_METER_LOG` shows.

Owns the lines in logger `stripe_meter.decisions` and the level of all our loggers. A decision that asked anybody is
logged at INFO, and each refusal in the audit log too. One that asked nobody is logged at DEBUG, and only where the
setting says so: then the engine's warm path is wrapped, so that it costs nothing elsewhere.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, TypeVar

from stripe_meter.domain.refusals import Refusal
from stripe_meter.enforcement import audit
from stripe_meter.enforcement.accounts import FRESH, AccountCache
from stripe_meter.enforcement.gate import Admission

if TYPE_CHECKING:
    from stripe_meter.domain.account import Account
    from stripe_meter.domain.identity import Caller
    from stripe_meter.domain.tools import Tool
    from stripe_meter.enforcement.callers import Callers
    from stripe_meter.enforcement.engine import Engine

V = TypeVar("V", bound=Admission | Refusal)

log = logging.getLogger("stripe_meter.decisions")
# The MCP SDK lets everything at INFO through to a server's stderr, and a line for each cold call is for who asks.
log.setLevel(logging.WARNING)


def begin(engine: Engine, callers: Callers, accounts: AccountCache) -> None:
    """Log what the settings of `engine` ask for; where nobody takes our lines, they go to stderr."""
    wanted = engine.settings.log
    if wanted is None:
        return
    ours = logging.getLogger("stripe_meter")
    ours.setLevel(wanted.upper())
    log.setLevel(logging.NOTSET)
    if audit.log.level == audit.SILENT:
        audit.log.setLevel(logging.NOTSET)
    if not ours.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        ours.addHandler(handler)
    if wanted == "debug":
        _trace_warm(engine, callers, accounts)


def noted(tool: Tool, verdict: V, account: Account | None, now: float) -> V:
    """Log a decision that asked somebody, and hand it on.

    Args:
        account: Of the caller, as far as it is known.
        now: On the monotonic clock of the accounts.
    """
    if isinstance(verdict, Refusal) and audit.is_wanted():
        customer = None if account is None else account.customer
        audit.record("refusal", customer=customer, tool=tool.name, reason=verdict.reason)
    if log.isEnabledFor(logging.INFO):
        log.info("%s", _line("cold", tool, verdict, account, now))
    return verdict


def _trace_warm(engine: Engine, callers: Callers, accounts: AccountCache) -> None:
    warm = engine.admit_warm

    def traced(tool: Tool, caller: Caller) -> Admission | None:
        admission = warm(tool, caller)
        if admission is not None:
            account = callers.verified(caller.credential)
            log.debug("%s", _line("warm", tool, admission, account, accounts.monotonic()))
        return admission

    engine.admit_warm = traced  # type: ignore[method-assign]  # only for this engine, and only while it is wanted


def _line(kind: str, tool: Tool, verdict: Admission | Refusal, account: Account | None, now: float) -> str:
    plan = None if account is None or account.subscription is None else account.subscription.plan
    words = {
        "tool": tool.name,
        "customer": None if account is None else account.customer,
        "plan": plan,
        "status": None if account is None or account.subscription is None else account.subscription.status,
        "cache_age": None if account is None else f"{max(0.0, now - (account.fresh_until - FRESH)):.1f}s",
    }
    if isinstance(verdict, Refusal):
        words |= {"price": repr(verdict.price), "verdict": "refused", "reason": verdict.reason}
    else:
        offer = verdict.offer
        rate = "free" if offer is None else str(offer.terms.rate)
        words |= {"rate": repr(rate), "pays": None if offer is None else offer.terms.ledger, "verdict": "admitted"}
    return f"{kind} " + " ".join(f"{name}={word}" for name, word in words.items() if word is not None)
