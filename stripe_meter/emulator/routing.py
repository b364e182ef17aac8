"""The table of API operations.

Owns: what an operation is, and finding the one for a method and path. Does not own: the handlers, which live with
their resources. A path nobody serves raises the loud 404 that names it.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from stripe_meter.emulator.errors import JSON, ParameterError, not_emulated

Handler = Callable[..., JSON]
PAGING: Final = "limit starting_after ending_before created"


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint: its parameters by the name of the SDK's class, and those of them the emulator acts on."""

    method: str
    path: str
    params: str
    handler: Handler
    resource: str
    takes: str = ""
    opened_by: Literal["key", "session"] = "key"

    @property
    def permission(self) -> str:
        """The restricted-key permission this operation asks for."""
        return f"rak_{self.resource}_{'read' if self.method == 'GET' else 'write'}"

    def check_supported(self, params: JSON) -> None:
        """Refuse a parameter that Stripe knows and the emulator would otherwise ignore."""
        supported = {"expand", *self.takes.split()}
        for name in params:
            if name not in supported:
                message = f"The emulator does not implement the parameter {name} of {self.method} {self.path}."
                raise ParameterError(message, name, "not_emulated")


class Router:
    """Finds operations; fixed paths win over paths with ids."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        table = sorted(operations, key=lambda one: one.path.count("{"))
        self._routes = [(one.method, re.compile(re.sub(r"\{\w+\}", "([^/]+)", one.path)), one) for one in table]

    def find(self, method: str, path: str) -> tuple[Operation, tuple[str, ...]]:
        """The operation and the ids in the path; raises the 404 of an endpoint that is not emulated."""
        for wanted, pattern, operation in self._routes:
            match = pattern.fullmatch(path)
            if match is not None and wanted == method:
                return operation, match.groups()
        raise not_emulated(f"{method} {path}")
