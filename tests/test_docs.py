"""The documentation says what is true: its snippets run, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from stripe_meter.emulator import EmulatorServer
from stripe_meter.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), *ROOT.glob("*/*/README.md")]
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.anyio
async def test_the_first_snippet_is_a_paid_server(
    stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Copied into a file it serves, refuses with the price, and lists it."""
    monkeypatch.setenv("STRIPE_METER_EMULATOR", stripe.url)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "readme_server.py").write_text(SNIPPETS[0])
    import readme_server  # type: ignore[import-not-found]  # just written

    async with Client(readme_server.mcp) as client:
        (tool,) = (await client.list_tools()).tools
        result = await client.call_tool("summarize", {"url": "https://example.com"})
    assert result.is_error
    assert "summarize costs $0.05" in getattr(result.content[0], "text", "")
    assert tool.meta is not None
    assert tool.meta["stripe-meter/price"]["text"] == "$0.05 a call"


SELLING = (ROOT / "docs/selling.md").read_text()
WAYS = re.findall(r"```python\n(.*?)```", SELLING.partition("## From your own code")[0], re.DOTALL)
#: What a caller nobody knows is told by each snippet: the tool, its arguments, and the answer.
TOLD = [
    ("summarize", {"url": "u"}, "summarize costs $0.05 a call or €0.05 a call."),
    ("research", {"question": "q"}, "research costs 2 calls."),
    ("query", {"sql": "select 1"}, "query costs 10 credits per 1000 rows."),
    ("summarize", {"url": "u"}, "summarize costs $0.05 a call."),
    ("search-images", {"text": "t"}, "search-images costs $0.03 a call."),
]


@pytest.mark.anyio
@pytest.mark.parametrize("number", range(len(WAYS)))
async def test_each_way_to_sell_is_a_paid_server(
    stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As it stands on the page: checked, refused with the price, and a link that sells it."""
    monkeypatch.setenv("STRIPE_METER_EMULATOR", stripe.url)
    monkeypatch.setenv("STRIPE_METER_PUBLIC_URL", "http://127.0.0.1:9")
    assert len(WAYS) == len(TOLD)
    namespace: dict[str, Any] = {"__name__": f"selling_{number}"}
    exec(compile(WAYS[number], "selling.md", "exec", dont_inherit=True), namespace)
    tool, arguments, told = TOLD[number]
    async with Client(namespace["mcp"]) as client:
        result: Any = await client.call_tool(tool, arguments)
    assert result.is_error
    assert told in result.content[0].text
    # Straight to Checkout, or to the page on which one of several is chosen.
    pages = (f"{stripe.url}/c/pay/", "http://127.0.0.1:9/billing/plans?token=")
    assert result.meta["stripe-meter/payment-required"]["checkout_url"].startswith(pages)


WHO_CALLS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/identity.md").read_text(), re.DOTALL)
#: What a caller who shows nothing gets from each snippet on the page about identity, call by call.
SERVED = [[False], [False], [True, True, True, False]]


@pytest.mark.anyio
@pytest.mark.parametrize("number", range(len(SERVED)))
async def test_each_way_to_know_callers_is_a_paid_server(
    stripe: EmulatorServer, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As it stands on the page; strangers are refused, but for the calls that are given to them."""
    monkeypatch.setenv("STRIPE_METER_EMULATOR", stripe.url)
    monkeypatch.setenv("STRIPE_METER_PUBLIC_URL", "http://127.0.0.1:9")
    assert len(WHO_CALLS) == len(SERVED)
    namespace: dict[str, Any] = {"__name__": f"identity_{number}"}
    exec(compile(WHO_CALLS[number], "identity.md", "exec", dont_inherit=True), namespace)
    async with Client(namespace["mcp"]) as client:
        results: list[Any] = [await client.call_tool("summarize", {"url": "u"}) for _ in SERVED[number]]
    assert [not result.is_error for result in results] == SERVED[number]
    if results[-1].is_error:
        assert results[-1].meta["stripe-meter/payment-required"]["reason"] == "identity_required"


def test_the_file_on_the_page_about_selling_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both plans and all prices, and they fit each other."""
    from stripe_meter.cli.target import sellers

    monkeypatch.setenv("STRIPE_METER_EMULATOR", "http://127.0.0.1:9")
    (table,) = re.findall(r"```toml\n(.*?)```", SELLING, re.DOTALL)
    (tmp_path / "shop.toml").write_text(table)
    (engine,) = sellers(str(tmp_path / "shop.toml"))
    assert [plan.name for plan in engine.offering.plans] == ["pay-as-you-go", "pro", "credits"]
    assert [str(rate) for rate in engine.prices.rates("search-web") or ()] == [
        "$0.01 a call",
        "€0.01 a call",
        "1 credit a call",
    ]
    engine.close()


def test_every_key_of_a_receipt_is_explained() -> None:
    """And no other one."""
    from stripe_meter.domain.usage import Receipt

    table = SELLING.partition("## What a receipt says")[2].partition("##")[0]
    told = {name for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    cost = {"quantity": 1, "unit_amount": Decimal(5), "currency": "usd", "customer": "cus_1", "billed": 1}
    said = {key for ledger in ("usage", "plan", "credits") for key in Receipt("t", ledger=ledger, **cost).meta()}  # type: ignore[arg-type]  # spread
    assert told == said | {"id", "status"}  # which the server adds


def test_the_other_snippets_run() -> None:
    """Called directly, metered functions are plain Python."""
    for snippet in SNIPPETS[1:]:
        namespace: dict[str, object] = {}
        exec(compile(snippet, "README.md", "exec", dont_inherit=True), namespace)
        query = namespace["query"]
        assert callable(query)
        assert query("select 1") == ["select 1"]


@pytest.mark.parametrize("price", re.findall(r'^\| `("[^`]+"|\("[^`]+\))` \|', README, re.MULTILINE))
def test_every_price_in_the_table_is_accepted(price: str) -> None:
    """As it stands there."""
    from stripe_meter.domain.rates import parse_price

    assert parse_price(eval(price))


def test_the_table_of_prices_was_found() -> None:
    """An empty walk would prove nothing."""
    assert len(re.findall(r'^\| `("[^`]+"|\("[^`]+\))` \|', README, re.MULTILINE)) == 7


COMMANDS = sorted(
    {name for page in PAGES for name in re.findall(r"`(?:\.venv/bin/)?stripe-meter ([a-z]+)", page.read_text())}
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_is_mentioned_exists(command: str) -> None:
    """And explains itself."""
    done = subprocess.run(
        [sys.executable, "-m", "stripe_meter", command, "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Inside the repository; the rest of the web is not ours to test."""
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page} links to {target}"


