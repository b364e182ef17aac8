"""JWTs over real HTTP: which ones count, for whom, and what the others cost nobody."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

import httpx2
import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from stripe_meter.enforcement.identity.keyring import AGAIN, FRESH
from stripe_meter.enforcement.identity.resolving import caller_of_request, caller_of_scope
from stripe_meter.errors import ConfigurationError
from stripe_meter.settings import Settings
from tests.identity.conftest import Open, Shop, bearer
from tests.identity.issuer import (
    AUDIENCE,
    ISSUER,
    SECRET,
    Issuer,
    by_hand,
    claims,
    private_key,
    published,
    shared,
    token,
)
from tests.mcp.steps import connected

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS384", "ES256", "ES384", "ES512", "EdDSA"])
async def test_every_common_algorithm_names_the_caller(algorithm: str, shop: Shop, issuer: Issuer) -> None:
    """Identity providers differ, and their keys often do not say what they are for."""
    issuer.publish(published("one", algorithm))
    text, data = await shop.refused(**bearer(token("ann", algorithm=algorithm)))
    assert data["reason"] == "payment_required", text


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_a_shared_secret_names_the_caller(algorithm: str, opening: Open) -> None:
    """Small shops sign their own tokens."""
    with opening(jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_secret=SECRET) as shop:
        _, data = await shop.refused(**bearer(shared("ann", algorithm)))
        assert data["reason"] == "payment_required"
        text, _ = await shop.refused(**bearer(token("ann")))
        assert "not signed by a key" in text


async def test_whoever_pays_is_known_by_the_next_token_as_well(shop: Shop) -> None:
    """A token lives an hour, a customer for years; and somebody else's token is somebody else."""
    ann = await shop.paid(**bearer(token("ann")))
    assert not (await shop.call(**bearer(token("ann", jti="renewed")))).is_error
    assert (await shop.refused(**bearer(token("bob"))))[1]["reason"] == "payment_required"
    assert shop.billed() == {ann: 2}
    assert shop.customers() == 2


