"""The address that Stripe delivers events to: what may come in, and what is answered.

Owns the bounds of a request and the status codes; whether a delivery is genuine, and what becomes of it, is decided
behind it. Answers as soon as the event waits in the inbox. Stripe comes again after anything but a 2xx.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from stripe_meter.enforcement.current import override
from stripe_meter.enforcement.engine import Engine
from stripe_meter.errors import ConfigurationError, StripeMeterError, WebhookRefused
from stripe_meter.web import reading

log = logging.getLogger("stripe_meter")

#: Bytes of the largest event that is read; Stripe's own stay far below.
LARGEST: Final = 512 * 1024
_LONGEST_HEADER: Final = 2048
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def receive(engine: Engine, request: Request) -> Response:
    """Take one delivery."""
    inbox = (override.engine or engine).sales.webhooks
    signature = request.headers.get("stripe-signature", "")
    try:
        if not inbox.is_open:
            return _answer(404, "This server takes no webhooks.")
        if not signature or len(signature) > _LONGEST_HEADER:
            return _answer(400, "A Stripe-Signature header is needed.")
        async with asyncio.timeout(reading.PATIENCE):
            body = await _body(request)
        if body is None:
            return _answer(413, f"An event has at most {LARGEST} bytes.")
        is_taken = await inbox.receive(body, signature)
    except TimeoutError:
        return _answer(408, "The body took too long to arrive.")
    except ClientDisconnect:
        return _answer(400, "The body broke off.")
    except WebhookRefused as error:
        return _answer(400, str(error))
    except ConfigurationError as error:
        log.error("a webhook could not be taken: %s", error)
        return _answer(503, "This server cannot take webhooks now.", retry_after=60)
    except StripeMeterError as error:
        log.warning("a webhook could not be taken: %s", error)
        return _answer(503, "This server cannot take webhooks now.", retry_after=10)
    if not is_taken:
        return _answer(503, "Too many events wait already.", retry_after=10)
    return JSONResponse({"received": True}, headers=_HEADERS)


async def _body(request: Request) -> bytes | None:
    """The bytes as they came, which is what was signed; None when there are too many of them."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:12]) > LARGEST:
        return None
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > LARGEST:
            return None
        parts.append(chunk)
    return b"".join(parts)


def _answer(status: int, message: str, *, retry_after: int | None = None) -> Response:
    headers = _HEADERS if retry_after is None else {**_HEADERS, "Retry-After": str(retry_after)}
    return JSONResponse({"error": message}, status, headers=headers)
