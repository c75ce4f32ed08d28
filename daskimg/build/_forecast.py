"""A dry run: what a run would do, and what a trial of some rows says of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from daskimg import fetch
from daskimg.build._trial import check_trial
from daskimg.plan import cost_of
from daskimg.words import counted, megabytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.build._cluster import ClusterOptions
    from daskimg.build._standing import Deletion, Standing, Step
    from daskimg.fetch import Bucket
    from daskimg.plan import Cost, Plan, Prices
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
    buckets, zone
        The buckets of sources and store, and the zone of this machine, if it is Google's.
    prices
        What requests and bytes cost, if that was given.
    """

    plan: Plan
    step: Step
    deletion: Deletion | None
    trial: Trial
    free_bytes: int | None
    workers: int
    threads: int
    scheduled: bool
    buckets: tuple[Bucket, ...] = ()
    zone: str | None = None
    prices: Prices | None = None

    @property
    def source_bytes(self) -> int:
        """Bytes that would be read, about: those of the trial for all rows, on average."""
        worked = max(1, self.trial.tried - self.trial.failed)
        return round(self.trial.source_bytes / worked * self.plan.facts.rows)

    @property
    def cost(self) -> Cost:
        """What would be asked of storages."""
        return cost_of(self.plan, self.source_bytes)

    def _far(self) -> Iterator[str]:
        for bucket in self.buckets:
            if bucket.is_far_from(self.zone) and not self.scheduled:
                yield (
                    f"this machine is in {self.zone} and bucket {bucket.name} in "
                    f"{bucket.location}: bytes between regions are slow, and charged for"
                )

    def _notes(self) -> Iterator[str]:
        trial, most = self.trial, self.plan.options.max_failed
        if trial.failed > most * trial.tried:
            others = "" if trial.tried >= self.plan.facts.rows else ", if the others are like them"
            yield (
                f"{trial.failed:,} of {trial.tried:,} rows tried failed, more than --max-failed "
                f"{most:g}: a run would not be committed{others}"
            )
        yield from self._far()

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the forecast as a table of two columns, for people."""
        trial, free = self.trial, self.free_bytes
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in trial.reasons.items())
        failed = f"{trial.failed:,} failed" + (f": {reasons}" if reasons else "")
        yield from self.plan.lines()
        yield "would", "begin a new store" if self.step == "begin" else self.step
        if self.deletion:
            yield "delete first", str(self.deletion)
        yield "tried", f"{counted(trial.tried, 'row')}, {failed}"
        yield from self.cost.lines(self.prices)
        for bucket in self.buckets:
            yield "bucket", str(bucket)
        for note in self._notes():
            yield "note", note
        yield "free space", "unknown" if free is None else megabytes(free)
        # On its way to the store, a shard leaves its thread to the next one.
        yield (
            "memory",
            f"{2 * self.threads} x {megabytes(self.plan.shard_bytes)} of shards a worker",
        )
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
            "cost": self.cost.to_json(self.prices),
            "buckets": [bucket._asdict() for bucket in self.buckets],
            "zone": self.zone,
            "notes": [*self.plan.to_json()["notes"], *self._notes()],
            "reads": self.plan.facts.rows,
            "workers": None if self.scheduled else self.workers,
            "threads": None if self.scheduled else self.threads,
        }


def forecast(
    plan: Plan, standing: Standing, cluster: ClusterOptions, prices: Prices | None = None
) -> Forecast:
    """Try some rows, and return what a run would do, and what it costs at some prices.

    Raises
    ------
    StoreError
        If the store at the address is of other pixels.
    PlanError
        If no row works.
    """
    step = standing.step(plan)
    workers, threads = cluster.shape()
    trial = check_trial(plan)
    buckets = _buckets(plan)
    return Forecast(
        plan=plan,
        step=step,
        deletion=standing.deletion(),
        trial=trial,
        free_bytes=standing.folder.free_bytes(),
        workers=workers,
        threads=threads,
        scheduled=cluster.scheduler is not None,
        buckets=buckets,
        zone=fetch.own_zone() if buckets else None,
        prices=prices,
    )


def _buckets(plan: Plan) -> tuple[Bucket, ...]:
    """Return the buckets of the rows that were tried, and the store's, each once."""
    paths = plan.facts.sample["path"].dropna().tolist()
    places = [*(plan.manifest.resolve(path) for path in paths), plan.url]
    each = {fetch.bucket_of(place): place for place in places}
    found = (fetch.find_bucket(place) for place in each.values())
    return tuple(bucket for bucket in found if bucket is not None)
