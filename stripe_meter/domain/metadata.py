"""Metadata of the author's own, before it goes to Stripe.

Owns the limits that Stripe sets, and our own names in it, which nobody else may write: they say who paid for what.

https://docs.stripe.com/api/metadata
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

from stripe_meter.errors import ConfigurationError

#: Stripe takes 50 keys; some of them are ours.
MOST_KEYS: Final = 40
LONGEST_KEY: Final = 40
LONGEST_VALUE: Final = 500
#: Categories of characters that nobody means to write: controls, and lone surrogates, which cannot be sent at all.
_UNFIT: Final = ("Cc", "Cs")
#: What turns the text after it around, so that a reader sees another one than is there.
_TURNING: Final = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
#: Names of ours begin so.
RESERVED: Final = ("stripe_meter", "sm_")


def checked(metadata: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """`metadata` in a fixed order, fit for Stripe.

    Raises:
        ConfigurationError: It is over one of Stripe's limits, or uses a name of ours.
    """
    if len(metadata) > MOST_KEYS:
        raise ConfigurationError(f"metadata has {len(metadata)} keys; Stripe leaves room for {MOST_KEYS} of yours")
    return tuple(sorted((_key(key), _value(key, value)) for key, value in metadata.items()))


def _key(key: object) -> str:
    if not isinstance(key, str) or not 1 <= len(key) <= LONGEST_KEY or "[" in key or "]" in key or has_controls(key):
        raise ConfigurationError(
            f"metadata key {str(key)[:LONGEST_KEY]!r} cannot be used; "
            f"write 1 to {LONGEST_KEY} characters without square brackets"
        )
    if key.startswith(RESERVED):
        raise ConfigurationError(f"metadata key {key!r} is one of ours; choose a name that does not begin so")
    return key


def _value(key: str, value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > LONGEST_VALUE or has_controls(value):
        raise ConfigurationError(
            f"metadata[{key!r}] cannot be used; write a text of 1 to {LONGEST_VALUE} characters on one line"
        )
    return value


def has_controls(text: str) -> bool:
    """Whether a text shows something else than it says, or cannot be sent."""
    return any(unicodedata.category(char) in _UNFIT or unicodedata.bidirectional(char) in _TURNING for char in text)
