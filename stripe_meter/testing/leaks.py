"""What a secret looks like in text: taking it out of answers, and finding it in requests and in committed files.

Owns the patterns. A secret is named by its beginning (`sk_test_…`) or its field, never shown.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_GONE: Final = "REDACTED"
#: A secret begins a word, or follows an escaped character: `%3Dsk_test_…` in a form, `\nsk_test_…` in JSON.
_EDGE: Final = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2})|(?<=\\[bfnrt]))"
#: Stripe's keys, webhook secrets and ephemeral keys, and the API keys of this library's callers.
_KEY: Final = r"(?:[sr]k_(?:org_)?(?:test|live)_|whsec_|ek_(?:test|live)_|smk_(?:cus_)?+)"
#: `pi_…_secret_…` and its like.
_CLIENTS: Final = r"[a-z]+_[A-Za-z0-9_]+?_secret_"
#: Fields of Stripe's answers that are secret whatever their value looks like; in YAML their quotes may be escaped.
_FIELD: Final = r'\\?"(?:authentication_token|client_secret|secret)\\?":[\s\\]*"'
_REST: Final = r'(?:[^"\\]|\\.)*'

_IN_ANSWER: Final = re.compile(rf"({_EDGE}(?:{_KEY}|{_CLIENTS}))\w+", re.ASCII)
_FIELD_IN_ANSWER: Final = re.compile(rf'({_FIELD}){_REST}(?<!{_GONE})"', re.ASCII)
_SENT: Final = re.compile(rf"{_EDGE}({_KEY})\w", re.ASCII)
_IN_FILE: Final = (
    re.compile(rf"{_EDGE}({_KEY})(?!{_GONE})\w", re.ASCII),
    # A name in which "secret" is one of several words is none.
    re.compile(rf"{_EDGE}[a-z]+_[A-Za-z0-9_]+?(_secret_)(?!{_GONE})[A-Za-z0-9]{{16}}", re.ASCII),
    re.compile(rf'\\?"(authentication_token|client_secret|secret)\\?":[\s\\]*"(?!\w*{_GONE})[^"\\]', re.ASCII),
    re.compile(r"^[\s-]*[\"']?(authorization|cookie|set-cookie)[\"']?:", re.ASCII | re.IGNORECASE | re.MULTILINE),
)


def redacted(answer: bytes) -> bytes:
    """The body of an answer without its secrets; how a secret begins stays, for code that looks at it."""
    text = _IN_ANSWER.sub(rf"\1{_GONE}", answer.decode("latin-1"))
    return _FIELD_IN_ANSWER.sub(rf'\1{_GONE}"', text).encode("latin-1")


def secret_in(sent: str) -> str | None:
    """How the first secret in what is sent begins, such as `sk_test_`; None where there is none."""
    found = _SENT.search(sent)
    return None if found is None else found[1]


def secrets_in(*paths: str | Path) -> list[str]:
    """What is secret in recorded files, for a test that keeps it out of the repository: `assert not secrets_in(…)`.

    Finds API keys and webhook secrets of Stripe, client secrets, ephemeral keys, API keys of your callers, and
    headers that authorize, whichever recorder wrote them.

    Args:
        paths: Files, and folders with all that is below them.

    Returns:
        One sentence each, with file, line and kind, and without the secret.

    Raises:
        FileNotFoundError: There is no file to look at, so nothing would ever be found.
    """
    found = []
    for path in map(Path, paths):
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        if not files:
            raise FileNotFoundError(f"{path} holds no file; name the folder in which your cassettes lie")
        for file in files:
            text = file.read_text(errors="replace")
            hits = {(text.count("\n", 0, hit.start(1)) + 1, hit[1]) for look in _IN_FILE for hit in look.finditer(text)}
            found += [f"{file}:{line} holds a secret: {kind}" for line, kind in sorted(hits)]
    return found
