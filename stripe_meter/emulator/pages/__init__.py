"""The pages people see: hosted Checkout, invoices, the customer portal, and the overview of the account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from stripe_meter.emulator.pages import authenticate, checkout, invoice, overview, payment_link, portal

if TYPE_CHECKING:
    from stripe_meter.emulator.core import Emulator


def routes(emulator: Emulator) -> list[Route]:
    """The routes of all pages."""
    return [
        *authenticate.routes(emulator),
        *checkout.routes(emulator),
        *invoice.routes(emulator),
        *overview.routes(emulator),
        *payment_link.routes(emulator),
        *portal.routes(emulator),
    ]
