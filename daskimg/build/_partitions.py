"""Shards handed out as partitions of a dataframe: one each, since a shard has one writer."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import dask
from distributed import futures_of

from daskimg.build._shards import build_shard, build_tried, read_rows
from daskimg.task import REPORT, ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed import Client, Future

    from daskimg.build._shards import Killers
    from daskimg.build._trial import Tried
    from daskimg.plan import ShardRows


class Partitions:
    """Hands out shards.

    Parameters
    ----------
    client, run
        The client; the name by which workers know what they are told.
    convicted
        The rows that are left out, since they kill their workers.
    tried
        What a worker has read and kept for a trial.
    """

    def __init__(self, client: Client, run: str, convicted: Killers, tried: Tried | None) -> None:
        self._client = client
        self._told = run, convicted
        self._tried = tried

    def submit(
        self, spans: Sequence[ShardRows], placed: dict[str, Any], again: bool
    ) -> list[Future[Any]]:
        """Hand out shards; those whose rows were tried, to whom has them still."""
        futures: dict[ShardRows, Future[Any]] = {}
        others = []
        for span in spans:
            if self._tried and not again and self._tried.any_of(span):
                futures[span] = self._at_home(span, self._tried.future, placed)
            else:
                others.append(span)
        if others:
            futures |= zip(others, self._mapped(others, placed, again), strict=True)
        return [futures[span] for span in spans]

    def _at_home(self, span: ShardRows, trial: Future[Any], placed: dict[str, Any]) -> Future[Any]:
        """Hand out a shard whose rows were tried to where they are kept.

        No restriction to that worker: with one, nobody else may have it when that is lost.
        """
        key = f"daskimg-shard-{uuid.uuid4().hex}"
        return self._client.submit(build_tried, span, *self._told, trial, key=key, **placed)

    def _mapped(
        self, spans: list[ShardRows], placed: dict[str, Any], again: bool
    ) -> list[Future[Any]]:
        """Hand out one partition a shard, and never repartition."""
        import dask.dataframe as dd  # here: it takes longer than a cluster takes to start

        # Rows are as the store's Parquet has them; Dask is not to turn text into its own.
        with dask.config.set({"dataframe.convert-string": False}):
            rows = dd.from_map(read_rows, spans, run=self._told[0], meta=ROWS, label="daskimg")
            reports = rows.map_partitions(
                build_shard,
                *self._told,
                again=again,
                meta=REPORT,
                enforce_metadata=False,
                token=f"shard-{uuid.uuid4().hex}",
            )
            # One task a shard, not two: of their names the dashboard makes daskimg-shard.
            futures = futures_of(self._client.persist(reports.optimize(), **placed))
            return sorted(futures, key=lambda future: future.key[1])  # by partition
