"""Errors as Stripe words and shapes them.

Owns: one exception class with the fields of Stripe's error object and small makers for the frequent cases.
Does not own: when they are raised. `ParameterError` marks faults found before an endpoint ran: by Stripe's rule
such answers are not kept under the idempotency key.
"""

from collections.abc import Collection, Mapping
from typing import Any

JSON = dict[str, Any]


class ApiError(Exception):
    """An answer other than 200; `body()` is what the client reads."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})
        self._error: JSON = {"message": message, "type": type}
        if code is not None:
            self._error["code"] = code
            self._error["doc_url"] = f"https://docs.stripe.com/error-codes#{code.replace('_', '-')}"
        if param is not None:
            self._error["param"] = param
        self._error.update(more or {})

    def body(self) -> JSON:
        """The response body: one object named `error` (docs.stripe.com/api/errors)."""
        return {"error": self._error}


class ParameterError(ApiError):
    """A 400 found while reading the parameters, before anything ran."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(400, message, code=code, param=param)


def missing(kind: str, id: str, param: str = "id", status: int = 404) -> ApiError:
    """The named object does not exist: 404 for the object in the path, 400 for one named in the body."""
    return ApiError(status, f"No such {kind}: '{id}'", code="resource_missing", param=param)


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400 raised by an endpoint itself."""
    return ApiError(400, message, param=param, code=code)


def not_emulated(what: str) -> ApiError:
    """Something Stripe knows and this emulator does not: said loudly, never ignored."""
    return ApiError(404, f"The emulator does not implement {what}.", code="not_emulated")


def card_error(message: str, code: str, decline_code: str | None = None) -> ApiError:
    """A 402 `card_error`."""
    more = {"decline_code": decline_code} if decline_code else {}
    return ApiError(402, message, type="card_error", code=code, more=more)


def only(fields: Mapping[str, Any], known: Collection[str], path: str) -> None:
    """Refuse a nested parameter that Stripe knows and the emulator would otherwise ignore."""
    for name in fields:
        if name not in known:
            where = f"{path}[{name}]" if path else name
            raise ParameterError(f"The emulator does not implement the parameter {where}.", where, "not_emulated")
