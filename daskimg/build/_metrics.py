"""Metrics of runs on the scheduler's Prometheus endpoint, /metrics; by store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from daskimg.build._board import DONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.build._board import Board
    from daskimg.build._watch import Watch

    Family = CounterMetricFamily | GaugeMetricFamily


class _Collector:
    """What Prometheus asks, each time that it does: the watch's boards, by store."""

    watch: Watch | None = None

    def collect(self) -> Iterator[Family]:
        boards = {} if self.watch is None else {b.url: b for b in self.watch.boards.values()}
        yield from _counts(boards)
        reasons = CounterMetricFamily(
            "daskimg_failed_samples", "Samples that failed, by reason", labels=["store", "reason"]
        )
        for url, board in boards.items():
            for reason, count in board.reasons.items():
                reasons.add_metric([url, reason], count)
        yield reasons

    def describe(self) -> list[Family]:
        """Return nothing: names are looked up when there are some."""
        return []


def _counts(boards: dict[str, Board]) -> Iterator[Family]:
    found: Any = (
        (CounterMetricFamily, "samples", "Samples of finished shards", lambda b: b.done),
        (CounterMetricFamily, "source_bytes", "Bytes read", lambda b: b.source_bytes),
        (CounterMetricFamily, "stored_bytes", "Bytes put into shards", lambda b: b.stored_bytes),
        (GaugeMetricFamily, "planned_samples", "Samples of the store", lambda b: b.samples),
        (GaugeMetricFamily, "planned_shards", "Shards of the store", lambda b: b.shards),
        (GaugeMetricFamily, "shards", "Finished shards", lambda b: b.count(DONE)),
        (GaugeMetricFamily, "images_per_second", "Of the run so far", lambda b: b.rate),
    )
    for kind, name, text, value in found:
        family: Family = kind(f"daskimg_{name}", text, labels=["store"])
        for url, board in boards.items():
            family.add_metric([url], value(board))
        yield family


_COLLECTOR = _Collector()


def export(watch: Watch) -> None:
    """Have Prometheus ask this watch from now on: a process may have had other schedulers."""
    if _COLLECTOR.watch is None:
        prometheus_client.REGISTRY.register(_COLLECTOR)
    _COLLECTOR.watch = watch
