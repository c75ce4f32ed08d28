"""Whether a worker is fit for a run: the same versions, and in reach of pictures and store.

Other versions may decode other bits, and a store on a disk that only the client has would be
written to as many disks as there are hosts. So nothing is written before all have been asked;
one that joins later is asked before its first task.
"""

from __future__ import annotations

import asyncio
import os
import platform
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from pickle import loads
from typing import TYPE_CHECKING

from distributed import WorkerPlugin
from distributed.protocol.pickle import dumps

from daskimg import fetch, store
from daskimg.build._crew import run_of
from daskimg.decode import decoder_versions
from daskimg.errors import DaskimgError, PlanError
from daskimg.words import megabytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distributed import Worker

    from daskimg.build._crew import Crew
    from daskimg.plan import Plan

FAULTS: dict[str, str] = {}
"""Why this process is not fit for a run, by the names of the runs."""

_CANARY = 30.0  # seconds that a worker has to read a byte of a picture, and to find the store
_LOOKED_AT = 20  # paths of the table, to find one that the client can read
_NAMED = 3  # workers that a refusal names
_ROOM = 0.9  # of a worker's memory; its nanny ends it a little above


@dataclass(frozen=True, slots=True)
class Needs:
    """What a worker must have.

    Attributes
    ----------
    versions
        By name, as the client has them.
    recipe
        Pickled: what it is made of must be importable.
    source
        A picture that the client can read; ``None`` if it knows none.
    store
        The store's address.
    mark
        A file beside the store that the client has just written, if the store is on a disk.
    """

    versions: dict[str, str]
    recipe: bytes
    source: str | None
    store: str
    mark: str | None


def versions() -> dict[str, str]:
    """Return the versions of all that bytes depend on, here."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    found |= {name: version(name) for name in ("daskimg", "numba", "zarr", "numpy")}
    return {**found, **decoder_versions()}


def fault_of(needs: Needs) -> str | None:
    """Return what this process lacks, for a sentence that names the worker; or ``None``."""
    own = versions()
    if own != needs.versions:
        return _other(own, needs.versions)
    try:
        loads(needs.recipe)
    except Exception as error:  # whatever a module raises when it is imported
        return f"cannot load the recipe ({_line(error)}); put its modules where workers import"
    return _unseen_source(needs.source) or _unseen_store(needs)


def _unseen_source(source: str | None) -> str | None:
    if source is None:
        return None
    try:
        fetch.read_part(source, 0, 1)
    except (DaskimgError, OSError) as error:
        return f"cannot read {fetch.shown(source)} ({_line(error)}), and the client can"
    return None


def _unseen_store(needs: Needs) -> str | None:
    if needs.mark is None:
        try:
            fetch.open_folder(needs.store).names()
        except (DaskimgError, OSError) as error:
            return f"cannot reach the store ({_line(error)}), and the client can"
        return None
    mark = Path(needs.mark)
    begun = Path(fetch.local_path(needs.store), store.PLAN)  # the mark is gone by then
    if not mark.exists() and not begun.exists():
        return (
            f"does not see the client's {mark.parent}; write to a bucket, or to a disk that "
            f"all share"
        )
    if not os.access(mark.parent, os.W_OK):
        return f"may not write to {mark.parent}"
    return None


class _Fitness(WorkerPlugin):
    """Asks each worker, also one that joins later, before its first task."""

    def __init__(self, name: str, needs: Needs) -> None:
        self.name = name
        self._needs = needs

    async def setup(self, worker: Worker) -> None:
        try:
            with fetch.acting_for(run_of(self.name)):
                asked = asyncio.to_thread(fault_of, self._needs)
                fault = await asyncio.wait_for(asked, _CANARY)
        except TimeoutError:
            fault = f"has not read a picture and found the store within {_CANARY:g} seconds"
        if fault:
            FAULTS[run_of(self.name)] = f"worker {worker.address} {fault}"

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002  Dask's name
        FAULTS.pop(run_of(self.name), None)


def check_memory(crew: Crew, plan: Plan) -> None:
    """Refuse workers that cannot hold what their threads hold at a time.

    Raises
    ------
    PlanError
        If there is one.
    """
    # A shard that is being written has left its thread to the next one.
    held = (plan.task_bytes or plan.shard_bytes) + plan.shard_bytes
    for address, limit in crew.memory.items():
        threads = crew.threads[address]
        if limit and threads * held > _ROOM * limit:
            raise PlanError(
                f"worker {address} has {megabytes(limit)} of memory for {threads} threads, and a "
                f"task holds {megabytes(held)}; give it {megabytes(threads * held / _ROOM)} by "
                f"--memory-limit or fewer workers, or fewer threads, or lower --shard-samples"
            )


def check_versions(crew: Crew) -> None:
    """Refuse workers without this daskimg, before anything else is sent to them.

    Raises
    ------
    PlanError
        If there are any.
    """
    said = crew.everywhere(versions)
    wanted = versions()
    refuse(
        f"worker {address} {_other(found, wanted)}"
        for address, found in sorted(said.items())
        if found != wanted
    )


@contextmanager
def fit(crew: Crew, plan: Plan) -> Iterator[None]:
    """Ask all workers, and while the context lasts those that join.

    Raises
    ------
    PlanError
        If one is not fit: nothing has been written.
    """
    name = crew.fresh()
    with _mark(plan.url) as mark:
        needs = Needs(versions(), dumps(plan.recipe), _readable(plan), plan.url, mark)
        crew.register(_Fitness(name, needs), name)
        faults = crew.everywhere(FAULTS.get, crew.name)
    try:
        refuse(fault for fault in faults.values() if fault)
        yield
    finally:
        crew.unregister(name)


def refuse(faults: Iterable[str]) -> None:
    """Refuse a cluster with one line, if any of its workers has a fault."""
    found = sorted(faults)
    if found:
        more = len(found) - _NAMED
        raise PlanError("; ".join(found[:_NAMED]) + (f"; and {more} more" if more > 0 else ""))


@contextmanager
def _mark(url: str) -> Iterator[str | None]:
    """Leave a file beside a store on a disk for a moment: workers must see it."""
    if fetch.is_url(url):
        yield None
        return
    place = Path(fetch.local_path(url))
    while not place.is_dir():
        place = place.parent
    mark = place / f".daskimg-{uuid.uuid4().hex}"  # as a file that is being written: never listed
    try:
        mark.touch()
    except OSError as error:
        raise PlanError(f"cannot write to {place}: {error.strerror}") from error
    try:
        yield str(mark)
    finally:
        mark.unlink(missing_ok=True)


def _readable(plan: Plan) -> str | None:
    """Return a picture that this process can read: what it cannot, no worker need."""
    if plan.manifest.bytes_column is not None:
        return None
    for path in plan.facts.sample["path"].tolist()[:_LOOKED_AT]:
        if isinstance(path, str) and path:
            place = fetch.join(plan.root, path)
            with suppress(DaskimgError, OSError):
                fetch.read_part(place, 0, 1)
                return place
    return None


def _other(found: object, wanted: dict[str, str]) -> str:
    if isinstance(found, Exception):
        return f"cannot import this daskimg ({_line(found)}); install it there"
    assert isinstance(found, dict)
    name = next(name for name in wanted if found.get(name) != wanted[name])
    return (
        f"has {name} {found.get(name, 'not at all')}, and the client {wanted[name]}, so that its "
        f"bytes might differ; install the same there"
    )


def _line(error: BaseException) -> str:
    """Return an error as part of a line, without what must not be shown."""
    return fetch.scrubbed(" ".join(f"{type(error).__name__}: {error}".split()))
