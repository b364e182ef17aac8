"""`stripe-meter simulate`: a month of usage under each plan, against amounts worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stripe_meter.cli.simulate.month import simulate
from stripe_meter.cli.simulate.usage import read
from stripe_meter.domain.offering import Offering
from stripe_meter.domain.plans import CreditPack as Pack
from stripe_meter.domain.plans import Credits, Free, PayAsYouGo, Plan, Subscription
from stripe_meter.domain.rates import parse_price
from stripe_meter.domain.tools import Tool
from stripe_meter.errors import ConfigurationError
from tests.cli.support import run, sentence

EXAMPLE = Path(__file__).parents[2] / "examples" / "plans"
HEADER = "time,customer,plan,tool,units,outcome\n"

Totals = dict[str, dict[str, str]]


def a_tool(name: str = "look", price: str | tuple[str, ...] = "$0.05", **terms: Any) -> Tool:
    return Tool(name, parse_price(price), **terms)


@pytest.fixture
def bills(tmp_path: Path) -> Callable[..., Any]:
    """Bills of the rows in a file, by customer and plan."""

    def make(plans: list[Plan], tools: list[Tool], *rows: str) -> Any:
        file = tmp_path / "usage.csv"
        file.write_text(HEADER + "\n".join(rows) + "\n")
        return simulate(Offering(plans), tools, read(file, tools, [plan.name for plan in plans]))

    return make


def totals(bills: Any) -> Totals:
    return {name: {plan: bill.text for plan, bill in mine.items()} for name, mine in bills.items()}


def test_the_example_is_what_its_readme_says() -> None:
    """Each amount is worked out there, call by call."""
    done = run("simulate", "shop.py", "--usage", "usage.csv", cwd=EXAMPLE)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:2] == ["March", "2026,"]
    shown = done.stdout.split("\n\n", 1)[1].strip()
    assert shown in (EXAMPLE / "README.md").read_text()
    data = json.loads(run("simulate", "shop.py", "--usage", "usage.csv", "--json", cwd=EXAMPLE).stdout)
    minor = {
        name: {plan: (bill["minor_units"], sum(bill["refused"].values())) for plan, bill in customer["plans"].items()}
        for name, customer in data["customers"].items()
    }
    # ann pay-as-you-go: 5 × $0.30 + 1 × $0.27, and 5 × $0.002 + 1,229 × $0.0018 = $0.01 + $2.21, each line rounded.
    # ann pro: $10 + 3 calls beyond the 4 included; credits: 6 calls, then 20 set aside for 13 of the translation.
    # bob pro: $10 + 2 × $0.25; eve: the third free call of the first half month is refused.
    assert minor == {
        "ann": {"free": ("0", 8), "pay-as-you-go": ("399", 0), "pro": ("1075", 0), "credits": ("450", 0)},
        "bob": {"free": ("0", 6), "pay-as-you-go": ("30", 5), "pro": ("1050", 0), "credits": ("150", 5)},
        "eve": {"free": ("0", 1), "pay-as-you-go": ("30", 0), "pro": ("1000", 0), "credits": ("150", 0)},
    }
    assert {name: customer["plan"] for name, customer in data["customers"].items()} == {
        "ann": "pay-as-you-go",
        "bob": "pro",
        "eve": "free",
    }
    assert data["customers"]["ann"]["as_given"]["total"] == "$3.99"
    assert [line["text"] for line in data["customers"]["ann"]["as_given"]["lines"]] == [
        "5 × summarize (Tier 1) at 0.30 USD per call",
        "1 × summarize (Tier 2) at 0.27 USD per call",
        "5 × translate (Tier 1) at 0.002 USD per word",
        "1229 × translate (Tier 2) at 0.0018 USD per word",
    ]


def test_a_file_of_prices_is_enough_for_a_server_nobody_can_edit(tmp_path: Path) -> None:
    """The tools it names are the tools on sale; 3 × $0.02 + 1 × $0.50."""
    (tmp_path / "shop.toml").write_text(
        '[[plans]]\nkind = "pay-as-you-go"\n[prices]\nlook = "$0.02"\n"deep/look" = "$0.50"\n"other-*" = "$9"\n'
    )
    rows = ["2024-02-29T23:59:59Z,ann,,look,,ok"] * 3 + ["2024-02-01 00:00:00,ann,,deep_look,1,ok"]
    (tmp_path / "usage.csv").write_text(HEADER + "\n".join(rows) + "\n")
    done = run("simulate", "shop.toml", "--usage", "usage.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "February 2024, 4 calls of 1 customers"
    assert done.stdout.splitlines()[-1].split() == [
        *("ann", "nothing", "(no", "plan)", "$0.56", "nothing,", "4", "refused"),
    ]


def test_only_work_that_is_charged_counts(bills: Callable[..., Any]) -> None:
    """2 × $0.05 of three calls; 3 × $1 of the tool that charges always, but not the cancelled one."""
    always = a_tool("always", "$1", charges_always=True)
    found = bills(
        [PayAsYouGo()],
        [a_tool(), always],
        *(f"2026-01-05T10:00:00Z,ann,pay-as-you-go,look,,{outcome}" for outcome in ("ok", "failed", "cancelled", "ok")),
        *(f"2026-01-05T10:00:00Z,bob,pay-as-you-go,always,,{o}" for o in ("ok", "failed", "ok", "cancelled")),
    )
    assert totals(found) == {"ann": {"pay-as-you-go": "$0.10"}, "bob": {"pay-as-you-go": "$3.00"}}


def test_fee_and_usage_are_of_one_period(bills: Callable[..., Any]) -> None:
    """The invoice at the end holds the next fee already; a plan by the year is billed by the year; trials are out."""
    plans = [
        Subscription("month", "$10/month", included=1, overage="$0.0125", trial_days=14, trial_calls=1),
        Subscription("year", "$99.99/year", included=2, overage="$1"),
        Subscription("capped", "$5/month", included=1),
    ]
    rows = (f"2026-12-{day:02}T10:00:00Z,ann,month,look,,ok" for day in (1, 15, 30, 31))
    # $10 + 3 × 1.25 cents = 1003.75 → $10.04; $99.99 + 2 × $1.
    assert totals(bills(plans, [a_tool()], *rows)) == {
        "ann": {"month": "$10.04", "year": "$101.99 a year", "capped": "$5.00, 3 refused"}
    }


def test_rate_limits_and_spend_caps_are_left_out(bills: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A month is lived in seconds, so a limit per minute would refuse what was far apart: $10 and 3 × $1."""
    monkeypatch.setenv("STRIPE_METER_RATE_LIMIT", "1/hour")
    monkeypatch.setenv("STRIPE_METER_SPEND_CAP", "$1/month")
    plan = Subscription("pro", "$10/month", included=1, overage="$1", rate_limit="1/minute")
    rows = [f"2026-03-01T0{hour}:00:00Z,ann,pro,look,,ok" for hour in range(4)]
    assert totals(bills([plan], [a_tool(price="1 call")], *rows)) == {"ann": {"pro": "$13.00"}}


