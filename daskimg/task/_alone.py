"""Rows made in a process of their own, to find which of them ends it.

A shard whose workers die again and again has a row that kills them, or bad neighbours, or too
little memory. Which, only a process shows in which nothing else goes on: it says of each row
that it begins, and when it ends, the last one said is looked at alone.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from daskimg import fetch
from daskimg.errors import SampleError, StoppedError
from daskimg.task._contents import read_contents
from daskimg.task._rows import planned_rows
from daskimg.task._samples import make_samples, write_entry_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from daskimg.plan import Brief
    from daskimg.task._contents import Content
    from daskimg.task._rows import Planned

KILLED = SampleError("killed its worker", "decoding or transforming it ended its process, twice")
"""What the ledger says of a row that was found so: the same words in every retry."""

_PROGRAM = "from daskimg.task._alone import serve; serve()"
_DEATHS = 2  # that a row must cause, alone in its process
_OTHERS = 2  # times that it may be ended by something else, before that is the finding
_KILLERS = 16  # of one shard, above which the pictures are not to blame
_TOLD = {"SIGTERM", "SIGINT", "SIGHUP"}  # what others send: no row's doing
_LOOK = 0.05  # seconds between looks at a process's own memory


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process that makes rows alone may take.

    Attributes
    ----------
    memory
        Bytes; ``None`` or 0 is no limit. Above, it ends itself, as a nanny ends a worker.
    silence
        Seconds without another row begun, after which it is ended.
    """

    memory: int | None = None
    silence: float = 120.0


class Fate(NamedTuple):
    """How a process ended: ``cause`` is empty if it made all rows; ``at`` is the row it was at."""

    cause: str
    at: int | None = None


class Verdict(NamedTuple):
    """A row found alone to end its process, and how it did each time, as ``SIGSEGV``."""

    row: int
    path: str
    causes: tuple[str, ...]

    @property
    def guilty(self) -> bool:
        """Whether it is the row's doing: no lack of memory, no wait, no signal of others."""
        return sum(_is_death(cause) for cause in self.causes) >= _DEATHS


def find_killers(
    rows: pd.DataFrame,
    brief: Brief,
    limits: Limits,
    pack: Callable[[object], bytes] = pickle.dumps,
) -> list[Verdict]:
    """Return the rows of a shard that end a process, or cannot be made in it.

    Nothing is written. The rows of a process that ends are halved until those that end one of
    their own, or need more than the limits, are left.

    Parameters
    ----------
    rows
        What ``read_shard_rows`` returned.
    brief
        What the run does.
    limits
        Of each process.
    pack
        Pickles a brief for the process; a recipe may need more than ``pickle``.

    Raises
    ------
    StoppedError
        If no process starts, or so many rows end it that the pictures are not to blame.
    """
    court = _Court(rows, brief, limits, pack)
    found: list[Verdict] = []
    spans = [(0, len(rows))]
    while spans:
        start, stop = spans.pop()
        fate = court.fate(start, stop)
        if not fate.cause:
            continue
        if fate.at is None:
            raise StoppedError(f"a process that makes rows alone does not start ({fate.cause})")
        at = start + fate.at
        spans.append((at + 1, stop))
        verdict = court.verdict(at)
        if verdict is not None:
            found.append(verdict)
        elif at > start:  # not alone: what came before may have prepared it
            middle = (start + at + 1) // 2
            spans += [(middle, at + 1), (start, middle)]
        if len(found) > _KILLERS:
            raise StoppedError(
                f"more than {_KILLERS} rows of a shard end their process ({found[0].causes[0]}, "
                f"first row {found[0].row}): look for the fault in the recipe's own code"
            )
    return sorted(found)


