"""The audit log: one line of JSON for each refusal, charge, grant, purchase and key change.

Owns the form of a line in logger `stripe_meter.audit`. Fields are Stripe's ids, our own names and whole amounts; what
looks like a secret or an e-mail address is left out whoever passes it, because logs travel further than anybody
thinks. Charges are logged when Stripe has their meter event, never while a call runs. Nothing is written until
somebody asks for it, by the logger's level or a handler of its own.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Final, Literal, TypeAlias

log = logging.getLogger("stripe_meter.audit")

#: Above every level there is. The MCP SDK lets all that is at INFO through to a server's stderr, and a line for each
#: meter event is for who asks; who has set a level before this module came is left alone.
SILENT: Final = logging.CRITICAL + 10
if log.level == logging.NOTSET:
    log.setLevel(SILENT)

Kind: TypeAlias = Literal["refusal", "charge", "grant", "purchase", "key"]
Field: TypeAlias = str | int | bool | None

#: Stripe's keys and signing secrets, our API keys, client secrets, tokens, addresses: told from names such as
#: `read_secret_notes` by how much of a secret stands there.
_PRIVATE: Final = re.compile(
    r"\b[sr]k_(test|live)_[A-Za-z0-9]{10,}|\bsmk_cus_|\bwhsec_[\w+/=-]{10,}|\beyJ[\w-]+\.|@"
    r"|\b(pi|seti|cs|src|cuss)_(?=\w*\d)\w+_secret_|_secret_[A-Za-z0-9]{16,}"
)
_HIDDEN: Final = "[hidden]"
_LONGEST: Final = 200


def is_wanted() -> bool:
    """Whether anybody reads the lines. A handler of its own asks for them where no level was set."""
    if log.handlers and log.level == SILENT:
        log.setLevel(logging.INFO)
    return log.isEnabledFor(logging.INFO)


def record(kind: Kind, **fields: Field) -> None:
    """Write one line. Fields that are None are left out.

    Args:
        kind: What happened.
        fields: Ids of Stripe's, names of tools and plans, whole amounts in minor units.
    """
    if not is_wanted():
        return
    line: dict[str, Field] = {"kind": kind, "at": _now()}
    line.update({name: _fit(value) for name, value in fields.items() if value is not None})
    log.info("%s", json.dumps(line, ensure_ascii=True))


def _fit(value: Field) -> Field:
    if not isinstance(value, str):
        return value
    return _HIDDEN if _PRIVATE.search(value) else value[:_LONGEST]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
