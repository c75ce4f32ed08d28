"""Counter-based random words (Philox4x32-10), and noise by way of a table of quantiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = tuple[np.uint64, np.uint64, np.uint64, np.uint64]
    """Four words of 32 bits."""

_LOW32, _LOW16 = np.uint64(0xFFFFFFFF), np.uint64(0xFFFF)
_32, _16, _48 = np.uint64(32), np.uint64(16), np.uint64(48)
_MULTIPLIER_0, _MULTIPLIER_2 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_ROUNDS = 10
_BLOCKS = 256  # of one pass: their words, 4 kB, stay in the first cache beside most of a table


@njit(nogil=True)
def philox4x32(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> Words:
    """Return the four random words of a counter under a key: Philox4x32-10.

    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11,
    doi:10.1145/2063384.2063405. Other counters give other words; no state, no order.

    Parameters
    ----------
    c0, c1, c2, c3
        The counter, each below 2**32.
    k0, k1
        The key, each below 2**32.
    """
    # A product of 32 by 32 bits fits the 64: its halves are the paper's "mulhi" and "mullo".
    for _ in range(_ROUNDS):
        product0, product2 = _MULTIPLIER_0 * c0, _MULTIPLIER_2 * c2
        c0, c1 = (product2 >> _32) ^ c1 ^ k0, product2 & _LOW32
        c2, c3 = (product0 >> _32) ^ c3 ^ k1, product0 & _LOW32
        k0, k1 = (k0 + _WEYL_0) & _LOW32, (k1 + _WEYL_1) & _LOW32
    return c0, c1, c2, c3


@njit(nogil=True)
def fill_noise(
    out: NDArray[np.uint8],
    table: NDArray[np.uint8],
    seed: np.uint64,
    row: np.uint64,
    part: np.uint64,
    stream: np.uint64,
) -> None:
    """Fill an array with noise that depends on seed, row, part, stream and position only.

    The key is ``seed``, low half first; the counter is (block, part, row, stream). A block is
    four words, which are eight halves of 16 bits: words in their order, of each the low half
    before the high one. Value ``p`` is ``table`` at half ``p % 8`` of block ``p // 8``. This
    is part of the store format.

    Two loops over a few hundred blocks at a time, for speed: LLVM computes the words of eight
    blocks at once where registers have 512 bits, and the look-ups, which it cannot, wait for
    nothing. In one loop neither gains.

    Parameters
    ----------
    out : (value,) uint8
        At most 2**35 values. Overwritten.
    table : (65536,) uint8
        The level of each 16-bit quantile.
    seed : below 2**64
    row, part, stream : below 2**32
    """
    first, second = np.empty(_BLOCKS, np.uint64), np.empty(_BLOCKS, np.uint64)
    for start in range(0, out.size, 8 * _BLOCKS):
        values = out[start : start + 8 * _BLOCKS]
        blocks = (values.size + 7) // 8
        block = np.uint64(start // 8)
        _compute_words(first[:blocks], second[:blocks], seed, block, part, row, stream)
        _look_up_halves(first, second, table, values)


@njit(nogil=True)
def _compute_words(
    first: NDArray[np.uint64],
    second: NDArray[np.uint64],
    seed: np.uint64,
    start: np.uint64,
    part: np.uint64,
    row: np.uint64,
    stream: np.uint64,
) -> None:
    k0, k1 = seed & _LOW32, seed >> _32
    for i in range(first.size):
        block = (start + np.uint64(i)) & _LOW32  # the mask tells LLVM that it is short
        c0, c1, c2, c3 = philox4x32(block, part, row, stream, k0, k1)
        first[i] = c0 | (c1 << _32)
        second[i] = c2 | (c3 << _32)


@njit(nogil=True)
def _look_up_halves(
    first: NDArray[np.uint64],
    second: NDArray[np.uint64],
    table: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> None:
    whole = out.size // 8
    for i in range(whole):
        low, high = first[i], second[i]
        out[8 * i] = table[low & _LOW16]
        out[8 * i + 1] = table[(low >> _16) & _LOW16]
        out[8 * i + 2] = table[(low >> _32) & _LOW16]
        out[8 * i + 3] = table[low >> _48]
        out[8 * i + 4] = table[high & _LOW16]
        out[8 * i + 5] = table[(high >> _16) & _LOW16]
        out[8 * i + 6] = table[(high >> _32) & _LOW16]
        out[8 * i + 7] = table[high >> _48]
    for i in range(8 * whole, out.size):
        words = first[whole] if i % 8 < 4 else second[whole]
        out[i] = table[(words >> np.uint64(16 * (i % 4))) & _LOW16]
