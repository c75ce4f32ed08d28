"""A task whose scheduler is told what it does, and shown now and then what it has made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from daskimg.build._board import Thumbnail
from daskimg.build._watch import TURNS
from daskimg.decode import encode_thumbnail
from daskimg.task import run_task
from daskimg.timeline import STAGES

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from numpy.typing import NDArray

    from daskimg.build._watch import Channel
    from daskimg.plan import Brief
    from daskimg.task import Cores


def show_task(
    rows: pd.DataFrame,
    brief: Brief,
    channel: Channel,
    rest: Callable[[], None] | None,
    cores: Cores,
    *,
    again: bool,
) -> pd.DataFrame:
    """Build a shard, and return its report; the scheduler hears of both ends."""
    worker, shard = get_worker(), int(rows["shard"].iloc[0])
    camera = _Camera(channel.every)
    channel.running(worker, shard)
    try:
        report = run_task(rows, brief, camera.look, rest, cores, again=again)
    except BaseException:
        channel.failed(worker, shard)
        raise
    channel.done(worker, _told(report), camera.picture)
    return report


class _Camera:
    """Takes a thumbnail of what has been written, if it is this worker's turn to show one."""

    def __init__(self, every: float) -> None:
        self._every = every
        self.picture: Thumbnail | None = None

    def look(self, pixels: NDArray[Any], row: int) -> None:
        if TURNS.mine(self._every):
            self.picture = Thumbnail(encode_thumbnail(pixels), f"row {row:,}")


def _told(report: pd.DataFrame) -> dict[str, Any]:
    """Return what is told of a shard's report, as plain data."""
    line = report.iloc[0]
    counts = ("shard", "samples", "failed", "source_bytes", "stored_bytes")
    return {
        **{name: int(line[name]) for name in counts},
        "resumed": bool(line["resumed"]),
        "reasons": json.loads(line["reasons"]),
        "stages": {stage: float(line[stage]) for stage in STAGES},
    }
