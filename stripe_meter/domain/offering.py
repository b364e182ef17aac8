"""Everything on offer: the plans together, what a tool costs under each, and which of them serve a caller.

Owns the order in which a caller's pockets are asked, and every contradiction between plans and tools that can be known
before anybody calls. Pure: no customers, no Stripe objects, no I/O.

The order is fixed: free tool → allowance → plan (included, then overage) → credits → pay-as-you-go. One call is paid
from one pocket, chosen when it is admitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final, TypeVar

from stripe_meter.domain.money import EXACT
from stripe_meter.domain.plans import Credits, Free, PayAsYouGo, Plan, Subscription
from stripe_meter.domain.rates import Rate, common_currencies
from stripe_meter.domain.terms import parse_cap
from stripe_meter.domain.tools import Tool
from stripe_meter.errors import ConfigurationError

#: What a tool that names no number of calls takes of included or free ones, whatever it counts.
ONE_CALL: Final = Rate("calls", Decimal(1))
_ONE_OF_MANY_UNITS: Final = Rate("calls", Decimal(1), once=True)
_FREE: Final = Rate("free", Decimal(0))
#: Ledger units of one credit; the smallest that makes every price whole is used.
SCALES: Final = (1, 10, 100, 1000)

P = TypeVar("P", PayAsYouGo, Credits, Free)


@dataclass(frozen=True, slots=True)
class Retired:
    """A plan that is not on offer any more although people are on it; only Stripe knows its terms.

    Whoever pays its fee is served its included calls. There is no overage: whether the plan had a hard stop is known to
    nobody now.
    """

    name: str

    @property
    def outcome(self) -> str:
        """What became of it, as everybody is told: the end of a sentence that begins with the plan."""
        return "is not offered any more: its included calls are served, nothing beyond them"


@dataclass(frozen=True, slots=True)
class Route:
    """One way to pay for a call: which plan, and how the units of the call count there."""

    plan: Plan | Retired
    rate: Rate


class Offering:
    """The plans of one seller, in the order of offer.

    Raises:
        ConfigurationError: Two plans contradict each other.
    """

    def __init__(self, plans: Sequence[Plan], spend_cap: str | tuple[str, ...] | None = None) -> None:
        if not isinstance(plans, Iterable) or not all(isinstance(plan, Plan) for plan in plans):
            raise ConfigurationError(f"plans={plans!r} is no list of plans; write for example plans=[PayAsYouGo()]")
        self.plans = tuple(plans)
        self.cap = None if spend_cap is None else parse_cap(spend_cap)
        if not self.plans:
            raise ConfigurationError("plans=() sells nothing; leave it out, or write plans=[PayAsYouGo()]")
        names = [plan.name for plan in self.plans]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigurationError(f"two plans are called {twice!r}; give each a name of its own")
        self.pay_as_you_go = self._only(PayAsYouGo)
        self.credits = self._only(Credits)
        self.free = self._only(Free)
        self.subscriptions = {plan.name: plan for plan in self.plans if isinstance(plan, Subscription)}

    def _only(self, kind: type[P]) -> P | None:
        found = [plan for plan in self.plans if isinstance(plan, kind)]
        if len(found) > 1:
            raise ConfigurationError(f"two {kind.__name__} plans are on offer; keep one of them")
        return found[0] if found else None

    def named(self, name: str) -> Plan:
        """The plan of that name. Raises `ConfigurationError`."""
        found = next((plan for plan in self.plans if plan.name == name), None)
        if found is None:
            names = ", ".join(repr(plan.name) for plan in self.plans)
            raise ConfigurationError(f"no plan is called {name!r}; on offer are {names}")
        return found

    def rate(self, tool: Tool, plan: Plan | Retired) -> Rate | None:
        """What `tool` costs under `plan`; None when that plan cannot serve it."""
        if isinstance(plan, Free):
            if tool.is_free or self._is_listed(tool, plan):
                return _FREE
            return _in_calls(tool) if plan.calls and tool.feature is None else None
        if tool.is_free:
            return _FREE
        if isinstance(plan, Subscription):
            is_locked = tool.feature is not None and tool.feature not in plan.features
            return None if is_locked else _in_calls(tool)
        if tool.feature is not None:
            return None
        if isinstance(plan, Retired):
            return _in_calls(tool)
        if isinstance(plan, Credits):
            return _of(tool, "credits") or self._in_credits(tool, plan)
        if self.free is not None and self._is_listed(tool, self.free):
            return None  # nobody would ever be billed by its meter
        return tool.money_rates[0] if tool.money_rates else None

    @staticmethod
    def _is_listed(tool: Tool, plan: Free) -> bool:
        return any(fnmatchcase(name, pattern) for name in tool.names for pattern in plan.tools)

    def routes(self, tool: Tool, subscribed_to: str | None) -> Iterator[Route]:
        """The ways to pay for `tool` in the fixed order, for a caller who is subscribed to that plan or to none."""
        asked: list[Plan | Retired | None] = [self.free]
        is_metered = self.pay_as_you_go is not None and subscribed_to == self.pay_as_you_go.name
        if subscribed_to is not None and not is_metered:
            asked.append(self.subscriptions.get(subscribed_to) or Retired(subscribed_to))
        asked.append(self.credits)
        if is_metered:
            asked.append(self.pay_as_you_go)
        for plan in asked:
            rate = None if plan is None else self.rate(tool, plan)
            if plan is not None and rate is not None:
                yield Route(plan, rate)

    def has(self, name: str) -> bool:
        """Whether a plan of that name is on offer."""
        return any(plan.name == name for plan in self.plans)

    def sold_by(self, tool: Tool) -> list[Plan]:
        """The plans that would serve `tool` to whoever buys them, in the order of offer; without the free one."""
        return [p for p in self.plans if not isinstance(p, Free) and self.rate(tool, p) is not None]

    def scale(self, tools: Iterable[Tool]) -> int:
        """Ledger units of one credit: the smallest of 1, 10, 100, 1000 that makes every declared price whole.

        Raises:
            ConfigurationError: None of them does.
        """
        assert self.credits is not None
        rates = [rate for tool in tools if (rate := self.rate(tool, self.credits)) is not None and rate.kind != "free"]
        for scale in SCALES:
            if all(EXACT.multiply(rate.amount, scale) % 1 == 0 for rate in rates):
                return scale
        finest = next(r for r in rates if EXACT.multiply(r.amount, SCALES[-1]) % 1)
        raise ConfigurationError(f"a price of {finest} is finer than a thousandth of a credit; round it")

    def check(self, tool: Tool, others: Iterable[Tool] = ()) -> None:
        """Refuse a tool that cannot be sold here.

        Args:
            tool: Put on sale now.
            others: What is on sale already.

        Raises:
            ConfigurationError: No plan can serve it, a rate or feature of it can never be used, a hard stop has no
                bound for it, or it shares no currency with the others.
        """
        if tool.is_free:
            return
        self._check_served(tool)
        self._check_rates(tool)
        self._check_bounds(tool)
        self._check_cap(tool)
        if self.pay_as_you_go is not None and tool.feature is None:
            priced = [t for t in others if not t.is_free and t.feature is None and t.money_rates]
            if tool.money_rates and priced and not common_currencies([t.rates for t in (*priced, tool)]):
                raise ConfigurationError(
                    f"one subscription is paid in one currency, but tool {tool.name!r} costs {tool.price} and "
                    f"{priced[0].name!r} costs {priced[0].price}; name a common one, for example "
                    f'price=("$0.05", "€0.05")'
                )

    def _check_served(self, tool: Tool) -> None:
        if tool.feature is not None and not any(tool.feature in p.features for p in self.subscriptions.values()):
            raise ConfigurationError(
                f"tool {tool.name!r} asks for feature {tool.feature!r}, which no plan unlocks; "
                f'write features=["{tool.feature}"] in a Subscription'
            )
        serving = [plan for plan in self.plans if self.rate(tool, plan) is not None]
        if any(self._fits(tool, plan) for plan in serving):
            return
        if serving:
            raise ConfigurationError(
                f"tool {tool.name!r} takes more calls than {serving[0].name!r} ever includes; "
                f"write more into {'calls' if isinstance(serving[0], Free) else 'included'}=…, or a smaller price"
            )
        fix = 'price=("$0.05", "1 credit")' if tool.money_rates or _of(tool, "credits") else 'price="$0.05"'
        raise ConfigurationError(
            f"tool {tool.name!r} costs {tool.price}, which no plan on sale can charge; "
            f"add a price that {self.plans[0].name!r} can, for example {fix}"
        )

    def _fits(self, tool: Tool, plan: Plan) -> bool:
        """Whether one call of `tool` can ever be paid under `plan`, which serves it."""
        rate = self.rate(tool, plan)
        if rate is None or rate.kind != "calls" or (tool.is_dynamic and tool.max_units is None):
            return rate is not None
        limit = plan.calls if isinstance(plan, Free) else plan.included if isinstance(plan, Subscription) else 0
        is_limited = isinstance(plan, Free) or (isinstance(plan, Subscription) and plan.is_capped)
        return not is_limited or rate.quantity(tool.max_units or 1) <= limit

    def _check_rates(self, tool: Tool) -> None:
        pockets = {
            "money": self.pay_as_you_go is not None or (self.credits is not None and self.credits.value is not None),
            "credits": self.credits is not None,
            "calls": bool(self.subscriptions) or (self.free is not None and self.free.calls > 0),
            "free": True,
        }
        # A plan that serves every tool alike leaves the rates to whoever is on another plan.
        for rate in tool.rates:
            if not pockets[rate.kind] and len(tool.rates) > 1:
                raise ConfigurationError(
                    f"tool {tool.name!r}: nobody can ever pay {rate}, because no plan on offer takes {rate.kind}; "
                    "leave it out of the price"
                )

    def _check_bounds(self, tool: Tool) -> None:
        if not tool.is_dynamic or tool.max_units is not None:
            return
        for plan in self.plans:
            rate = self.rate(tool, plan)
            counts = rate is not None and rate.kind != "free" and rate.unit != "call"
            if counts and self.cap is not None and not isinstance(plan, (Credits, Free)):
                raise ConfigurationError(
                    f"tool {tool.name!r} counts {rate.unit if rate else 'unit'}s and spend_cap stops at an amount, "
                    "so one call needs a bound; write max_units=… in @metered"
                )
            stops = isinstance(plan, (Credits, Free)) or (isinstance(plan, Subscription) and plan.is_capped)
            if counts and stops:
                raise ConfigurationError(
                    f"tool {tool.name!r} counts {rate.unit if rate else 'unit'}s and plan {plan.name!r} stops at a "
                    "limit, so one call needs a bound; write max_units=… in @metered"
                )

    def _check_cap(self, tool: Tool) -> None:
        paid = [str(rate.currency) for rate in tool.money_rates] if self.pay_as_you_go is not None else []
        paid += [amount.currency for plan in self.subscriptions.values() for amount in plan.overage_amounts]
        for currency in paid:
            if self.cap is not None and self.cap.amount(currency) is None:
                each = self.cap.interval
                raise ConfigurationError(
                    f"tool {tool.name!r} can be paid in {currency.upper()}, for which spend_cap names no amount; "
                    f'write spend_cap=("{self.cap.amounts[0]}/{each}", "50 {currency}/{each}")'
                )

    def _in_credits(self, tool: Tool, plan: Credits) -> Rate | None:
        """The money rate in credits; rounded up by nothing: a price that has no exact worth in credits is refused."""
        value = plan.value
        money = next((r for r in tool.money_rates if value is not None and r.currency == value.currency), None)
        if value is None or money is None:
            return None
        from fractions import Fraction

        amount = Fraction(money.amount) / Fraction(value.minor)
        thousandths = amount * SCALES[-1]
        if thousandths.denominator != 1:
            raise ConfigurationError(
                f"tool {tool.name!r} costs {money}, which is no round number of credits at {value} each; "
                'name it, for example price=("$0.05", "5 credits")'
            )
        exact = EXACT.divide(Decimal(thousandths.numerator), Decimal(SCALES[-1])).normalize(EXACT)
        return Rate("credits", exact, None, money.per, money.unit, money.started, money.once)


def _in_calls(tool: Tool) -> Rate:
    return _of(tool, "calls") or (_ONE_OF_MANY_UNITS if tool.is_dynamic else ONE_CALL)


def on_offer(
    code: Sequence[Plan] | None,
    file: Sequence[Plan],
    code_cap: str | tuple[str, ...] | None = None,
    file_cap: str | tuple[str, ...] | None = None,
) -> Offering:
    """The plans of the code, then those of a file; pay-as-you-go where neither names one.

    A plan that stands in both places is the code's: one of the same name, or the same kind where only one of a kind
    can be on offer. So is the spend cap.

    Raises:
        ConfigurationError: Two plans of one name are of two kinds, so that nobody can tell which one is meant.
    """
    own = tuple(code or ())
    named = {plan.name: type(plan) for plan in own}
    kinds = {type(plan) for plan in own if not isinstance(plan, Subscription)}
    for plan in file:
        kind = named.get(plan.name, type(plan))
        if kind is not type(plan) and type(plan) not in kinds:
            raise ConfigurationError(
                f"plan {plan.name!r} is a {type(plan).__name__} in the configuration file, but a {kind.__name__} in "
                'the code; give one of them another name with name="…"'
            )
    added = tuple(plan for plan in file if plan.name not in named and type(plan) not in kinds)
    return Offering(own + added or (PayAsYouGo(),), file_cap if code_cap is None else code_cap)


def _of(tool: Tool, kind: str) -> Rate | None:
    return next((rate for rate in tool.rates if rate.kind == kind), None)
