"""What a person sees while a run goes: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from daskimg.words import counted

if TYPE_CHECKING:
    from rich.progress import Progress

    from daskimg.build import Tally

_EVERY = 10.0  # seconds between lines where there is no terminal
_SILENCE = 3.0  # seconds that a table may take before anything is said of it
_REDRAWN = 0.5  # seconds, on a terminal


class Reading(AbstractContextManager["Reading"]):
    """A context that says on stderr how far a table is read, if that takes its time.

    From a thread of its own: a server that answers slowly gives no other occasion.
    """

    def __init__(self) -> None:
        self._text = "reading the table"
        self._ended = threading.Event()
        self._teller = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> Reading:
        self._teller.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Fall silent, whatever happened."""
        self._ended.set()
        self._teller.join()

    def __call__(self, phase: str, rows: int) -> None:
        """Take note of what is read, ``headers`` or the ``table``, and of the rows so far."""
        headers = f"headers: {counted(rows, 'picture')}"
        table = f"the table: {counted(rows, 'row')}"
        self._text = f"reading {headers if phase == 'headers' else table}"

    def _tell(self) -> None:
        if not self._ended.wait(_SILENCE):
            (self._draw if sys.stderr.isatty() else self._write)()

    def _write(self) -> None:
        while True:
            sys.stderr.write(f"{self._text}\n")
            if self._ended.wait(_EVERY):
                return

    def _draw(self) -> None:
        from rich.console import Console

        with Console(stderr=True).status(self._text) as status:
            while not self._ended.wait(_REDRAWN):
                status.update(self._text)


class Counting(AbstractContextManager["Counting"]):
    """A context that is called with what is done and what there is to do in all.

    Parameters
    ----------
    what
        What is counted, in a word.
    """

    def __init__(self, what: str = "samples") -> None:
        self._what = what
        self._bar = _rich_bar() if sys.stderr.isatty() else None
        self._task = self._bar.add_task("", total=None) if self._bar else None
        self._last = time.monotonic()

    def __enter__(self) -> Counting:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wipe the bar: the summary says what it said."""
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Move the bar; without a terminal, write a line if the last one is old enough."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif time.monotonic() - self._last >= _EVERY:
            self._last = time.monotonic()
            sys.stderr.write(f"{done:,} of {total:,} {self._what}\n")


class Watcher(AbstractContextManager["Watcher"]):
    """A context that is called with the counts whenever a shard is finished: shows nothing."""

    def __exit__(self, *_: object) -> None:
        """End, whatever happened."""

    def start(self) -> None:
        """Begin to show: tasks are about to be handed out."""

    def __call__(self, tally: Tally) -> None:
        """Show the counts."""


def watcher(total: int) -> Watcher:
    """Return a bar if stderr is a terminal, else lines."""
    return _Bar(total) if sys.stderr.isatty() else _Lines(total)


class _Lines(Watcher):
    """A line on stderr every ten seconds, and one at the end: for logs.

    From a thread of its own: a log that is silent while large shards are built looks dead.
    """

    def __init__(self, total: int) -> None:
        self._text = f"0 of {counted(total, 'sample')}"
        self._ended = threading.Event()
        self._teller = threading.Thread(target=self._tell, daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._teller.start()

    def __call__(self, tally: Tally) -> None:
        """Take note of the counts."""
        self._text = (
            f"{tally.done:,} of {counted(tally.total, 'sample')}, "
            f"{tally.images_per_second:,.0f} images/s, {tally.failed:,} failed"
        )
        if tally.images_per_second and tally.done < tally.total:
            left = round((tally.total - tally.done) / tally.images_per_second)
            self._text += f", about {left // 60}:{left % 60:02d} left"

    def __exit__(self, *_: object) -> None:
        """Write the last line, whatever happened."""
        self._ended.set()
        if self._teller.ident is not None:
            self._teller.join()
            sys.stderr.write(f"{self._text}\n")

    def _tell(self) -> None:
        while not self._ended.wait(_EVERY):
            sys.stderr.write(f"{self._text}\n")


class _Bar(Watcher):
    """A progress bar with images/s, failures and the time left."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._progress = _rich_progress()
        self._task = self._progress.add_task("", total=total, rate=0.0, failed=0)

    def start(self) -> None:
        """Draw the empty bar, and begin to reckon the time left."""
        self._progress.reset(self._task)
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        """Wipe the bar: the summary says what it said."""
        self._progress.stop()

    def __call__(self, tally: Tally) -> None:
        """Move the bar."""
        rate = tally.images_per_second
        self._progress.update(self._task, completed=tally.done, rate=rate, failed=tally.failed)


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


def _rich_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
