"""A request and the answer to it, without the library that carries them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_REASONS = {
    400: "invalid",
    403: "forbidden",
    404: "notFound",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    503: "backendError",
}


@dataclass(slots=True)
class Request:
    """What a client asks.

    Attributes
    ----------
    method, path, query
        As sent; the path is not decoded: an object's name may hold an encoded slash.
    headers
        By name, in any case.
    body
        The whole of it.
    host
        Where the client believes to be talking to: uploads in chunks are told to go on there.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    host: str = ""


@dataclass(slots=True)
class Reply:
    """What the server answers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Any, status: int = 200) -> Reply:
        """Return an answer in JSON."""
        kind = {"Content-Type": "application/json; charset=UTF-8"}
        return cls(status, json.dumps(content).encode(), kind)

    @classmethod
    def xml(cls, content: str) -> Reply:
        """Return an answer in XML."""
        text = f'<?xml version="1.0" encoding="UTF-8"?>{content}'
        return cls(200, text.encode(), {"Content-Type": "application/xml; charset=UTF-8"})


class Refusal(Exception):
    """The server does not do what was asked."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def reply(self) -> Reply:
        """Return the refusal as the JSON API words it."""
        if self.status == 304:
            return Reply(304)
        reason = _REASONS.get(self.status, "unknown")
        one = {"domain": "global", "reason": reason, "message": self.message}
        error = {"code": self.status, "message": self.message, "errors": [one]}
        return Reply.of({"error": error}, self.status)
