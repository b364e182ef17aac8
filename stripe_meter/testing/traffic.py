"""What of the traffic with Stripe a cassette keeps, and when two requests are the same one.

Owns the scrubbing, the comparison and the form of the file. Headers are kept by name and everything else is dropped,
so a secret in a header nobody thought of is dropped too. Only requests to Stripe or its stand-in are a cassette's
business; whatever else a test sends passes by.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import yaml
from vcr.request import Request
from vcr.serializers import yamlserializer

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
_SECRETS: Final = re.compile(rb"\b((?:whsec|[sr]k_(?:test|live)|smk_cus)_|[a-z]+_[A-Za-z0-9_]+?_secret_)\w+")


class LiveKey(RuntimeError):
    """A request with a live-mode key was about to be recorded; it was not sent."""


class Scrubber:
    """Takes out of one cassette's traffic what is secret and what differs from run to run."""

    def __init__(self) -> None:
        self._origins: set[bytes] = set()

    def request(self, request: Request) -> Request | None:
        """The request as it is written and compared; None when it is none of Stripe's.

        Raises:
            LiveKey: It carries the key of a live account, which nobody should record.
        """
        parts = urlsplit(request.uri)
        if not _is_stripe(request):
            return None
        if "_live_" in _header(request, "authorization"):
            raise LiveKey("cassettes are recorded with a test-mode key; set STRIPE_SECRET_KEY=sk_test_…")
        if parts.hostname in _LOOPBACK:
            origin = f"{parts.scheme}://{parts.netloc}"
            self._origins.add(origin.encode())
            request.uri = STAND_IN + request.uri.removeprefix(origin)
        request.method = request.method.upper()
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
            "body": {"string": _SECRETS.sub(rb"\1REDACTED", self._moved(body))},
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


def _header(request: Request, name: str) -> str:
    value = request.headers.get(name, "")
    value = value[0] if isinstance(value, list) else value
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _target(request: Request) -> tuple[str, str, str, list[tuple[str, str]]]:
    parts = urlsplit(request.uri)
    return request.method, parts.netloc, parts.path, sorted(parse_qsl(parts.query, keep_blank_values=True))


def _content(request: Request) -> object:
    body = request.body or b""
    text = body.decode() if isinstance(body, bytes) else str(body)
    if _header(request, "content-type").startswith("application/json") and text:
        return json.loads(text)
    return sorted(parse_qsl(text, keep_blank_values=True))
