"""Who a caller is, once somebody had to be asked: the author's `identify=`, or the issuer of a JWT.

Owns when each is asked and what their failures mean: a caller who cannot be judged is refused, never served as somebody
else. `identify` runs in the loop of the server, for it is the author's code; tokens are verified in the Stripe thread.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from stripe_meter.domain.identity import Caller, Principal
from stripe_meter.enforcement.identity.reading import from_headers, from_scope
from stripe_meter.errors import IdentityUnavailable

if TYPE_CHECKING:
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.enforcement.identity.tokens import Tokens
    from stripe_meter.settings import Settings

log = logging.getLogger("stripe_meter")

#: From the headers of a request, by their names in lower case, to who sent it; None leaves it to keys and tokens.
Identify: TypeAlias = Callable[[Mapping[str, str]], Awaitable[Principal | None] | Principal | None]


class Identity:
    """Who callers are, for one seller.

    Args:
        settings: Read when the first token is seen.
        identify: The author's own, or None.
        monotonic: Seconds.
    """

    def __init__(
        self, settings: Callable[[], Settings], identify: Identify | None, monotonic: Callable[[], float]
    ) -> None:
        self._settings, self._monotonic = settings, monotonic
        self.identify = identify
        #: True when our pages are served beside the tools, below whatever path the server is mounted at.
        self.has_pages = False
        self._has_told = False
        #: Callers by what they showed.
        self.seen: OrderedDict[tuple[object, ...], Caller] = OrderedDict()

    @cached_property
    def tokens(self) -> Tokens | None:
        """Verifies JWTs; None where the seller trusts no issuer of such. Raises `ConfigurationError`."""
        trust = self._settings().trust
        if trust is None:
            return None
        from stripe_meter.enforcement.identity import keyring
        from stripe_meter.enforcement.identity.tokens import Tokens
        from stripe_meter.gateway.jwks import fetch

        if trust.jwks_url is not None:
            return Tokens(trust, keyring.KeySet(trust.jwks_url, fetch, self._monotonic), self._monotonic)
        assert trust.secret is not None
        return Tokens(trust, keyring.SharedSecret(trust.secret), self._monotonic)

    def found_at(self, mount: str) -> None:
        """Say once in the log when the server is mounted at a path that the author's address does not name."""
        public = self._settings().public_url
        if public is None or public.endswith(mount) or self._has_told:
            return
        self._has_told = True
        log.warning(
            "this server is mounted at %s, but its links lead below %s; unless a proxy leads them here, set "
            "STRIPE_METER_PUBLIC_URL=%s",
            *(mount, public, public + mount),
        )

    async def proved(self, caller: Caller) -> Caller:
        """The caller with their JWT verified, or with why it was refused; in the Stripe thread.

        Raises:
            IdentityUnavailable: Its issuer's keys cannot be read.
        """
        if caller.token is None:
            return caller
        from stripe_meter.enforcement.identity.tokens import TokenRefused

        assert self.tokens is not None
        try:
            return caller.proved(await self.tokens.verify(caller.token))
        except TokenRefused as error:
            return replace(caller, credential=b"a" + caller.client.encode(), token=None, refused=str(error))

    async def asked(self, caller: Caller) -> Caller:
        """The caller as the author's `identify` sees them.

        Raises:
            IdentityUnavailable: It raised, returned something else, or took too long.
        """
        if caller.headers is None or self.identify is None:
            return caller
        try:
            answer = self.identify(caller.headers)
            if inspect.isawaitable(answer):
                async with asyncio.timeout(self._settings().timeout):
                    answer = await answer
        except TimeoutError:
            raise IdentityUnavailable("identify= gave no answer in time") from None
        except Exception as error:
            raise _failed(error) from None
        return self._answered(caller, answer)

    def asked_blocking(self, caller: Caller) -> Caller:
        """The same in a thread without a loop, such as that of a `def` tool."""
        if caller.headers is None or self.identify is None:
            return caller
        import anyio.from_thread

        try:
            return anyio.from_thread.run(self.asked, caller)
        except RuntimeError:  # not a worker thread of anyio; what `identify` itself raises is another error by now
            try:
                answer = self.identify(caller.headers)
            except Exception as error:
                raise _failed(error) from None
        if inspect.iscoroutine(answer):
            answer.close()
            raise IdentityUnavailable("identify= cannot be awaited where this tool runs; write it as def")
        return self._answered(caller, answer)

    def _answered(self, caller: Caller, answer: Any) -> Caller:
        if answer is None:
            assert caller.otherwise is not None
            return caller.otherwise
        if not isinstance(answer, Principal) or not answer.is_sound:
            raise IdentityUnavailable("identify= returned no usable Principal(issuer, subject), and not None either")
        return caller.proved(answer)


def _failed(error: Exception) -> IdentityUnavailable:
    # Its message may hold what the caller sent, so only its kind and place are told.
    place = traceback.extract_tb(error.__traceback__)[-1]
    return IdentityUnavailable(f"identify= raised {type(error).__name__} at {place.filename}:{place.lineno}")


async def caller_of_request(engine: Engine, scope_headers: Mapping[bytes, bytes], client: str) -> Caller:
    """Who sent a request to one of our pages, found out in the same way as for tool calls.

    Args:
        engine: Of the seller.
        scope_headers: By their names in lower case, as in ASGI's scope.
        client: The address it came from.

    Raises:
        IdentityUnavailable: `identify=` failed.
    """
    return await engine.identity.asked(from_headers(scope_headers, engine.identity, None, client))


async def caller_of_scope(engine: Engine, scope: Mapping[str, Any]) -> Caller:
    """The same from the whole ASGI scope, where a token that the framework has verified counts as well.

    Raises:
        IdentityUnavailable: `identify=` failed.
    """
    return await engine.identity.asked(from_scope(scope, engine.identity))
