"""Names that vanished while a similar one appeared: most likely one thing under a new name.

Owns the guess, and the line of code that keeps the old name. To Stripe a new name is a new product: the history and
the invoices of a renamed tool would split, and its subscribers would lack it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

#: Share of characters in common from which two names count as similar.
_ALIKE: Final = 0.6


@dataclass(frozen=True, slots=True)
class Rename:
    """Lookup keys before and after, and the code that keeps the old name."""

    old: str
    new: str
    line: str


def renames(namespace: str, gone: Sequence[str], new: Sequence[str]) -> list[Rename]:
    """Which of the vanished lookup keys seem to live on as one of the new ones; each at most once."""
    pairs = sorted(((_likeness(namespace, old, name), old, name) for old in gone for name in new), reverse=True)
    taken: set[str] = set()
    found = []
    for likeness, old, name in pairs:
        if likeness >= _ALIKE and old not in taken and name not in taken:
            taken |= {old, name}
            found.append(Rename(old, name, _line(namespace, old)))
    return found


def _likeness(namespace: str, old: str, new: str) -> float:
    before, after = _split(namespace, old), _split(namespace, new)
    if before is None or after is None or before[0] != after[0]:
        return 0.0
    return SequenceMatcher(None, before[1], after[1], autojunk=False).ratio()


def _split(namespace: str, key: str) -> tuple[str, str] | None:
    """What kind of thing a lookup key names, and how the author called it."""
    if key.startswith(f"{namespace}."):
        return "tool", key.removeprefix(f"{namespace}.")
    match = re.fullmatch(r":(plan|pack):([^:]+)", key.removeprefix(namespace))
    return (match[1], match[2]) if match else None


def _line(namespace: str, old: str) -> str:
    kind, name = _split(namespace, old) or ("tool", old)
    if kind == "tool":
        return f'@metered(…, name="{name}")'
    return f'Subscription("{name}", …)' if kind == "plan" else f'CreditPack(…, name="{name}")'
