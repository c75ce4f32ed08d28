"""The course of a run: shard by shard, what kills workers without it, and the commit."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from daskimg import fetch, store
from daskimg.build._jobs import Jobs
from daskimg.build._partitions import Partitions
from daskimg.build._report import Report, Tally
from daskimg.build._resume import finished
from daskimg.build._shards import told
from daskimg.build._shelves import Shelves
from daskimg.build._suspects import convict, described
from daskimg.errors import AccessError, ManifestError, StoppedError, StoreError
from daskimg.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from distributed import Future

    from daskimg.build._crew import Crew
    from daskimg.build._trial import Tried
    from daskimg.build._watch import Channel
    from daskimg.fetch import Folder
    from daskimg.plan import Brief, Plan, ShardRows

    Submit = Callable[[Sequence[Any], dict[str, Any], bool], list[Future[Any]]]

_ROUNDS = 3  # of shards that kill their workers: each but the last ends with a look at their rows
_KNOWN = 100_000  # shards whose entries workers are asked for; those of others are read
_EARLY = 1000  # samples after which a run that mostly fails is stopped

_FINISHED = "another run has finished this store meanwhile"


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
    resuming
        Whether shards may be finished already.
    tried
        What a worker has read and kept for a trial.
    """

    def __init__(
        self,
        plan: Plan,
        brief: Brief,
        folder: Folder,
        crew: Crew,
        on_tally: Callable[[Tally], None],
        channel: Channel | None = None,
        *,
        resuming: bool = False,
        tried: Tried | None = None,
    ) -> None:
        self._plan = plan
        self._brief = brief
        self._folder = folder
        self._crew = crew
        self._on_tally = on_tally
        self._fresh = not resuming
        self._channel = channel
        self._tried = tried
        self._made_on: dict[int, str] = {}
        self._began = time.perf_counter()
        threads = sum(crew.threads.values())
        self._tally = Tally(plan.samples, timeline=Timeline(threads))

    def run(
        self, stored: store.StoredPlan, outcome: str, before: store.Commit | None = None
    ) -> Report:
        """Build what is not finished yet, commit after ``before``, and report."""
        try:
            with told(self._crew, self._brief, self._channel) as run:
                self._build_shards(run)
                if self._tally.failed > self._plan.options.max_failed * self._tally.total:
                    examples = store.first_failures(self._folder, self._tally.failed_in)
                    return self._report("refused", examples)
                self._commit(stored, before)
        except (OSError, StoreError, ManifestError, AccessError) as error:  # work has been done
            if isinstance(error, FileNotFoundError) and store.last_commit(self._folder):
                raise StoppedError(_FINISHED) from error
            raise StoppedError(f"{error}; run the same command again to go on") from error
        return self._report(outcome)

    def _report(self, outcome: str, examples: tuple[store.Failure, ...] = ()) -> Report:
        self._tally.traffic.add(fetch.traffic(reset=True))
        return Report.of(self._plan, outcome, self._tally, examples)

    def _build_shards(self, run: str) -> None:
        """Build all shards; those that kill their workers at last, without the row that does."""
        spans: Iterable[ShardRows] = self._unfinished(run)
        for round_ in range(_ROUNDS):
            spans = killers = self._build_some(run, spans)
            if not killers:
                return
            if round_ < _ROUNDS - 1:
                convict(self._crew, self._folder, run, killers)
        raise StoppedError(
            f"{described(killers[0])} kills its worker, and none of its rows does so alone: the "
            f"workers may lack memory; give them more, or fewer threads, and run the same "
            f"command again to go on"
        )

    def _unfinished(self, run: str) -> Iterator[ShardRows]:
        """Return the shards that need a task, one by one; the others are counted before."""
        if self._fresh:
            return self._plan.shard_rows()
        known = bytearray(self._plan.shards)  # a byte a shard, of which there may be millions
        for entries, traffic, worker in finished(self._crew, self._folder, run):
            for entry in entries:
                known[entry.shard] = True
                self._note(entry.shard, worker)
                self._tally.resume(entry)
            self._tally.traffic.add(traffic)
            self._on_tally(self._tally)
            if self._channel is not None:
                self._channel.resumed(self._crew.client, entries)
        return (span for span in self._plan.shard_rows() if not known[span.shard])

    def _build_some(self, run: str, spans: Iterable[ShardRows]) -> list[ShardRows]:
        """Build shards without what is known to kill, and return those that killed workers."""
        killed: list[ShardRows] = []
        convicted = () if self._fresh else store.read_verdicts(self._folder)
        self._fresh = False
        submit = Partitions(self._crew.client, run, convicted, self._tried).submit
        with closing(Jobs(self._crew, submit, killed.append).results(spans)) as results:
            for _, report in results:
                self._count(report)
        return killed

    def _count(self, report: Any) -> None:
        self._tally.add(report)
        line = report.iloc[0]
        self._note(int(line["shard"]), line["address"])
        self._tally.seconds = time.perf_counter() - self._began
        self._on_tally(self._tally)
        self._stop_early()

    def _note(self, shard: int, worker: str) -> None:
        """Note who has the entry of a shard: of the first ones only, there may be millions."""
        if len(self._made_on) < _KNOWN:
            self._made_on[shard] = worker

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

    def _commit(self, stored: store.StoredPlan, before: store.Commit | None) -> None:
        brief = self._brief
        self._refuse_finished(before)
        # Labels are written in place: no reader is to meet new numbers and old names.
        self._folder.remove("zarr.json")
        total = store.Assembled()
        shelves = Shelves(self._crew.client, self._plan, brief, self._made_on)
        works: tuple[tuple[Submit, Sequence[Any]], ...] = (
            (shelves.submit_samples, store.sample_spans(brief)),
            (shelves.submit_rows, store.row_files(brief.rows)),
        )
        for submit, items in works:
            jobs: Jobs[Any] = Jobs(self._crew, submit)
            with closing(jobs.results(items)) as results:
                for _, (assembled, traffic) in results:
                    total.add(assembled)
                    self._tally.traffic.add(traffic)
        self._refuse_finished(before)
        commit = store.commit_store(self._folder, brief, stored, total)
        store.tidy(self._folder, commit)

    def _refuse_finished(self, before: store.Commit | None) -> None:
        """Leave a store alone that is not as this run found it: readers may have it open."""
        if store.last_commit(self._folder) != before:
            raise StoppedError(_FINISHED)
        store.refuse_other_run(self._folder, self._brief.run)
