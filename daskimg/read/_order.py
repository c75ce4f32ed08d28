"""The order of an epoch: a pure function of seed, epoch and what is read, found in any place.

A permutation is computed where it is asked for and never stored. It is a generalised Feistel
network over pairs (left, right) of numbers: Black and Rogaway, "Ciphers with arbitrary finite
domains", CT-RSA 2002, doi:10.1007/3-540-45760-7_9. Not ``numpy.random.Generator.permutation``:
its bits may change with NumPy (NEP 19), it takes 8 bytes a sample, and it cannot begin in the
middle. The keys of the rounds are words of Philox4x64-10, whose stream NumPy does not change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from daskimg.options import whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

ORDER = 1
"""Version of the orders; a state of another version is refused."""

_ROUNDS = 12  # each moves one half; with 8 the orders of five things are not equally frequent
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27))
_32 = np.uint64(32)

# Streams of keys: the third word of the counter. Windows have the numbers from _WINDOWS on.
# Draws are words under another key: its second word.
_SAMPLES, _UNITS, _WINDOWS = 0, 1, 2
_DRAWS = 1
_BLOCK = 4  # words of Philox4x64 that have one counter


def epoch_order(count: int, *, seed: int = 0, epoch: int = 0) -> NDArray[np.int64]:
    """Return the numbers below ``count`` in the order of an epoch: a true shuffle.

    The same for any number of ranks, threads and batches ahead, on every machine.

    Parameters
    ----------
    count
        How many.
    seed, epoch
        0 to 2**64 - 1 each; others give orders that have nothing in common.

    Returns
    -------
    (count,) int64

    Examples
    --------
    >>> sorted(epoch_order(5, seed=1).tolist())
    [0, 1, 2, 3, 4]
    """
    whole("count", count, "try the number of samples")
    return _permuted(np.arange(count), count, _keys(seed, epoch, _SAMPLES))


def shuffle_score(order: NDArray[np.int64], batch_size: int) -> float:
    """Return how well an order mixes: 1 for a true shuffle, near 0 for the table's own order.

    The part of a batch's samples that count as drawn independently: under a true shuffle the
    mean place of a batch of ``b`` out of ``n`` varies by (n + 1)(n - b) / 12 b, the variance of
    a mean without replacement; the score is this over the variance found. It is the loss to be
    feared where neighbours are alike, as in a table that is sorted by class; in a table whose
    rows have no order of their own every order is as good.

    Parameters
    ----------
    order : (sample,) int64
        Slots in the order of an epoch, each once.
    batch_size
        Samples a batch; at most half of all.
    """
    count = len(order)
    places = np.empty(count, np.float64)
    places[np.argsort(order)] = np.arange(count)
    batches = places[: count // batch_size * batch_size].reshape(-1, batch_size)
    found = float(((batches.mean(axis=1) - (count - 1) / 2) ** 2).mean())
    wanted = (count + 1) * (count - batch_size) / (12 * batch_size)
    return 1.0 if found <= wanted else wanted / found


class Order(Protocol):
    """The slots of an epoch, found by their places in it."""

    def slots(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the slots at the places ``start`` to ``stop``."""


