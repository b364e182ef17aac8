"""What stands in place of a rule that is taken out: makers of replacements from the originals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from stripe_meter.emulator import billing, entitlements

Make = Callable[[Any], Any]
FOREVER: Final = 10**9


def to(value: Any) -> Make:
    """Another value in place of a constant."""
    return lambda original: value


def answering(value: Any) -> Make:
    """A function that does nothing but answer."""
    return lambda original: lambda *args, **more: value


def after(change: Callable[..., None]) -> Make:
    """The original, once `change` was called with its arguments."""

    def make(original: Any) -> Any:
        def function(*args: Any, **more: Any) -> Any:
            change(*args)
            return original(*args, **more)

        return function

    return make


def counted_at_once(original: Any) -> Any:
    def receive(account: Any, event: Any) -> None:
        lag, account.switches.lag = account.switches.lag, 0.0
        original(account, event)
        account.switches.lag = lag

    return receive


def with_inclusive_end(original: Any) -> Any:
    return lambda self, meter, customer, start, end: original(self, meter, customer, start, end + 1)


def without_expiry(original: Any) -> Any:
    def keep(self: Any, now: float) -> None:
        """Nothing is forgotten."""

    return keep


def ending_balance_before(original: Any) -> Any:
    def change(account: Any, customer: Any, amount: int, *args: Any, **more: Any) -> Any:
        row = original(account, customer, amount, *args, **more)
        row["ending_balance"] -= amount
        return row

    return change


def signing_without_time(original: Any) -> Any:
    return lambda payload, secret, at: original(payload, secret, 0).replace("t=0,", f"t={at},")


def forgotten_alerts(account: Any, *rest: Any) -> None:
    account.alerts_fired.clear()


def alerts_from_the_start(account: Any, *rest: Any) -> None:
    account.alert_starts.update(dict.fromkeys(account.alert_starts, 0))


def features_looked_up_again(account: Any, *rest: Any) -> None:
    for subscription in account.store.all("subscription"):
        entitlements.refresh(account, subscription, renew=True)


def in_any_currency(original: Any) -> Any:
    def eligible(grant: Any, invoice: Any) -> bool:
        currency = grant["amount"]["monetary"]["currency"]
        return bool(original(grant, {**invoice, "currency": currency}))

    return eligible


def whatever_the_period(original: Any) -> Any:
    return lambda grant, invoice: grant["amount"]["monetary"]["currency"] == invoice["currency"]


def billing_when_canceled(original: Any) -> Any:
    return lambda account, subscription, *args, **more: original(account, subscription, True, False)


def unknown_parameters_dropped(original: Any) -> Any:
    return lambda shape, raw, path: original(shape, {key: raw[key] for key in raw if key in shape.fields}, path)


def found_at_once(original: Any) -> Any:
    def index(account: Any, customer: Any) -> None:
        lag, account.switches.search_lag = account.switches.search_lag, 0.0
        original(account, customer)
        account.switches.search_lag = lag

    return index


def oldest_first(original: Any) -> Any:
    return lambda self, kind: reversed(list(original(self, kind)))


def to_disabled_ones_too(original: Any) -> Any:
    return lambda endpoint, type: original({**endpoint, "status": "enabled"}, type)


def tiers_by(name: str) -> Make:
    """The other way to price tiers."""
    return to(getattr(billing, name))


def failing_never(original: Any) -> Any:
    return type("Never", (original,), {})
