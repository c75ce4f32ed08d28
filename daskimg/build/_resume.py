"""Shards that were finished before: a listing tells, and one task looks at many entries."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from daskimg import store
from daskimg.build._jobs import Jobs
from daskimg.build._shards import mapped, recall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.build._crew import Crew
    from daskimg.fetch import Folder, Listed, Traffic

_MANY = 256  # entries that a task reads


def finished(
    crew: Crew, folder: Folder, run: str
) -> Iterator[tuple[list[store.Entry], Traffic, str]]:
    """Yield entries of shards that need no task: read whole, and their objects are there.

    With them come the traffic that it took, and the worker that has kept them.

    Parameters
    ----------
    crew, folder
        The cluster; the store, which is listed once.
    run
        The part of the run that has told workers what it does.
    """
    listed = folder.listed()
    shards = store.listed_shards(listed)
    batches = [shards[first : first + _MANY] for first in range(0, len(shards), _MANY)]
    jobs = Jobs(crew, partial(mapped, crew.client, recall, run))
    with closing(jobs.results(batches)) as results:
        for _, (found, traffic, worker) in results:
            yield [entry for entry in found if _is_there(entry, listed)], traffic, worker


def _is_there(entry: store.Entry, listed: dict[str, Listed]) -> bool:
    return all(
        name in listed and store.is_as_written(listed[name], size, entry.crc32c.get(name))
        for name, (size, _) in entry.objects.items()
    )
