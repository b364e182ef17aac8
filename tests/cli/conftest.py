"""A shop to plan, apply and examine: its file, its account, and what its owner does in the Dashboard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stripe as sdk
from click.testing import CliRunner, Result

from stripe_meter.cli import cli
from stripe_meter.emulator import Emulator, EmulatorServer

CODE = """
from mcp.server.mcpserver import MCPServer
from stripe_meter import StripeMeter, metered
from stripe_meter.domain.plans import CreditPack, Credits, Free, PayAsYouGo, Subscription
{before}
mcp = MCPServer("Shop")
billing = StripeMeter({plans}{options})
billing.attach(mcp)
"""
TOOL = """
@mcp.tool()
@metered({price!r})
async def {name}(text: str) -> str:
    return text
"""
EVERY_PLAN = (
    "[PayAsYouGo(volume_discounts=[(100, 10)]), "
    'Subscription("pro", "$49.99/month", included=5000, overage="$0.25", features=["deep"]), '
    'Credits([CreditPack(100, "$9.99", "Starter")]), Free(calls=10)]'
)
BOTH = ("$0.05", "1 credit")
#: Times, and fields that only tell when something happened.
TIMES = frozenset({"created", "updated", "status_transitions"})
CATALOGUE = ("entitlements.feature", "product", "product_feature", "billing.meter", "price")


@dataclass
class Shop:
    """One file of an author, and the account it sells in."""

    stripe: EmulatorServer
    v1: Any
    file: Path

    def write(
        self, tools: dict[str, Any] | None = None, plans: str = "[PayAsYouGo()]", *, before: str = "", options: str = ""
    ) -> str:
        """The server's code with these tools and prices; returns the target."""
        code = CODE.format(plans=plans, before=before, options=f", {options}" if options else "")
        tools = {"summarize": "$0.05"} if tools is None else tools
        self.file.write_text(code + "".join(TOOL.format(name=name, price=price) for name, price in tools.items()))
        return str(self.file)

    def run(self, *arguments: str, stdin: str = "", **env: str) -> Result:
        """`stripe-meter ARGUMENTS` in this process, on the stand-in."""
        return CliRunner().invoke(
            cli, arguments, input=stdin, env={"STRIPE_METER_EMULATOR": self.stripe.url, **env}, catch_exceptions=False
        )

    def apply(self, *options: str) -> Result:
        """`apply --yes`, which must succeed."""
        done = self.run("apply", str(self.file), "--yes", *options)
        assert done.exit_code == 0, done.output
        return done

    def plan(self) -> list[dict[str, Any]]:
        """The changes of `plan --json`; its exit status must fit them."""
        shown = self.run("plan", str(self.file), "--json")
        assert shown.exit_code in (0, 3), shown.output
        told = json.loads(shown.stdout)
        assert told["differs"] == (shown.exit_code == 3)
        return [change for account in told["accounts"] for change in account["changes"]]

    def kinds(self) -> list[tuple[str, str]]:
        """Kind and name of what `plan` shows, without notes on what is used as it is."""
        return [(change["kind"], change["name"]) for change in self.plan()]

    def doctor(self, *target: str, **env: str) -> list[dict[str, str]]:
        """The findings of `doctor --json`; its exit status must fit them."""
        shown = self.run("doctor", *(target or (str(self.file),)), "--json", **env)
        assert shown.exit_code in (0, 3), shown.output
        told = json.loads(shown.stdout)
        found = [finding for account in told["accounts"] for finding in account["findings"]]
        assert bool(found) == (shown.exit_code == 3)
        assert all(finding["cost"] and finding["command"] for finding in found)
        return found

    def price(self, lookup_key: str) -> Any:
        """The active price of a name, with its tiers."""
        rows = self.v1.prices.list({"lookup_keys": [lookup_key], "active": True, "expand": ["data.tiers"]}).data
        assert len(rows) == 1
        return rows[0]

    def meter(self, event_name: str) -> Any:
        """The newest meter of an event name."""
        rows = self.v1.billing.meters.list({"limit": 100}).data
        return next(row for row in rows if row.event_name == event_name)

    def subscriber(self, *lookup_keys: str, plan: str | None = None, **more: Any) -> Any:
        """A customer with a good card and a subscription of ours to these prices."""
        customer = self.v1.customers.create({})
        card = self.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
        marks = {"stripe_meter": "mcp"} | ({"stripe_meter_plan": plan} if plan else {})
        return self.v1.subscriptions.create(
            {
                "customer": customer.id,
                "items": [{"price": self.price(key).id} for key in lookup_keys],
                "default_payment_method": card.id,
                "billing_mode": {"type": "flexible"},
                "metadata": marks,
                **more,
            }
        )

    def order(self, subscription: Any, *lookup_keys: str, plan: str) -> str:
        """Have a subscription change to `plan` with its next period, as our page does; returns the schedule."""
        mark = {"stripe_meter": "mcp"}
        schedules = self.v1.subscription_schedules
        made = schedules.create({"from_subscription": subscription.id, "metadata": mark})
        running = made.phases[0]
        now = {
            "items": [{"price": item.price} for item in running["items"]],
            "metadata": subscription.metadata.to_dict(),
            "start_date": running.start_date,
            "end_date": running.end_date,
        }
        later = {
            "items": [{"price": self.price(key).id} for key in lookup_keys],
            "metadata": {**mark, "stripe_meter_plan": plan},
            "duration": {"interval": "month", "interval_count": 1},
        }
        schedules.update(made.id, {"phases": [now, later], "end_behavior": "release"})
        return str(made.id)

    def items(self, subscription: str) -> list[tuple[str, str]]:
        """Item and price of each item."""
        rows = self.v1.subscription_items.list({"subscription": subscription, "limit": 100}).data
        return [(row.id, row.price.id) for row in rows]

    def dump(self) -> dict[str, list[Any]]:
        """The catalogue in the emulator's store, without times, every id replaced by the name we gave."""
        with self.stripe.emulator.account.lock:
            tables = self.stripe.emulator.account.store.dump()
            names: dict[str, str] = {}
            for kind in CATALOGUE:
                for row in tables.get(kind, ()):
                    named = row.get("lookup_key") or row.get("event_name")
                    names[row["id"]] = named or (row["id"] if kind == "product" else f"nameless {kind}")
            return {kind: sorted((_plain(row, names) for row in tables.get(kind, ())), key=repr) for kind in CATALOGUE}


def _plain(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner, names) for key, inner in sorted(value.items()) if key not in TIMES}
    if isinstance(value, list):
        return [_plain(inner, names) for inner in value]
    return names.get(value, value) if isinstance(value, str) else value


@pytest.fixture
def make_shop(tmp_path: Path) -> Iterator[Callable[[], Shop]]:
    """Shops with accounts of their own, all with the same ids; code is written, accounts are empty."""
    with ExitStack() as stack:

        def make() -> Shop:
            number = len(list(tmp_path.iterdir()))
            stripe = stack.enter_context(EmulatorServer(Emulator(deterministic=True, lag=0.0)))
            transport: Any = sdk.RequestsClient(timeout=10)
            stack.callback(transport.close)
            base: Any = {"api": stripe.url, "meter_events": stripe.url}
            client = sdk.StripeClient("sk_test_emulator", base_addresses=base, http_client=transport)
            made = Shop(stripe, client.v1, tmp_path / f"shop{number}.py")
            made.write()
            return made

        yield make


@pytest.fixture
def shop(make_shop: Callable[[], Shop]) -> Shop:
    """One shop."""
    return make_shop()
