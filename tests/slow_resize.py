"""A transform that takes its time, so that a build can be killed half-way."""

import time
from dataclasses import dataclass

from daskimg.transforms import Resize


@dataclass(frozen=True, slots=True)
class SlowResize(Resize):
    """``Resize``, with a rest first."""

    def __call__(self, sample):
        time.sleep(0.03)
        return Resize.__call__(self, sample)
