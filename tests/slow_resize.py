"""Transforms that take their time, so that a build can be killed half-way."""

import time
from dataclasses import dataclass

from daskimg.transforms import NoiseFrames, Resize


@dataclass(frozen=True, slots=True)
class SlowResize(Resize):
    """``Resize``, with a rest first."""

    def __call__(self, sample):
        time.sleep(0.03)
        return Resize.__call__(self, sample)


@dataclass(frozen=True, slots=True)
class SlowFrames(NoiseFrames):
    """``NoiseFrames``, with a rest first."""

    def __call__(self, sample):
        time.sleep(0.05)
        return NoiseFrames.__call__(self, sample)
