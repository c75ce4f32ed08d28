"""What a run counts while it goes, and what it says at its end."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from daskimg import fetch, markup
from daskimg.fetch import Traffic
from daskimg.plan import cost_of
from daskimg.timeline import STAGES, Span, Timeline
from daskimg.words import counted, named

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd

    from daskimg.plan import Cost, Plan
    from daskimg.store import Entry, Failure

_SHARDS = 3  # as many as there are examples of a reason


@dataclass(slots=True)
class Tally:
    """Counts so far.

    Attributes
    ----------
    total, done, failed
        Samples of the store; of the finished shards; those of them that failed.
    resumed
        Samples of shards that were finished before this run.
    shards
        Finished shards.
    reduced
        Samples of sources with more than 8 bits a channel, of which the output keeps 8.
    completed
        Rows whose path was found with an extension behind it.
    source_bytes, stored_bytes
        Read from sources and put into shards, by this run.
    seconds
        Since the tasks were handed out.
    reasons
        Failed samples by reason.
    failed_in
        By reason, the first three of the finished shards in which a sample failed.
    timeline
        When the tasks of this run ran, and at which stage for how long.
    traffic
        What was asked of servers, by the client since the run began and by its workers.
    """

    total: int
    done: int = 0
    failed: int = 0
    resumed: int = 0
    shards: int = 0
    reduced: int = 0
    completed: int = 0
    source_bytes: int = 0
    stored_bytes: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    failed_in: dict[str, list[int]] = field(default_factory=dict)
    timeline: Timeline = field(default_factory=Timeline)
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def images_per_second(self) -> float:
        """Samples built by this run, a second."""
        return (self.done - self.resumed) / self.seconds if self.seconds > 0 else 0.0

    def resume(self, entry: Entry) -> None:
        """Count a shard that was finished before this run."""
        self.done += entry.samples
        self.resumed += entry.samples
        self.shards += 1
        self.failed += entry.failed
        self.reduced += entry.reduced
        self.completed += entry.completed
        self._count_reasons(entry.reasons, entry.shard)

    def add(self, line: pd.DataFrame) -> None:
        """Count a task's report.

        One that found its shard finished is the second of a task whose worker was lost before
        it could be asked: this run's own, only its times are lost.
        """
        report = line.iloc[0]
        samples = int(report["samples"])
        self.done += samples
        self.shards += 1
        self.failed += int(report["failed"])
        self.reduced += int(report["reduced"])
        self.completed += int(report["completed"])
        self.traffic.add(Traffic.from_json(json.loads(report["traffic"])))
        self._count_reasons(json.loads(report["reasons"]), int(report["shard"]))
        self.source_bytes += int(report["source_bytes"])
        self.stored_bytes += int(report["stored_bytes"])
        if not report["resumed"]:
            self.timeline.add(_span(report), {s: float(report[s]) for s in STAGES}, report["cpu"])

    def _count_reasons(self, reasons: dict[str, int], shard: int) -> None:
        self.reasons.update(reasons)
        for reason in reasons:
            self.failed_in[reason] = sorted({*self.failed_in.get(reason, ()), shard})[:_SHARDS]


def _span(report: pd.Series[Any]) -> Span:
    numbers = int(report["shard"]), int(report["samples"])
    times = float(report["began"]), float(report["ended"])
    worker = sys.intern(str(report["worker"]))  # one text for all its tasks
    return Span(numbers[0], worker, *times, numbers[1])


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did.

    Attributes
    ----------
    url
        The store.
    outcome
        ``committed``; ``unchanged`` (it was whole already); ``repaired`` (damaged objects were
        built again); ``relabelled`` (label arrays alone were written anew); ``refused`` (more
        than ``max_failed`` failed: finished, not committed).
    samples, failed, resumed, reduced, completed
        See ``Tally``.
    source_bytes, stored_bytes
        Read from sources and put into shards, by this run.
    seconds, images_per_second
        From the first task handed out to the last one back; samples built by this run.
    reasons
        Failed samples by reason, most frequent first.
    splits
        Samples by split; empty for a store without splits.
    empty
        Rows of the manifest that give no sample, by their size, mode or a filter.
    examples
        The first failures of each reason, if the store was refused.
    timeline
        When the tasks of this run ran, and at which stage for how long.
    traffic
        What was asked of servers: requests by kind, repetitions by fault, bytes. Those of the
        plan, which was made before, are not among them.
    planned
        What was planned to be asked; ``None`` unless this run built the whole store.
    """

    url: str
    outcome: str
    samples: int
    failed: int
    resumed: int
    reduced: int
    completed: int
    source_bytes: int
    stored_bytes: int
    seconds: float
    images_per_second: float
    reasons: dict[str, int]
    splits: dict[str, int]
    empty: int
    examples: tuple[Failure, ...] = ()
    timeline: Timeline = field(default_factory=Timeline)
    traffic: Traffic = field(default_factory=Traffic)
    planned: Cost | None = None

    @classmethod
    def of(
        cls, plan: Plan, outcome: str, tally: Tally, examples: tuple[Failure, ...] = ()
    ) -> Report:
        """Return the report of what was counted."""
        all_of_it = outcome == "committed" and not tally.resumed
        return cls(
            url=fetch.shown(plan.url),
            outcome=outcome,
            samples=tally.total,
            failed=tally.failed,
            resumed=tally.resumed,
            reduced=tally.reduced,
            completed=tally.completed,
            source_bytes=tally.source_bytes,
            stored_bytes=tally.stored_bytes,
            seconds=tally.seconds,
            images_per_second=tally.images_per_second,
            reasons=dict(tally.reasons.most_common()),
            splits={name: count for name, count in plan.sizes.items() if name},
            empty=plan.empty_rows,
            examples=examples,
            timeline=tally.timeline,
            traffic=tally.traffic,
            planned=cost_of(plan, tally.source_bytes) if all_of_it else None,
        )

    @property
    def committed(self) -> bool:
        """Whether the store can be read now."""
        return self.outcome != "refused"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain data."""
        own = ("timeline", "traffic", "planned")
        found = {name: getattr(self, name) for name in self.__slots__ if name not in own}
        examples = [failure._asdict() for failure in self.examples]
        rate = round(self.images_per_second, 1)
        stages = {stage: round(self.timeline.stages[stage], 3) for stage in STAGES}
        return {
            **found,
            "images_per_second": rate,
            "examples": examples,
            "stages": stages,
            "limited_by": self.timeline.limit(),
            "planned": self.planned.to_json() if self.planned else None,
            **self.traffic.summary(),
        }

    def lines(self) -> list[str]:
        """Return the summary, for people."""
        share = f" ({100 * self.failed / self.samples:.2f} %)" if self.failed else ""
        found = [
            f"{'not committed' if self.outcome == 'refused' else self.outcome}: "
            f"{counted(self.samples, 'sample')}, {self.failed:,} failed{share}"
        ]
        for reason, count in self.reasons.items():
            found += [f"  {count:,} {reason}", *self._examples(reason)]
        if self.splits:
            found.append("  " + ", ".join(f"{n} {count:,}" for n, count in self.splits.items()))
        if self.empty:
            found.append(f"  {counted(self.empty, 'row gives', 'rows give')} no sample")
        if self.completed:
            paths = counted(self.completed, "path was", "paths were")
            found.append(f"  {paths} found by an --extension")
        if self.reduced:
            found.append(
                f"  {self.reduced:,} from 16-bit sources, reduced to 8 bits (--dtype keeps them)"
            )
        if self.resumed:
            found.append(f"  {counted(self.resumed, 'was', 'were')} finished before this run")
        if self.samples > self.resumed and self.seconds:
            found.append(
                f"  {self.images_per_second:,.0f} images/s, {self.source_bytes / 1e6:,.1f} MB "
                f"read, {self.stored_bytes / 1e6:,.1f} MB written in {self.seconds:,.1f} s"
            )
            found += [f"  limited by {limit}" for limit in [self.timeline.limit()] if limit]
        return [*found, *self._traffic_lines(), f"  {self.url}"]

    def _traffic_lines(self) -> list[str]:
        planned = self.planned
        if planned is None or not planned.in_cloud:
            return self.traffic.lines(classes=False)
        return self.traffic.lines(classes=True, planned=(planned.class_a, planned.class_b))

    def save(
        self,
        path: str | PathLike[str],
        *,
        private: bool = False,
        command: str = "",
        performance: str = "",
    ) -> None:
        """Write a page about the run and its store: one HTML file that needs nothing else.

        Parameters
        ----------
        path
            Where, in place of one that is there.
        private
            Leave out pictures, paths, addresses, the command and messages.
        command
            What was typed, without secrets.
        performance
            Where Dask's own performance report is, from that page.

        Raises
        ------
        OptionError
            If there can be no such file.
        """
        from daskimg.report import Run, write_report  # here: few runs have a page

        numbers = replace(self, examples=()).lines()[:-1]  # without the address
        run = Run(
            committed=self.committed,
            lines=tuple(numbers),
            timeline=self.timeline,
            reasons=self.reasons,
            examples=self.examples,
            command=command,
            performance=performance,
        )
        write_report(self.url, path, private=private, run=run)

    def _examples(self, reason: str) -> list[str]:
        mine = (failure for failure in self.examples if failure.reason == reason)
        return [f"    row {each.row}: {named(each.path)}: {each.message}" for each in mine]

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        head, *lines = self.lines()
        reasons = {f"  {count:,} {reason}" for reason, count in self.reasons.items()}
        words = [line.strip() for line in lines if line not in reasons and line[:4] != "    "]
        parts = list(map(markup.paragraph, words))
        if self.reasons:
            parts.append(markup.bars(self.reasons, "failed samples by reason", "more reasons"))
        if self.examples:
            lines_of = ((str(e.row), e.path, e.reason, e.message) for e in self.examples)
            parts.append(markup.table(("row", "path", "reason", "message"), lines_of, "examples"))
        return markup.block(head, *parts)
