"""The course of a run: shard by shard, what kills workers without it, and the commit."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
from distributed import KilledWorker, futures_of

from daskimg import fetch, store
from daskimg.build._jobs import Jobs
from daskimg.build._report import Report, Tally
from daskimg.build._shards import (
    assemble_rows,
    assemble_samples,
    build_shard,
    fresh,
    mapped,
    read_rows,
    told,
)
from daskimg.build._suspects import convicted, described
from daskimg.errors import AccessError, ManifestError, StoppedError, StoreError
from daskimg.task import REPORT, ROWS
from daskimg.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from distributed import Future

    from daskimg.build._crew import Crew
    from daskimg.build._watch import Channel
    from daskimg.fetch import Folder
    from daskimg.plan import Brief, Plan, ShardRows

_ROUNDS = 3  # of shards that kill their workers: each but the last ends with a look at their rows
_EARLY = 1000  # samples after which a run that mostly fails is stopped


class Course:
    """One run over one store, from its first task to its commit.

    Parameters
    ----------
    plan, brief
        The plan, and what tasks are told of it.
    folder
        The store.
    crew
        The cluster.
    on_tally
        Called with the counts whenever a shard is finished.
    channel
        How tasks tell the scheduler what they do, if it watches.
    """

    def __init__(
        self,
        plan: Plan,
        brief: Brief,
        folder: Folder,
        crew: Crew,
        on_tally: Callable[[Tally], None],
        channel: Channel | None = None,
    ) -> None:
        self._plan = plan
        self._brief = brief
        self._folder = folder
        self._crew = crew
        self._on_tally = on_tally
        self._channel = channel
        self._began = time.perf_counter()
        threads = sum(crew.threads.values())
        self._tally = Tally(plan.samples, timeline=Timeline(threads))

    def run(self, stored: store.StoredPlan, outcome: str) -> Report:
        """Build what is not finished yet, commit, and report."""
        examples: tuple[store.Failure, ...] = ()
        try:
            self._build_shards()
            if self._tally.failed > self._plan.options.max_failed * self._tally.total:
                outcome = "refused"
                examples = store.first_failures(self._folder, self._tally.failed_in)
            else:
                self._commit(stored)
        except (OSError, StoreError, ManifestError, AccessError) as error:  # work has been done
            if isinstance(error, FileNotFoundError) and store.last_commit(self._folder):
                raise StoppedError("another run has finished this store meanwhile") from error
            raise StoppedError(f"{error}; run the same command again to go on") from error
        self._tally.traffic.add(fetch.traffic(reset=True))
        return Report.of(self._plan, outcome, self._tally, examples)

    def _build_shards(self) -> None:
        """Build all shards; those that kill their workers at last, without the row that does."""
        spans = self._plan.shard_rows()
        for round_ in range(_ROUNDS):
            killed = self._build_some(spans)
            if not killed:
                return
            if round_ == _ROUNDS - 1:
                break
            self._brief = convicted(self._crew, self._folder, self._brief, killed)
            spans = killed
        raise StoppedError(
            f"{described(killed[0])} kills its worker, and none of its rows does so alone: the "
            f"workers may lack memory; give them more, or fewer threads, and run the same "
            f"command again to go on"
        )

    def _build_some(self, spans: list[ShardRows]) -> list[ShardRows]:
        """Build shards, and return those that killed their workers."""
        killed = []
        with told(self._crew.client, self._brief, self._channel) as run:
            jobs = Jobs(self._crew, partial(self._submit, run))
            with closing(jobs.results(spans)) as results:
                for span, found in results:
                    if isinstance(found, KilledWorker):
                        killed.append(span)
                    else:
                        self._count(found)
        return killed

    def _count(self, report: Any) -> None:
        self._tally.add(report)
        self._tally.seconds = time.perf_counter() - self._began
        self._on_tally(self._tally)
        self._stop_early()

    def _submit(
        self, run: str, spans: Sequence[ShardRows], workers: list[str]
    ) -> list[Future[Any]]:
        """Hand out one partition a shard; never repartitioned: a shard has one writer."""
        import dask.dataframe as dd  # here: it takes longer than a cluster takes to start

        # Rows are as the store's Parquet has them; Dask is not to turn text into its own.
        with dask.config.set({"dataframe.convert-string": False}):
            rows = dd.from_map(read_rows, spans, run=run, meta=ROWS, label="daskimg-rows")
            reports = rows.map_partitions(
                build_shard,
                run,
                meta=REPORT,
                enforce_metadata=False,
                token=fresh("daskimg-shard"),
            )
            placed = {"workers": workers, "allow_other_workers": True} if workers else {}
            futures = futures_of(self._crew.client.persist(reports, **placed))
            return sorted(futures, key=lambda future: future.key[1])  # by partition

    def _stop_early(self) -> None:
        tally = self._tally
        if tally.done < min(_EARLY, tally.total) or tally.done == tally.total:
            return
        share = tally.failed / tally.done
        if share > max(0.5, self._plan.options.max_failed):
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in tally.reasons.most_common(3))
            raise StoppedError(
                f"{tally.failed:,} of the first {tally.done:,} samples failed ({reasons}); "
                f"check --root and the table, or allow it with --max-failed "
                f"{min(1.0, share + 0.01):.2f}"
            )

    def _commit(self, stored: store.StoredPlan) -> None:
        brief = self._brief
        # Labels are written in place: no reader is to meet new numbers and old names.
        self._folder.remove("zarr.json")
        total = store.Assembled()
        with told(self._crew.client, brief) as run:
            for work, items in (
                (assemble_samples, store.sample_spans(brief)),
                (assemble_rows, list(store.row_files(brief.rows))),
            ):
                jobs = Jobs(self._crew, partial(mapped, self._crew.client, work, run))
                with closing(jobs.results(items)) as results:
                    for item, found in results:
                        if isinstance(found, KilledWorker):
                            raise StoppedError(f"the commit of part {item} kills its worker")
                        assembled, traffic = found
                        total.add(assembled)
                        self._tally.traffic.add(traffic)
        commit = store.commit_store(self._folder, brief, stored, total)
        store.tidy(self._folder, commit)
