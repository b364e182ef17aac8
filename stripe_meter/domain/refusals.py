"""A refused call, in words a person understands and data an agent can act on.

Owns the closed set of reasons and the sentence for each. The edges only carry it to the client. Nothing in a
refusal may come from another customer or hold a secret.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from stripe_meter.errors import PaymentRequired

Reason = Literal[
    "payment_required",
    "credits_exhausted",
    "allowance_used",
    "feature_locked",
    "spend_cap",
    "identity_required",
    "rate_limited",
    "billing_unavailable",
]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was not served and what would change that.

    Attributes:
        reason: From the closed set; agents may branch on it.
        text: One or two sentences for a person, with the link in it when there is one.
        tool: Billing identity of the tool.
        price: For people, such as `$0.05 a call`.
        checkout_url: Where a person can pay, or None.
        retry_after: Seconds, where waiting helps, or None.
    """

    reason: Reason
    text: str
    tool: str
    price: str
    checkout_url: str | None = None
    retry_after: float | None = None

    def data(self) -> dict[str, Any]:
        """The JSON form that travels in `_meta["stripe-meter/payment-required"]`."""
        data: dict[str, Any] = {"reason": self.reason, "tool": self.tool, "price": self.price}
        if self.checkout_url is not None:
            data["checkout_url"] = self.checkout_url
        if self.retry_after is not None:
            data["retry_after_seconds"] = self.retry_after
        return data

    def error(self) -> PaymentRequired:
        return PaymentRequired(
            self.text, reason=self.reason, checkout_url=self.checkout_url, retry_after=self.retry_after
        )


def payment_required(tool: str, price: str, url: str) -> Refusal:
    """A known caller who has no subscription yet."""
    return Refusal("payment_required", f"{tool} costs {price}. Pay here, then call again: {url}", tool, price, url)


def allowance_used(tool: str, price: str, what: str, url: str | None) -> Refusal:
    """A limit that was reached; `what` says which one and when it starts anew."""
    ways = f" Or pay here and go on: {url}" if url is not None else ""
    return Refusal("allowance_used", f"{what}{ways}", tool, price, url)


def credits_exhausted(tool: str, price: str, what: str, url: str | None) -> Refusal:
    """Not enough credits; `what` says how many are missing, or where the rest is."""
    ways = f" Buy more here, then call again: {url}" if url is not None else ""
    return Refusal("credits_exhausted", f"{tool} costs {price}. {what}{ways}", tool, price, url)


def spend_cap(tool: str, price: str, cap: str, until: str) -> Refusal:
    """The customer's spending has reached the limit that they or the seller set."""
    text = f"{tool} costs {price}, and your spending limit of {cap} is reached. It starts anew on {until}."
    return Refusal("spend_cap", text, tool, price)


def feature_locked(tool: str, price: str, feature: str, plans: str, url: str | None) -> Refusal:
    """A tool that only some plans unlock."""
    ways = f" Get it here, then call again: {url}" if url is not None else ""
    text = f"{tool} needs {feature!r}, which {plans} unlocks.{ways}"
    return Refusal("feature_locked", text, tool, price, url)


def invoice_open(tool: str, price: str, url: str) -> Refusal:
    """A subscriber whose last invoice failed."""
    text = f"{tool} costs {price}, and your last invoice is not paid. Pay it here, then call again: {url}"
    return Refusal("payment_required", text, tool, price, url)


def identity_required(tool: str, price: str, url: str) -> Refusal:
    """Nobody knows the caller; paying makes them known."""
    text = (
        f"{tool} costs {price}. Pay here and you receive an API key; then call again with the key "
        f"in the x-api-key header: {url}"
    )
    return Refusal("identity_required", text, tool, price, url)


def identity_required_locally(tool: str, price: str, url: str) -> Refusal:
    """The same for a server that serves one caller, who is recognised by paying."""
    return Refusal("identity_required", f"{tool} costs {price}. Pay here, then call again: {url}", tool, price, url)


def identity_unknown(tool: str, price: str) -> Refusal:
    """A stranger where nothing is for sale, so that paying would not make them known."""
    text = f"{tool} is counted for each caller. Ask the seller for an API key, then call again with it."
    return Refusal("identity_required", text, tool, price)


def sign_up(tool: str, price: str, url: str) -> Refusal:
    """A stranger where everybody has free calls, counted by an API key."""
    text = (
        f"{tool} is counted for each caller. Get a free API key here, then call again with the key "
        f"in the x-api-key header: {url}"
    )
    return Refusal("identity_required", text, tool, price, url)


def rate_limited(tool: str, price: str, why: str, retry_after: float) -> Refusal:
    """Too much was tried; asking Stripe once more would cost others."""
    text = f"{tool} costs {price}. {why} Call again in {retry_after:g} seconds."
    return Refusal("rate_limited", text, tool, price, retry_after=retry_after)


def key_refused(tool: str, price: str, url: str) -> Refusal:
    """A key that is nobody's, or not any more."""
    text = (
        f"This API key is not valid (any more), and {tool} costs {price}. "
        f"Use another key, or pay here and receive a new one: {url}"
    )
    return Refusal("identity_required", text, tool, price, url)


def token_refused(tool: str, price: str, why: str, url: str | None) -> Refusal:
    """An access token that does not count; `why` ends the first sentence."""
    ways = f", or get an API key here: {url}" if url is not None else "."
    text = f"Your access token is not accepted: {why}. {tool} costs {price}. Call again with another token{ways}"
    return Refusal("identity_required", text, tool, price, url)


def billing_unavailable(tool: str, price: str, retry_after: float) -> Refusal:
    """Stripe cannot be asked, or the seller has something to mend."""
    retry_after = math.ceil(retry_after)
    text = f"{tool} costs {price}, but billing cannot be reached right now. Call again in {retry_after:g} seconds."
    return Refusal("billing_unavailable", text, tool, price, retry_after=retry_after)


def too_much_unpaid(tool: str, price: str, most: str, retry_after: float) -> Refusal:
    """As much was used since the last invoice as the seller lets anybody owe."""
    text = (
        f"{tool} costs {price}, and you have used {most} that is not billed yet, which is as much as the seller lets "
        f"you owe. Call again in {retry_after:g} seconds; once an invoice for it is paid, you can go on."
    )
    return Refusal("spend_cap", text, tool, price, retry_after=retry_after)


def change_needed(tool: str, price: str, reason: Reason, why: str, later: str, url: str) -> Refusal:
    """A subscriber whom another plan would serve; `why` is a sentence, `later` when the other plan begins."""
    text = f"{why} Change your plan here, with effect from {later}: {url}"
    return Refusal(reason, text, tool, price, url)


def plan_gone(tool: str, price: str, why: str) -> Refusal:
    """A subscriber of a plan that is not sold any more, where no other one would help."""
    return Refusal("payment_required", f"{why} Ask the seller for another plan, then call again.", tool, price)


def disputed(tool: str, price: str) -> Refusal:
    """A customer who took a payment back through their bank."""
    text = f"{tool} costs {price}, but a payment of yours is disputed. Settle it with the seller, then call again."
    return Refusal("payment_required", text, tool, price)


def subscription_unusable(tool: str, price: str, why: str) -> Refusal:
    """A subscription that no page of Stripe's would make usable."""
    text = f"{tool} costs {price}, but your subscription {why}. Ask the seller to mend it, then call again."
    return Refusal("payment_required", text, tool, price)
