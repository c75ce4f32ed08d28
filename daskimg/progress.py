"""What a person sees while a run goes: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

    from daskimg.build import Tally

_EVERY = 10.0  # seconds between lines where there is no terminal


class Watcher(AbstractContextManager["Watcher"]):
    """A context that is called with the counts whenever a shard is finished: shows nothing."""

    def __exit__(self, *_: object) -> None:
        """End, whatever happened."""

    def __call__(self, tally: Tally) -> None:
        """Show the counts."""


def watcher(total: int) -> Watcher:
    """Return a bar if stderr is a terminal, else lines."""
    return _Bar(total) if sys.stderr.isatty() else _Lines()


class _Lines(Watcher):
    """A line on stderr every ten seconds: for logs."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()

    def __call__(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._last >= _EVERY:
            self._last = now
            rate = _rate(tally, now - self._began)
            sys.stderr.write(
                f"{tally.done:,} of {tally.total:,} samples, {rate:,.0f} images/s, "
                f"{tally.failed:,} failed\n"
            )


class _Bar(Watcher):
    """A progress bar with images/s, failures and the time left."""

    def __init__(self, total: int) -> None:
        self._total = total

    def __enter__(self) -> _Bar:
        self._progress = _rich_progress()
        self._progress.start()
        self._task = self._progress.add_task("", total=self._total, rate=0.0, failed=0)
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, tally: Tally) -> None:
        rate = _rate(tally, time.monotonic() - self._began)
        self._progress.update(self._task, completed=tally.done, rate=rate, failed=tally.failed)


def _rate(tally: Tally, seconds: float) -> float:
    return (tally.done - tally.resumed) / seconds if seconds > 0 else 0.0


def _rich_progress() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f} images/s"),
        TextColumn("{task.fields[failed]:,} failed"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
