"""The requests a second of a run, divided among its workers, and slowed down for all of them.

A worker whose requests are refused with 429 or 503 slows down by itself, at once, and logs it as
an event of Dask's. The client looks at these, and at the number of workers, once a second; if
there is news, all workers are told their part. No thread and no task is needed for it.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from daskimg import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distributed import Client

    Seen = dict[str, Sequence[float]]
    """Requests of the last second and those of them that were refused, by side."""

_HERE = uuid.uuid4().hex
_TICK = 1.0  # seconds
_PATIENCE = 5.0  # seconds that a worker may take to listen


class Pacer:
    """Keeps the workers of a run at the run's pace, which is this process's own.

    Parameters
    ----------
    client
        Of the run.
    run
        Its name: the topic of the events that workers log.
    """

    def __init__(self, client: Client, run: str) -> None:
        self._client = client
        self._run = run
        self._workers = 0
        self._seen: list[Seen] = []

    def begin(self) -> fetch.Part:
        """Begin at the bottom of the ramp; return the part of each worker that there is."""
        fetch.limiter().begin()
        self._workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
        return fetch.limiter().part(max(1, self._workers))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Divide anew when workers come or go, slow down when they are refused."""
        self._client.subscribe_topic(self._run, self._hear)
        loop: Any = self._client.loop
        watch = asyncio.run_coroutine_threadsafe(self._watch(), loop.asyncio_loop)
        try:
            yield
        finally:
            watch.cancel()
            with suppress(Exception):  # the scheduler may be gone
                self._client.unsubscribe_topic(self._run)

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        self._seen.append(event[1]["answers"])  # beside them Dask says which worker it was

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            with suppress(OSError, TimeoutError):  # a lost scheduler is seen elsewhere
                await self._look()

    async def _look(self) -> None:
        scheduler: Any = self._client.scheduler
        about = await scheduler.identity(n_workers=0)
        workers = max(1, about["n_workers"])
        seen, self._seen = self._seen, []
        if seen:
            fetch.limiter().slow(refused_share(seen, workers))
        if seen or workers != self._workers:
            self._workers = workers
            await self._tell(fetch.limiter().part(workers))

    async def _tell(self, part: fetch.Part) -> None:
        told: Any = self._client.run(_follow, home(), self._run, part, on_error="ignore")
        await asyncio.wait_for(told, _PATIENCE)  # one that is frozen is not waited for


def home() -> tuple[str, int]:
    """Return what tells this process from all others, on this machine and elsewhere."""
    return _HERE, os.getpid()


def refused_share(seen: Sequence[Seen], workers: int) -> dict[str, float]:
    """Return the refused part of all workers' requests, by side, as far as some tell of it.

    Those that say nothing were refused nothing, and ask about as much as those that do.

    >>> refused_share([{"read": (100.0, 50.0)}], workers=2)
    {'read': 0.25}
    """
    shares = {}
    for side in sorted({side for each in seen for side in each}):
        told = [each[side] for each in seen if side in each]
        asked = sum(asked for asked, _ in told) / len(told) * max(workers, len(told))
        refused = sum(refused for _, refused in told)
        if refused:
            shares[side] = min(1.0, refused / asked)
    return shares


def _follow(origin: tuple[str, int], run: str, part: fetch.Part) -> None:
    if origin != home():
        with fetch.acting_for(run):
            fetch.limiter().follow(part)
