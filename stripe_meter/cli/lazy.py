"""A click group whose commands are imported when they are invoked.

Owns finding a command's module by its name, and how our errors end: one sentence, status 1, no traceback. Names and
short help come from a table, because reading them from the modules would import everything for `--help`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from stripe_meter.errors import StripeMeterError


class LazyGroup(click.Group):
    """Commands live in `<package>.<name>` as the attribute `command`."""

    def __init__(self, *args: Any, package: str, commands_help: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._package = package
        self._help = dict(commands_help)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._help)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._help:
            return None
        found: click.Command = import_module(f"{self._package}.{cmd_name}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._help[name]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StripeMeterError as error:
            raise click.ClickException(str(error)) from None
