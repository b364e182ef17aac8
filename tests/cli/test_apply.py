"""`stripe-meter apply`: what a server sells is created in Stripe, and only that; on sandbox and live account."""

from pathlib import Path
from typing import Any

import pytest

from stripe_meter.cli import standin
from stripe_meter.emulator import EmulatorServer
from tests.cli.support import QUICKSTART, run, sentence

SERVER = """
from mcp.server.mcpserver import MCPServer
from stripe_meter import StripeMeter, metered
{before}
mcp = MCPServer("Shop")
billing = StripeMeter({options})
{attach}

@mcp.tool()
@metered(price="$0.05")
async def summarize(url: str) -> str:
    return url

@mcp.tool()
@metered(price=("0.002 eur per word", "$0.002 per word"), units=lambda call: 1)
async def translate(text: str) -> str:
    return text

@mcp.tool()
@metered(price="free")
async def ping() -> str:
    return "pong"
{after}
"""
#: A key in live mode cannot be tried here, so these settings only say that it is one.
LIVE = """
from stripe_meter.settings import Settings
class Live(Settings):
    mode = property(lambda self: "live")
"""


def server(folder: Path, *, before: str = "", options: str = "", attach: str | None = None, after: str = "") -> str:
    attach = "billing.attach(mcp)" if attach is None else attach
    file = folder / "shop.py"
    file.write_text(SERVER.format(before=before, options=options, attach=attach, after=after))
    return str(file)


def event_names(stripe: EmulatorServer) -> list[str]:
    meters: list[dict[str, Any]] = standin.read(stripe.url, "billing/meters", limit=100)["data"]
    return sorted(meter["event_name"] for meter in meters)


def test_what_is_missing_is_created_and_then_nothing_is_to_do(stripe: EmulatorServer, tmp_path: Path) -> None:
    """The second run finds what the first one made."""
    env = {"STRIPE_METER_EMULATOR": stripe.url}
    first = run("apply", server(tmp_path), env=env)
    assert first.returncode == 0, first.stderr
    assert "+ create     price    mcp.summarize  $0.05 a unit" in first.stdout
    assert "6 to create" in first.stdout
    assert first.stdout.endswith("Done.\n")
    assert "ping" not in first.stdout
    assert event_names(stripe) == ["mcp.summarize", "mcp.translate"]
    again = run("apply", "shop:mcp", env={**env, "PYTHONPATH": str(tmp_path)})
    assert again.returncode == 0, again.stderr
    assert "Nothing to do" in again.stdout


def test_module_and_attribute_are_found_in_the_current_folder(stripe: EmulatorServer, tmp_path: Path) -> None:
    """As `python -m` would find them."""
    server(tmp_path, after="class App: server = mcp")
    done = run("apply", "shop:App.server", cwd=tmp_path, env={"STRIPE_METER_EMULATOR": stripe.url})
    assert done.returncode == 0, done.stderr
    assert event_names(stripe) == ["mcp.summarize", "mcp.translate"]


def test_live_objects_are_created_only_when_somebody_says_so(stripe: EmulatorServer, tmp_path: Path) -> None:
    """Meters can never be deleted: a no, or nobody to ask, leaves everything as it is; --yes is a yes."""
    file = server(tmp_path, before=LIVE, options=f"settings=Live(emulator={stripe.url!r})")
    for answer in ("n\n", ""):
        refused = run("apply", file, stdin=answer)
        assert refused.returncode == 1
        assert "Your live Stripe account" in refused.stdout
        assert "Make these changes?" in refused.stdout
        assert "Traceback" not in refused.stderr
        assert event_names(stripe) == []
    assert run("apply", file, stdin="y\n").returncode == 0
    assert event_names(stripe) == ["mcp.summarize", "mcp.translate"]
    other = server(tmp_path, before=LIVE, options=f"settings=Live(emulator={stripe.url!r}, namespace='two')")
    assert run("apply", other, "--yes").returncode == 0
    assert "two.summarize" in event_names(stripe)


