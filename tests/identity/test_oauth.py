"""OAuth access tokens that the framework's own verifiers have checked, with real tokens over real HTTP."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import fastmcp
import httpx2
import jwt
import pytest
from fastmcp.server.auth.providers.jwt import JWTVerifier
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl

from stripe_meter.enforcement.identity.resolving import caller_of_scope
from tests.identity.conftest import Open, bearer
from tests.identity.issuer import AUDIENCE, ISSUER, Issuer, private_key, token

pytestmark = pytest.mark.anyio


class SdkVerifier:
    """What the MCP SDK lets an author write; here by PyJWT."""

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            claims = jwt.decode(
                token, private_key("one", "RS256").public_key(), algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER
            )
        except jwt.PyJWTError:
            return None
        return AccessToken(token=token, client_id="app", scopes=[], subject=claims["sub"], claims=claims)


def of_the_sdk(_: Issuer) -> Any:
    base = AnyHttpUrl(ISSUER)
    settings = AuthSettings(issuer_url=base, resource_server_url=base, validate_token_resource=False)
    return MCPServer("tools", token_verifier=SdkVerifier(), auth=settings)


def of_fastmcp(issuer: Issuer) -> Any:
    return fastmcp.FastMCP("tools", auth=JWTVerifier(jwks_uri=issuer.url, issuer=ISSUER, audience=AUDIENCE))


@pytest.mark.parametrize("make", [of_the_sdk, of_fastmcp], ids=["mcp", "fastmcp"])
async def test_a_verified_access_token_is_billed_to_its_subject(make: Any, opening: Open, issuer: Issuer) -> None:
    """By the framework's word; two people behind one application are two customers, and a bad token gets nowhere."""
    with opening(server=make(issuer)) as shop:
        ann = await shop.paid(**bearer(token("ann")))
        assert not (await shop.call(**bearer(token("ann", jti="2")))).is_error
        assert (await shop.refused(**bearer(token("bob"))))[1]["reason"] == "payment_required"
        assert shop.billed() == {ann: 2}
        assert shop.customers() == 2
        async with httpx2.AsyncClient() as http:
            bad = await http.post(f"{shop.url}/mcp", headers=bearer(token("ann", aud="other")), json={})
        assert bad.status_code == 401


async def test_it_is_the_same_customer_as_by_a_token_that_we_verify(opening: Open, issuer: Issuer) -> None:
    """So that an author who moves from one to the other loses nobody."""
    with opening(server=of_the_sdk(issuer)) as shop:
        ann = await shop.paid(**bearer(token("ann")))
    with opening(**issuer.settings()) as shop:
        assert not (await shop.call(**bearer(token("ann")))).is_error
        assert shop.billed() == {ann: 2}


async def test_a_token_that_the_framework_verified_counts_on_our_routes(opening: Open, issuer: Issuer) -> None:
    """The framework leaves it in the scope of each request, ours included."""
    with opening(server=of_the_sdk(issuer)) as shop:
        user = SimpleNamespace(access_token=await SdkVerifier().verify_token(token("ann")))
        caller = await caller_of_scope(shop.engine, {"headers": [], "client": ("127.0.0.1", 1), "user": user})
        assert caller.principal is not None
        assert caller.principal.subject == "ann"
