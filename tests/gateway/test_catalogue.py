"""Meters, products and prices: created once, found again, never changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

import pytest

from stripe_meter.domain.changes import changes
from stripe_meter.domain.desired import desired
from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.gateway.editing import Editor
from stripe_meter.gateway.gateway import Gateway
from tests.conftest import a_tool

pytestmark = pytest.mark.anyio


def posts(stripe: EmulatorServer) -> list[str]:
    return [record.path for record in stripe.emulator.requests if record.method == "POST" and record.status == 200]


async def test_a_tool_becomes_one_meter_one_product_one_price(engine: Engine, stripe: EmulatorServer) -> None:
    """Found later by event name, chosen id and lookup key."""
    await engine.prepare([a_tool(price=("$5", "€0.04 per call"))])
    bodies = {record.path: record.body for record in stripe.emulator.requests if record.method == "POST"}
    assert bodies["/v1/billing/meters"]["event_name"] == "mcp.summarize"
    assert bodies["/v1/billing/meters"]["default_aggregation"] == {"formula": "sum"}
    assert bodies["/v1/products"]["id"].startswith("stripe_meter_mcp_summarize_")
    price = bodies["/v1/prices"]
    assert (price["lookup_key"], price["unit_amount_decimal"], price["tax_behavior"]) == (
        "mcp.summarize",
        "500",
        "exclusive",
    )
    assert price["currency_options"]["eur"]["unit_amount_decimal"] == "4"


async def test_a_second_start_creates_nothing(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """One read for ten tools."""
    tools = [a_tool(f"tool{number}", ("$0.05", "€0.04")) for number in range(12)]
    await make_engine().prepare(tools)
    before = len(stripe.emulator.requests)
    engine = make_engine()
    await engine.prepare(tools)
    since = stripe.emulator.requests[before:]
    assert [(record.method, record.path) for record in since] == [("GET", "/v1/prices")] * 2
    assert engine._shelf.get(tools[0]).price.unit_amounts == {"usd": Decimal(5), "eur": Decimal(4)}  # type: ignore[union-attr]


async def test_processes_that_start_together_share_one_catalogue(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Race safety by what Stripe keeps unique, not by keys."""
    engines = [make_engine() for _ in range(4)]
    await asyncio.gather(*(engine.prepare([a_tool()]) for engine in engines))
    assert sorted(set(posts(stripe))) == ["/v1/billing/meters", "/v1/prices", "/v1/products"]
    assert len(posts(stripe)) == 3
    assert len({engine._shelf.price("mcp.summarize").id for engine in engines}) == 1


