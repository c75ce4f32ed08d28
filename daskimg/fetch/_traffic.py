"""What this process asked of servers: requests by kind, repetitions by fault, bytes."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from daskimg.fetch._options import when_configured
from daskimg.fetch._owners import OWN, PerOwner
from daskimg.words import counted, megabytes

Kind = Literal[
    "read",  # an object's bytes, or some of them
    "meta",  # what an object or a bucket is: its size, its generation
    "list",  # a page of a listing
    "write",  # an object whole
    "delete",
]
"""Kinds of requests. Google bills lists and writes as class A, reads and metadata as class B."""

_KINDS: tuple[Kind, ...] = get_args(Kind)

_FAULTS = {"throttled": "429", "server": "5xx", "timeout": "time-out", "corrupt": "damaged"}


@dataclass(slots=True)
class Traffic:
    """Requests, and what became of them.

    Attributes
    ----------
    requests
        Sent, by kind; those that were repeated count each time.
    retries
        Repeated, by the kind of fault (``Fault.kind``).
    received, sent
        Bytes of bodies.
    """

    requests: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    received: int = 0
    sent: int = 0

    @property
    def class_a(self) -> int:
        """Requests that Google bills as class A: they change or list something."""
        return self.requests["list"] + self.requests["write"]

    @property
    def class_b(self) -> int:
        """Requests that Google bills as class B: they read."""
        return self.requests["read"] + self.requests["meta"]

    def add(self, other: Traffic) -> None:
        """Take another's counts in."""
        self.requests.update(other.requests)
        self.retries.update(other.retries)
        self.received += other.received
        self.sent += other.sent

    def lines(self, *, classes: bool, planned: tuple[int, int] | None = None) -> list[str]:
        """Return the counts for people, as a part of a summary; nothing if nothing was asked.

        Parameters
        ----------
        classes
            Whether to tell the requests by Google's classes, too.
        planned
            How many of class A and of class B were expected, to stand beside them.

        >>> Traffic(Counter(read=2)).lines(classes=True, planned=(0, 3))[1]
        '    class A 0 (planned 0), class B 2 (planned 3)'
        """
        found = []
        if self.requests:
            kinds = ", ".join(f"{self.requests[kind]:,} {kind}" for kind in _KINDS)
            moved = f"{megabytes(self.received)} received, {megabytes(self.sent)} sent"
            found.append(f"  {counted(self.requests.total(), 'request')}: {kinds}; {moved}")
        if self.requests and classes:
            a, b = ("", "") if planned is None else (f" (planned {count:,})" for count in planned)
            found.append(f"    class A {self.class_a:,}{a}, class B {self.class_b:,}{b}")
        if self.retries:
            faults = self.retries.most_common()
            told = ", ".join(f"{count:,} {_FAULTS.get(kind, kind)}" for kind, count in faults)
            found.append(f"  retried: {told}")
        return found

    def summary(self) -> dict[str, Any]:
        """Return the counts as a summary's plain data: of all kinds, and with units in names."""
        return {
            "requests": {kind: self.requests[kind] for kind in _KINDS},
            "retries": dict(self.retries.most_common()),
            "received_bytes": self.received,
            "sent_bytes": self.sent,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain data, without what is nought.

        >>> Traffic(Counter(read=2), received=7).to_json()
        {'requests': {'read': 2}, 'received': 7}
        """
        plain = {
            "requests": dict(self.requests),
            "retries": dict(self.retries),
            "received": self.received,
            "sent": self.sent,
        }
        return {name: value for name, value in plain.items() if value}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Traffic:
        """Return what ``to_json`` wrote."""
        counts = {name: Counter(given.get(name, {})) for name in ("requests", "retries")}
        return cls(**counts, received=given.get("received", 0), sent=given.get("sent", 0))


class Meter:
    """The traffic of this process for somebody; safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traffic = Traffic()

    def asked(self, kind: Kind) -> None:
        """Count a request that is sent."""
        with self._lock:
            self._traffic.requests[kind] += 1

    def repeated(self, fault: str) -> None:
        """Count a fault after which it is sent again."""
        with self._lock:
            self._traffic.retries[fault] += 1

    def moved(self, *, received: int = 0, sent: int = 0) -> None:
        """Count bytes of bodies."""
        with self._lock:
            self._traffic.received += received
            self._traffic.sent += sent

    def read(self, *, reset: bool) -> Traffic:
        """Return the counts since the last reset."""
        with self._lock:
            found, fresh = self._traffic, Traffic()
            if reset:
                self._traffic = fresh
                return found
            fresh.add(found)
            return fresh


_METERS = PerOwner(Meter)
when_configured(lambda name: _METERS.drop(name) if name != OWN else None)


def meter() -> Meter:
    """Return the traffic of whom this thread acts for."""
    return _METERS.mine()


def traffic(*, reset: bool = False) -> Traffic:
    """Return what this process asked of servers since the last reset, for whom it acts now.

    Reading and resetting are one step: tasks in threads that each report what they took add
    up to what happened. A run does so, in its client and in its workers.
    """
    return meter().read(reset=reset)
