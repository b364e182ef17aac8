"""Several faults that one idempotency key meets one after the other: it still takes effect once."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from stripe_meter.emulator import Emulator

HEAD = {"Idempotency-Key": "k"}
SECOND: list[dict[str, Any]] = [
    {"kind": "late", "seconds": 60.0},
    {"kind": "status", "status": 503, "effect": True},
    {"kind": "status", "status": 500, "effect": True, "stored": True},
    {"kind": "status", "status": 500, "stored": True},
]


@pytest.mark.parametrize("second", SECOND, ids=["late", "503", "500 after effect", "500"])
def test_a_key_that_has_its_answer_keeps_it(emulator: Emulator, http: httpx.Client, second: dict[str, Any]) -> None:
    """Whatever happens to a repeat, the first answer is the one (docs.stripe.com/api/idempotent_requests)."""
    emulator.faults.add(kind="lost", method="POST")
    emulator.faults.add(method="POST", **second)
    for _ in range(2):
        try:
            http.post("/v1/customers", headers=HEAD)
        except httpx.HTTPError:
            continue
    emulator.clock.advance(61)
    made = http.post("/v1/customers", headers=HEAD)
    assert (made.status_code, made.headers["Idempotent-Replayed"]) == (200, "true")
    assert [row["id"] for row in http.get("/v1/customers").json()["data"]] == [made.json()["id"]]
