"""What the code wants of a Stripe account: the blueprint, and which prices the subscribers of each plan should have.

Owns putting several sellers of one namespace together: whoever compares one of them alone with the account would take
the others' objects for leftovers. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from stripe_meter.domain.blueprint import Blueprint, FeatureSpec, MeterSpec, Names, PriceSpec, ProductSpec, blueprint
from stripe_meter.domain.offering import Offering
from stripe_meter.domain.plans import PayAsYouGo, Subscription
from stripe_meter.domain.tools import Tool
from stripe_meter.errors import ConfigurationError

Spec = TypeVar("Spec", FeatureSpec, ProductSpec, MeterSpec, PriceSpec)


@dataclass(frozen=True, slots=True)
class Desired:
    """What should exist.

    Attributes:
        blueprint: The objects.
        plans: Plans that are subscribed to, by name: lookup keys of the prices that each subscriber should have.
        fallback: Plan of a subscription that names none: they were bought before plans had names.
    """

    blueprint: Blueprint
    plans: Mapping[str, tuple[str, ...]]
    fallback: str = "pay-as-you-go"

    @property
    def namespace(self) -> str:
        return self.blueprint.namespace

    def plan_of(self, named: str | None) -> str:
        """The plan that a subscription is on, whether it is still sold or not."""
        return named or self.fallback


def desired(offering: Offering, tools: Iterable[Tool], namespace: str) -> Desired:
    """What one seller wants. Raises `ConfigurationError` where the blueprint does."""
    tools = list(tools)
    names = Names(namespace)
    plans: dict[str, tuple[str, ...]] = {}
    for plan in offering.plans:
        if isinstance(plan, Subscription):
            plans[plan.name] = (names.fee(plan), names.plan_calls(plan))
        elif isinstance(plan, PayAsYouGo):
            sold = [tool for tool in tools if not tool.is_free and offering.rate(tool, plan) is not None]
            plans[plan.name] = tuple(sorted({names.tool(tool, plan) for tool in sold}))
    fallback = offering.pay_as_you_go or PayAsYouGo()
    return Desired(blueprint(offering, tools, namespace), plans, fallback.name)


def together(parts: Iterable[Desired]) -> Desired:
    """Several sellers of one namespace as one.

    Raises:
        ConfigurationError: Two of them mean different things by one name.
    """
    first, *others = parts
    if not others:
        return first
    every = (first, *others)
    plans: dict[str, tuple[str, ...]] = {}
    for part in every:
        for name, keys in part.plans.items():
            plans[name] = tuple(sorted({*plans.get(name, ()), *keys}))
    return Desired(
        Blueprint(
            first.namespace,
            _merged((s for part in every for s in part.blueprint.features), first.namespace),
            _merged((s for part in every for s in part.blueprint.products), first.namespace),
            _merged((s for part in every for s in part.blueprint.meters), first.namespace),
            _merged((s for part in every for s in part.blueprint.prices), first.namespace),
        ),
        plans,
        next((part.fallback for part in every if part.fallback in part.plans), first.fallback),
    )


def key_of(spec: FeatureSpec | ProductSpec | MeterSpec | PriceSpec) -> str:
    """What Stripe keeps unique about it."""
    if isinstance(spec, ProductSpec):
        return spec.id
    return spec.event_name if isinstance(spec, MeterSpec) else spec.lookup_key


def _merged(specs: Iterable[Spec], namespace: str) -> tuple[Spec, ...]:
    found: dict[str, Spec] = {}
    for spec in specs:
        if found.setdefault(key_of(spec), spec) != spec:
            raise ConfigurationError(
                f"two servers sell {key_of(spec)} in namespace {namespace!r} on different terms; give one of them a "
                "namespace of its own with STRIPE_METER_NAMESPACE"
            )
    return tuple(found.values())
