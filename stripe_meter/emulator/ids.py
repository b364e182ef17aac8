"""Object ids: random ones that look like Stripe's, or counted ones for repeatable demos and cassettes.

Owns: the spelling of ids. Does not own: uniqueness against objects made with a chosen id (the store checks that).
Counted ids are unique per prefix in one emulator; random ones draw on the operating system's generator.
"""

import secrets
import string
from collections import Counter
from typing import Final

ALPHABET: Final = string.ascii_letters + string.digits
# Ids that Stripe writes with a mode in the middle; the rest are prefix and fourteen characters.
LONG: Final = {"cs": "cs_test_"}
LONG_LENGTH: Final = 58
USUAL_LENGTH: Final = 14
SECRET_LENGTH: Final = 32


class Ids:
    """Makes one id after another; not thread-safe by itself, the emulator's lock guards it."""

    def __init__(self, *, deterministic: bool = False, prefix: str = "demo") -> None:
        self._deterministic = deterministic
        self._prefix = prefix
        self._count: Counter[str] = Counter()

    def new(self, kind: str) -> str:
        """Next id for `kind`, the part before the underscore (`cus`, `in`, `cs`)."""
        if self._deterministic:
            self._count[kind] += 1
            return f"{kind}_{self._prefix}_{self._count[kind]}"
        start = LONG.get(kind, f"{kind}_")
        return start + self._random(LONG_LENGTH if kind in LONG else USUAL_LENGTH)

    def secret(self, kind: str) -> str:
        """A secret such as a webhook's `whsec_…`; counted as well when ids are, so that demos repeat."""
        if self._deterministic:
            return self.new(kind)
        return f"{kind}_{self._random(SECRET_LENGTH)}"

    def _random(self, length: int) -> str:
        return "".join(secrets.choice(ALPHABET) for _ in range(length))