class _Court:
    """Runs rows in processes, one after the other."""

    def __init__(
        self,
        rows: pd.DataFrame,
        brief: Brief,
        limits: Limits,
        pack: Callable[[object], bytes],
    ) -> None:
        self._rows = rows
        self._brief = pack(brief)
        self._limits = limits

    def verdict(self, at: int) -> Verdict | None:
        """Return what becomes of processes that make one row alone; ``None`` if one lives."""
        causes: list[str] = []
        while (deaths := sum(map(_is_death, causes))) < _DEATHS and len(causes) - deaths < _OTHERS:
            fate = self.fate(at, at + 1)
            if not fate.cause:
                return None
            causes.append(fate.cause)
        row = self._rows.iloc[at]
        return Verdict(int(row["row"]), str(row["path"]), tuple(causes))

    def fate(self, start: int, stop: int) -> Fate:
        """Make some rows in a process, and return how it ended."""
        if start >= stop:
            return Fate("")
        kills = _kernel_kills()
        with subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdin is not None
            with suppress(BrokenPipeError), process.stdin as entrance:
                pickle.dump((sys.path, self._limits.memory), entrance)
                rows = self._rows.iloc[start:stop]
                pickle.dump((fetch.configured(), rows, self._brief), entrance)
            words = _Words(process, self._limits.silence)
            for word in words:
                if word.startswith("fault "):
                    raise StoppedError(f"rows could not be made alone: {word[6:]}")
                if word in ("done", "memory"):
                    return Fate("" if word == "done" else word, words.at)
            if words.silent:
                process.kill()
                return Fate("silence", words.at)
        memory = process.returncode == -signal.SIGKILL and _kernel_kills() > kills
        return Fate("memory" if memory else _cause(process.returncode), words.at)


class _Words:
    """What a process says, word by word: the row it begins, ``memory``, ``done``."""

    def __init__(self, process: subprocess.Popen[bytes], silence: float) -> None:
        assert process.stdout is not None
        self._pipe = process.stdout.fileno()
        self._silence = silence
        self.at: int | None = None
        self.silent = False

    def __iter__(self) -> Iterator[str]:
        rest = b""
        while select.select([self._pipe], [], [], self._silence)[0]:
            heard = os.read(self._pipe, 1 << 16)
            if not heard:
                return
            *lines, rest = (rest + heard).split(b"\n")
            for line in lines:
                word = line.decode()
                if word.isdigit():
                    self.at = int(word)
                yield word
        self.silent = True


def _cause(code: int) -> str:
    """Name how a process ended that did not say ``done``."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"


def _is_death(cause: str) -> bool:
    return cause not in {"memory", "silence"} | _TOLD


def _kernel_kills() -> int:
    """Return how often the kernel of this machine has killed a process for its memory."""
    try:
        counts = Path("/proc/vmstat").read_text().split()
        return int(counts[counts.index("oom_kill") + 1])
    except (OSError, ValueError):  # not Linux, or one that does not count
        return 0


def serve() -> None:
    """Make rows that come through stdin, and say on stdout which one is begun: the process."""
    channel = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a recipe prints is not for the channel
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path[:], memory = pickle.load(sys.stdin.buffer)

    def say(word: object) -> None:
        os.write(channel, f"{word}\n".encode())

    # In a thread, as in a worker: a stack is as deep there.
    making = threading.Thread(target=_work, args=(say,), daemon=True)
    making.start()
    parent = os.getppid()
    while making.is_alive():
        making.join(_LOOK)
        if memory and _resident() > memory:
            say("memory")
            os._exit(1)
        if os.getppid() != parent:  # the worker is gone: nobody listens
            os._exit(1)
    os._exit(0)


def _work(say: Callable[[object], None]) -> None:
    try:
        _make_all(say)
    except Exception as error:  # a source not reached, or a recipe not found
        say(f"fault {type(error).__name__}: {' '.join(str(error).split())}")
    else:
        say("done")


def _make_all(say: Callable[[object], None]) -> None:
    options, rows, packed = pickle.load(sys.stdin.buffer)
    fetch.configure(options)
    brief: Brief = pickle.loads(packed)
    contents = read_contents(rows, brief)
    for at, (each, content) in enumerate(zip(planned_rows(rows, brief), contents, strict=True)):
        say(at)
        # Bugs and faults are the task's to report: here it counts who is alive after them.
        with suppress(Exception):
            _make(brief, int(rows["shard"].iloc[at]), each, content)


def _make(brief: Brief, shard: int, each: Planned, content: Content | SampleError) -> None:
    """Make what a row has in a shard, as the task does."""
    if isinstance(content, SampleError):
        return
    group = brief.group_of(shard)[1]
    start, stop = group.span(shard)
    low, high = max(each.first, start), min(each.places.stop, stop)
    parts = range(low - each.first, high - each.first)
    for sample in make_samples(brief, group, each, content, parts)[0]:
        if not isinstance(sample, SampleError):
            for spec in group.arrays:
                write_entry_of(sample, spec, np.empty(spec.shape, spec.dtype))


def _resident() -> int:
    """Return the bytes of memory that this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except OSError:  # not Linux: the most that it has held, in bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
