"""Keys of those who paid as strangers: whatever becomes of an answer, who paid gets one, and nobody else."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from stripe_meter.domain.plans import CreditPack, Credits, Free, Subscription
from stripe_meter.enforcement.claims import CLAIM_FOR
from stripe_meter.gateway.issuing import SETTLED
from tests.cli.support import run
from tests.conftest import PAGES
from tests.sales.conftest import Counter, Open
from tests.webhooks.conftest import SECRET, deliver, events, until

pytestmark = pytest.mark.anyio

CREDITS = Credits([CreditPack(2, "$9.99", "Starter")])
PRO = Subscription("pro", "$49/month", included=10)
HOUR = 3600


@asynccontextmanager
async def browser(shop: Counter) -> AsyncIterator[httpx.AsyncClient]:
    """Of a payer, at the pages of one process."""
    served = httpx.ASGITransport(shop.billing.asgi())
    async with httpx.AsyncClient(transport=served, base_url=PAGES) as client:
        yield client


def come_back(shop: Counter, url: str) -> str:
    """Pay as a stranger; where the payer is led to, below our pages."""
    return shop.stripe.complete_checkout(url, email="payer@example.com").removeprefix(f"{PAGES}/billing/")


def key_in(page: httpx.Response) -> str | None:
    found = re.search(r"smk_\w+", page.text)
    return found and found[0]


def delete(url: str) -> None:
    """As the seller does it in the Dashboard."""
    httpx.delete(url, auth=("sk_test_emulator", "")).raise_for_status()


def stored(shop: Counter) -> list[str]:
    """What Stripe keeps of keys."""
    found = [row["metadata"].items() for row in shop.rows("customer") if not row.get("deleted")]
    return [value for items in found for name, value in items if name.startswith("stripe_meter_key_")]


async def settled(shop: Counter) -> None:
    """Wait until a key that was shown is marked so."""
    await until(lambda: all(len(value.split()) == 2 for value in stored(shop)))


LOST: list[dict[str, Any]] = [
    {"kind": "lost", "times": 9},
    {"kind": "lost", "times": 9, "effect": False},
    {"kind": "status", "status": 503, "times": 9},
    {"kind": "status", "status": 500, "stored": True, "effect": True, "times": 1},
]


@pytest.mark.parametrize("is_restarted", [False, True], ids=["same process", "another process"])
@pytest.mark.parametrize("fault", LOST, ids=lambda fault: f"{fault['kind']} {fault.get('effect', '')}".strip())
async def test_a_lost_answer_costs_nobody_their_key(open_shop: Open, fault: dict[str, Any], is_restarted: bool) -> None:
    """Who has paid reads their key by loading the page again, also when the server was started anew; it is one key."""
    shop = await open_shop(CREDITS)
    back = come_back(shop, await shop.billing.checkout(pack="Starter"))
    shop.stripe.emulator.faults.add(method="POST", path="/v1/customers/cus_", **fault)
    async with browser(shop) as client:
        first = await client.get(back)
    shop.stripe.emulator.faults.clear()
    if is_restarted:
        shop = await open_shop(CREDITS)
        shop.stripe.advance(SETTLED + 1)
    async with browser(shop) as client:
        key = key_in(first) or key_in(await client.get(back))
        assert key is not None
        await settled(shop)
        shop.stripe.advance(SETTLED + 1)
        assert "was shown already" in (await client.get(back)).text
    assert len(stored(shop)) == 1
    assert (await shop.billing.customer(key)).startswith("cus_")


async def test_a_lost_answer_costs_no_sign_up_its_key(open_shop: Open) -> None:
    """The form is sent again by a browser, and finds the customer and the key it made."""
    shop = await open_shop(Free(calls=1), CREDITS)
    async with browser(shop) as client:
        form = (await client.get("signup")).text
        token = re.search(r'name="token" value="([^"]+)"', form)
        assert token is not None
        shop.stripe.emulator.faults.add(method="POST", path="/v1/customers/cus_", kind="lost", times=9)
        assert key_in(await client.post("signup", data={"token": token[1]})) is None
        shop.stripe.emulator.faults.clear()
        assert key_in(await client.post("signup", data={"token": token[1]})) is not None
    assert len(stored(shop)) == 1


async def test_a_key_that_was_revoked_does_not_come_again(open_shop: Open) -> None:
    """Whoever finds the success link later, in a history or a log, gets nothing by it."""
    shop = await open_shop(CREDITS)
    back = come_back(shop, await shop.billing.checkout(pack="Starter"))
    async with browser(shop) as client:
        key = key_in(await client.get(back))
        assert key is not None
        await settled(shop)
        customer = await shop.billing.customer(key)
        public = key.removeprefix(f"smk_{customer}_")[:6]
        assert await shop.billing.engine.thread.call(lambda gateway: gateway.customers.revoke_key(customer, public), 5)
        assert key_in(await client.get(back)) is None
        shop.stripe.advance(SETTLED + 1)
        assert key_in(await client.get(back)) is None
    assert stored(shop) == []


@pytest.mark.parametrize(("plan", "pack"), [(None, "Starter"), ("pro", None)], ids=["pack", "plan"])
async def test_the_key_waits_from_the_payment_on(open_shop: Open, plan: str | None, pack: str | None) -> None:
    """A link is open for a day: who pays in its last hour reads the key as long as anybody, and then reads why not."""
    shop = await open_shop(PRO, CREDITS, price=("1 call", "1 credit"))
    links = [await shop.billing.checkout(None, plan, pack=pack) for _ in range(2)]
    shop.stripe.advance(23.5 * HOUR)
    at_once, later = [come_back(shop, link) for link in links]
    async with browser(shop) as client:
        assert key_in(await client.get(at_once)) is not None
        shop.stripe.advance(CLAIM_FOR + HOUR)
        page = await client.get(later)
    assert (page.status_code, key_in(page)) == (200, None)
    assert "is not shown here any more" in page.text


async def test_the_doctor_names_strangers_who_never_came_back(open_shop: Open) -> None:
    """Paid by Checkout and closed the tab: without a key they cannot use it, and nobody else would tell the seller."""
    shop = await open_shop(PRO, CREDITS, price=("1 call", "1 credit"))
    links = [await shop.billing.checkout(pack="Starter"), await shop.billing.checkout(None, "pro")]
    backs = [come_back(shop, link) for link in links]

    async def found() -> list[str]:
        shown = await anyio.to_thread.run_sync(
            lambda: run("doctor", "--json", env={"STRIPE_METER_EMULATOR": shop.stripe.url})
        )
        findings = json.loads(shown.stdout)["accounts"][0]["findings"]
        return [found["command"] for found in findings if found["check"] == "sold_without_key"]

    assert len(await found()) == 2
    async with browser(shop) as client:
        for back in backs:
            assert key_in(await client.get(back)) is not None
    await settled(shop)
    assert await found() == []


async def test_links_of_a_deleted_customer_are_closed(open_shop: Open) -> None:
    """What they bought would be nobody's, so that the page that is still open takes no money."""
    shop = await open_shop(CREDITS, stripe_webhook_secret=SECRET)
    back = come_back(shop, await shop.billing.checkout(pack="Starter"))
    async with browser(shop) as client:
        customer = await shop.billing.customer(str(key_in(await client.get(back))))
    url = await shop.billing.checkout(customer, pack="Starter")
    await anyio.to_thread.run_sync(lambda: delete(f"{shop.stripe.url}/v1/customers/{customer}"))
    await deliver(shop.billing.engine, events(shop.stripe, "customer.deleted"))
    assert [row["status"] for row in shop.rows("checkout.session") if row["id"] in url] == ["expired"]
