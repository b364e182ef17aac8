"""`stripe-meter dev`: an author's own server, unchanged, against a stand-in of its own.

Owns the process of the server: its environment, the signals passed on to it, its exit status. Its stdin and stdout are
untouched, because a stdio server speaks MCP there; everything said here goes to stderr.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click

from stripe_meter.errors import ConfigurationError


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("server", metavar="server.py", type=click.Path(path_type=Path))
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
def command(server: Path, arguments: tuple[str, ...]) -> None:
    """Run your server as `python server.py` would, but against a stand-in for Stripe.

    No account is needed and your STRIPE_SECRET_KEY does not reach the server. Call a priced tool with any MCP client:
    it is refused with a link. Open the link, pay with the test card, and call again with the key you are shown.

    Whatever stands after server.py is passed to it. stdin and stdout are the server's own, so that a client can start
    `stripe-meter dev server.py` in place of a stdio server. The exit status is the server's.
    """
    from stripe_meter.cli import standin
    from stripe_meter.cli.output import Teller

    if not server.is_file():
        raise ConfigurationError(f"there is no file {server}; name the script that starts your server")
    teller = Teller(sys.stderr)
    with standin.serving() as stand_in:
        teller.line(f"stripe-meter dev: {server.name} runs against a stand-in Stripe (STRIPE_SECRET_KEY is not used)")
        teller.pair("  Look around", stand_in.url)
        teller.pair("  Pay", f"open the link in a refusal, {standin.CARDS}")
        sys.stderr.flush()
        status = _run([sys.executable, str(server), *arguments], standin.environment(stand_in.url, os.environ))
    sys.exit(status)


def _run(argv: list[str], env: dict[str, str]) -> int:
    """The exit status of `argv`, as a shell counts it."""
    process = subprocess.Popen(argv, env=env)  # noqa: S603  # the author's own script, by this Python

    def pass_on(signum: int, frame: object) -> None:
        if process.poll() is None:
            process.send_signal(signum)

    def interrupt(signum: int, frame: object) -> None:
        # A terminal interrupts the server by itself, and servers take a second Ctrl-C for "at once".
        if not _is_on_a_terminal():
            pass_on(signum, frame)

    signal.signal(signal.SIGINT, interrupt)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), pass_on)
    status = process.wait()
    return status if status >= 0 else 128 - status


def _is_on_a_terminal() -> bool:
    """Whether this process is in the foreground of a terminal, which then signals the whole group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
