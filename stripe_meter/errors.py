"""Every error this library raises on purpose, drawn as a tree.

StripeMeterError
├── ConfigurationError         the author's mistake; the sentence says what to type instead
│   ├── PriceError             a price that cannot be read, or that Stripe could not bill exactly
│   └── KeyRefused             Stripe or the format says that this STRIPE_SECRET_KEY cannot be used
│       └── PermissionMissing  it is good, but not for this
├── NotForSale                 nothing of that name is on offer, or not to this customer as they stand
├── PaymentRequired            a call that is not served until somebody pays or is known
├── TooMany                    a client tried something too often; nobody else has to wait
├── IdentityUnavailable        who calls cannot be found out now; the seller's to mend
├── WebhookRefused             what was sent to our webhook address is not from Stripe, or too old
└── StripeFault                Stripe did not do what was asked
    ├── StripeUnavailable      nobody knows whether it happened, or it may be asked again later
    ├── StripeRejected         Stripe said no, for good
    └── IdempotencyConflict    the key was used before with other parameters

Owns the types and what their handlers need. No message, `str` or `repr` ever holds a secret.
"""

from __future__ import annotations


class StripeMeterError(Exception):
    """Root of all errors of this library."""


class ConfigurationError(StripeMeterError):
    """The server cannot work as configured; the message is one sentence that ends in the remedy."""


class PriceError(ConfigurationError, ValueError):
    """A price that is not understood, or finer than Stripe can bill (12 decimals of a minor unit)."""


class KeyRefused(ConfigurationError):
    """The Stripe key is absent, of the wrong kind, revoked, or lacks a permission. Never carries the key."""


class PermissionMissing(KeyRefused):
    """A restricted key that is good, but lacks the permission for one request."""


class NotForSale(StripeMeterError):
    """What was asked for is not sold, or not to this customer as they stand; the message is a sentence for them."""


class PaymentRequired(StripeMeterError):
    """A call was refused.

    Attributes:
        reason: One of the closed set of reasons, such as `payment_required` or `billing_unavailable`.
        checkout_url: Where a person can pay, or None when paying would not help.
        retry_after: Seconds after which the same call may succeed without anybody paying, or None.
    """

    def __init__(
        self, message: str, *, reason: str, checkout_url: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.checkout_url = checkout_url
        self.retry_after = retry_after


class TooMany(StripeMeterError):
    """A client tried something too often. The message is a sentence for the caller.

    Attributes:
        retry_after: Seconds after which it may be tried again.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WebhookRefused(StripeMeterError):
    """A delivery that is not genuine. The message may be shown to whoever sent it; it repeats nothing of theirs."""


class IdentityUnavailable(StripeMeterError):
    """Who calls cannot be found out: a key set cannot be read, or the author's `identify` failed."""


class StripeFault(StripeMeterError):
    """Stripe did not do what was asked.

    Attributes:
        code: Stripe's error code, such as `resource_missing`, or None.
        param: The parameter Stripe objected to, or None.
        request_id: Stripe's `req_…` for its support, or None.
    """

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.request_id = request_id


class StripeUnavailable(StripeFault):
    """Stripe is slow, down, limiting us, or its answer was lost.

    Attributes:
        ambiguous: True when the request may have taken effect although no answer says so.
        stored: True when Stripe would replay this very failure under the same idempotency key.
        retry_after: Seconds Stripe asked us to wait, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        ambiguous: bool,
        stored: bool = False,
        retry_after: float | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code, request_id=request_id)
        self.ambiguous = ambiguous
        self.stored = stored
        self.retry_after = retry_after


class StripeRejected(StripeFault):
    """Stripe refused the request and would refuse it again."""


class IdempotencyConflict(StripeRejected):
    """This idempotency key was used before with other parameters: somebody else was first."""
