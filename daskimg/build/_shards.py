"""A shard as workers build it: what the run tells them, and which worker did it.

What a run does is told to each worker once, not to each task: a task is the name of the run
and a few numbers.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin, get_worker
from distributed.protocol.pickle import dumps

from daskimg import fetch, store
from daskimg.build._rest import resting
from daskimg.build._shown import show_task
from daskimg.errors import DaskimgError
from daskimg.task import Limits, Verdict, find_killers, read_shard_rows, run_task, try_some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    from distributed import Client, Future, Worker

    from daskimg.build._watch import Channel
    from daskimg.plan import Brief, ShardRows
    from daskimg.task import Trial

_BRIEFS: dict[str, Brief] = {}
"""What the runs in which this process takes part have told it, by their names."""

_CHANNELS: dict[str, Channel] = {}
"""How they tell the scheduler what they do, those that it watches."""

_ON = "on worker "
_PARTING = 5.0  # seconds that are waited for workers to forget a run


class UnfitWorker(DaskimgError):
    """A task met a worker that is not fit for the run: another one is to take it."""


class _Told(WorkerPlugin):
    """Tells a worker what a run does, before its first task: also one that joins later."""

    def __init__(self, brief: Brief, channel: Channel | None) -> None:
        self.name = brief.call
        self._brief = brief
        self._channel = channel

    def setup(self, worker: Worker) -> None:  # noqa: ARG002  Dask's name
        _BRIEFS[self.name] = self._brief
        if self._channel is not None:
            _CHANNELS[self.name] = self._channel

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002  Dask's name
        _BRIEFS.pop(self.name, None)
        _CHANNELS.pop(self.name, None)


@contextmanager
def told(client: Client, brief: Brief, channel: Channel | None = None) -> Iterator[str]:
    """Have all workers know what a run does while the context lasts; yield the run's name."""
    client.register_plugin(_Told(brief, channel), name=brief.call)
    try:
        yield brief.call
    finally:
        # The scheduler may be gone, or a worker frozen; and the run is over.
        with suppress(Exception):
            client.sync(client._unregister_worker_plugin, brief.call, callback_timeout=_PARTING)


def fresh(name: str) -> str:
    """Return a name for tasks that no earlier run on this cluster can have given its own.

    Equal graphs have equal keys: the scheduler might hand back what a cancelled run left.
    """
    return f"{name}-{uuid.uuid4().hex}"


def read_rows(span: ShardRows, run: str) -> pd.DataFrame:
    """Return the rows of a shard."""
    with _named():
        return read_shard_rows(span, _BRIEFS[run])


def build_shard(rows: pd.DataFrame, run: str) -> pd.DataFrame:
    """Build a shard, and return its report with the worker's name."""
    with _named():
        brief, channel = _BRIEFS[run], _CHANNELS.get(run)
        with resting(brief) as rest:
            report = (
                show_task(rows, brief, channel, rest)
                if channel
                else run_task(rows, brief, rest=rest)
            )
        return report.assign(worker=str(get_worker().name))


def try_given(rows: pd.DataFrame, run: str) -> Trial:
    """Decode some rows until one works, as this worker sees them."""
    with _named():
        return try_some(rows, _BRIEFS[run], thorough=False)


def try_alone(span: ShardRows, run: str) -> list[Verdict]:
    """Find the rows of a shard that kill their worker, in processes beside this one."""
    with _named():
        brief = _BRIEFS[run]
        limits = Limits(memory=get_worker().memory_manager.memory_limit)
        return find_killers(read_shard_rows(span, brief), brief, limits, dumps)


def assemble_samples(
    span: tuple[int, int, int], run: str
) -> tuple[store.Assembled, fetch.Traffic]:
    """Write a chunk of each small array; return what was written, and the traffic since."""
    with _named():
        brief = _BRIEFS[run]
        found = store.assemble_samples(fetch.open_folder(brief.url), brief, span)
        return found, fetch.traffic(reset=True)


def assemble_rows(number: int, run: str) -> tuple[store.Assembled, fetch.Traffic]:
    """Write a file of the rows table; return what was written, and the traffic since."""
    with _named():
        brief = _BRIEFS[run]
        found = store.assemble_rows(fetch.open_folder(brief.url), brief, number)
        return found, fetch.traffic(reset=True)


def mapped(
    client: Client,
    work: Callable[..., Any],
    run: str,
    items: Sequence[Any],
    workers: list[str],
) -> list[Future[Any]]:
    """Hand out work on some items, a task each, to these workers if any are named."""
    placed: Any = {"workers": workers, "allow_other_workers": True} if workers else {}
    return list(client.map(work, items, run=run, pure=False, **placed))


@contextmanager
def _named() -> Iterator[None]:
    """Note on every error which worker met it: the next try is to be another's."""
    try:
        yield
    except Exception as error:
        error.add_note(f"{_ON}{get_worker().address}")
        raise


def worker_of(error: Exception) -> str:
    """Return the address of the worker that met an error; "" if it does not say."""
    notes = getattr(error, "__notes__", [])
    return next((note.removeprefix(_ON) for note in notes if note.startswith(_ON)), "")