def test_what_may_be_owed_between_two_invoices_stops_nobody(bills: Callable[..., Any]) -> None:
    """Stripe bills at `max_unpaid` and serves on; thirty calls at $1 are $30 in the end."""
    rows = [f"2026-03-{day:02}T09:00:00Z,ann,pay-as-you-go,look,,ok" for day in range(1, 31)]
    sold = totals(bills([PayAsYouGo(max_unpaid="$5")], [a_tool(price="$1")], *rows))
    assert sold == {"ann": {"pay-as-you-go": "$30.00"}}


def test_free_calls_start_anew_on_the_reset_day(bills: Callable[..., Any]) -> None:
    """Two before the 31st, which is the 28th here, and two after it."""
    rows = (
        f"2026-02-{day:02}T{hour:02}:00:00Z,ann,,look,,ok"
        for day, hour in ((1, 0), (2, 0), (27, 23), (28, 0), (28, 1), (28, 2))
    )
    plans = [Free(calls=2, reset_day=31), PayAsYouGo(), Credits([Pack(1, "€2", "One")], credit_value="€0.05")]
    found = totals(bills(plans, [a_tool(price="€0.05")], *rows))
    assert found == {"ann": {"free": "nothing, 2 refused", "pay-as-you-go": "€0.10", "credits": "€4.00"}}


