"""What an author offers: four ways to sell, each a frozen value.

Owns what each plan can be told and which sentence answers what it cannot. Does not know tools beyond their rates,
customers, Stripe objects or what anybody has bought; `offering` puts plans together, `blueprint` says what Stripe
needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from stripe_meter.domain.money import EXACT, Money, smallest_charge
from stripe_meter.domain.terms import (
    Fee,
    RateLimit,
    check_name,
    parse_amounts,
    parse_fee,
    parse_rate_limit,
    percent,
    slug,
    texts,
    whole,
)
from stripe_meter.errors import ConfigurationError

#: Stripe's smallest billing threshold, in minor units.
_SMALLEST_UNPAID: Final = 50


def _set(plan: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(plan, name, value)


@dataclass(frozen=True)
class PayAsYouGo:
    """Every call is billed at the end of the month, at the tool's money price.

    The caller subscribes once through Checkout with a card; nothing is due then.

    Args:
        volume_discounts: `(after, percent)` pairs: `(100, 10)` makes everything after the first 100 units of a month
            10 % cheaper. They count per meter, that is per tool, or per price with `meter="price"`.
        meter: `"tool"` gives each tool a meter and an invoice line of its own (at most 20); with `"price"` tools of
            equal price share one.
        max_unpaid: Most that a customer may owe before they are billed in mid-month, such as `"$50"`; at least 50 minor
            units. None leaves it to the end of the month.

    Raises:
        ConfigurationError: A value cannot be used.
    """

    volume_discounts: Sequence[tuple[int, int | str | Decimal]] = ()
    meter: Literal["tool", "price"] = "tool"
    max_unpaid: str | tuple[str, ...] | None = None
    name: str = "pay-as-you-go"

    def __post_init__(self) -> None:
        check_name(self.name, "plan")
        _set(self, volume_discounts=_discounts(self.volume_discounts))
        if self.meter not in ("tool", "price"):
            raise ConfigurationError(f'meter={self.meter!r} cannot be used; write meter="tool" or meter="price"')
        for amount in self.unpaid:
            if amount.minor < _SMALLEST_UNPAID:
                raise ConfigurationError(
                    f"max_unpaid={self.max_unpaid!r} is less than Stripe bills; write at least $0.50"
                )

    @property
    def unpaid(self) -> tuple[Money, ...]:
        """`max_unpaid` in each of its currencies."""
        return () if self.max_unpaid is None else parse_amounts(self.max_unpaid, "max_unpaid")


@dataclass(frozen=True)
class Subscription:
    """A fee for each month or year, with calls included.

    Args:
        name: Identity of the plan in Stripe, such as `"pro"`.
        price: The fee, such as `"$49.99/month"` or `"$499/year"`; a tuple gives several currencies.
        included: Calls that the fee covers in each interval; a tool may take several (`price="2 calls"`).
        overage: Price of each further call, such as `"$0.25"`; None ends service at `included`.
        hard_cap: True ends service at `included` although there is an overage price.
        rate_limit: Such as `"1000/minute"`, or None.
        features: What the plan unlocks; a tool with `feature=` asks for one of them.
        trial_days: Days a new subscriber pays nothing, at most 730; needs `trial_calls`.
        trial_calls: Calls that a trial includes; Stripe bills no usage of a trial, so there has to be a limit.

    Raises:
        ConfigurationError: A value cannot be used, or two contradict each other.
    """

    name: str
    price: str | tuple[str, ...]
    included: int = 0
    overage: str | tuple[str, ...] | None = None
    hard_cap: bool = False
    rate_limit: str | None = None
    features: Sequence[str] = ()
    trial_days: int | None = None
    trial_calls: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "plan")
        whole(self.included, 0, "included")
        fee, overage = self.fee, self.overage_amounts
        _set(self, features=tuple(check_name(name, "feature") for name in texts(self.features, "features")))
        if not isinstance(self.hard_cap, bool):
            raise ConfigurationError(f"hard_cap={self.hard_cap!r} cannot be used; write True or False")
        if self.rate_limit is not None:
            parse_rate_limit(self.rate_limit)
        if not self.included and self.overage is None:
            raise ConfigurationError(
                f"plan {self.name!r} includes no calls and prices none; write included=… or overage=…"
            )
        if self.hard_cap and not self.included:
            raise ConfigurationError(f"plan {self.name!r} stops at 0 calls; write included=… beside hard_cap=True")
        if overage and {a.currency for a in overage} != {a.currency for a in fee.amounts}:
            raise ConfigurationError(
                f"plan {self.name!r} costs {fee} but its overage {self.overage!r}: "
                "one subscription is paid in one currency, so name the same currencies in both"
            )
        if (self.trial_days is None) != (self.trial_calls is None):
            raise ConfigurationError(
                f"plan {self.name!r}: Stripe bills no usage of a trial, so it needs both trial_days and trial_calls"
            )
        if self.trial_days is not None:
            whole(self.trial_days, 1, "trial_days")
            whole(self.trial_calls, 1, "trial_calls")
            if self.trial_days > 730:
                raise ConfigurationError(f"plan {self.name!r}: trial_days={self.trial_days}; Stripe allows at most 730")

    @property
    def fee(self) -> Fee:
        return parse_fee(self.price)

    @property
    def overage_amounts(self) -> tuple[Money, ...]:
        """Price of one further call in each currency, perhaps in fractions of a minor unit; or nothing."""
        return () if self.overage is None else parse_amounts(self.overage, "overage", fractions=True)

    @property
    def is_capped(self) -> bool:
        """Whether service ends at the included calls."""
        return self.hard_cap or self.overage is None

    @property
    def limit(self) -> RateLimit | None:
        return None if self.rate_limit is None else parse_rate_limit(self.rate_limit)


@dataclass(frozen=True)
class CreditPack:
    """A number of credits for one payment.

    Args:
        credits: Whole, at least 1.
        price: What the pack costs, such as `"$9.99"`.
        name: For people; also its identity in Stripe, in lower case.
    """

    credits: int
    price: str
    name: str

    def __post_init__(self) -> None:
        whole(self.credits, 1, "credits of a pack")
        if not isinstance(self.name, str) or not self.key:
            raise ConfigurationError(f'pack {self.name!r} has no name to be shown; write for example "Starter"')
        if len(parse_amounts(self.price, "price of a pack")) != 1:
            raise ConfigurationError(f"pack {self.name!r} has several prices; credits are sold in one currency")
        least = Money(Decimal(smallest_charge(self.amount.currency)), self.amount.currency)
        if self.amount.minor < least.minor:
            raise ConfigurationError(
                f"pack {self.name!r} costs {self.amount}, less than Stripe charges at once; sell it for {least} or more"
            )

    @property
    def key(self) -> str:
        return slug(self.name)

    @property
    def amount(self) -> Money:
        return parse_amounts(self.price, "price of a pack")[0]


@dataclass(frozen=True)
class Credits:
    """Prepaid credits, bought in packs; a hard stop at zero that holds over processes.

    Args:
        packs: At least one; all in one currency.
        credit_value: What a credit is worth, such as `"$0.01"`, so that tools priced in money cost credits too.
        on_crash: After a `kill -9` what was leased but not proven goes back to the customer (`"return"`), or is kept
            (`"keep"`), which never serves beyond what was bought and may lose one slice.
        top_up: Name of the pack that is bought again by itself when the credits run out, for customers who agreed to
            that; every pack's Checkout then asks them.
        top_up_limit: How often that may happen to one customer in a calendar month (UTC); belongs to `top_up`.

    Raises:
        ConfigurationError: A value cannot be used.
    """

    packs: Sequence[CreditPack]
    credit_value: str | None = None
    on_crash: Literal["return", "keep"] = "return"
    name: str = "credits"
    top_up: str | None = None
    top_up_limit: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "plan")
        if not isinstance(self.packs, Iterable) or not all(isinstance(pack, CreditPack) for pack in self.packs):
            raise ConfigurationError(
                f'packs={self.packs!r} is no list of packs; write Credits([CreditPack(100, "$9.99", "Starter")])'
            )
        _set(self, packs=tuple(self.packs))
        if not self.packs:
            raise ConfigurationError('Credits([]) sells nothing; write Credits([CreditPack(100, "$9.99", "Starter")])')
        keys = [pack.key for pack in self.packs]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise ConfigurationError(f"two credit packs are called {twice!r}; give each a name of its own")
        currencies = {pack.amount.currency for pack in self.packs}
        if len(currencies) > 1:
            raise ConfigurationError(
                f"credit packs in {' and '.join(sorted(code.upper() for code in currencies))}: "
                "one ledger has one currency, so use one"
            )
        if self.on_crash not in ("return", "keep"):
            raise ConfigurationError(f'on_crash={self.on_crash!r} cannot be used; write "return" or "keep"')
        self._check_top_up()
        _ = self.value

    def _check_top_up(self) -> None:
        if (self.top_up is None) != (self.top_up_limit is None):
            raise ConfigurationError(
                "an automatic top-up needs a pack and a limit for each month; "
                f'write top_up="{self.packs[0].name}" and top_up_limit=5'
            )
        if self.top_up is not None:
            whole(self.top_up_limit, 1, "top_up_limit")
            self.pack(self.top_up)

    @property
    def currency(self) -> str:
        """Lower-case ISO code of every pack and of the ledger."""
        return self.packs[0].amount.currency

    def pack(self, name: str) -> CreditPack:
        """The pack of that name or key. Raises `ConfigurationError`."""
        found = next((pack for pack in self.packs if name in (pack.name, pack.key)), None)
        if found is None:
            names = ", ".join(repr(pack.name) for pack in self.packs)
            raise ConfigurationError(f"no credit pack is called {name!r}; on sale are {names}")
        return found

    @property
    def refill(self) -> CreditPack | None:
        """The pack that is bought again by itself."""
        return None if self.top_up is None else self.pack(self.top_up)

    @property
    def value(self) -> Money | None:
        """What one credit is worth, perhaps in fractions of a minor unit."""
        if self.credit_value is None:
            return None
        value, *others = parse_amounts(self.credit_value, "credit_value", fractions=True)
        if others or value.currency != self.currency:
            raise ConfigurationError(
                f"credit_value={self.credit_value!r}, but the packs are sold in {self.currency.upper()}; "
                "name one amount in that currency"
            )
        return value


@dataclass(frozen=True)
class Free:
    """Calls that cost nothing, each month anew, without any subscription.

    Args:
        calls: Free calls in each month; a tool may take several (`price="2 calls"`).
        reset_day: Day of the month on which they start anew, at 00:00 UTC; 29 to 31 mean the last day of a shorter one.
        tools: Globs of tools that are free without being counted, such as `["basic-*"]`.
        anonymous_calls: Of these calls, how many a caller without key or token may make in a UTC day; none unless
            given. They are told apart by their network address and counted by each process for itself.

    Raises:
        ConfigurationError: A value cannot be used.
    """

    calls: int = 0
    reset_day: int = 1
    tools: Sequence[str] = ()
    name: str = "free"
    anonymous_calls: int = 0

    def __post_init__(self) -> None:
        check_name(self.name, "plan")
        whole(self.calls, 0, "calls")
        if isinstance(self.reset_day, bool) or not isinstance(self.reset_day, int) or not 1 <= self.reset_day <= 31:
            raise ConfigurationError(f"reset_day={self.reset_day!r} is no day of a month; write 1 to 31")
        _set(self, tools=texts(self.tools, "tools"))
        if whole(self.anonymous_calls, 0, "anonymous_calls") > self.calls:
            raise ConfigurationError(
                f"anonymous_calls={self.anonymous_calls} a day is more than a known caller gets in a month; "
                f"write calls={self.anonymous_calls} or more beside it"
            )
        if not self.calls and not self.tools:
            raise ConfigurationError('Free() gives nothing; write Free(calls=100), or Free(tools=["basic-*"])')


Plan: TypeAlias = PayAsYouGo | Subscription | Credits | Free


def _discounts(pairs: Sequence[tuple[int, int | str | Decimal]]) -> tuple[tuple[int, Decimal], ...]:
    """Bounds rising, discounts rising: anything else is a typing error."""
    if isinstance(pairs, str) or not isinstance(pairs, Iterable):
        raise ConfigurationError(f"volume_discounts={pairs!r} is no list; write them like [(100, 10), (500, 20)]")
    pairs, found = tuple(pairs), []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ConfigurationError(f"volume discount {pair!r} is not understood; write (100, 10) for 10 % after 100")
        found.append((whole(pair[0], 1, "after"), percent(pair[1])))
    for (after, less), (later, more) in pairwise(found):
        if later <= after or more <= less:
            raise ConfigurationError(
                f"volume discounts {list(pairs)!r} do not rise; write them like [(100, 10), (500, 20)]"
            )
    return tuple(found)


def discounted(unit_amount: Decimal, less: Decimal) -> Decimal:
    """`unit_amount` minor units less `less` percent, exactly as Stripe can bill it.

    Raises:
        ConfigurationError: It has more than 12 decimals.
    """
    from fractions import Fraction

    exact = Fraction(unit_amount) * (100 - Fraction(less)) / 100
    scaled = exact * 10**12
    if scaled.denominator != 1:
        raise ConfigurationError(f"{less} % off {unit_amount:f} is finer than Stripe bills; choose a rounder discount")
    return Decimal(scaled.numerator).scaleb(-12, context=EXACT).normalize(EXACT)
