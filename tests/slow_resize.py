"""Transforms that take their time, so that a build can be killed half-way."""

import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from daskimg.transforms import NoiseFrames, Resize


@dataclass(frozen=True, slots=True)
class SlowResize(Resize):
    """``Resize``, with a rest first."""

    def __call__(self, sample):
        time.sleep(0.03)
        return Resize.__call__(self, sample)


PICTURES = count()


@dataclass(frozen=True, slots=True)
class GatedResize(Resize):
    """``Resize`` that waits from its process's eighth picture on until a file is there."""

    gate: str = ""

    def __call__(self, sample):
        deadline = time.monotonic() + 60
        shut = next(PICTURES) >= 8
        while shut and not Path(self.gate).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return Resize.__call__(self, sample)


@dataclass(frozen=True, slots=True)
class SlowFrames(NoiseFrames):
    """``NoiseFrames``, with a rest first."""

    def __call__(self, sample):
        time.sleep(0.05)
        return NoiseFrames.__call__(self, sample)
