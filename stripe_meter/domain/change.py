"""One change of a plan: what exists, what the code wants, and whether it can be mended without asking.

Owns the shape that is shown by `plan`, worked off by `apply` and judged by `doctor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stripe_meter.domain.blueprint import FeatureSpec, MeterSpec, PriceSpec, ProductSpec
from stripe_meter.domain.terms_of import Difference

Kind = Literal["create", "change", "archive", "renamed", "unmanaged", "kept"]
What = Literal["feature", "product", "meter", "price", "plan"]
Spec = FeatureSpec | ProductSpec | MeterSpec | PriceSpec


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a plan.

    Attributes:
        kind: See `changes`.
        what: Kind of object.
        name: What it is found by: lookup key, product id or event name.
        id: Stripe's id of what exists.
        spec: What the code wants; None where it wants nothing.
        differences: Field by field.
        shown: Terms of what is created or archived, for people.
        replaces: A price that is made anew and takes the lookup key over.
        note: What else should be known.
        command: What a person can do about it, with what to type.
        by_hand: Differs, but only a person can decide what to do; note or command say between what.
    """

    kind: Kind
    what: What
    name: str
    id: str | None = None
    spec: Spec | None = None
    differences: tuple[Difference, ...] = ()
    shown: str = ""
    replaces: bool = False
    note: str = ""
    command: str = ""
    by_hand: bool = False

    @property
    def is_work(self) -> bool:
        """Whether `apply` does something about it."""
        return self.kind in ("create", "change", "archive") and not self.by_hand

    @property
    def counts(self) -> bool:
        """Whether code and Stripe differ by it, so that `plan` ends with 3."""
        return self.is_work or self.by_hand