@dataclass(frozen=True)
class InOrder:
    """As the table has them."""

    chosen: NDArray[np.int64]

    def slots(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the slots at the places ``start`` to ``stop``."""
        return self.chosen[start:stop]


@dataclass(frozen=True)
class Shuffled:
    """A true shuffle: any slot may follow any other."""

    chosen: NDArray[np.int64]
    seed: int
    epoch: int

    def slots(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the slots at the places ``start`` to ``stop``."""
        places = np.arange(start, min(stop, len(self.chosen)))
        return self.chosen[_permuted(places, len(self.chosen), self._own_keys)]

    @cached_property
    def _own_keys(self) -> NDArray[np.uint64]:
        return _keys(self.seed, self.epoch, _SAMPLES)


@dataclass(frozen=True)
class Windowed:
    """Units (chunks or shards) are shuffled, and then slots within windows of several units.

    So each unit is needed for a window's length, and then never again.

    Attributes
    ----------
    chosen : (sample,) int64
        The slots, rising.
    unit, window
        Slots in a unit; units in a window.
    edges : (unit + 1,) int64
        Where each unit begins and the last one ends, where they are not of one length.
    """

    chosen: NDArray[np.int64]
    unit: int
    window: int
    seed: int
    epoch: int
    edges: NDArray[np.int64] | None = None

    def slots(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the slots at the places ``start`` to ``stop``."""
        ends, stop = self._ends, min(stop, len(self.chosen))
        parts = [self.chosen[:0]]
        while start < stop:
            number = int(np.searchsorted(ends, start, "right")) // self.window
            first = int(ends[number * self.window - 1]) if number else 0
            behind = int(ends[min((number + 1) * self.window, len(ends)) - 1])
            parts.append(self._within(number, first, behind, np.arange(start, min(stop, behind))))
            start = behind
        return np.concatenate(parts)

    def _within(
        self, number: int, first: int, behind: int, places: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the slots at places of one window, which begins at ``first``."""
        keys = _keys(self.seed, self.epoch, _WINDOWS + number)
        return self.chosen[self._unmixed(first + _permuted(places - first, behind - first, keys))]

    def _unmixed(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where in ``chosen`` places are, if units are shuffled and windows not mixed."""
        turn = np.searchsorted(self._ends, places, "right")
        units = self._units[turn]
        return self._starts[units + 1] - (self._ends[turn] - places)

    def by_window(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the places in ``chosen`` of window after window, and where each one begins.

        (sample,) int64, and (window + 1,) int64, of which the last is where all end.
        """
        ends = self._ends[self.window - 1 :: self.window]
        bounds = np.unique([0, *ends.tolist(), len(self.chosen)])
        return self._unmixed(np.arange(len(self.chosen))), bounds

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """(unit + 1,): where in ``chosen`` each unit begins."""
        if self.edges is not None:
            return np.searchsorted(self.chosen, self.edges)
        units = int(self.chosen[-1]) // self.unit + 1 if len(self.chosen) else 0
        return np.searchsorted(self.chosen, np.arange(units + 1) * self.unit)

    @cached_property
    def _units(self) -> NDArray[np.int64]:
        """(unit,): the units as they follow each other."""
        count = len(self._starts) - 1
        return _permuted(np.arange(count), count, _keys(self.seed, self.epoch, _UNITS))

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """(unit,): the place behind each unit's, if windows were not mixed."""
        return np.cumsum(np.diff(self._starts)[self._units])


@dataclass(frozen=True)
class Drawn:
    """Drawn with replacement, each slot as often as its weight says.

    Window after window, each of which has its share of the draws. Draw ``i`` takes a random
    point of its window's weights, laid end to end: word ``i`` of Philox4x64-10 under (seed,
    epoch), of which 53 bits are used.

    Attributes
    ----------
    chosen : (sample,) int64
        The slots, window after window.
    weights : (sample,) float64
        Of these; their sum is above 0.
    bounds : (window + 1,) int64
        Where each window begins in ``chosen``, and the last one ends.
    """

    chosen: NDArray[np.int64]
    weights: NDArray[np.float64]
    bounds: NDArray[np.int64]
    seed: int
    epoch: int

    def slots(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the slots at the places ``start`` to ``stop``."""
        places = np.arange(start, min(stop, len(self.chosen)))
        window = np.searchsorted(self._ends, places, "right")
        low, high = self._edges[window], self._edges[window + 1]
        points = low + _fractions(places, self.seed, self.epoch) * (high - low)
        # Rounding must not lead to the next window, or behind the last sample of any weight.
        points = np.minimum(points, np.nextafter(high, low))
        return self.chosen[np.searchsorted(self._sums, points, "right")]

    @cached_property
    def _sums(self) -> NDArray[np.float64]:
        return np.cumsum(self.weights)

    @cached_property
    def _edges(self) -> NDArray[np.float64]:
        """(window + 1,): the sum of the weights before each window, and of all."""
        before = np.concatenate([[0.0], self._sums])
        return before[self.bounds]

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """(window,): the place behind each window's draws."""
        shares = self._edges[1:] / self._edges[-1]
        ends: NDArray[np.int64] = np.rint(shares * len(self.chosen)).astype(np.int64)
        return ends


def _fractions(places: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.float64]:
    """Return a random number of [0, 1) for each of places that follow each other."""
    if not len(places):
        return np.empty(0)
    first = int(places[0])
    key = np.array([seed, _DRAWS], np.uint64)
    counter = np.array([first // _BLOCK, epoch, 0, 0], np.uint64)
    philox: Any = np.random.Philox(key=key, counter=counter)
    words = philox.random_raw(first % _BLOCK + len(places))[first % _BLOCK :]
    fractions: NDArray[np.float64] = (words >> np.uint64(11)) * 2.0**-53
    return fractions


def _keys(seed: int, epoch: int, stream: int) -> NDArray[np.uint64]:
    """Return a key for each round: words of Philox4x64-10, doi:10.1145/2063384.2063405."""
    # As arrays: in a list of Python numbers NumPy takes those of 2**63 and above for floats.
    key, counter = np.array([seed, 0], np.uint64), np.array([0, epoch, stream, 0], np.uint64)
    philox: Any = np.random.Philox(key=key, counter=counter)
    words: NDArray[np.uint64] = philox.random_raw(_ROUNDS)
    return words


def _permuted(
    numbers: NDArray[np.int64], count: int, keys: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """Return where each of some numbers below ``count`` goes."""
    if count < 2:
        return numbers
    width = math.isqrt(count - 1) + 1
    sides = np.uint64(width), np.uint64(-(-count // width))
    found = _networked(numbers.astype(np.uint64), sides, keys)
    # The pairs are a few more than the numbers: what falls outside goes on until it is inside.
    outside = np.flatnonzero(found >= count)
    while len(outside):
        found[outside] = _networked(found[outside], sides, keys)
        outside = outside[found[outside] >= count]
    return found.astype(np.int64)


def _networked(
    numbers: NDArray[np.uint64], sides: tuple[np.uint64, np.uint64], keys: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Permute pairs, given as left + width * right: each round moves one half by the other."""
    right, left = np.divmod(numbers, sides[0])
    for turn in range(0, len(keys), 2):
        left = _moved(left, right, sides[0], keys[turn])
        right = _moved(right, left, sides[1], keys[turn + 1])
    return left + sides[0] * right


def _moved(
    half: NDArray[np.uint64], other: NDArray[np.uint64], side: np.uint64, key: np.uint64
) -> NDArray[np.uint64]:
    """Add to a half a random number below ``side`` that its pair's other half decides."""
    # The finaliser of SplitMix64: Steele, Lea and Flood, doi:10.1145/2660193.2660195.
    word = other + key
    for factor, shift in zip(_MIX, _SHIFTS, strict=True):
        word ^= word >> shift
        word *= factor
    word ^= word >> np.uint64(31)
    total = half + ((word >> _32) * side >> _32)
    # Where the total is below the side, the difference wraps and is the larger one.
    return np.minimum(total, total - side)
