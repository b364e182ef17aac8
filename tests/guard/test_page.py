"""docs/operations.md says what is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from stripe_meter.enforcement import audit
from tests.compat.test_agent_tools import NAMES

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text()


def rows(heading: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    table = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) - {"kind"}


def test_every_agent_tool_is_explained() -> None:
    """And no other one."""
    assert rows("Agent tools") == NAMES


def test_every_kind_of_audit_line_is_explained() -> None:
    """And no other one."""
    assert rows("Audit log") == set(get_args(audit.Kind))
