"""The stand-in for Stripe, embedded in a command.

Owns starting it on a port, the environment of a server that shall talk to it and never to Stripe, and reading objects
from it over HTTP as Stripe's own API shows them. A port that is taken or a log that cannot be written is one sentence.
"""

from __future__ import annotations

import json
import os
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from stripe_meter.errors import ConfigurationError, StripeUnavailable

if TYPE_CHECKING:
    from stripe_meter.emulator import EmulatorServer

#: Where the stand-in serves when nobody else does.
PORT: Final = 4242
#: What to type on the hosted Checkout page.
CARDS: Final = "test card 4242 4242 4242 4242 (4000 0000 0000 0002 is declined)"
_TIMEOUT: Final = 10.0
_LARGEST_PAGE: Final = 1_000_000


@contextmanager
def serving(
    *, port: int | None = None, http_log: Path | None = None, deterministic: bool = False
) -> Iterator[EmulatorServer]:
    """Serve a stand-in on `port`; without one on 4242, or on any free port if that is taken.

    Args:
        port: To be taken or refused.
        http_log: Emptied first, so that it tells about this stand-in alone.
        deterministic: Ids that are counted, such as `cus_demo_1`.

    Raises:
        ConfigurationError: The port is taken, or the log cannot be written.
    """
    from stripe_meter.emulator import Emulator, EmulatorServer

    if http_log is not None:
        http_log = http_log.absolute()
        try:
            http_log.write_text("", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{http_log} cannot be written: {error.strerror}; name another file") from None
    emulator = Emulator(merchant="Demo Seller", deterministic=deterministic, id_prefix="demo", http_log=http_log)
    server = EmulatorServer(emulator, port=PORT if port is None else port)
    try:
        server.start()
    except OSError as error:
        if port is not None:
            raise ConfigurationError(
                f"port {port} cannot be used: {error.strerror}; choose another one with --port"
            ) from None
        server = EmulatorServer(emulator)
        server.start()
    try:
        yield server
    finally:
        server.stop()


def environment(url: str, base: Mapping[str, str]) -> dict[str, str]:
    """`base` for a server that shall use the stand-in at `url`; the Stripe key does not come along."""
    env = {name: value for name, value in base.items() if name != "STRIPE_SECRET_KEY"}
    env["STRIPE_METER_EMULATOR"] = url
    root = str(Path(__file__).parents[2])
    if root != sysconfig.get_path("purelib"):
        # Run from a checkout: the server shall import the same one.
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (root, env.get("PYTHONPATH"))))
    return env


def read(url: str, path: str, **query: object) -> Any:
    """GET `/v1/<path>` of the stand-in at `url`.

    Raises:
        StripeUnavailable: It did not answer with an object.
    """
    from stripe_meter.settings import EMULATOR_KEY

    asked = f"{url}/v1/{path}" + (f"?{urlencode(query)}" if query else "")
    request = Request(asked, headers={"Authorization": f"Bearer {EMULATOR_KEY}"})  # noqa: S310  # our own loopback
    try:
        return json.loads(_open(request))
    except (URLError, OSError, ValueError) as error:
        raise StripeUnavailable(f"the stand-in did not answer GET /v1/{path}: {error}", ambiguous=False) from None


def page(url: str) -> str:
    """The text of a page at `url`, whatever its status."""
    try:
        return _open(Request(url)).decode(errors="replace")  # noqa: S310  # our own loopback
    except HTTPError as error:
        return error.read(_LARGEST_PAGE).decode(errors="replace")
    except (URLError, OSError) as error:
        raise StripeUnavailable(f"{url} did not answer: {error}", ambiguous=False) from None


def _open(request: Request) -> bytes:
    with urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310  # our own loopback
        answer: bytes = response.read(_LARGEST_PAGE)
    return answer