async def test_a_start_that_was_cut_off_is_finished_by_the_next(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Product and meter are there, the price is not."""
    stripe.emulator.faults.add(method="POST", path="/v1/prices", kind="status", status=400, times=1)
    first = make_engine()
    with pytest.raises(Exception, match="Stripe refused"):
        await first.prepare([a_tool()])
    await make_engine().prepare([a_tool()])
    assert sorted(posts(stripe)) == ["/v1/billing/meters", "/v1/prices", "/v1/products"]


async def test_namespaces_do_not_meet(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """Staging and production in one account."""
    await make_engine(namespace="staging").prepare([a_tool()])
    await make_engine(namespace="live").prepare([a_tool()])
    names = [record.body["event_name"] for record in stripe.emulator.requests if record.path == "/v1/billing/meters"]
    assert names == ["staging.summarize", "live.summarize"]


async def test_tools_that_look_alike_have_products_of_their_own(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """The name and unit on an invoice line are the product's."""
    await make_engine(namespace="a").prepare([a_tool("b.c"), a_tool("b_c")])
    await make_engine(namespace="a_b").prepare([a_tool("c")])
    products = {record.body["id"] for record in stripe.emulator.requests if record.path == "/v1/products"}
    assert len(products) == 3


@pytest.mark.parametrize("price", ["$0.00000000000001", "$0.05 per 1000000000 bytes", "999999.99 usd", "$1000"])
async def test_amounts_travel_without_an_exponent(engine: Engine, stripe: EmulatorServer, price: str) -> None:
    """Stripe reads `0.0000000005`, not `5E-10`."""
    await engine.prepare([a_tool(price=price)])
    (sent,) = [
        record.body["unit_amount_decimal"]
        for record in stripe.emulator.requests
        if (record.method, record.path) == ("POST", "/v1/prices")
    ]
    assert "E" not in sent.upper()
    assert Decimal(sent) == a_tool(price=price).rates[0].unit_amount


async def test_a_meter_is_found_on_any_page(make_engine: Callable[..., Engine], stripe: EmulatorServer) -> None:
    """An account may have hundreds."""
    engine = make_engine()
    await engine.prepare([])
    for number in range(101):
        await engine.thread.call(
            lambda gateway, name=f"other.{number}": gateway.connection.write(  # type: ignore[misc]
                lambda client, options: client.v1.billing.meters.create_async(
                    {"display_name": name, "event_name": name, "default_aggregation": {"formula": "sum"}}, options
                )
            ),
            10.0,
        )
    stripe.emulator.faults.add(method="POST", path="/v1/prices", kind="status", status=400, times=1)
    with pytest.raises(Exception, match="Stripe refused"):
        await engine.prepare([a_tool()])
    await make_engine().prepare([a_tool()])
    assert posts(stripe).count("/v1/prices") == 1


async def test_lost_answers_create_nothing_twice(engine: Engine, stripe: EmulatorServer) -> None:
    """Each POST of one operation carries one idempotency key through its repetitions."""
    for path in ("/v1/products", "/v1/billing/meters", "/v1/prices"):
        stripe.emulator.faults.add(method="POST", path=path, kind="lost", times=1)
    await engine.prepare([a_tool()])
    state = stripe.emulator.account.store
    assert [len(list(state.all(kind))) for kind in ("product", "billing.meter", "price")] == [1, 1, 1]


async def test_two_who_read_before_either_wrote_replace_a_price_once(
    make_engine: Callable[..., Engine], stripe: EmulatorServer
) -> None:
    """Each sees the old price and makes the new one: Stripe must end up with one new price, and one active."""
    await make_engine().prepare([a_tool()])
    engine = make_engine()
    engine.register(a_tool(price="$0.07"))
    wanted = desired(engine.offering, engine.tools, "mcp")

    async def both(gateway: Gateway) -> None:
        found = await gateway.inventories.take(wanted.blueprint)
        (change,) = changes(wanted, found)
        editors = [Editor(gateway.connection, gateway.catalogue, found) for _ in range(2)]
        await asyncio.gather(*(editor.carry_out(change) for editor in editors))
        assert changes(wanted, await gateway.inventories.take(wanted.blueprint)) == []

    await engine.thread.call(both, 30.0)
    prices = list(stripe.emulator.account.store.all("price"))
    assert sorted((row["active"], row["lookup_key"], row["unit_amount"]) for row in prices) == [
        (False, None, 5),
        (True, "mcp.summarize", 7),
    ]


async def test_a_long_inventory_is_read_to_its_end(engine: Engine, stripe: EmulatorServer) -> None:
    """Stripe hands out a hundred at a time; what is on the second page is ours as well."""
    await engine.prepare([a_tool(f"tool{number}") for number in range(20)])
    account = stripe.emulator.account
    for number in range(100):
        price = next(account.store.all("price"))
        account.store.add({**price, "id": f"price_foreign_{number}", "lookup_key": None, "metadata": {}})
    wanted = desired(engine.offering, engine.tools, "mcp")
    found = await engine.thread.call(lambda gateway: gateway.inventories.take(wanted.blueprint), 30.0)
    assert changes(wanted, found) == []
    assert len(found.prices) == 20


async def test_a_namespace_that_another_one_begins_with_has_nothing_of_it(
    make_engine: Callable[..., Engine],
) -> None:
    """`stag` must not archive what `staging` sells."""
    await make_engine(namespace="staging").prepare([a_tool()])
    engine = make_engine(namespace="stag")
    wanted = desired(engine.offering, [], "stag")
    found = await engine.thread.call(lambda gateway: gateway.inventories.take(wanted.blueprint), 30.0)
    assert (found.products, found.meters, found.prices) == ((), (), ())
