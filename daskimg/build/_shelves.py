"""The commit's work, with what workers have kept of the ledger: from worker to worker.

An entry that its writer still has need not be fetched from a bucket. It passes no scheduler, and
where it is gone with its worker, or there was no room for it, it is read after all.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from daskimg import fetch, store
from daskimg.build._shards import assemble_rows, assemble_samples, hand_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from distributed import Client, Future

    from daskimg.plan import Brief, Plan

Span = tuple[int, int, int]


class Shelves:
    """Hands out the work of a commit.

    Parameters
    ----------
    client
        Of the run.
    plan, brief
        The plan, and what tasks are told of it.
    made_on
        The address of the worker that has the entry of each shard.
    """

    def __init__(self, client: Client, plan: Plan, brief: Brief, made_on: dict[int, str]) -> None:
        self._client = client
        self._brief = brief
        # A disk has no latency, and its entries are in the page cache.
        self._made_on = made_on if fetch.is_url(brief.url) else {}
        self._shards_of_file = _by_file(plan, self._made_on)

    def submit_samples(
        self, spans: Sequence[Span], placed: dict[str, Any], again: bool
    ) -> list[Future[Any]]:
        """Hand out spans of samples, whose small arrays are to be written."""
        return self._submit(assemble_samples, spans, self._shards_of_samples, placed, again)

    def submit_rows(
        self, numbers: Sequence[int], placed: dict[str, Any], again: bool
    ) -> list[Future[Any]]:
        """Hand out files of the rows table, which are to be written."""
        return self._submit(assemble_rows, numbers, self._shards_of_rows, placed, again)

    def _submit(
        self,
        work: Callable[..., Any],
        items: Sequence[Any],
        shards_of: Callable[[Any], Iterable[int]],
        placed: dict[str, Any],
        again: bool,
    ) -> list[Future[Any]]:
        futures = []
        for item in items:
            # The second time the store is asked: who has an entry may be what was waited for.
            held = [] if again else self._handed_over(shards_of(item))
            futures.append(
                self._client.submit(work, item, self._brief.call, held, pure=False, **placed)
            )
        return futures

    def _handed_over(self, shards: Iterable[int]) -> list[Future[dict[int, bytes]]]:
        """Ask each worker for what it has of some shards' entries."""
        by_worker: dict[str, list[int]] = defaultdict(list)
        for shard in shards:
            if shard in self._made_on:
                by_worker[self._made_on[shard]].append(shard)
        return [
            self._client.submit(hand_over, own, self._brief.call, pure=False, **_rather(worker))
            for worker, own in by_worker.items()
        ]

    def _shards_of_samples(self, span: Span) -> range:
        number, start, stop = span
        group = self._brief.groups[number]
        size = group.layout.shard
        return group.shards[start // size : -(-stop // size)]

    def _shards_of_rows(self, number: int) -> list[int]:
        return self._shards_of_file.get(number, [])


def _by_file(plan: Plan, made_on: dict[int, str]) -> dict[int, list[int]]:
    """Return the shards with rows in each file of the rows table, of those in ``made_on``.

    In one pass: there may be a hundred thousand of them, and ten thousand files.
    """
    found: dict[int, list[int]] = defaultdict(list)
    for span in plan.shard_rows() if made_on else ():
        if span.shard in made_on and span.first < span.stop:
            first, last = (row // store.ROWS_PER_FILE for row in (span.first, span.stop - 1))
            for number in range(first, last + 1):
                found[number].append(span.shard)
    return found


def _rather(worker: str) -> dict[str, Any]:
    return {"workers": [worker], "allow_other_workers": True}
