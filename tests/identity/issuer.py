"""An identity provider on loopback: it signs tokens and publishes a key set, or whatever else a test wants there."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://id.example/"
AUDIENCE = "https://tools.example/mcp"
SECRET = "a-shared-secret-of-more-than-sixty-four-bytes-so-that-hs512-takes-it-too"


@cache
def private_key(name: str, algorithm: str) -> Any:
    """The same key for the same name; making one takes a while."""
    if algorithm.startswith("ES"):
        curves: dict[str, ec.EllipticCurve] = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "512": ec.SECP521R1()}
        return ec.generate_private_key(curves[algorithm[2:]])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def published(name: str, algorithm: str, **fields: str) -> dict[str, Any]:
    """The public half of a key, as a key set lists it."""
    public = private_key(name, algorithm).public_key()
    kind = {"E": ECAlgorithm, "EdDSA": OKPAlgorithm}.get(
        algorithm if algorithm == "EdDSA" else algorithm[0], RSAAlgorithm
    )
    jwk: dict[str, Any] = json.loads(kind.to_jwk(public))  # type: ignore[attr-defined]  # each has it
    return {**jwk, "kid": name, **fields}


def claims(subject: str = "ann", **others: Any) -> dict[str, Any]:
    """What a good token says; a value of None leaves a claim out."""
    now = int(time.time())
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "nbf": now, "exp": now + 3600}
    return {name: value for name, value in {**good, **others}.items() if value is not None}


def token(subject: str = "ann", key: str = "one", algorithm: str = "RS256", **others: Any) -> str:
    """Signed by a key of the issuer's."""
    return signed(claims(subject, **others), private_key(key, algorithm), algorithm, kid=key)


def signed(payload: Any, key: Any, algorithm: str, **header: Any) -> str:
    """Signed without a look at what it says."""
    jws: Any = jwt.PyJWS()
    return str(jws.encode(json.dumps(payload).encode(), key, algorithm, headers=header))


def shared(subject: str = "ann", algorithm: str = "HS256", **others: Any) -> str:
    """Signed by the shared secret."""
    return signed(claims(subject, **others), SECRET, algorithm)


def by_hand(header: Any, payload: Any, signature: bytes = b"") -> str:
    """What no library would make."""
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


class Issuer:
    """What stands at the key set's address, and how often it was asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self.status = 200
        self.headers: dict[str, str] = {}
        self.publish(published("one", "RS256"))

    def publish(self, *keys: dict[str, Any]) -> None:
        self.body = json.dumps({"keys": keys}).encode()

    def settings(self) -> dict[str, str]:
        """Of a seller who trusts it."""
        return {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": self.url}


@contextmanager
def running() -> Iterator[Issuer]:
    """An issuer that answers until this ends."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            self.send_response(issuer.status)
            for name, value in issuer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(issuer.body)))
            self.end_headers()
            self.wfile.write(issuer.body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}/keys"
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
