"""How hard properties try: `HYPOTHESIS_PROFILE=deep` for minutes of fresh examples, else a repeatable half minute."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def effort(examples: int, deep_examples: int, steps: int = 50) -> settings:
    """Settings of one property: the same examples on each run, or `deep_examples` new ones."""
    wanted = deep_examples if DEEP else examples
    return settings(
        max_examples=wanted,
        derandomize=not DEEP,
        database=None,
        deadline=None,
        stateful_step_count=steps,
        suppress_health_check=QUIET,
    )
