"""A shard as workers build it: what the run tells them, and which worker did it.

What a run does is told to each worker once, not to each task: a task is the name of the run
and a few numbers.
"""

from __future__ import annotations

import time
from collections import ChainMap
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker
from distributed.protocol.pickle import dumps

from daskimg import fetch, store
from daskimg.build._crew import run_of
from daskimg.build._fitness import FAULTS
from daskimg.build._rest import resting
from daskimg.build._shown import show_task
from daskimg.errors import DaskimgError
from daskimg.task import (
    Cores,
    Limits,
    OwnCores,
    SharedCores,
    Verdict,
    find_killers,
    must_retry,
    read_shard_rows,
    run_task,
    try_some,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    from distributed import Client, Future, Worker

    from daskimg.build._crew import Crew
    from daskimg.build._watch import Channel
    from daskimg.plan import Brief, ShardRows
    from daskimg.task import Trial

_BRIEFS: dict[str, Brief] = {}
"""What the runs in which this process takes part have told it, by their names."""

_CHANNELS: dict[str, Channel] = {}
"""How they tell the scheduler what they do, those that it watches."""

_CORES: dict[str, Cores] = {}
"""Those of the machine, where all workers of a run share it, by the run's name; else those of
the workers in this process, by their addresses."""

Killers = tuple[tuple[int, int], ...]
"""(shard, row) of what killed its worker."""

_ON = "on worker "
_AT_ONCE = 8  # entries read at a time: the wait for a bucket is theirs, not the run's


class UnfitWorker(DaskimgError):
    """A task met a worker that is not fit for the run: another one is to take it."""


class _Told(WorkerPlugin):
    """Tells a worker what a run does, before its first task: also one that joins later."""

    def __init__(self, brief: Brief, channel: Channel | None, cores: str | None) -> None:
        self.name = brief.call
        self._brief = brief
        self._channel = channel
        self._cores = cores
        self._looked = time.time()  # the client has just begun the store, or taken it up

    def setup(self, worker: Worker) -> None:  # noqa: ARG002  Dask's name
        _BRIEFS[self.name] = self._brief
        if self._brief.run:
            store.note_claim(self._brief.url, self._brief.run, self._looked)
        if fetch.is_url(self._brief.url):  # a disk's entries are in the page cache
            store.SHELF.open(self.name)
        if self._channel is not None:
            _CHANNELS[self.name] = self._channel
        if self._cores is not None:
            with suppress(OSError):  # another machine's, or another's /tmp: it has its own
                _CORES[self.name] = SharedCores(self._cores)

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002  Dask's name
        _BRIEFS.pop(self.name, None)
        store.forget_claim(self._brief.url, self._brief.run)
        store.SHELF.clear(self.name)
        _CHANNELS.pop(self.name, None)
        _CORES.pop(self.name, None)


@contextmanager
def told(crew: Crew, brief: Brief, channel: Channel | None = None) -> Iterator[str]:
    """Have all workers know what a run does while the context lasts; yield the part's name."""
    with _machine(crew) as cores:
        crew.register(_Told(brief, channel, cores), brief.call)
        try:
            yield brief.call
        finally:
            crew.unregister(brief.call)


@contextmanager
def _machine(crew: Crew) -> Iterator[str | None]:
    """Yield a folder of this machine's cores for as many threads as are there, if it has all."""
    if not crew.local:
        yield None
        return
    with SharedCores.laid_out(sum(crew.threads.values())) as folder:
        yield folder


def read_rows(span: ShardRows, run: str) -> pd.DataFrame:
    """Return the rows of a shard."""
    with _part(run) as brief:
        return read_shard_rows(span, brief)


def build_shard(
    rows: pd.DataFrame, run: str, convicted: Killers, *, again: bool = False
) -> pd.DataFrame:
    """Build a shard without what kills its worker; return its report, with the worker's name.

    ``again`` says that somebody else may have built it by now.
    """
    with _part(run) as told_brief, resting() as rest:
        brief, channel = replace(told_brief, convicted=convicted), _CHANNELS.get(run)
        worker = get_worker()
        cores = _CORES.get(run) or _CORES.setdefault(
            worker.address, OwnCores(worker.state.nthreads)
        )
        if channel:
            report = show_task(rows, brief, channel, rest, cores, again=again)
        else:
            report = run_task(rows, brief, rest=rest, cores=cores, again=again)
        return report.assign(worker=str(worker.name), address=worker.address)


def recall(shards: list[int], run: str) -> tuple[list[store.Entry], fetch.Traffic, str]:
    """Return the entries of shards that are finished and stay so, without their sums.

    Also the traffic since, and the address of this worker: it keeps them for the commit.
    """
    with _part(run) as brief, fetch.threads(_AT_ONCE) as pool:
        read = partial(store.read_content, fetch.open_folder(brief.url))
        kept = []
        for shard, content in zip(shards, pool.map(read, shards), strict=True):
            entry = store.parsed_entry(content, shard)
            if entry and content and not must_retry(entry, brief):
                kept.append(replace(entry, sums={}))
                store.SHELF.keep(run, shard, content)
        return kept, fetch.traffic(reset=True), get_worker().address


def hand_over(shards: list[int], run: str) -> dict[int, bytes]:
    """Return the entries of some shards that this worker has kept: to other workers, not here."""
    return store.SHELF.of(run, shards)


def try_given(rows: pd.DataFrame, run: str) -> Trial:
    """Decode some rows until one works, as this worker sees them."""
    with _part(run) as brief:
        return try_some(rows, brief, thorough=False)


def build_tried(span: ShardRows, run: str, convicted: Killers, trial: Trial) -> pd.DataFrame:  # noqa: ARG001  Dask places it where that is
    """Build a shard whose rows were tried, where what was read for that is kept."""
    return build_shard(read_rows(span, run), run, convicted)


def try_alone(span: ShardRows, run: str, known: Killers) -> list[Verdict]:
    """Find more rows of a shard that kill their worker, in processes beside this one."""
    with _part(run) as brief:
        limits = Limits(memory=get_worker().memory_manager.memory_limit)
        rows = read_shard_rows(span, brief)
        convicted = [row for shard, row in known if shard == span.shard]
        return find_killers(rows[~rows["row"].isin(convicted)], brief, limits, dumps)


def assemble_samples(
    span: tuple[int, int, int], run: str, held: Sequence[dict[int, bytes]]
) -> tuple[store.Assembled, fetch.Traffic]:
    """Write a chunk of each small array; return what was written, and the traffic since."""
    with _part(run) as brief:
        folder, entries = fetch.open_folder(brief.url), dict(ChainMap(*held))
        found = store.assemble_samples(folder, brief, span, entries)
        return found, fetch.traffic(reset=True)


def assemble_rows(
    number: int, run: str, held: Sequence[dict[int, bytes]]
) -> tuple[store.Assembled, fetch.Traffic]:
    """Write a file of the rows table; return what was written, and the traffic since."""
    with _part(run) as brief:
        folder, entries = fetch.open_folder(brief.url), dict(ChainMap(*held))
        found = store.assemble_rows(folder, brief, number, entries)
        return found, fetch.traffic(reset=True)


def mapped(
    client: Client,
    work: Callable[..., Any],
    run: str,
    items: Sequence[Any],
    placed: dict[str, Any],
    again: bool = False,  # noqa: ARG001  such work does the same each time
) -> list[Future[Any]]:
    """Hand out work on some items, a task each, placed as ``Crew.placed`` says."""
    return list(client.map(work, items, run=run, pure=False, **placed))


@contextmanager
def _part(run: str) -> Iterator[Brief]:
    """Yield what a task is told, and act for its run, with that one's credentials and limits.

    On errors it is noted whose they are: the next try is another worker's.
    """
    name = run_of(run)
    try:
        fault = FAULTS.get(name)
        if fault:
            raise UnfitWorker(fault)
        with fetch.acting_for(name):
            yield _BRIEFS[run]
    except Exception as error:
        error.add_note(f"{_ON}{get_worker().address}")
        raise


def worker_of(error: Exception) -> str:
    """Return the address of the worker that met an error; "" if it does not say."""
    notes = getattr(error, "__notes__", [])
    return next((note.removeprefix(_ON) for note in notes if note.startswith(_ON)), "")
