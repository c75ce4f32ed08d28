"""Shards that were finished before: a listing tells, and one task looks at many entries."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from distributed import KilledWorker

from daskimg import store
from daskimg.build._jobs import Jobs
from daskimg.build._shards import mapped, recall, told
from daskimg.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.build._crew import Crew
    from daskimg.fetch import Folder
    from daskimg.plan import Brief

_MANY = 256  # entries that a task reads


def finished(crew: Crew, folder: Folder, brief: Brief) -> Iterator[store.Entry]:
    """Yield the entries of shards that need no task: read whole, and their objects are there.

    Parameters
    ----------
    crew, folder
        The cluster; the store, which is listed once.
    brief
        What the run does.
    """
    sizes = folder.sizes()
    shards = store.listed_shards(sizes)
    if not shards:
        return
    batches = [shards[first : first + _MANY] for first in range(0, len(shards), _MANY)]
    with told(crew, brief) as run:
        jobs = Jobs(crew, partial(mapped, crew.client, recall, run))
        with closing(jobs.results(batches)) as results:
            for batch, found in results:
                if isinstance(found, KilledWorker):
                    raise StoppedError(
                        f"reading the ledger's entries {batch[0]} to {batch[-1]} kills workers"
                    )
                yield from (entry for entry in found if _is_there(entry, sizes))


def _is_there(entry: store.Entry, sizes: dict[str, int]) -> bool:
    return all(sizes.get(name) == size for name, (size, _) in entry.objects.items())
