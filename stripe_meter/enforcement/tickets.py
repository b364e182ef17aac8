"""Signed links: what lets a browser act for somebody for an hour, without a session and without a cookie.

Owns the form `page.who.about.ends.signature` and its check. The signing key comes from the seller's Stripe key, so
every process of the seller reads every link and nobody else can make one. A link names one page: what may change a
card may not buy, and the other way round.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

Page = Literal["plans", "portal", "setup", "signup"]

#: Seconds for which a link works at least.
TICKET_FOR: Final = 3600
#: All links of the same ten minutes to the same thing are equal, so that a client is not asked to open each of them.
_ROUNDED_TO: Final = 600
#: In the place of a customer: the one caller of a process that speaks stdio.
LOCAL: Final = "local"

_FORM: Final = re.compile(
    rf"({'|'.join(get_args(Page))})\.(cus_\w{{1,120}}|{LOCAL}|)\.([A-Za-z0-9_-]{{0,400}})\.(\d{{10}})\.([0-9a-f]{{32}})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who may do what.

    Attributes:
        page: Where it counts.
        who: `cus_…`, `local`, or empty for somebody nobody knows.
        about: The billing identity of a tool, or an occasion that happens once; may be empty.
    """

    page: Page
    who: str = ""
    about: str = ""

    @property
    def customer(self) -> str | None:
        return self.who if self.who not in ("", LOCAL) else None


class Tickets:
    """Signs and reads the links of one seller."""

    def __init__(self, stripe_key: str) -> None:
        self._key = hashlib.sha256(b"stripe-meter links\n" + stripe_key.encode()).digest()

    def seal(self, ticket: Ticket, now: float) -> str:
        """The text of a link's `token`; equal for equal tickets within ten minutes."""
        ends = (int(now) // _ROUNDED_TO + 1) * _ROUNDED_TO + TICKET_FOR
        about = base64.urlsafe_b64encode(ticket.about.encode()).decode().rstrip("=")
        text = f"{ticket.page}.{ticket.who}.{about}.{ends}"
        return f"{text}.{self._sign(text)}"

    def read(self, token: str, page: Page, now: float) -> Ticket | None:
        """What a token says, or None unless it is ours, made for this page, and still good."""
        match = _FORM.fullmatch(token)
        if match is None or not hmac.compare_digest(self._sign(token.rpartition(".")[0]), match[5]):
            return None
        if match[1] != page or int(match[4]) <= now:
            return None
        try:
            about = base64.urlsafe_b64decode(match[3] + "=" * (-len(match[3]) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        return Ticket(page, match[2], about)

    def _sign(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), digest_size=16, key=self._key).hexdigest()
