"""What the benchmarks are held to: the targets of the design, by benchmark and dotted path of the figure.

A figure meets its target when it is not greater. The gate fails at twice the target; a target of zero has no slack.
"""

from __future__ import annotations

from typing import Final

TARGETS: Final[dict[str, dict[str, float]]] = {
    "warm_path": {
        "direct.added_p50_us": 6,
        "direct.added_p99_us": 15,
        "call_tool.added_p50_us": 10,
        "in_memory.added_p50_us": 25,
        "http.added_percent": 5,
        "enqueue_p50_us": 1,
        "enqueue_p99_us": 3,
        "stripe_requests_on_warm_path": 0,
        "import_net_ms": 10,
    },
    "imports": {
        "import_stripe_meter.net_ms": 10,
        "metered_and_plans.net_ms": 50,
        "help.total_ms": 90,
    },
}
