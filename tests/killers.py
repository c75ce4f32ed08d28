"""Transforms that end their process, each in another way, on the rows that they are told."""

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from daskimg.transforms import Resize


@dataclass(frozen=True, slots=True)
class Killer(Resize):
    """``Resize``, but for rows that kill, or never end, or need memory without end."""

    rows: tuple[int, ...] = ()
    how: str = "segfault"

    def __call__(self, sample):
        if sample.row in self.rows:
            HOW[self.how]()
        return Resize.__call__(self, sample)


@dataclass(frozen=True, slots=True)
class Unlucky(Resize):
    """``Resize`` that kills its process the first few times, whatever the row: bad luck."""

    folder: str = ""
    times: int = 0

    def __call__(self, sample):
        if sample.row == 7:
            try:
                for each in range(self.times):
                    mark = Path(self.folder, str(each))
                    if not mark.exists():
                        mark.touch()
                        os.kill(os.getpid(), signal.SIGKILL)
            except OSError:
                pass
        return Resize.__call__(self, sample)


@dataclass(frozen=True, slots=True)
class Pair(Resize):
    """``Resize`` that kills its process at row 6, if that has made row 2, too."""

    def __call__(self, sample):
        SEEN.add(sample.row)
        if sample.row == 6 and 2 in SEEN:
            segfault()
        return Resize.__call__(self, sample)


SEEN = set()


def segfault():
    ctypes.string_at(0)


def eat():
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 64)
        time.sleep(0.02)


HOW = {
    "segfault": segfault,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(7),
    "terminate": lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(5)),
    "memory": eat,
    "sleep": lambda: time.sleep(600),
}