PEM = private_key("one", "RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
FORGED_KEY = published("mallory", "RS256")


def signed_with_the_public_key() -> str:
    """HS256, with the PEM of the issuer's public key as the secret; the library would not help with that."""
    header = {"alg": "HS256", "kid": "one"}
    unsigned = by_hand(header, said := claims()).rstrip(".")
    return by_hand(header, said, hmac.digest(PEM, unsigned.encode(), hashlib.sha256))


def with_another_subject() -> str:
    """The header and signature of one token around what another one says."""
    header, _, signature = token("ann").split(".")
    return ".".join((header, token("bob").split(".")[1], signature))


ATTACKS: dict[str, tuple[Callable[[], str], str]] = {
    "another audience": (lambda: token(aud="https://other.example"), "meant for another service"),
    "several other audiences": (lambda: token(aud=["a", "b"]), "meant for another service"),
    "another issuer": (lambda: token(iss="https://evil.example/"), "another issuer"),
    "issuer without its slash": (lambda: token(iss=ISSUER.rstrip("/")), "another issuer"),
    "issuer as a list": (lambda: token(iss=[ISSUER]), "another issuer"),
    "expired": (lambda: token(exp=int(time.time()) - 60), "expired"),
    "not valid yet": (lambda: token(nbf=int(time.time()) + 300), "not valid yet"),
    "issued in the future": (lambda: token(iat=int(time.time()) + 300), "not valid yet"),
    "no expiry": (lambda: token(exp=None), "has no exp"),
    "no audience": (lambda: token(aud=None), "has no aud"),
    "no issuer": (lambda: token(iss=None), "has no iss"),
    "no subject": (lambda: token(sub=None), "has no sub"),
    "an empty subject": (lambda: token(sub=""), "garbled"),
    "a subject of two lines": (lambda: token(sub="ann\nbob"), "garbled"),
    "a subject that is a number": (lambda: token(sub=7), "garbled"),
    "endless": (lambda: token(exp=float("inf")), "garbled"),
    "expiry in words": (lambda: token(exp="tomorrow"), "garbled"),
    "none": (lambda: by_hand({"alg": "none"}, claims()), "not signed by a key"),
    "None": (lambda: by_hand({"alg": "None", "kid": "one"}, claims()), "not signed by a key"),
    "none with a key id": (lambda: by_hand({"alg": "none", "kid": "one"}, claims()), "not signed by a key"),
    "hs with the public key": (signed_with_the_public_key, "not signed by a key"),
    "hs with a secret": (shared, "not signed by a key"),
    "unknown key": (lambda: token(key="two"), "not signed by a key"),
    "another algorithm's key": (lambda: token(algorithm="ES256"), "not signed by a key"),
    "another key under that name": (
        lambda: jwt.encode(claims(), private_key("mallory", "RS256"), "RS256", headers={"kid": "one"}),
        "signature is wrong",
    ),
    "its own key inside": (
        lambda: jwt.encode(
            claims(), private_key("mallory", "RS256"), "RS256", headers={"kid": "mallory", "jwk": FORGED_KEY}
        ),
        "not signed by a key",
    ),
    "its own address inside": (
        lambda: jwt.encode(
            claims(), private_key("mallory", "RS256"), "RS256", headers={"kid": "mallory", "jku": "http://127.0.0.1:9/"}
        ),
        "not signed by a key",
    ),
    "a key id that is no text": (lambda: by_hand({"alg": "RS256", "kid": {"$ne": 1}}, claims(), b"x"), "garbled"),
    "an algorithm that is no text": (lambda: by_hand({"alg": ["RS256"], "kid": "one"}, claims(), b"x"), "garbled"),
    "a header that is no object": (lambda: by_hand(["RS256"], claims(), b"x"), "garbled"),
    "a nested header": (lambda: "eyJ" + "W" * 4000 + ".e30.x", "garbled"),
    "without signature": (lambda: token().rpartition(".")[0] + ".", "signature is wrong"),
    "changed": (with_another_subject, "signature is wrong"),
    "oversized": (lambda: token(padding="x" * 9000), "too long"),
    "garbage": (lambda: "\x7f" * 5, "garbled"),
    "one word": (lambda: "open-sesame", "garbled"),
    "dots": (lambda: "..", "garbled"),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_token_that_does_not_count_is_refused_with_the_reason(attack: str, shop: Shop, issuer: Issuer) -> None:
    """Nothing is created or read for it, and it does not fall back to whatever is given to strangers."""
    issuer.publish(published("one", "RS256"), {"kty": "oct", "kid": "oct", "k": "c2VjcmV0"})
    forge, why = ATTACKS[attack]
    forged = forge()
    text, data = await shop.refused(**bearer(forged))
    assert data["reason"] == "identity_required"
    assert "access token is not accepted" in text
    assert why in text
    assert forged not in text
    assert (shop.reads(), shop.customers()) == (0, 0)


async def test_a_key_set_cannot_smuggle_in_a_secret(shop: Shop, issuer: Issuer) -> None:
    """What is published is known to all: a symmetric key there, or one for encryption, signs nothing."""
    secret = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
    issuer.publish(
        {"kty": "oct", "kid": "s", "alg": "HS256", "k": secret},
        published("two", "RS256", use="enc"),
        published("three", "RS256", alg="RS512"),
        {"kty": "RSA", "kid": "broken", "n": "x", "e": "AQAB"},
    )
    forged = [jwt.encode(claims(), SECRET, "HS256", headers={"kid": "s"}), token(key="two"), token(key="three")]
    for one in forged:
        assert "not signed by a key" in (await shop.refused(**bearer(one)))[0]


async def test_a_key_that_is_rotated_in_is_found_at_once(shop: Shop, issuer: Issuer) -> None:
    """By its name, with one request; tokens of the old one go on while it is published."""
    await shop.refused(**bearer(token("ann")))
    now = time.monotonic()
    shop.engine.keep_time_by(lambda: now + AGAIN + 1, time.time)
    issuer.publish(published("one", "RS256"), published("two", "ES256"))
    for one in (token("ann", "two", "ES256"), token("ann", jti="2"), token("bob", "two", "ES256")):
        assert (await shop.refused(**bearer(one)))[1]["reason"] == "payment_required"
    assert issuer.asked == 2


async def test_a_key_that_is_withdrawn_stops_counting_in_ten_minutes(shop: Shop, issuer: Issuer) -> None:
    """Also for tokens that were verified before: an issuer withdraws a key because it leaked."""
    ann = bearer(token("ann"))
    await shop.paid(**ann)
    issuer.publish(published("two", "RS256"))
    assert not (await shop.call(**ann)).is_error
    now = time.monotonic()
    shop.engine.keep_time_by(lambda: now + FRESH + 1, time.time)
    assert "not signed by a key" in (await shop.refused(**ann))[0]


async def test_a_verified_token_asks_nobody_again(shop: Shop, issuer: Issuer) -> None:
    """The warm path is free of requests; usage alone goes to Stripe, beside it."""
    ann = token("ann")
    customer = await shop.paid(**bearer(ann))
    async with connected(shop.url, "auto", **bearer(ann)) as client:
        await client.call_tool("summarize", {})
        shop.engine.flush()
        before = len(shop.stripe.emulator.requests)
        for _ in range(30):
            assert not (await client.call_tool("summarize", {})).is_error
    assert shop.billed() == {customer: 32}
    sent = [record.path for record in shop.stripe.emulator.requests[before:]]
    assert all(path.endswith("/meter_events") for path in sent)
    assert issuer.asked == 1


async def test_a_token_ends_with_its_expiry_although_it_was_verified(shop: Shop) -> None:
    """What is remembered of a token is never longer good than the token."""
    ann = token("ann")
    await shop.paid(**bearer(ann))
    with time_machine.travel(time.time() + 3600 + 31, tick=True):
        assert "has expired" in (await shop.refused(**bearer(ann)))[0]


async def test_clocks_may_differ_a_little(shop: Shop) -> None:
    """By half a minute, either way."""
    now = int(time.time())
    for one in (token(exp=now - 5), token(nbf=now + 20, iat=now + 20)):
        assert (await shop.refused(**bearer(one)))[1]["reason"] == "payment_required"


async def test_invented_key_names_do_not_drain_anybody(shop: Shop, issuer: Issuer) -> None:
    """The issuer is asked once in half a minute, Stripe not at all."""
    for number in range(40):
        forged = jwt.encode(claims(), private_key("mallory", "RS256"), "RS256", headers={"kid": f"k{number}"})
        await shop.refused(**bearer(forged))
    assert issuer.asked == 1
    assert shop.reads() == 0


OUTAGES: dict[str, dict[str, Any]] = {
    "an error": {"status": 500},
    "a redirect": {"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}},
    "a page": {"body": b"<html>"},
    "something else": {"body": b'["keys"]'},
    "too much": {"body": b'{"keys": [' + b" " * 300_000 + b"]}"},
    "a bomb": {"headers": {"Content-Encoding": "gzip"}},
}


@pytest.mark.parametrize("outage", OUTAGES)
async def test_a_key_set_that_cannot_be_read_refuses_for_now(outage: str, shop: Shop, issuer: Issuer) -> None:
    """It is the seller's to mend; the caller is told to come back, and nobody is served unverified."""
    for name, value in OUTAGES[outage].items():
        setattr(issuer, name, value)
    if outage == "a bomb":
        issuer.body = gzip.compress(issuer.body)
    text, data = await shop.refused(**bearer(token("ann")))
    assert data["reason"] == "billing_unavailable"
    assert data["retry_after_seconds"] > 0
    assert issuer.url not in text
    await shop.refused(**bearer(token("ann")))
    assert issuer.asked == 1


async def test_an_outage_of_the_issuer_leaves_known_keys_good(shop: Shop, issuer: Issuer) -> None:
    """For a day; its customers have done nothing wrong."""
    await shop.paid(**bearer(token("ann")))
    issuer.status, now = 503, time.monotonic()
    shop.engine.keep_time_by(lambda: now + FRESH + 1, time.time)
    assert not (await shop.call(**bearer(token("ann", jti="2")))).is_error
    shop.engine.keep_time_by(lambda: now + 25 * 3600, time.time)
    assert (await shop.refused(**bearer(token("ann", jti="3"))))[1]["reason"] == "billing_unavailable"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_session_that_two_people_share_bills_each_their_own(mode: str, shop: Shop) -> None:
    """Every request is billed to its own token, whoever opened the session."""
    ann = await shop.paid(**bearer(token("ann")))
    before = shop.billed()
    _, data = await shop.refused(**bearer(token("bob")))
    shop.stripe.complete_checkout(data["checkout_url"], email="bob@example.com")
    turn = {"now": "ann"}

    async def show(request: httpx2.Request) -> None:
        request.headers["authorization"] = f"Bearer {token(turn['now'], iat=1)}"

    async with (
        httpx2.AsyncClient(event_hooks={"request": [show]}, timeout=30) as http,
        Client(streamable_http_client(f"{shop.url}/mcp", http_client=http), mode=mode) as client,
    ):
        for person in ("ann", "bob", "bob", "ann", "bob"):
            turn["now"] = person
            assert not (await client.call_tool("summarize", {})).is_error
    after = shop.billed()
    assert after[ann] - before[ann] == 2
    assert sorted(after.values()) == [3, 3]


async def test_a_person_whose_customer_was_deleted_becomes_a_new_one(shop: Shop) -> None:
    """They are the same person to the issuer, so they may buy again; the old bill is not touched."""
    old = await shop.paid(**bearer(token("ann")))
    async with httpx2.AsyncClient(headers={"Authorization": "Bearer sk_test_emulator"}) as http:
        assert (await http.delete(f"{shop.stripe.url}/v1/customers/{old}")).status_code == 200
    now = time.monotonic()
    shop.engine.keep_time_by(lambda: now + 3601, time.time)
    new = await shop.paid(**bearer(token("ann")))
    assert shop.billed() == {old: 1, new: 1}


async def test_an_api_key_goes_before_a_token(shop: Shop) -> None:
    """Who sends both means us by the key; a bad key does not fall back to the token."""
    text, _ = await shop.refused(**bearer(token("ann")), **{"x-api-key": "smk_cus_nobody_" + "a" * 40})
    assert "API key is not valid" in text
    assert shop.customers() == 0


async def test_our_own_routes_know_the_same_caller(shop: Shop) -> None:
    """One verification for tools and pages: whoever may pay by one may by the other."""
    customer = await shop.paid(**bearer(token("ann")))
    engine = shop.engine
    headers = {b"authorization": b"Bearer " + token("ann", jti="other").encode()}
    pending = await caller_of_request(engine, headers, "127.0.0.1")
    assert pending.is_pending
    account = await engine.thread.call(lambda gateway: engine._callers.cold(pending, gateway), 5.0)
    assert account is not None
    assert account.customer == customer
    known = await caller_of_scope(engine, {"headers": list(headers.items()), "client": ("127.0.0.1", 1)})
    assert known.principal is not None
    assert (known.principal.issuer, known.principal.subject) == (ISSUER, "ann")
    assert "eyJ" not in repr(pending)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"jwt_issuer": ISSUER}, "set STRIPE_METER_JWT_ISSUER and STRIPE_METER_JWT_AUDIENCE"),
        ({"jwt_issuer": ISSUER, "jwt_secret": SECRET}, "JWT_AUDIENCE"),
        ({"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}, "STRIPE_METER_JWT_JWKS_URL"),
        (
            {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_secret": SECRET, "jwt_jwks_url": "https://a/b"},
            "either",
        ),
        ({"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_secret": "short"}, "at least 32 characters"),
        ({"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_secret": PEM.decode()}, "JWKS_URL"),
        (
            {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": "http://id.example/keys"},
            "an https address",
        ),
    ],
)
def test_half_a_configuration_is_refused_with_the_rest(values: dict[str, str], part: str) -> None:
    """Trusting tokens without audience, or a public key as a secret, would let anybody in; no secret is repeated."""
    with pytest.raises(ConfigurationError, match=part) as caught:
        Settings(**values)
    assert SECRET not in str(caught.value)
