"""Requests counted: by method, kind and object; the bytes that went in and out."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcs_server.calls import Call


class Counts:
    """What a server has been asked since it was last told to forget."""

    def __init__(self) -> None:
        self._calls: Counter[Call] = Counter()
        self._faults: Counter[str] = Counter()
        self._received = self._sent = 0
        self._now = self._most = 0

    def arrived(self) -> None:
        """Count a request that is under way."""
        self._now += 1
        self._most = max(self._most, self._now)

    def asked(self, call: Call, received: int) -> int:
        """Count a request that was understood; return how many of its like came before."""
        self._calls[call] += 1
        self._received += received
        return self._calls[call] - 1

    def struck(self, fault: str) -> None:
        """Count a fault."""
        self._faults[fault] += 1

    def left(self, sent: int) -> None:
        """Count a request that is over."""
        self._now -= 1
        self._sent += sent

    def to_json(self) -> dict[str, Any]:
        """Return all counts as plain values."""
        return {
            "calls": [[*call, count] for call, count in sorted(self._calls.items())],
            "faults": dict(self._faults),
            "received": self._received,
            "sent": self._sent,
            "most_in_flight": self._most,
        }

    def forget(self) -> None:
        """Begin again; requests under way still count as such."""
        self._calls.clear()
        self._faults.clear()
        self._received = self._sent = 0
        self._most = self._now
