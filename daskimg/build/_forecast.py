"""A dry run: what a run would do, and what a trial of some rows says of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from daskimg.build._trial import check_trial
from daskimg.fetch import is_url
from daskimg.words import megabytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.build._cluster import ClusterOptions
    from daskimg.build._standing import Deletion, Standing, Step
    from daskimg.plan import Plan
    from daskimg.task import Trial


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would do; nothing has been written.

    Attributes
    ----------
    plan, step
        The plan, and what would be done at its address.
    deletion
        What would be deleted first, if a store is overwritten.
    trial
        What came of some rows.
    free_bytes
        Free space at the address, or ``None`` if there is no such limit.
    workers, threads
        Of the local cluster.
    scheduled
        Whether somebody else's scheduler would be used instead.
    """

    plan: Plan
    step: Step
    deletion: Deletion | None
    trial: Trial
    free_bytes: int | None
    workers: int
    threads: int
    scheduled: bool

    @property
    def source_bytes(self) -> int:
        """Bytes that would be read, about: those of the trial for all rows."""
        worked = max(1, self.trial.tried - self.trial.failed)
        return round(self.trial.source_bytes / worked * self.plan.facts.rows)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the forecast as a table of two columns, for people."""
        trial, rows, free = self.trial, self.plan.facts.rows, self.free_bytes
        failed = f"{trial.failed} failed {trial.reasons or ''}".rstrip()
        yield from self.plan.lines()
        yield "would", "begin a new store" if self.step == "begin" else self.step
        if self.deletion:
            yield "delete first", str(self.deletion)
        yield "tried", f"{trial.tried} rows, {failed}"
        yield "bytes read", f"about {megabytes(self.source_bytes)}"
        yield "free space", "unknown" if free is None else megabytes(free)
        yield "requests", f"about {rows:,} reads, {self.plan.objects:,} writes"
        # On its way to a bucket, a shard leaves its thread to the next one.
        shards = self.threads * (2 if is_url(self.plan.url) else 1)
        yield "memory", f"{shards} x {megabytes(self.plan.shard_bytes)} of shards a worker"
        yield (
            "workers",
            "theirs" if self.scheduled else f"{self.workers} of {self.threads} threads",
        )

    def to_json(self) -> dict[str, Any]:
        """Return the forecast as plain data: the plan's, and its own."""
        return {
            **self.plan.to_json(),
            "outcome": "planned",
            "would": self.step,
            "deletes": asdict(self.deletion) if self.deletion else None,
            "tried": self.trial.tried,
            "tried_failed": self.trial.failed,
            "tried_reasons": dict(self.trial.reasons),
            "source_bytes": self.source_bytes,
            "free_bytes": self.free_bytes,
            "reads": self.plan.facts.rows,
            "workers": None if self.scheduled else self.workers,
            "threads": None if self.scheduled else self.threads,
        }


def forecast(plan: Plan, standing: Standing, cluster: ClusterOptions) -> Forecast:
    """Try some rows, and return what a run would do.

    Raises
    ------
    StoreError
        If the store at the address is of other pixels.
    PlanError
        If no row works.
    """
    step = standing.step(plan)
    workers, threads = cluster.shape()
    return Forecast(
        plan=plan,
        step=step,
        deletion=standing.deletion(),
        trial=check_trial(plan),
        free_bytes=standing.folder.free_bytes(),
        workers=workers,
        threads=threads,
        scheduled=cluster.scheduler is not None,
    )
