"""What an error of the Stripe SDK means for us: one closed table, one function.

Owns the translation `stripe.StripeError` → `stripe_meter.errors`. A class that the table does not name means what its
nearest ancestor means; a test walks every class of the SDK. Prefers codes over message texts. Never says that Stripe
refused something where it did not: what is not understood is unavailable, and may have happened.

Codes: https://docs.stripe.com/error-codes · Retries: https://docs.stripe.com/error-low-level
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import aiohttp
import stripe
from stripe import oauth_error

from stripe_meter.errors import (
    IdempotencyConflict,
    KeyRefused,
    PermissionMissing,
    StripeMeterError,
    StripeRejected,
    StripeUnavailable,
)

#: What the SDK raises on purpose, and the transport past it, when an answer breaks off or does not come.
EXPECTED: Final = (stripe.StripeError, aiohttp.ClientError, asyncio.TimeoutError, OSError)
#: No connection was made (refused, no such name, no TLS), so nothing was sent.
_NEVER_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)

_IN_PROGRESS: Final = frozenset({"lock_timeout", "idempotency_key_in_use", "rate_limit"})


def _unavailable(error: stripe.StripeError) -> StripeMeterError:
    status = error.http_status or 0
    return StripeUnavailable(
        f"Stripe did not answer properly (HTTP {status})" if status else "Stripe could not be reached",
        ambiguous=not isinstance(error.__cause__, _NEVER_SENT),
        stored=status >= 500,
        retry_after=_retry_after(error),
        code=error.code,
        request_id=error.request_id,
    )


def _limited(error: stripe.StripeError) -> StripeMeterError:
    return StripeUnavailable(
        "Stripe limits the rate of requests",
        ambiguous=False,
        retry_after=_retry_after(error),
        code=_code(error) or "rate_limit",
        request_id=error.request_id,
    )


def _session_expired(error: stripe.StripeError) -> StripeMeterError:
    return StripeUnavailable(
        "the token of the meter event stream has expired", ambiguous=False, code="temporary_session_expired"
    )


def _rejected(error: stripe.StripeError) -> StripeMeterError:
    if _code(error) in _IN_PROGRESS:
        return _limited(error)
    return StripeRejected(
        f"Stripe refused the request: {_message(error)}",
        code=_code(error),
        param=getattr(error, "param", None),
        request_id=error.request_id,
    )


def _unknown(error: stripe.StripeError) -> StripeMeterError:
    return _rejected(error) if 400 <= (error.http_status or 0) < 500 else _unavailable(error)


def _conflict(error: stripe.StripeError) -> StripeMeterError:
    if _code(error) in _IN_PROGRESS:
        return _limited(error)
    return IdempotencyConflict("this idempotency key was used before with other parameters", code="idempotency_error")


def _bad_key(error: stripe.StripeError) -> StripeMeterError:
    return KeyRefused(
        "Stripe does not accept this STRIPE_SECRET_KEY (wrong, rolled or revoked); "
        "copy the current one from the Dashboard → Developers → API keys"
    )


def _no_permission(error: stripe.StripeError) -> StripeMeterError:
    return PermissionMissing(
        "this restricted STRIPE_SECRET_KEY lacks a permission; allow write access to Customers, Products, Prices, "
        "Meters, Meter events, Entitlements, Subscriptions, Subscription Schedules, Invoices, Credit Notes, Checkout "
        "Sessions, Payment Links, PaymentIntents, SetupIntents and the Customer portal, and read access to Charges, "
        "Disputes and Refunds, in the Dashboard → Developers → API keys; stripe-meter doctor tells which it is"
    )


#: Every class of the SDK, and what it means for us.
MEANING: Final[dict[type[stripe.StripeError], Callable[[stripe.StripeError], StripeMeterError]]] = {
    stripe.StripeError: _unknown,
    stripe.APIConnectionError: _unavailable,
    stripe.APIError: _unavailable,
    stripe.RateLimitError: _limited,
    stripe.AuthenticationError: _bad_key,
    stripe.PermissionError: _no_permission,
    stripe.IdempotencyError: _conflict,
    stripe.InvalidRequestError: _rejected,
    stripe.CardError: _rejected,
    stripe.StripeErrorWithParamCode: _rejected,
    stripe.SignatureVerificationError: _rejected,
    stripe.TemporarySessionExpiredError: _session_expired,
    # OAuth is for platforms and nothing here does it: an answer of that form is a proxy's, not Stripe's.
    **dict.fromkeys((oauth_error.OAuthError, *oauth_error.OAuthError.__subclasses__()), _unavailable),
    # The rest belong to v2 resources that nothing here calls; they are refusals like any other.
    **{
        getattr(stripe, name): _rejected
        for name in (
            "AlreadyCanceledError",
            "BlockedByStripeError",
            "CannotProceedError",
            "CapabilityNotEnabledError",
            "ControlledByAlternateResourceError",
            "FeatureNotEnabledError",
            "FinancialAccountNotOpenError",
            "FxQuoteNeedsRefreshError",
            "InsufficientFundsError",
            "InvalidPaymentMethodError",
            "InvalidPayoutMethodError",
            "InvalidVaultedCredentialError",
            "NotCancelableError",
            "QuotaExceededError",
            "RecipientNotNotifiableError",
            "VerificationAttemptFailedError",
            "VerificationExpiredError",
            "VerificationNotInitiatedError",
        )
    },
}


def translate(error: BaseException) -> StripeMeterError:
    """Our error for one of the SDK's or the transport's, or for what the SDK stumbled over."""
    if isinstance(error, stripe.StripeError):
        meaning = next(MEANING[cls] for cls in type(error).__mro__ if cls in MEANING)
        return meaning(error)
    if isinstance(error, EXPECTED):
        return StripeUnavailable("Stripe could not be reached", ambiguous=not isinstance(error, _NEVER_SENT))
    return StripeUnavailable("Stripe did not answer properly", ambiguous=True)


def _code(error: stripe.StripeError) -> str | None:
    if error.code is not None:
        return str(error.code)
    body = error.json_body if isinstance(error.json_body, dict) else {}
    inner = body.get("error")
    return inner.get("code") if isinstance(inner, dict) else None


def _message(error: stripe.StripeError) -> str:
    return str(error.user_message or type(error).__name__)[:500]


def _retry_after(error: stripe.StripeError) -> float | None:
    text = (error.headers or {}).get("Retry-After", "")
    return min(float(text), 60.0) if text.isdigit() else None
