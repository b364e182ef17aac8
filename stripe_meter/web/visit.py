"""One request to one of our routes: what it brings, whom it acts for, and where its browser finds us.

Owns the answer to "who is asking": a signed link, or the caller whom the same verification as for tool calls finds.
Nothing else counts, least of all an id in the body. A form needs a link, for a browser sends credentials by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.requests import Request

from stripe_meter.enforcement.identity.reading import here
from stripe_meter.enforcement.identity.resolving import caller_of_scope
from stripe_meter.enforcement.tickets import LOCAL, Page
from stripe_meter.web.answers import Refused
from stripe_meter.web.reading import JSON, Fields

if TYPE_CHECKING:
    from stripe_meter.domain.identity import Caller
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.enforcement.shopfront import Shop, Shopfront

_LONGEST_URL: Final = 2000


@dataclass(frozen=True, slots=True)
class Actor:
    """For whom a request acts.

    Attributes:
        customer: `cus_…`, or None for somebody nobody knows.
        is_local: The one caller of this process, who is recognised by paying.
        tool: What they wanted to call, where a link says so.
    """

    customer: str | None = None
    is_local: bool = False
    tool: str = ""

    @property
    def who(self) -> str:
        """As links name them."""
        return self.customer or (LOCAL if self.is_local else "")


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that has passed the guards.

    Attributes:
        sent: Its fields, checked: of the query for GET, of the body for POST.
        prefix: Path of our routes below where the app that serves them is mounted.
        is_json: It came with a JSON body, so it is answered with one.
    """

    engine: Engine
    request: Request
    sent: Fields
    prefix: str

    @property
    def is_json(self) -> bool:
        return self.request.headers.get("content-type", "").lower().startswith(JSON)

    @property
    def client(self) -> str:
        """The address at the socket's other end."""
        return self.request.client.host if self.request.client is not None else ""

    @property
    def has_link(self) -> bool:
        """A signed link is all that says who this is, and whoever has seen the link can show it."""
        return "token" in self.sent

    def link(self, page: Page, actor: Actor) -> str:
        """What signs the forms of a page: the link it was opened with, for a new one would make that last for ever."""
        return str(self.sent["token"]) if self.has_link else self.front.token(page, actor.who, actor.tool)

    @property
    def front(self) -> Shopfront:
        return self.engine.sales.front

    async def shop(self) -> Shop:
        """Whose pages these are."""
        return await self.front.shop()

    async def actor(self, page: Page) -> Actor:
        """For whom this acts.

        Args:
            page: Which links count here.

        Raises:
            Refused: The link is not ours or too old, the key is nobody's, or a form has no link.
            StripeMeterError: Stripe could not be asked.
        """
        token = self.sent.get("token")
        if token is not None:
            ticket = self.front.read(token, page)
            if ticket is None:
                raise Refused(404, "link_not_valid", "This link is not valid any more. Call the tool again to get one.")
            return Actor(ticket.customer, ticket.who == LOCAL, ticket.about)
        if self.request.method == "POST" and not self.is_json:
            raise Refused(403, "no_link", "This form belongs to no link. Open the page again and send it there.")
        caller = await caller_of_scope(self.engine, self.request.scope)
        if not _shows_something(caller):
            return Actor()
        customer = await self.engine.sales.identify(caller)
        if customer is None:
            raise Refused(401, "not_known", "These credentials are nobody's here.", _CHALLENGE)
        return Actor(customer)

    async def customer(self, page: Page) -> str:
        """The same where only a known customer can go on."""
        actor = await self.actor(page)
        if actor.customer is None:
            raise Refused(401, "identity_required", "Send your API key, or use the link you were given.", _CHALLENGE)
        return actor.customer

    def pages(self) -> str:
        """Where the browser of this visitor finds our pages; never taken from what the request says.

        Raises:
            Refused: This server does not know its own address.
        """
        if (public := self.engine.settings.public_url) is not None:
            return public + self.engine.routes
        base = here(self.request.scope)
        if base is None:
            raise Refused(503, "no_address", "This server does not know its own address; its author has to set it.")
        return base + self.prefix

    def leads_back(self, url: str) -> bool:
        """Whether a browser may be sent to `url`: to this server, or where the author has said."""
        if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or set(url) & set(' "<>\\^`{|}'):
            return False
        allowed = {origin(one) for one in (self.pages(), *self.engine.settings.return_origins)}
        return origin(url) in allowed and "@" not in urlsplit(url).netloc

    def leaves_for(self) -> str:
        """Origins beside Stripe's to which a form may lead: the stand-in's, and the author's."""
        return " ".join(filter(None, (self.engine.settings.emulator, *self.engine.settings.return_origins)))


_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="billing"'}


def origin(url: str) -> str | None:
    """`scheme://host[:port]` in lower case, or None for what has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, default) else "")


def _shows_something(caller: Caller) -> bool:
    return caller.is_known or caller.is_pending or caller.refused is not None
