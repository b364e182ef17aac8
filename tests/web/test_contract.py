"""The routes keep to their own OpenAPI document: Schemathesis makes requests from it and holds the answers to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from stripe_meter.emulator import EmulatorServer
from stripe_meter.enforcement.engine import Engine
from stripe_meter.enforcement.tickets import Page
from stripe_meter.web.operations import PUBLIC, Operation
from stripe_meter.web.routes import app
from tests.conftest import PAGES as PAGES_AT
from tests.conftest import a_tool
from tests.web.conftest import BASIC, FREE, PACKS, PRO

#: 503 is a declared answer here, and no request of this test may make one.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def seller() -> Iterator[tuple[Engine, str]]:
    """A seller of plans, packs and free calls, and a customer of theirs; asked by one address after the other."""
    from stripe_meter.emulator import Emulator
    from stripe_meter.settings import Settings

    with EmulatorServer(Emulator(deterministic=True, lag=0.0)) as stripe:
        engine = Engine((FREE, BASIC, PRO, PACKS), Settings(emulator=stripe.url, public_url="http://127.0.0.1:9"))
        engine.sales.front.open("Research tools")
        engine.register(a_tool())
        key = engine.thread.call_blocking(_acquaintance, 10.0)
        yield engine, key
        engine.close()
        assert stripe.emulator.violations == []


async def _acquaintance(gateway: Any) -> str:
    made = await gateway.connection.write(lambda client, options: client.v1.customers.create_async({}, options))
    return str(made.id)


@pytest.fixture(scope="module")
def document(seller: tuple[Engine, str]) -> Any:
    """The routes, as their own document describes them."""
    served, numbers = app(seller[0], "/billing"), itertools.count()

    async def from_many(scope: Any, receive: Any, send: Any) -> None:
        number = next(numbers)
        await served({**scope, "client": (f"127.{number >> 8 & 255}.{number & 255}.1", 1234)}, receive, send)

    return schemathesis.openapi.from_asgi("/billing/openapi.json", from_many)


BOUNDED = settings(
    max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
#: Of routes to which a signed link leads: the page that its token has to be for.
PAGES: dict[str, Page] = {
    "/plans": "plans",
    "/checkout": "plans",
    "/links": "plans",
    "/portal": "portal",
    "/setup": "setup",
    "/top-ups": "portal",
    "/signup": "signup",
}


@pytest.mark.parametrize("operation", [pytest.param(one, id=f"{one.method} {one.path}") for one in PUBLIC])
def test_every_answer_is_declared(document: Any, seller: tuple[Engine, str], operation: Operation) -> None:
    """No 5xx, no status, type or shape that the document does not name; as a stranger and by a good link."""
    described = document[operation.path][operation.method]
    engine, customer = seller

    @seed(2026)
    @BOUNDED
    @given(case=described.as_strategy())
    def ask(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)
        page = PAGES.get(operation.path)
        if page is None:
            return
        token = engine.sales.front.token(page, "" if page == "signup" else customer, "again")
        if operation.method == "GET":
            case.query = {**(case.query or {}), "token": token}
        elif isinstance(case.body, dict):
            case.body = {**case.body, "token": token}
        case.call_and_validate(checks=CHECKS)

    ask()


def test_the_document_names_every_route(make_engine: Callable[..., Engine]) -> None:
    """What is served and what is described come from one table, and the document itself is served."""
    from starlette.testclient import TestClient

    served = app(make_engine(), "/billing")
    described = TestClient(served).get("/billing/openapi.json").json()
    assert set(described["paths"]) == {one.path for one in PUBLIC}
    routed = {getattr(route, "path", "") for route in served.routes}
    assert routed == {f"/billing{path}" for path in described["paths"]} | {"/billing/openapi.json"}
    assert described["servers"] == [{"url": f"{PAGES_AT}/billing"}]
