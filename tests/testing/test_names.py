"""The names that suites of authors import."""

from __future__ import annotations

import pytest

import stripe_meter.testing


def test_the_public_names_are_there() -> None:
    """A name once public stays; each of them says what it does."""
    names = set(stripe_meter.testing.__all__)
    assert {"Customer", "HandClock", "Invoice", "customer", "emulated_stripe", "use"} <= names
    namespace: dict[str, object] = {}
    exec("from stripe_meter.testing import *", namespace)
    assert names <= set(namespace)
    assert names <= set(dir(stripe_meter.testing))
    assert all(namespace[name].__doc__ for name in names)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Lazy imports must not swallow typing mistakes."""
    with pytest.raises(AttributeError, match="no attribute 'costumer'"):
        _ = stripe_meter.testing.costumer
