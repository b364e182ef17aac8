"""Metadata: Stripe's merge rules and limits.

Owns: how a `metadata` parameter changes what is stored. Does not own: anything else of an update. Breaking a limit
raises `ParameterError` (docs.stripe.com/api/metadata: 50 keys, 40 characters a key, 500 a value, no brackets).
"""

from typing import Any, Final

from stripe_meter.emulator.errors import ParameterError

MAX_KEYS: Final = 50
MAX_KEY: Final = 40
MAX_VALUE: Final = 500


def merged(old: dict[str, str], change: Any) -> dict[str, str]:
    """`old` with `change` merged in: "" as a value drops that key, "" instead of a map drops all."""
    if change is None:
        return dict(old)
    if change == "":
        return {}
    for key, value in change.items():
        if len(key) > MAX_KEY:
            raise ParameterError(f"Metadata keys can have at most {MAX_KEY} characters: {key}", "metadata")
        if len(value) > MAX_VALUE:
            name = f"metadata[{key}]"
            raise ParameterError(f"Metadata values can have at most {MAX_VALUE} characters: {name}", name)
    result = {key: value for key, value in {**old, **change}.items() if value != ""}
    if len(result) > MAX_KEYS:
        raise ParameterError(f"You can have at most {MAX_KEYS} metadata keys.", "metadata")
    return result
