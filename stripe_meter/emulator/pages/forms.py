"""Targets of the pages' forms.

Owns: reading the form, the account's lock around what it does, and the webhooks that follow. Does not own: any page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from stripe_meter.emulator.account import Account
from stripe_meter.emulator.reading import form_of

if TYPE_CHECKING:
    from stripe_meter.emulator.core import Emulator

Act = Callable[[Account, str, dict[str, str]], Response]


def target(emulator: Emulator, act: Act) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that does `act` with the `id` of the path and the fields of the form."""

    async def submit(request: Request) -> Response:
        fields = await form_of(request)
        with emulator.account.lock:
            answer = act(emulator.account, request.path_params["id"], fields)
        emulator.courier.pump()
        return answer

    return submit
