"""Looks through everything that any test logs for secrets, among them a planted one.

Owns what counts as a secret in a log. Every record of every logger of the process is read when it is made, at debug
level for our own loggers, whether a handler would have shown it or not.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Planted as the Stripe key of every engine of the suite; the emulator wins over it, so it must be seen nowhere.
CANARY: Final = "sk_test_canary7Yb2mQ9xWvT4"
_SECRETS: Final = re.compile(
    r"(?P<canary>canary7Yb2mQ9xWvT4)|(?P<stripe>[sr]k_(test|live)_(?!emulator\b)[A-Za-z0-9]{8,})"
    r"|(?P<caller>smk_cus_[A-Za-z0-9]+_[A-Za-z0-9]{40})|(?P<webhook>whsec_[A-Za-z0-9+/=_-]{8,})"
)


class Scanner:
    """What was found: logger, place and kind, never the secret itself."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.read = 0

    def look(self, record: logging.LogRecord) -> None:
        self.read += 1
        text = _text(record)
        for match in _SECRETS.finditer(text):
            place = f"{record.name} {record.filename}:{record.lineno}"
            self.found.append(f"{place} logged a secret ({match.lastgroup}): {_SECRETS.sub('[secret]', text)[:200]}")


def _text(record: logging.LogRecord) -> str:
    try:
        said = record.getMessage()
    except Exception:  # a message that does not fit its arguments is shown as these
        said = f"{record.msg} {record.args}"
    if record.exc_info and record.exc_info[1] is not None:
        said += "".join(traceback.format_exception(record.exc_info[1]))
    return said


@contextmanager
def scanning() -> Iterator[Scanner]:
    """Read every record that is made until this ends."""
    scanner, make = Scanner(), logging.getLogRecordFactory()

    def factory(*args: object, **kwargs: object) -> logging.LogRecord:
        record: logging.LogRecord = make(*args, **kwargs)
        scanner.look(record)
        return record

    # The audit log is silent until somebody asks for it.
    ours = [logging.getLogger(name) for name in ("stripe_meter", "stripe_meter.audit")]
    before = [logger.level for logger in ours]
    logging.setLogRecordFactory(factory)
    for logger in ours:
        logger.setLevel(logging.DEBUG)
    try:
        yield scanner
    finally:
        for logger, level in zip(ours, before, strict=True):
            logger.setLevel(level)
        logging.setLogRecordFactory(make)