def test_the_example_environment_names_every_setting() -> None:
    """And nothing that does not exist."""
    named = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    aliases = {"stripe_secret_key", "stripe_webhook_secret", "redis_url"}
    not_these = {*aliases, "plans", "prices"}  # tables do not fit into a variable
    settings = {f"STRIPE_METER_{name.upper()}" for name in set(Settings.model_fields) - not_these}
    assert named == settings | {alias.upper() for alias in aliases} | {"STRIPE_METER_API_KEY"}


def test_what_is_said_to_be_checked_is_checked() -> None:
    """Every test that the list of assumptions names is there."""
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    text = (ROOT / "docs/verified.md").read_text()
    for name in re.findall(r"`(test_[a-z_0-9]+)(…?)`", text):
        assert f"def {name[0]}" in tests, name
    for path in re.findall(r"`(tests/[a-z_/0-9]+\.py)`", text):
        assert (ROOT / path).exists(), path


def test_every_attack_in_the_table_was_tried() -> None:
    """Each row names an existing test, and each test of an attack has its row."""
    table = (ROOT / "docs/security.md").read_text().partition("## What was tried")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| attack ")]
    named = [re.findall(r"`(test_\w+)`", row.rpartition("|")[0].rpartition("|")[2]) for row in rows]
    assert rows
    assert all(len(names) == 1 for names in named), rows
    tests = (ROOT / "tests/web/test_attacks.py").read_text()
    tried = set(re.findall(r"^async def (test_\w+)", tests, re.MULTILINE))
    # These two show that what is allowed is served.
    allowed = {"test_a_return_address_that_the_author_allows_is_taken", "test_metadata_that_is_sound_reaches_stripe"}
    assert {names[0] for names in named} == tried - allowed
    everywhere = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    elsewhere = (ROOT / "docs/security.md").read_text().partition("## What was tried elsewhere")[2]
    for name in re.findall(r"`(test_\w+)`", elsewhere):
        assert f"def {name}(" in everywhere, name


def test_every_dependency_is_explained() -> None:
    """In the table of docs/architecture.md, with its reason."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[]", line)[0] for line in project["dependencies"]}
    table = (ROOT / "docs/architecture.md").read_text().partition("## Dependencies")[2]
    missing = {name for name in names if not re.search(rf"^\|[^|]*\b{name}\b", table, re.MULTILINE)}
    assert not missing