def test_units_are_bounded_and_currencies_keep_their_decimals(bills: Callable[..., Any]) -> None:
    """At most 100 rows a call at ¥3; 150 and 40 rows are 140 × ¥3."""
    tool = a_tool("query", "¥3 per row", max_units=100)
    rows = (f"2026-04-30T23:59:59Z,ann,pay-as-you-go,query,{units},ok" for units in (150, 40, 0))
    assert totals(bills([PayAsYouGo()], [tool], *rows)) == {"ann": {"pay-as-you-go": "¥420"}}


def test_a_customer_without_a_plan_is_refused_what_costs_money(bills: Callable[..., Any]) -> None:
    """Where nothing is free, the column says so."""
    found = bills(
        [PayAsYouGo()],
        [a_tool(), a_tool("ping", "free")],
        *(f"2026-01-01T00:00:00Z,ann,,{t},,ok" for t in ("look", "ping")),
    )
    assert totals(found) == {"ann": {"pay-as-you-go": "$0.05", "no plan": "nothing, 1 refused"}}
    assert found["ann"]["no plan"].refused == {"payment_required": 1}


ROW = "2026-03-01T09:30:00Z,ann,,look,,ok"
BAD: list[tuple[str, str]] = [
    ("", "line 1: the columns are missing; write time,customer,plan,tool,units,outcome"),
    ("time;customer\n", "line 1: the columns are time;customer; write time,"),
    (HEADER, "has no rows; write one for each call"),
    (HEADER + "2026-03-01T09:30:00Z,ann\n", "line 2: 2 fields where 6 belong"),
    (HEADER + ROW + ",more\n", "line 2: 7 fields where 6 belong"),
    (
        HEADER + ROW + "\n\n" + ROW.replace("look", "luck"),
        "line 4: tool 'luck' is not on sale; write one of look, query",
    ),
    (HEADER + ROW.replace(",ok", ",good"), "line 2: outcome 'good' is not known; write one of ok, failed, cancelled"),
    (HEADER + ROW.replace("ann", ""), "line 2: customer '' is no name"),
    (HEADER + ROW.replace("ann", "a" * 61), "is no name; write 1 to 60 characters"),
    (HEADER + ROW.replace("ann,", "ann,gold"), "line 2: plan 'gold' is not on offer; write one of pay-as-you-go"),
    (
        HEADER + ROW.replace("2026-03-01T09:30:00Z", "yesterday"),
        "line 2: time 'yesterday' is not understood; write it like",
    ),
    (HEADER + ROW.replace("2026-03-01T09:30:00Z", "2026-03-01"), "is not understood"),
    (HEADER + ROW.replace("00Z", "00+01:00"), "line 2: time '2026-03-01T09:30:00+01:00' is not in UTC"),
    (HEADER + ROW.replace("2026", "1970"), "is in no year that can be simulated"),
    (HEADER + ROW + "\n" + ROW.replace("03-01", "04-01"), "line 3: time '2026-04-01T09:30:00Z' is in another month"),
    (
        HEADER + ROW + "\n" + ROW.replace("ann,", "ann,pay-as-you-go"),
        "line 3: customer 'ann' is on 'pay-as-you-go' here and on 'no plan' in line 2; give each customer one plan",
    ),
    (HEADER + ROW.replace("look,", "look,2"), "line 2: units is 2, but tool 'look' is priced per call; leave it empty"),
    (HEADER + ROW.replace("look,", "query,1.5"), "line 2: units '1.5' is no number; write a whole number"),
    (HEADER + ROW.replace("look,", "query,-1"), "line 2: units '-1' is no number"),
    (HEADER + ROW.replace("look,", "query,9999999999999"), "is no number"),
    (HEADER + '"2026', "line 2: this is no CSV"),
    (HEADER + '"' + "2026" * 40_000, "a field has no end; close the quotes"),
    ("time" * 30_000 + "\n", "timetime…; write time,customer"),
    (
        HEADER + ROW.replace("look", "query"),
        "units is empty, but tool 'query' is priced per row; write how many",
    ),
]