def test_what_could_not_be_created_is_named(stripe: EmulatorServer, tmp_path: Path) -> None:
    """While Stripe is down nothing is claimed, and the same command may be run again."""
    stripe.emulator.faults.add(kind="status", method="POST", path="/v1/products", status=500, times=1000)
    env = {"STRIPE_METER_EMULATOR": stripe.url}
    file = server(tmp_path)
    said = sentence(run("apply", file, env=env))
    assert "HTTP 500" in said
    assert "not done: product stripe_meter_mcp_summarize" in said
    assert "price mcp.translate; what is done stays, run the same command again" in said
    stripe.emulator.faults.clear()
    assert run("apply", file, env=env).stdout.endswith("Done.\n")


def test_a_tool_that_names_its_stripe_meter_is_billed_by_it(stripe: EmulatorServer, tmp_path: Path) -> None:
    """`@billing.metered` needs no attach."""
    file = tmp_path / "own.py"
    file.write_text(
        "from fastmcp import FastMCP\n"
        "from stripe_meter import StripeMeter\n"
        "mcp, billing = FastMCP('Own'), StripeMeter()\n"
        "@mcp.tool()\n"
        "@billing.metered('$0.05')\n"
        "async def look(url: str) -> str:\n"
        "    return url\n"
    )
    done = run("apply", str(file), env={"STRIPE_METER_EMULATOR": stripe.url})
    assert done.returncode == 0, done.stderr
    assert event_names(stripe) == ["mcp.look"]


def test_a_server_that_would_serve_is_not_imported(tmp_path: Path) -> None:
    """A bare run at the top level would never return."""
    file = server(tmp_path, after='mcp.run("streamable-http")')
    assert '__name__ == "__main__"' in sentence(run("apply", file))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("x = 1\n", "defines no MCP server"),
        ("x = (\n", "is not Python"),
        ("raise ValueError('no')\n", "cannot be imported: ValueError: no"),
        ("import sys\nsys.exit('bye')\n", "cannot be imported: SystemExit: bye"),
        ("from stripe_meter import metered\nmetered(0.05)\n", "no currency"),
        (
            "from mcp.server.mcpserver import MCPServer\nmcp = MCPServer('Empty')\n",
            "no tool of this server has a price",
        ),
    ],
)
def test_code_that_cannot_be_applied_is_one_sentence(tmp_path: Path, text: str, part: str) -> None:
    """Whatever is wrong with an author's file, they get no traceback of ours."""
    file = tmp_path / "shop.py"
    file.write_text(text)
    assert part in sentence(run("apply", str(file)))


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("nothing.py", "cannot be read"),
        ("folder", "cannot be read"),
        ("nothing:mcp", "cannot be imported: ModuleNotFoundError"),
        ("shop:nothing", "module shop has no nothing"),
        ("shop:billing", "is no MCP server"),
        ("shop:MCPServer", "is no MCP server"),
        ("shop.txt", "is not a Python file"),
    ],
)
def test_a_target_that_is_not_there_is_one_sentence(tmp_path: Path, target: str, part: str) -> None:
    """The sentence says what could not be found."""
    server(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "shop.txt").write_text("x = 1\n")
    assert part in sentence(run("apply", target, cwd=tmp_path))


def test_a_server_that_is_not_attached_says_what_to_write(tmp_path: Path) -> None:
    """A StripeMeter that nothing connects to the tools is the author's mistake."""
    said = sentence(run("apply", server(tmp_path, attach=""), env={"STRIPE_METER_EMULATOR": "http://127.0.0.1:1"}))
    assert "attach(mcp)" in said


def test_without_a_key_it_is_one_sentence() -> None:
    """The quickstart's server needs a key to be applied."""
    assert "STRIPE_SECRET_KEY" in sentence(run("apply", str(QUICKSTART / "server.py")))
