"""Changing samples as they are read: drawn anew each epoch, the same for every reader.

Every number that is drawn is a function of (seed, epoch, row, part), and of the place in the
epoch where samples are drawn with replacement: not of ranks, threads or what was read before.
"""

from daskimg.augment._draws import Moment, Who, fractions, generator
from daskimg.augment._moves import Moves, moves_of
from daskimg.augment._options import Augment
from daskimg.augment._targets import moved_affines, moved_points, swapped

__all__ = [
    "Augment",
    "Moment",
    "Moves",
    "Who",
    "fractions",
    "generator",
    "moved_affines",
    "moved_points",
    "moves_of",
    "swapped",
]
