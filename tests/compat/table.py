"""The compatibility table of the README, made of what the matrix has measured.

Owns which tests stand behind each column. A cell says yes when all of them passed on that line, a dash when it has
no such thing, and no otherwise. Results that are missing, of a line or of a test, end it with a sentence: a table that
guesses would be worse than none.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

BEGIN: Final = "<!-- compatibility -->"
END: Final = "<!-- /compatibility -->"

NAMES: Final = {
    "mcp-2": "MCP SDK `MCPServer`",
    "mcp-1": "MCP SDK `FastMCP`",
    "fastmcp-4": "FastMCP",
    "fastmcp-3": "FastMCP",
}

_UNPAID: Final = "test_an_unpaid_call_answers_with_price_and_link"
_PAID: Final = "test_a_paid_call_answers_and_is_billed_once"
#: A test counts with all its parameters, or with those in brackets.
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "stdio": ("test_over_stdio_the_key_of_the_environment_pays", "test_over_stdio_the_decorator_alone_refuses"),
    "HTTP": ("test_over_http_a_key_in_the_headers_pays",),
    "`async def`": (_UNPAID, f"{_PAID}[async_plain]", "test_a_failing_tool_costs_nothing"),
    "`def`": (_UNPAID, f"{_PAID}[sync_plain]", "test_looking_up_a_new_caller_stops_nobody_else"),
    "`Context`": (f"{_PAID}[async_context]", f"{_PAID}[sync_context]", "test_metering_changes_no_schema"),
    "mounted": ("test_a_tool_of_a_mounted_child_is_billed",),
    "refusal in `_meta`": ("test_a_refusal_carries_its_data",),
    "receipts": ("test_a_result_carries_its_receipt",),
    "prices listed": ("test_the_list_shows_prices",),
    "elicitation": ("test_a_client_that_can_is_asked_to_open_the_link",),
    "check at start": ("test_a_server_without_a_key_ends_with_one_sentence",),
}


def cell(tests: dict[str, str], wanted: tuple[str, ...]) -> str:
    """What one column says of one line."""
    outcomes = []
    for test in wanted:
        found = [outcome for name, outcome in tests.items() if name == test or name.partition("[")[0] == test]
        if not found:
            raise SystemExit(f"no result for {test}; run `nox` first")
        outcomes += found
    if all(outcome == "passed" for outcome in outcomes):
        return "yes"
    return "—" if "failed" not in outcomes else "no"


def rows(folder: Path) -> list[str]:
    """The lines of the table."""
    lines = [f"| | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for line, name in NAMES.items():
        path = folder / f"{line}.json"
        if not path.exists():
            raise SystemExit(f"no results of {line}; run `nox -s {line}` first")
        record: Any = json.loads(path.read_text())
        cells = [cell(record["tests"], wanted) for wanted in COLUMNS.values()]
        lines.append(f"| {name} {record['version']} | {' | '.join(cells)} |")
    return lines


def replaced(text: str, table: list[str]) -> str:
    """`text` with the table between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the README has no {BEGIN} … {END} to put the table between")
    return "\n".join([before + begin, *table, end + after])


if __name__ == "__main__":
    results, readme = (Path(argument) for argument in sys.argv[1:])
    readme.write_text(replaced(readme.read_text(), rows(results)))
