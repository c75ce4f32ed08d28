"""Gaussian noise in place: each value a function of seed, row, part, stream and position only.

No state and no order: however rows are spread over tasks, and whatever ran before, a sample
gets the same noise. Where there is little of it NumPy makes it, and numba's kernel, which costs
a second to import and compile, where there is much: the bits are the same.
"""

from __future__ import annotations

import math
import operator
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.compiling import Rent
from daskimg.errors import OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPILE_PAYS = 200_000_000
"""Values made by one Python process above which the compiled kernel is the faster way.

Measured on one core of an AMD EPYC with AVX-512, numba 0.68 and NumPy 2.4: 0.4 s to import
numba and 0.6 s to compile, against 5.3 ns a value in NumPy and 0.35 ns in the kernel. That is
4,000 pictures of 128x128x3.
"""

_MADE = Rent(COMPILE_PAYS)

QUANTILES = 1 << 16
"""Entries of a table: one for each half of a 32-bit word."""

_LIMIT = 1 << 35  # values of 2**32 blocks
_BLOCKS = 4096  # of one pass in NumPy: its arrays stay in the second cache
_LOW32, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_ROUNDS = 10

_DIGITS = 40
_TURN = Decimal("6.283185307179586476925286766559005768394338798750")  # 2 pi
_FARTHEST = 6  # deviations: 65,536 values all lie within 4.4


def gaussian_noise(
    out: NDArray[np.uint8],
    *,
    seed: int,
    row: int,
    part: int = 0,
    stream: int = 0,
    mean: float = 127.0,
    std: float = 100.0,
    compiled: bool | None = None,
) -> None:
    """Fill an array with Gaussian noise, rounded to whole levels and clipped to 0..255.

    Counter-based, so that any sample can be made again alone: Philox4x32-10 (Salmon et al.,
    SC'11, doi:10.1145/2063384.2063405), whose key is ``seed`` and whose counter is (block,
    part, row, stream). Each block of four words gives eight values by inverse transform:
    words in their order, of each the low 16 bits before the high ones, index
    ``quantile_table``. The value at a flat position depends on the position and these numbers,
    not on the array's shape or size. This is part of the store format.

    Parameters
    ----------
    out : (...) uint8, C-contiguous
        Overwritten; at most 2**35 values. For a sample: (height, width, channel).
    seed
        0 to 2**64 - 1.
    row, part, stream
        0 to 2**32 - 1 each: of the manifest, of the row's outputs, and of the uses that
        one sample makes of noise.
    mean, std
        Of the distribution before it is rounded and clipped, in levels.
    compiled
        Whether numba makes it, or NumPy: the same bits. By default numba does once this
        process has made ``COMPILE_PAYS`` values.

    Raises
    ------
    OptionError
        If the array cannot be filled, or a number is out of its range.

    Examples
    --------
    >>> picture = np.zeros((1, 2, 3), np.uint8)
    >>> gaussian_noise(picture, seed=0, row=5, compiled=False)
    >>> picture.ravel()
    array([147, 210, 255, 170,   0, 123], dtype=uint8)
    """
    _check_out(out)
    key = _whole("seed", seed, 64)
    counter = _whole("row", row, 32), _whole("part", part, 32), _whole("stream", stream, 32)
    worth = _MADE.worth(out.size) if compiled is None else compiled
    fill = _compiled if worth else _fill
    fill(out.reshape(-1), quantile_table(mean, std), key, *counter)


def _check_out(out: NDArray[Any]) -> None:
    if out.dtype != np.uint8 or not out.flags.c_contiguous or not out.flags.writeable:
        order = "C-contiguous" if out.flags.c_contiguous else "not contiguous"
        lock = "writable" if out.flags.writeable else "read-only"
        raise OptionError(
            f"out must be a writable C-contiguous array of uint8, got {out.shape} of "
            f"{out.dtype}, {order}, {lock}; try np.empty({out.shape}, np.uint8)"
        )
    if out.size > _LIMIT:
        raise OptionError(f"out must hold at most 2**35 values, got {out.size}; try one sample")


