"""A client in another language: the MCP Inspector's command line sees the refusal with the link."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from stripe_meter.emulator import EmulatorServer
from tests.e2e.conftest import Served, needs


def test_a_refusal_reaches_the_inspector(served: Served, stripe: EmulatorServer) -> None:
    """As an error result whose text holds price and link.

    In the older protocol era: in the newer one it declares URL elicitation, which waits for a person.
    """
    program = needs("mcp-inspector")
    command = f"{program} --cli {served.url}/mcp --transport http --protocol-era legacy"
    command += " --method tools/call --tool-name summarize --tool-arg url=https://example.com --format json"
    done = subprocess.run(
        command.split(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": f"{Path(program).parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == 5, done.stderr
    result = json.loads(done.stdout)
    text = json.dumps(result)
    assert "summarize costs $0.05" in text
    assert f"{stripe.url}/c/pay/cs_" in text
