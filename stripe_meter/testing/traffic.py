"""What of the traffic with Stripe a cassette keeps, and when two requests are the same one.

Owns the scrubbing, the comparison and the form of the file. Headers are kept by name and everything else is dropped,
so a secret in a header nobody thought of is dropped too. Only requests to Stripe or its stand-in are a cassette's
business; whatever else a test sends passes by.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import yaml
from vcr.request import Request
from vcr.serializers import yamlserializer

from stripe_meter.testing.leaks import redacted, secret_in

#: The address of the stand-in in every cassette, whatever port it had; by RFC 2606 nobody ever answers there.
STAND_IN: Final = "http://emulator.invalid"

_REQUEST_HEADERS: Final = ("content-type", "idempotency-key", "stripe-version")
_RESPONSE_HEADERS: Final = (
    "content-type",
    "date",
    "idempotent-replayed",
    "location",
    "request-id",
    "retry-after",
    "stripe-rate-limited-reason",
    "stripe-should-retry",
    "stripe-version",
)
_STAND_IN_PATHS: Final = ("/v1/", "/v2/", "/c/")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
#: What a random key looks like: ours are 32 hexadecimal digits, the SDK's a UUID; a repeat may count behind.
_RANDOM_KEY: Final = re.compile(r"^([0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})(?=$|:r\d+$)")
_RANDOM: Final = "random"
#: What a file says first about itself.
_ORIGIN: Final = ("source", "recorded", "api_version")


class Unrecordable(RuntimeError):
    """A request that nobody should record was stopped; it was not sent."""


class Scrubber:
    """Takes out of one cassette's traffic what is secret and what differs from run to run."""

    def __init__(self) -> None:
        self._origins: set[bytes] = set()

    def request(self, request: Request) -> Request | None:
        """The request as it is written and compared; None when it is none of Stripe's.

        Raises:
            Unrecordable: It carries the key of a live account, or a secret where a cassette would keep it.
        """
        parts = urlsplit(request.uri)
        here = f"{parts.scheme}://{parts.netloc}"
        # Who has answered as Stripe is Stripe's stand-in with all its pages, for a replay knows it by address alone.
        if not _is_stripe(request) and here.encode() not in self._origins:
            return None
        request.method = request.method.upper()
        if "_live_" in _credentials(request):
            raise Unrecordable("cassettes are recorded with a test-mode key; set STRIPE_SECRET_KEY=sk_test_…")
        _refuse_secrets(request)
        if parts.hostname in _LOOPBACK:
            self._origins.add(here.encode())
            request.uri = STAND_IN + request.uri.removeprefix(here)
        kept = {name: value for name in _REQUEST_HEADERS if (value := _header(request, name))}
        if "idempotency-key" in kept:
            kept["idempotency-key"] = _RANDOM_KEY.sub(_RANDOM, kept["idempotency-key"])
        request.headers = kept
        return request

    def response(self, response: dict[str, Any]) -> dict[str, Any]:
        """The response as it is written."""
        headers = {name.lower(): values for name, values in response["headers"].items()}
        body = response["body"].get("string") or b""
        body = body.encode() if isinstance(body, str) else body
        return {
            "status": response["status"],
            "headers": {
                name: [self._moved(value.encode()).decode() for value in headers[name]]
                for name in _RESPONSE_HEADERS
                if name in headers
            },
            "body": {"string": redacted(self._moved(body))},
        }

    def _moved(self, text: bytes) -> bytes:
        for origin in self._origins:
            text = text.replace(origin, STAND_IN.encode())
        return text


def same_target(one: Request, other: Request) -> None:
    """Method, host, path and query, blank values included."""
    assert _target(one) == _target(other), f"{_target(one)} is not {_target(other)}"


def same_content(one: Request, other: Request) -> None:
    """Every parameter of the body, blank values included; only their order is free."""
    assert _content(one) == _content(other), f"{_content(one)} is not {_content(other)}"


def same_key(one: Request, other: Request) -> None:
    """The idempotency keys that mean something; a random one equals any other random one."""
    mine, recorded = _header(one, "idempotency-key"), _header(other, "idempotency-key")
    assert mine == recorded, f"idempotency key {mine!r} is not {recorded!r}"


MATCHERS: Final = {"target": same_target, "content": same_content, "idempotency_key": same_key}


class Form:
    """The YAML of a cassette: where it comes from first, then what was said."""

    @staticmethod
    def serialize(cassette: dict[str, Any]) -> str:
        metadata = dict(sorted(cassette.get("metadata", {}).items(), key=lambda entry: entry[0] not in _ORIGIN))
        ordered = {"version": cassette["version"], "metadata": metadata, "interactions": cassette["interactions"]}
        return str(yaml.dump(ordered, Dumper=yaml.CSafeDumper, sort_keys=False, width=120, allow_unicode=True))

    @staticmethod
    def deserialize(text: str) -> Any:
        return yamlserializer.deserialize(text)


def origin(requests: list[Request]) -> tuple[str, str]:
    """Who answered, and for which API version they were asked."""
    is_stripe = any((urlsplit(request.uri).hostname or "").endswith(".stripe.com") for request in requests)
    versions = {version for request in requests if (version := _header(request, "stripe-version"))}
    return "Stripe test mode" if is_stripe else "emulator", ", ".join(sorted(versions))


def _is_stripe(request: Request) -> bool:
    parts = urlsplit(request.uri)
    host = parts.hostname or ""
    if host.endswith(".stripe.com") or request.uri.startswith(STAND_IN + "/"):
        return True
    return host in _LOOPBACK and parts.path.startswith(_STAND_IN_PATHS)


def _refuse_secrets(request: Request) -> None:
    """Stop a secret that the recording would keep; in an answer it could be replaced, here the replay needs it."""
    path = urlsplit(request.uri).path
    kept = {
        "body": _text(request),
        "idempotency key": _header(request, "idempotency-key"),
        "address": request.uri,
    }
    for part, text in kept.items():
        if (begin := secret_in(text)) is not None:
            where = f"{request.method} request" if part == "address" else f"{request.method} {path}"
            raise Unrecordable(
                f"the {part} of a {where} holds a secret, {begin}…, and cassettes are committed; "
                "send something else in this test"
            )


def _credentials(request: Request) -> str:
    """The key that the request shows, as a bearer or as the user of basic authorization."""
    shown = _header(request, "authorization")
    scheme, _, value = shown.partition(" ")
    if scheme.lower() != "basic":
        return shown
    try:
        return base64.b64decode(value).decode("latin-1")
    except ValueError:
        return shown


def _header(request: Request, name: str) -> str:
    value = request.headers.get(name, "")
    value = value[0] if isinstance(value, list) else value
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _target(request: Request) -> tuple[str, str, str, list[tuple[str, str]]]:
    parts = urlsplit(request.uri)
    return request.method, parts.netloc, parts.path, sorted(parse_qsl(parts.query, keep_blank_values=True))


def _text(request: Request) -> str:
    body = request.body or b""
    return body.decode() if isinstance(body, bytes) else str(body)


def _content(request: Request) -> object:
    text = _text(request)
    if _header(request, "content-type").startswith("application/json") and text:
        return json.loads(text)
    return sorted(parse_qsl(text, keep_blank_values=True))