def _whole(name: str, value: int, bits: int) -> np.uint64:
    """Return a number that fits so many bits, or refuse it."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number < 1 << bits:
        raise OptionError(
            f"{name} must be a whole number of 0 to 2**{bits} - 1, got {value!r}; try 0"
        )
    return np.uint64(number)


# The table


def quantile_table(mean: float = 127.0, std: float = 100.0) -> NDArray[np.uint8]:
    """Return the level of each quantile of a normal distribution, rounded and clipped.

    Entry ``i`` is the value below which ``(i + 0.5) / 65536`` of the distribution lies. It is
    found from the edges between levels: so many entries lie below each. They are counted in
    decimal arithmetic of 40 digits, which Python's documentation defines to the last digit, so
    that the table is the same on every platform; no mathematical library promises that.

    Parameters
    ----------
    mean, std
        In levels; finite, ``std`` above 0.

    Returns
    -------
    (65536,) uint8
        Never falling. Read-only: every caller with these numbers gets the same array.

    Raises
    ------
    OptionError
        If there is no such distribution.

    Examples
    --------
    >>> table = quantile_table(127, 100)
    >>> table[[0, 32767, 65535]].tolist(), int((table == 255).sum())
    ([0, 127, 255], 6629)
    """
    try:
        numbers = float(mean), float(std)
    except (TypeError, ValueError):
        numbers = math.nan, math.nan
    if not math.isfinite(numbers[0]) or not 0 < numbers[1] < math.inf:
        raise OptionError(
            f"noise needs a finite mean and a std above 0, got mean={mean!r} and std={std!r}; "
            f"try mean=127 and std=100"
        )
    return _table(*numbers)


@lru_cache(maxsize=16)
def _table(mean: float, std: float) -> NDArray[np.uint8]:
    with localcontext(Context(prec=_DIGITS)):
        centre, spread = Decimal(mean), Decimal(std)
        edges = [Decimal(2 * level - 1) / 2 for level in range(1, 256)]
        below = [_count_below((edge - centre) / spread) for edge in edges]
    table = np.repeat(np.arange(256, dtype=np.uint8), np.diff([0, *below, QUANTILES]))
    table.flags.writeable = False
    return table


def _count_below(edge: Decimal) -> int:
    """Return how many of the 65,536 quantiles of the standard normal lie below an edge."""
    if abs(edge) > _FARTHEST:
        return QUANTILES if edge > 0 else 0
    return math.ceil(QUANTILES * _normal_cdf(edge) - Decimal("0.5"))


def _normal_cdf(x: Decimal) -> Decimal:
    """Return the probability of less than ``x`` under the standard normal distribution.

    Marsaglia's series, doi:10.18637/jss.v011.i04: 1/2 + density (x + x**3/3 + x**5/(3*5) + ...).
    """
    term = total = x
    divisor = 1
    while abs(term) > Decimal("1e-30"):
        divisor += 2
        term = term * x * x / divisor
        total += term
    return Decimal("0.5") + total * (-x * x / 2).exp() / _TURN.sqrt()


# The values


def _compiled(values: NDArray[np.uint8], table: NDArray[np.uint8], *key: np.uint64) -> None:
    from daskimg import kernels

    kernels.fill_noise(values, table, *key)


def _fill(
    values: NDArray[np.uint8],
    table: NDArray[np.uint8],
    seed: np.uint64,
    row: np.uint64,
    part: np.uint64,
    stream: np.uint64,
) -> None:
    """Do what ``kernels.fill_noise`` does, in NumPy."""
    for start in range(0, values.size, 8 * _BLOCKS):
        run = values[start : start + 8 * _BLOCKS]
        first = start // 8
        block = np.arange(first, first + (run.size + 7) // 8, dtype=np.uint64)
        counter = [block, *(np.full_like(block, number) for number in (part, row, stream))]
        words = np.stack(philox4x32(counter, (seed & _LOW32, seed >> _32)), axis=1)
        halves = words.astype("<u4").view("<u2").reshape(-1)  # the low half comes first
        run[:] = table[halves[: run.size]]


def philox4x32(
    counter: list[NDArray[np.uint64]], key: tuple[Any, Any]
) -> list[NDArray[np.uint64]]:
    """Do what ``kernels.philox4x32`` does, for arrays of counters under one key, or of keys."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        product0, product2 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1 = (product2 >> _32) ^ c1 ^ k0, product2 & _LOW32
        c2, c3 = (product0 >> _32) ^ c3 ^ k1, product0 & _LOW32
        k0, k1 = (k0 + _WEYL[0]) & _LOW32, (k1 + _WEYL[1]) & _LOW32
    return [c0, c1, c2, c3]
