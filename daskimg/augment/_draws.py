"""Random numbers that belong to a sample in an epoch: Philox4x32-10 by counters, no state.

The key comes from (seed, epoch, store), the counter is (block, part, row, place). ``place`` is
0, or the place in the epoch from 1 on where a sample may come several times. Each number has a
word of its own: to leave one augmentation out changes no other's draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskimg.noise import philox4x32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_AUGMENT = 0x61756721  # a stream of its own among the uses of a seed
_GENERATOR = 1 << 31  # the block of a generator's key, behind all blocks of fractions


class Moment(NamedTuple):
    """When: what an epoch's draws depend on. 0 to 2**64 - 1 each."""

    seed: int
    epoch: int


class Who(NamedTuple):
    """Whose: (sample,) int64 each.

    Attributes
    ----------
    row, part
        Of the manifest; which sample of that row.
    store
        The number of the store, where several are read as one.
    place
        The place in the epoch, from 1 on, if samples are drawn with replacement; or 0.
    """

    row: NDArray[np.int64]
    part: NDArray[np.int64]
    store: NDArray[np.int64]
    place: NDArray[np.int64]

    def at(self, lines: Any) -> Who:
        """Return some of them."""
        return Who(*(each[lines] for each in self))


def fractions(who: Who, moment: Moment, count: int) -> NDArray[np.float64]:
    """Return (sample, count) random numbers of [0, 1), of 32 bits each."""
    blocks = np.arange(-(-count // 4), dtype=np.uint64)
    words = _words(Who(*(each[:, None] for each in who)), moment, blocks)
    laid = np.stack(words, axis=-1).reshape(len(who.row), -1)
    return laid[:, :count].astype(np.float64) * 2.0**-32


def generator(who: Who, moment: Moment) -> np.random.Generator:
    """Return the random numbers of one sample, for a function of the user's."""
    words = [int(word.item()) for word in _words(who, moment, np.array([_GENERATOR], np.uint64))]
    key = np.array([words[0] | words[1] << 32, words[2] | words[3] << 32], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def _words(who: Who, moment: Moment, blocks: Words) -> list[Words]:
    row, part, store, place = (each.astype(np.uint64) for each in who)
    seed, epoch = (np.uint64(number) for number in moment)
    when = [np.full_like(store, number) for number in (epoch & _LOW, epoch >> _32)]
    first, second, _, _ = philox4x32(
        [*when, store, np.full_like(store, _AUGMENT)], (seed & _LOW, seed >> _32)
    )
    counter = np.broadcast_arrays(blocks, part & _LOW, row & _LOW, place & _LOW)
    return philox4x32(list(counter), (first, second))
