"""A shard as workers build it: the task, and which worker did it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed import get_worker

from daskimg.task import run_task

if TYPE_CHECKING:
    import pandas as pd

    from daskimg.plan import Brief


def build_shard(rows: pd.DataFrame, brief: Brief) -> pd.DataFrame:
    """Build a shard, and return its report with the worker's name."""
    return run_task(rows, brief).assign(worker=str(get_worker().name))
