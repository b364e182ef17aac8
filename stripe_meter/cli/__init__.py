"""The command line `stripe-meter`.

Owns the table of commands. A command's module is imported when it is invoked, so that `--help` imports neither an MCP
framework nor the Stripe SDK. An error of ours ends as one sentence on stderr with status 1, wrong usage with status 2.
"""

from __future__ import annotations

import click

from stripe_meter import __version__
from stripe_meter.cli.lazy import LazyGroup

__all__ = ["main"]

_COMMANDS = {
    "demo": "See it work: a paid tool, a caller who pays, the invoice. Needs no Stripe account.",
    "dev": "Run your own server against a stand-in for Stripe. Needs no account either.",
    "emulator": "Run only the stand-in for Stripe, for servers and tests of yours.",
    "keys": "Create, list and revoke your callers' API keys.",
    "credits": "Give credits to your callers and see what they have.",
    "webhook": "Let Stripe tell your server what happens: create and rotate endpoints.",
    "link": "Make the lasting link that sells a credit pack, or find it again.",
    "plan": "Show how your code and your Stripe account differ.",
    "apply": "Make Stripe hold what your code sells.",
    "doctor": "Find what would cost you money or trust later.",
    "explain": "Show why a customer's call is served or refused, and what to do.",
    "simulate": "Show what a month of usage would cost your customers under each plan.",
}


@click.group(
    cls=LazyGroup,
    package=__name__,
    commands_help=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Without a Stripe account begin with `stripe-meter demo`, then `stripe-meter dev server.py`. "
    "With one, export STRIPE_SECRET_KEY=sk_test_… and run your server as you always do.",
)
@click.version_option(__version__, prog_name="stripe-meter")
def cli() -> None:
    """Charge for the tools of your MCP server. One line per tool; Stripe keeps the books."""


def main() -> None:
    """Entry point of the script `stripe-meter`."""
    cli.main()
