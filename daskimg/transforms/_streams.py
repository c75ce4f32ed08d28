"""Which random numbers belong to whom.

Randomness depends on (seed, row, part, stream) only. Every random transform has a stream of
its own, so that one more step in a recipe changes no other step's numbers. Streams of 1,000
and above are for users' own transforms.
"""

from __future__ import annotations

STREAMS = {
    "noise-frames": 1,
    "noise-fit": 2,
    "random-crop": 3,
    "random-mirror": 4,
    "photometric-jitter": 5,
    "person-crop": 64,
}
"""The stream of each random transform; part of what a recipe means, so never renumbered."""

_BITS = 16  # 65,536 parts within a part before two of them share their random numbers


def part_within(part: int, index: int) -> int:
    """Return a number for the ``index``-th thing made of a part, to draw its randomness by.

    What is made of a row's only sample is numbered by ``index`` itself. Numbers have 32 bits,
    as the counter of the noise has.

    >>> part_within(0, 7), part_within(3, 7)
    (7, 196615)
    """
    return (part << _BITS | index) & 0xFFFF_FFFF
