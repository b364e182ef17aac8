"""The table of our routes: path, method, what may be sent, what is answered, who may ask and how often.

Owns that table and nothing else. `routes` serves from it and `openapi` describes it, so that neither can know a route,
a field or a status of which the other does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from starlette.responses import Response

from stripe_meter.web import buying, health, managing, webhook
from stripe_meter.web.limits import Limit
from stripe_meter.web.reading import Field
from stripe_meter.web.visit import Visit

Handler = Callable[[Visit], Awaitable[Response]]
Media = Literal["page", "json", "metrics", "nothing"]

LOOKING: Final = Limit("looking", 300, 60)
BUYING: Final = Limit("buying", 60, 60)
SIGNING_UP: Final = Limit("signing up", 5, 3600)
PROBING: Final = Limit("probing", 1200, 60)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one route.

    Attributes:
        method: `GET` or `POST`.
        path: Under our prefix.
        handler: What answers once the guards are passed.
        says: One line for the OpenAPI document.
        fields: Of the query for GET, of the body for POST.
        answers: Status and form of what the handler itself answers.
        refusals: Statuses with which it refuses, beside those of every route.
        limit: How often one client may ask; None only where signatures keep strangers out.
        audience: Which list of networks is asked.
        is_raw: The handler reads the body itself.
        schema: Name of the JSON answer in the OpenAPI document.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    says: str
    fields: tuple[Field, ...] = ()
    answers: tuple[tuple[int, Media], ...] = ((200, "page"),)
    refusals: tuple[int, ...] = ()
    limit: Limit | None = LOOKING
    audience: Literal["anybody", "admin", "stripe"] = "anybody"
    is_raw: bool = False
    schema: str = "Url"


_TOKEN: Final = Field("token", r"[!-~]{0,8000}", "the token of a signed link")
_NAME: Final = r"[a-z0-9][a-z0-9_-]{0,29}"
_PLAN: Final = Field("plan", _NAME, "the name of a plan")
_PACK: Final = Field("pack", _NAME, "the name of a credit pack in lower case")
_FLOW: Final = Field(
    "flow", "payment_method_update|subscription_cancel", "payment_method_update or subscription_cancel"
)
_METADATA: Final = Field("metadata", None, "an object of texts")
_LEAVING: Final[tuple[tuple[int, Media], ...]] = ((200, "json"), (303, "nothing"))
_ACTING: Final = (400, 401, 404, 408, 409, 413, 415)


async def _receive(visit: Visit) -> Response:
    return await webhook.receive(visit.engine, visit.request)


PUBLIC: Final = (
    Operation("GET", "/plans", buying.plans, "Choose how to pay.", (_TOKEN,), refusals=(401, 404)),
    Operation(
        "POST",
        "/checkout",
        buying.checkout,
        "Open Checkout for a plan or a pack.",
        (
            _TOKEN,
            Field("choice", rf"{_NAME}(:{_NAME})?", "a plan, or a plan and a pack"),
            _PLAN,
            _PACK,
            _METADATA,
        ),
        _LEAVING,
        _ACTING,
        BUYING,
    ),
    Operation("GET", "/links", buying.links, "Credit packs with a lasting link.", (_TOKEN,), refusals=(401, 404)),
    Operation(
        "POST",
        "/links",
        buying.link,
        "The lasting link of a credit pack.",
        (_TOKEN, Field("pack", _NAME, _PACK.says, required=True)),
        _LEAVING,
        _ACTING,
        BUYING,
    ),
    Operation("GET", "/portal", managing.portal, "Manage card, invoices, plan.", (_TOKEN,), refusals=(401, 404)),
    Operation(
        "POST",
        "/portal",
        managing.open_portal,
        "Open the customer portal.",
        (_TOKEN, _FLOW, Field("return_url", r"[!-~]{1,2000}", "an address to come back to")),
        _LEAVING,
        _ACTING,
        BUYING,
    ),
    Operation("GET", "/setup", managing.setup, "Save a card.", (_TOKEN,), refusals=(401, 404)),
    Operation(
        "POST",
        "/setup",
        managing.open_setup,
        "Open the page that saves a card.",
        (_TOKEN,),
        _LEAVING,
        _ACTING,
        BUYING,
    ),
    Operation("GET", "/top-ups", managing.top_ups, "End automatic top-ups.", (_TOKEN,), refusals=(401, 404)),
    Operation(
        "POST",
        "/top-ups",
        managing.stop_top_ups,
        "Buy nothing by itself any more.",
        (_TOKEN, Field("key", r"[!-~]{1,300}", "an API key")),
        ((200, "json"), (200, "page")),
        _ACTING,
        BUYING,
        schema="Status",
    ),
    Operation("GET", "/signup", buying.signup, "Get a free API key.", refusals=(404,)),
    Operation(
        "POST",
        "/signup",
        buying.sign_up,
        "Make a free API key; it is shown once.",
        (_TOKEN,),
        ((200, "json"), (200, "page")),
        _ACTING,
        SIGNING_UP,
        schema="Key",
    ),
    Operation("GET", "/change", managing.change, "What another plan would cost.", (_TOKEN,), refusals=(404,)),
    Operation("POST", "/change", managing.change, "Change plans.", (_TOKEN, _PLAN), refusals=_ACTING, limit=BUYING),
    Operation(
        "GET",
        "/success",
        managing.success,
        "Back from Checkout.",
        (
            Field("session_id", r"cs_[A-Za-z0-9_]{3,120}", "a Checkout session"),
            Field("claim", r"[A-Za-z0-9_-]{16,64}", "what only the payer knows"),
        ),
        refusals=(404,),
    ),
    Operation("GET", "/cancel", managing.cancel, "Back from Checkout without paying."),
    Operation("GET", "/done", managing.done, "Back from the portal."),
    Operation(
        "POST",
        "/webhook",
        _receive,
        "Events from Stripe.",
        answers=((200, "json"),),
        refusals=(400, 404, 408, 413),
        limit=None,
        audience="stripe",
        is_raw=True,
        schema="Received",
    ),
    Operation("GET", "/healthz", health.healthz, "Alive.", answers=((200, "json"),), limit=PROBING, schema="Status"),
    Operation(
        "GET", "/readyz", health.readyz, "Ready for calls.", answers=((200, "json"),), limit=PROBING, schema="Status"
    ),
    Operation(
        "GET",
        "/metrics",
        health.metrics,
        "Figures for Prometheus.",
        answers=((200, "metrics"),),
        limit=PROBING,
        audience="admin",
    ),
    Operation(
        "GET",
        "/admin/stats",
        health.stats,
        "Figures as JSON.",
        answers=((200, "json"),),
        audience="admin",
        schema="Stats",
    ),
)

#: Path → its methods.
BY_PATH: Final[Mapping[str, tuple[Operation, ...]]] = {
    path: tuple(operation for operation in PUBLIC if operation.path == path)
    for path in dict.fromkeys(operation.path for operation in PUBLIC)
}
