"""Endpoints from which nothing has come for so long that nobody waits for them any more."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from daskimg.fetch._options import when_configured

_MEMORY = 60.0  # seconds after which what was down gets a chance again
_KNOWN = 1024  # endpoints of which the last answer is remembered: a table may name many servers


class Outages:
    """When each endpoint answered last, and which are taken to be down; safe in threads.

    An endpoint is down when a request has used up all its attempts while no other request of
    this process got an answer. One that was told to come back later than it has time for has
    not used them up: then it is down only if nothing was answered for a whole deadline. As
    long as it is, a request has one attempt, and those that are waiting for another give up:
    so a deadline counts for all of them together, and not for each. The first answer ends it.
    A slow request, a connection that stalls, an object that cannot be had are no outage, while
    others are answered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered: OrderedDict[str, float] = OrderedDict()
        self._silent: dict[str, float] = {}  # since when, of those of which a request has failed
        self._down: dict[str, float] = {}

    def answered(self, endpoint: str) -> None:
        """Note an answer that was no fault."""
        with self._lock:
            self._answered[endpoint] = time.monotonic()
            self._answered.move_to_end(endpoint)
            self._silent.pop(endpoint, None)
            self._down.pop(endpoint, None)
            if len(self._answered) > _KNOWN:
                self._answered.popitem(last=False)

    def gave_up(self, endpoint: str, began: float, silence: float = 0.0) -> bool:
        """Note that a request has failed for good; tell whether its endpoint is down.

        Parameters
        ----------
        began
            When it was first sent, on the clock of ``time.monotonic``.
        silence
            Seconds without an answer to any request that make an outage of it.
        """
        with self._lock:
            if self._answered.get(endpoint, -1.0) < began:
                now = time.monotonic()
                since = self._silent.setdefault(endpoint, began)
                if endpoint in self._down or now - since >= silence:
                    self._down[endpoint] = now
            return endpoint in self._down

    def note(self, endpoint: str) -> None:
        """Take an endpoint to be down because others say so."""
        with self._lock:
            self._down[endpoint] = time.monotonic()

    def is_down(self, endpoint: str) -> bool:
        """Tell whether an endpoint is taken to be down."""
        with self._lock:
            return time.monotonic() < self._down.get(endpoint, -_MEMORY) + _MEMORY

    def forget(self) -> None:
        """Know nothing of any endpoint."""
        with self._lock:
            self._answered.clear()
            self._silent.clear()
            self._down.clear()


OUTAGES = Outages()
when_configured(lambda _owner: OUTAGES.forget())


def note_outage(endpoint: str) -> None:
    """Have this process take an endpoint to be down, because others found it so."""
    OUTAGES.note(endpoint)
