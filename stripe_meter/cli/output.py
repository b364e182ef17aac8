"""What the commands tell people, on a terminal and elsewhere.

Owns the difference between the two: signs and colour on a terminal, plain ASCII in a pipe, a file or a log. Commands
write one text for both. Never used for data that programs read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

Mark = Literal["✓", "✗", ""]

_ASCII: Final = str.maketrans(
    {
        "✓": "ok",
        "✗": "x",
        "·": "|",
        "→": "->",
        "…": "...",
        "×": "x",
        "–": "-",
        "█": "#",
        "€": "EUR ",
        "£": "GBP ",
        "¥": "JPY ",
    }
)
_STYLES: Final[dict[Mark, str]] = {"✓": "bold green", "✗": "bold yellow", "": ""}
_TITLE_WIDTH: Final = 22


def ascii_text(text: str) -> str:
    """The same in plain ASCII; `€0.05` becomes `EUR 0.05`."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


class Teller:
    """Tells a story line by line on one stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._console: Console | None = None
        if stream.isatty() and "utf" in (stream.encoding or "").lower():
            from rich.console import Console

            self._console = Console(file=stream, highlight=False, soft_wrap=True)

    def line(self, text: str = "", style: str = "") -> None:
        """One line; `style` is one of rich's."""
        if self._console is None:
            click.echo(ascii_text(text), file=self._stream)
        else:
            self._console.print(text, style=style or None, markup=False)

    def step(self, number: int, title: str, text: str, mark: Mark = "") -> None:
        """One numbered step of a story; `mark` tells how the world answered."""
        if self._console is None:
            shown = f"{mark} {text}" if mark else text
            self.line(f"{number}  {title.ljust(_TITLE_WIDTH)}{shown}")
            return
        from rich.text import Text

        self._console.print(
            Text.assemble(
                (f"{number}  ", "bold"),
                title.ljust(_TITLE_WIDTH),
                (f"{mark} " if mark else "", _STYLES[mark]),
                text,
            )
        )

    def pair(self, name: str, value: str) -> None:
        """A name and what belongs to it, aligned with its neighbours."""
        self.line(f"{name.ljust(14)}{value}")
