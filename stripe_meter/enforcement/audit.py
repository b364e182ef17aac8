"""The audit log: one line of JSON for each refusal, charge, grant, purchase and key change.

Owns the form of a line in logger `stripe_meter.audit`. Fields are Stripe's ids, our own names and whole amounts; what
looks like a secret or an e-mail address is left out whoever passes it, because logs travel further than anybody
thinks. Charges are logged when Stripe has their meter event, never while a call runs.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Final, Literal, TypeAlias

log = logging.getLogger("stripe_meter.audit")

Kind: TypeAlias = Literal["refusal", "charge", "grant", "purchase", "key"]
Field: TypeAlias = str | int | bool | None

#: Stripe's keys and signing secrets, our API keys, client secrets, tokens, addresses.
_PRIVATE: Final = re.compile(r"\b[sr]k_(test|live)_|\bsmk_|\bwhsec_|_secret_|\beyJ[\w-]+\.|@")
_HIDDEN: Final = "[hidden]"
_LONGEST: Final = 200


def record(kind: Kind, **fields: Field) -> None:
    """Write one line. Fields that are None are left out.

    Args:
        kind: What happened.
        fields: Ids of Stripe's, names of tools and plans, whole amounts in minor units.
    """
    if not log.isEnabledFor(logging.INFO):
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