@pytest.mark.parametrize(("text", "says"), BAD, ids=map(str, range(len(BAD))))
def test_a_bad_row_is_one_sentence_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    """So that it can be found in a file of thousands."""
    file = tmp_path / "usage.csv"
    file.write_text(text)
    tools = [a_tool(), a_tool("query", "$1 per row", max_units=5)]
    with pytest.raises(ConfigurationError) as caught:
        read(file, tools, ["pay-as-you-go"])
    assert says in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_is_no_text_file_is_one_sentence(tmp_path: Path) -> None:
    """A spreadsheet program saves other things as well."""
    (tmp_path / "usage.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    for name, says in (("usage.xlsx", "is not UTF-8 text"), ("none.csv", "cannot be read"), (".", "cannot be read")):
        with pytest.raises(ConfigurationError, match=says):
            read(tmp_path / name, [a_tool()], [])


def test_rows_are_lived_in_the_order_of_time(tmp_path: Path) -> None:
    """A file need not be sorted; a byte order mark and blank fields are no mistake."""
    file = tmp_path / "usage.csv"
    file.write_bytes(("\ufeff" + HEADER + f" {ROW} \n" + ROW.replace("03-01", "03-05") + "\n" + ROW).encode())
    assert [row.line for row in read(file, [a_tool()], [])] == [2, 4, 3]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("namespace = 'x'\n", "puts no tool on sale; write its name and price below [prices]"),
        ('[prices]\nlook = "$0.01 per word"\n', "tool 'look' is priced per word, but nothing in it counts words"),
        ('[prices]\nlook = "1 credit"\n', "which no plan on sale can charge"),
        ("[prices]\nlook = 1\n", 'target.toml, [prices], key "look": price=1 could mean'),
    ],
    ids=map(str, range(4)),
)
def test_a_file_that_sells_nothing_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    """The same for every command that takes it."""
    (tmp_path / "target.toml").write_text(text)
    (tmp_path / "usage.csv").write_text(HEADER + ROW)
    assert says in sentence(run("simulate", "target.toml", "--usage", "usage.csv", cwd=tmp_path))


def test_a_server_that_sells_by_two_meters_has_to_be_named(tmp_path: Path) -> None:
    """Their plans are not one offer."""
    (tmp_path / "two.py").write_text(
        "from mcp.server.mcpserver import MCPServer\n"
        "from stripe_meter import StripeMeter\n"
        "mcp, one, two = MCPServer('Two'), StripeMeter(), StripeMeter()\n"
        "@mcp.tool()\n@one.metered('$1')\nasync def a() -> str: return ''\n"
        "@mcp.tool()\n@two.metered('$1')\nasync def b() -> str: return ''\n"
    )
    (tmp_path / "usage.csv").write_text(HEADER + ROW)
    assert "sells by several StripeMeters" in sentence(run("simulate", "two.py", "--usage", "usage.csv", cwd=tmp_path))


def test_undecorated_tools_of_the_price_list_are_on_sale(tmp_path: Path) -> None:
    """As they are for the server's callers."""
    (tmp_path / "shop.py").write_text(
        "from mcp.server.mcpserver import MCPServer\n"
        "from stripe_meter import StripeMeter\n"
        "mcp = MCPServer('Shop')\n"
        "StripeMeter(prices={'lo*': '$0.07'}).attach(mcp)\n"
        "@mcp.tool()\nasync def look() -> str: return ''\n"
    )
    (tmp_path / "usage.csv").write_text(HEADER + ROW.replace("ann,", "ann,pay-as-you-go"))
    done = run("simulate", "shop.py", "--usage", "usage.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["ann", "$0.07", "(pay-as-you-go)", "$0.07"]
