"""What travels between tasks and the client: schemas of a few bytes a shard."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pandas as pd

from daskimg import fetch
from daskimg.timeline import STAGES

if TYPE_CHECKING:
    from daskimg import store
    from daskimg.timeline import Stopwatch

REPORT = pd.DataFrame(
    {
        "shard": pd.Series([], dtype="int64"),
        "samples": pd.Series([], dtype="int64"),
        "failed": pd.Series([], dtype="int64"),
        "reduced": pd.Series([], dtype="int64"),
        "completed": pd.Series([], dtype="int64"),
        "source_bytes": pd.Series([], dtype="int64"),
        "stored_bytes": pd.Series([], dtype="int64"),
        "resumed": pd.Series([], dtype="bool"),
        "reasons": pd.Series([], dtype="object"),
        "traffic": pd.Series([], dtype="object"),
        "worker": pd.Series([], dtype="object"),
        "address": pd.Series([], dtype="object"),
        "began": pd.Series([], dtype="float64"),
        "ended": pd.Series([], dtype="float64"),
        "cpu": pd.Series([], dtype="float64"),
        **{stage: pd.Series([], dtype="float64") for stage in STAGES},
    }
)
"""What a task returns: one line of a few bytes. Its schema is the ``meta`` of the graph.

The last columns are of no sample: what its process asked of servers since the last report; the
worker and its address, which ``build`` knows; when the task ran, in seconds since 1970; the
seconds in which its thread had a core; and those of each stage.
"""


ROWS = pd.DataFrame(
    {
        "row": pd.Series([], dtype="int64"),
        "path": pd.Series([], dtype="object"),
        "shard": pd.Series([], dtype="int64"),
    }
)
"""The rows of a shard, as far as the graph needs to know them."""


def report_of(entry: store.Entry, resumed: bool, watch: Stopwatch) -> pd.DataFrame:
    """Return a task's report on its shard."""
    line = {
        "shard": entry.shard,
        "samples": entry.samples,
        "failed": entry.failed,
        "reduced": entry.reduced,
        "completed": entry.completed,
        "source_bytes": entry.source_bytes,
        "stored_bytes": sum(size for size, _ in entry.objects.values()),
        "resumed": resumed,
        "reasons": json.dumps(entry.reasons),
        "traffic": json.dumps(fetch.traffic(reset=True).to_json()),
        "worker": "",
        "address": "",
        "began": watch.began,
        "ended": time.time(),
        "cpu": watch.cpu,
        **watch.seconds,
    }
    return pd.DataFrame([line]).astype(REPORT.dtypes)
