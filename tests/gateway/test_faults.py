"""What each error of the SDK means, and that none is left out."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
import stripe
from aiohttp.client_reqrep import ConnectionKey
from stripe.oauth_error import InvalidGrantError

from stripe_meter.errors import (
    IdempotencyConflict,
    KeyRefused,
    PermissionMissing,
    StripeMeterError,
    StripeRejected,
    StripeUnavailable,
)
from stripe_meter.gateway.faults import MEANING, translate


def family(cls: type[stripe.StripeError]) -> list[type[stripe.StripeError]]:
    return [cls, *(grandchild for child in cls.__subclasses__() for grandchild in family(child))]


ALL = [cls for cls in family(stripe.StripeError) if cls.__module__.startswith("stripe.")]


def test_the_sdk_has_errors_to_walk() -> None:
    """An empty walk would prove nothing."""
    assert len(ALL) >= 25


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_error_of_the_sdk_has_a_meaning(cls: type[stripe.StripeError]) -> None:
    """A class that nobody thought about must fail here, not in production."""
    assert cls in MEANING


def error(cls: Any, code: str | None = None, status: int = 400, headers: dict[str, str] | None = None) -> Exception:
    body = {"error": {"code": code, "message": "the message"}}
    if issubclass(cls, (stripe.InvalidRequestError, stripe.CardError)):
        made: Exception = cls("the message", "amount", code, "{}", status, body, headers or {})
    else:
        made = cls("the message", "{}", status, body, headers or {})
    return made


def refused() -> aiohttp.ClientConnectorError:
    key = ConnectionKey("api.stripe.com", 443, True, True, None, None, None)
    return aiohttp.ClientConnectorDNSError(key, OSError("no such name"))


def of_oauth(status: int) -> Exception:
    made: Exception = InvalidGrantError("invalid_grant", "a proxy's", http_status=status)  # type: ignore[no-untyped-call]
    return made


def caused_by(cause: Exception) -> Exception:
    made: Exception = stripe.APIConnectionError("the message")  # type: ignore[no-untyped-call]  # the SDK's, untyped
    made.__cause__ = cause
    return made


@pytest.mark.parametrize(
    ("given", "expected", "attributes"),
    [
        (error(stripe.APIConnectionError, status=0), StripeUnavailable, {"ambiguous": True, "stored": False}),
        (error(stripe.APIError, status=500), StripeUnavailable, {"ambiguous": True, "stored": True}),
        (error(stripe.APIError, status=200), StripeUnavailable, {"ambiguous": True, "stored": False}),
        (
            error(stripe.RateLimitError, status=429, headers={"Retry-After": "7"}),
            StripeUnavailable,
            {"ambiguous": False, "retry_after": 7.0, "code": "rate_limit"},
        ),
        (error(stripe.RateLimitError, "lock_timeout", 429), StripeUnavailable, {"code": "lock_timeout"}),
        (error(stripe.InvalidRequestError, "resource_missing", 404), StripeRejected, {"code": "resource_missing"}),
        (error(stripe.InvalidRequestError, "lock_timeout"), StripeUnavailable, {"ambiguous": False}),
        (error(stripe.CardError, "card_declined", 402), StripeRejected, {"param": "amount"}),
        (error(stripe.IdempotencyError), IdempotencyConflict, {}),
        (error(stripe.IdempotencyError, "idempotency_key_in_use", 409), StripeUnavailable, {"ambiguous": False}),
        (error(stripe.AuthenticationError, status=401), KeyRefused, {}),
        (error(stripe.PermissionError, status=403), PermissionMissing, {}),
        (aiohttp.ClientPayloadError(), StripeUnavailable, {"ambiguous": True}),
        (TimeoutError(), StripeUnavailable, {"ambiguous": True}),
        (ConnectionResetError(), StripeUnavailable, {"ambiguous": True}),
        (refused(), StripeUnavailable, {"ambiguous": False}),
        (caused_by(refused()), StripeUnavailable, {"ambiguous": False}),
        (caused_by(TimeoutError()), StripeUnavailable, {"ambiguous": True}),
        (AttributeError(), StripeUnavailable, {"ambiguous": True}),
        (of_oauth(503), StripeUnavailable, {"ambiguous": True}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_is_translated_by_its_code(
    given: Exception, expected: type[StripeMeterError], attributes: dict[str, Any]
) -> None:
    """What may have happened is ambiguous; what Stripe refused is not."""
    ours = translate(given)
    assert type(ours) is expected
    for name, value in attributes.items():
        assert getattr(ours, name) == value
    assert "\n" not in str(ours)


@pytest.mark.parametrize(("status", "expected"), [(400, StripeRejected), (500, StripeUnavailable)])
def test_an_unknown_class_means_what_its_ancestor_means(status: int, expected: type[StripeMeterError]) -> None:
    """A class that a newer SDK brings must neither end a delivery nor lose what Stripe has not refused."""

    class Surprise(stripe.StripeError):
        pass

    class Busy(stripe.RateLimitError):
        pass

    assert type(translate(Surprise("new", http_status=status))) is expected
    limited = translate(Busy("new", http_status=429))
    assert isinstance(limited, StripeUnavailable)
    assert not limited.ambiguous
