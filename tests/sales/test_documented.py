"""The section of docs/selling.md on the author's own code: it runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.meter import StripeMeter
from tests.conftest import PAGES

pytestmark = pytest.mark.anyio

SECTION = (Path(__file__).parents[2] / "docs/selling.md").read_text().partition("## From your own code")[2]


async def test_the_snippet_gives_links_and_charges_the_saved_card(
    stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five pages of Stripe's; once the card is saved, one more pack needs no page."""
    monkeypatch.setenv("STRIPE_METER_EMULATOR", stripe.url)
    monkeypatch.setenv("STRIPE_METER_PUBLIC_URL", PAGES)
    found: dict[str, Any] = {"__name__": "own_code"}
    exec(compile(re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)[0], "selling.md", "exec"), found)
    engine: Engine = found["billing"].engine
    try:
        links = await found["links"]()
        assert len(links) == 5
        assert all(link.startswith(stripe.url) for link in links)
        assert await found["one_more_pack"]("order 1") is not None
        back = stripe.complete_checkout(links[2])
        await engine.sales.complete(back.partition("session_id=")[2], None)
        assert [await found["one_more_pack"](order) for order in ("order 2", "order 2", "order 3")] == [None] * 3
        paid = [row for row in stripe.emulator.account.store.all("payment_intent") if row["status"] == "succeeded"]
        assert len(paid) == 2
    finally:
        engine.close()


def test_every_call_of_the_table_exists() -> None:
    """And every public coroutine of a StripeMeter stands in it."""
    table = SECTION.partition("| call | |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)\(", table))
    assert all(callable(getattr(StripeMeter, name)) for name in named)
    assert named >= {"checkout", "portal", "save_card", "setup_intent", "card_saved", "payment_link", "buy", "customer"}
