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
    "burst": {
        "one_customer.rate_25.undelivered": 0,
        "one_customer.rate_25.repeated": 0,
        "one_customer.rate_25.requests": 2,
        "one_customer.rate_25.seconds_to_drain": 1.5,
        "one_customer.rate_1000.undelivered": 0,
        "one_customer.rate_1000.repeated": 0,
        "one_customer.rate_1000.requests": 2,
        "one_customer.rate_1000.seconds_to_drain": 1.5,
        "many_customers.rate_25.undelivered": 0,
        "many_customers.rate_25.repeated": 0,
        "many_customers.rate_25.requests": 3010,
        "many_customers.rate_25.seconds_to_drain": 125,
        "many_customers.rate_1000.undelivered": 0,
        "many_customers.rate_1000.repeated": 0,
        "many_customers.rate_1000.requests": 3010,
        "many_customers.rate_1000.seconds_to_drain": 3.5,
        "many_customers.stream.undelivered": 0,
        "many_customers.stream.repeated": 0,
        "many_customers.stream.seconds_to_drain": 2,
        "one_customer.stream.undelivered": 0,
        "one_customer.stream.repeated": 0,
    },
    "stall": {
        "stripe_5s.p99_ratio": 1.3,
        "keys_300.p50_ratio": 1.7,
        "keys_300.p99_ratio": 2,
        "blocked_loop.pending_after": 0,
    },
    "memory": {
        "accounts.mb": 110,
        "flusher_keys.mb": 30,
        "soak.mb_per_minute": 0.5,
        "soak.second_half_mb": 1,
    },
}
