"""Jobs on a cluster: handed out in waves, tried again elsewhere, doubled where they dawdle.

Every job may run twice, also at the same time: it writes equal bytes. So one that is not heard
of is given to another worker without a question, and the first answer counts.
"""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from distributed import KilledWorker

from daskimg.build._shards import UnfitWorker, worker_of
from daskimg.errors import DaskimgError, StoppedError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from distributed import Future

    from daskimg.build._crew import Crew

Item = TypeVar("Item")

_TRIES = 3  # of a job, each on another worker; storage has its own retries below that
_WAVE = 2000  # jobs that the scheduler holds; more would only be its memory
_BOUND_WAVE = 2  # for each thread, where jobs are bound to workers
_TICK = 0.5  # seconds after which the crew is looked at though nothing has come back
_NONE = object()  # no result: a task may have returned None
_DAWDLING = 3  # times the mean job's time


@dataclass(slots=True, eq=False)
class _Job(Generic[Item]):
    item: Item
    tries: int = 0
    futures: set[Future[Any]] = field(default_factory=set)
    bound: frozenset[str] = frozenset()  # the only workers that may do it; none means any
    again: bool = False  # whether it was handed out before


class Jobs(Generic[Item]):
    """Hands jobs out, and yields what comes back.

    Parameters
    ----------
    crew
        The cluster.
    submit
        Hands some items out, placed as ``Crew.placed`` says, and returns a future for each. Last
        it is told whether they may have been done before.
    on_killed
        Takes an item that has killed as many workers as the scheduler allows; by default that
        ends the run.
    """

    def __init__(
        self,
        crew: Crew,
        submit: Callable[[Sequence[Item], dict[str, Any], bool], list[Future[Any]]],
        on_killed: Callable[[Item], object] | None = None,
    ) -> None:
        self._crew = crew
        self._submit = submit
        self._on_killed = on_killed or _stop
        self._jobs: dict[Any, _Job[Item]] = {}
        self._waiting: Iterator[_Job[Item]] = iter(())
        self._all_out = False  # whether nothing waits
        self._turned_away: list[_Job[Item]] = []  # by workers that are not fit
        self._back: SimpleQueue[Future[Any]] = SimpleQueue()
        self._done = 0

    def results(self, items: Iterable[Item]) -> Generator[tuple[Item, Any], None, None]:
        """Yield each item that killed no worker with its result, in the order of arrival.

        Raises
        ------
        StoppedError
            If a job fails on several workers, or nothing can come back any more.
        """
        self._waiting, self._all_out = map(_Job, items), False
        self._began = self._heard = self._last = time.monotonic()
        self._done = 0
        try:
            self._hand_out()
            while self._jobs or self._turned_away or not self._all_out:
                for future, found in self._fetched(list(self._returned())):
                    yield from self._taken(future, found)
                self._crew.look()
                self._free_stranded()
                self._hand_out()
                self._double()
        finally:
            left = [future for job in self._jobs.values() for future in job.futures]
            self._jobs.clear()
            if left:
                with suppress(Exception):  # the scheduler may be what was lost
                    self._crew.client.cancel(left)

    def _hand_out(self) -> None:
        """Keep the scheduler supplied: a new wave when half of the last one is back."""
        wave = self._wave
        if len(self._jobs) > wave // 2 or (self._all_out and not self._turned_away):
            return
        jobs = self._turned_away[:wave]
        del self._turned_away[:wave]
        jobs += islice(self._waiting, wave - len(jobs))
        self._all_out = len(jobs) < wave
        self._begin(jobs)

    @property
    def _wave(self) -> int:
        """The jobs that the scheduler holds; what is bound to workers, it gives them at once."""
        if not self._crew.unfit:
            return _WAVE
        return _BOUND_WAVE * sum(self._crew.threads.values())  # none, while there is no worker

    def _begin(self, jobs: Sequence[_Job[Item]], workers: Sequence[str] = ()) -> None:
        """Hand jobs out, to these workers rather than others where some are given."""
        if not jobs:
            return
        placed = self._crew.placed(workers)
        bound = frozenset() if placed.get("allow_other_workers", True) else placed["workers"]
        again = any(job.again for job in jobs)
        futures = self._submit([job.item for job in jobs], placed, again)
        for job, future in zip(jobs, futures, strict=True):
            job.bound, job.again = frozenset(bound), True
            job.futures.add(future)
            self._jobs[future.key] = job
            future.add_done_callback(self._back.put)

    def _free_stranded(self) -> None:
        """Take back jobs that are bound to workers of which none is left."""
        if not self._crew.unfit:  # as nearly always: then none is bound
            return
        there = self._crew.threads.keys()
        bound = {job for job in self._jobs.values() if job.bound}
        for job in [job for job in bound if job.bound.isdisjoint(there)]:
            for future in list(job.futures):
                self._drop(job, future)
            self._turned_away.append(job)

    def _returned(self) -> Iterator[Future[Any]]:
        """Yield what has come back; wait a little if nothing has."""
        with suppress(Empty):
            yield self._back.get(timeout=_TICK)
            while True:
                yield self._back.get_nowait()

    def _fetched(self, futures: list[Future[Any]]) -> Iterator[tuple[Future[Any], Any]]:
        """Yield futures with their results, got in one go; those that have none, alone."""
        ready = [each for each in futures if each.key in self._jobs and each.status == "finished"]
        found: dict[Any, Any] = {}
        with suppress(Exception):  # what is wrong with which of them, the next look tells
            gather, patience = self._crew.client._gather, self._crew.patience.result
            results = self._crew.client.sync(gather, ready, callback_timeout=patience)
            found = {future.key: result for future, result in zip(ready, results, strict=True)}
        for future in futures:
            yield future, found.get(future.key, _NONE)

    def _taken(self, future: Future[Any], found: Any) -> Iterator[tuple[Item, Any]]:
        job = self._jobs.get(future.key)
        if job is None:  # its twin was faster
            return
        self._heard = self._last = time.monotonic()
        try:
            if found is _NONE:
                found = future.result(timeout=self._crew.patience.result)
        except KilledWorker:
            self._drop(job, future)
            if not job.futures:  # else its twin may do better
                self._on_killed(job.item)
            return
        except CancelledError as error:
            raise StoppedError(
                "the connection to the scheduler is lost; run the same command again to go on"
            ) from error
        except Exception as error:
            self._again(job, future, error)
            return
        self._done += 1
        self._crew.reached()
        for each in list(job.futures):
            self._drop(job, each)
        yield job.item, found

    def _drop(self, job: _Job[Item], future: Future[Any]) -> None:
        job.futures.discard(future)
        del self._jobs[future.key]
        if future.done():
            future.release()
        else:
            future.cancel()

    def _again(self, job: _Job[Item], future: Future[Any], error: Exception) -> None:
        """Try a job on another worker; what no other try gets over is raised."""
        self._drop(job, future)
        failed = worker_of(error)
        if isinstance(error, TransportError) and self._crew.is_cut_off(failed, error.outage):
            raise error
        if job.futures:  # its twin may do better
            return
        if isinstance(error, UnfitWorker):
            self._crew.leave_out(failed, str(error))
            self._turned_away.append(job)
            return
        if _is_final(error):
            raise error
        job.tries += 1
        self._crew.retried += 1
        if job.tries == _TRIES:
            if isinstance(error, DaskimgError):
                raise error
            raise StoppedError(
                f"{_last_line(error)}; run the same command again to go on"
            ) from error
        self._crew.look(at_once=True)  # placed on one that is lost, it would wait for it for ever
        if self._crew.unfit and not self._crew.threads:
            self._turned_away.append(job)
        else:
            self._begin([job], self._crew.others(failed))

    def _double(self) -> None:
        """Give the last jobs to idle workers, too, if nothing has come back for long."""
        if not self._all_out or not self._jobs or not self._is_late():
            return
        self._heard = time.monotonic()
        held = self._crew.ask("processing", workers=None)
        places = {key: address for address, keys in held.items() for key in keys}
        free = {
            address: threads - len(held.get(address, ()))
            for address, threads in self._crew.threads.items()
        }
        for job in [job for job in self._jobs.values() if len(job.futures) == 1]:
            (future,) = job.futures
            own = places.get(future.key)
            idle = [address for address, room in free.items() if room > 0 and address != own]
            # One that nobody has, though there is room, waits for a worker that is lost.
            if idle:
                free[idle[0]] -= 1
                self._crew.doubled += 1
                self._begin([job], idle)

    def _is_late(self) -> bool:
        """Tell whether nothing has come back for much longer than a job takes."""
        silent = time.monotonic() - self._heard
        patience = self._crew.patience.straggler
        if not self._done:
            return silent > _DAWDLING * patience
        mean = (self._last - self._began) * sum(self._crew.threads.values()) / self._done
        return silent > max(patience, _DAWDLING * mean)


def _stop(item: object) -> NoReturn:
    raise StoppedError(
        f"a task ({item}) kills its workers; look at their logs, and run the same command again "
        f"to go on"
    )


def _is_final(error: Exception) -> bool:
    """Tell whether another worker would say the same."""
    if isinstance(error, TransportError):
        return False
    return isinstance(error, DaskimgError | FileNotFoundError)


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
