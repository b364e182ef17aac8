"""Requests to an emulator without HTTP around them."""

from __future__ import annotations

from typing import Any

from stripe_meter.emulator import Emulator
from stripe_meter.emulator.api import Call, Reply
from tests.emulator.conftest import KEY
from tests.emulator.properties import wire


class Desk:
    """One emulated account with a clock that stands still; `moment` is where it stands, in epoch seconds."""

    def __init__(self, moment: int | None = None, **switches: Any) -> None:
        self.emulator = Emulator(deterministic=True, **switches)
        self.emulator.clock.freeze()
        if moment is not None:
            self.emulator.clock.advance(moment - self.emulator.clock.now())

    @property
    def now(self) -> int:
        """Whole seconds of the emulator's clock."""
        return int(self.emulator.clock.now())

    def serve(self, method: str, path: str, text: str = "", token: str = KEY) -> Reply:
        """One request; the text is the body of a POST, else the query."""
        query, body = ("", text) if method == "POST" else (text, "")
        return self.emulator.api.serve(Call(method, path, query, body, {"authorization": f"Bearer {token}"}))

    def ask(self, method: str, path: str, params: dict[str, Any] | None = None) -> Reply:
        """One request with parameters."""
        text = wire.as_json(params or {}) if path.startswith("/v2/") else wire.encode(params or {})
        return self.serve(method, path, text)

    def must(self, method: str, path: str, params: dict[str, Any] | None = None) -> Any:
        """One request that has to succeed."""
        reply = self.ask(method, path, params)
        assert reply.status == 200, (method, path, params, reply.body)
        return reply.body

    def rows(self, path: str, params: dict[str, Any] | None = None) -> list[Any]:
        """All rows of a list, newest first, page by page."""
        rows: list[Any] = []
        while True:
            after = {"starting_after": rows[-1]["id"]} if rows else {}
            page = self.must("GET", path, {"limit": 100, **(params or {}), **after})
            rows += page["data"]
            if not page["has_more"]:
                return rows
