"""Ways to fill a picture with noise, side by side: best of several rounds, in turn.

    python tests/benchmarks/noise.py [--side 128] [--rounds 30]

One thread. ``memset`` is the bound: it stores a constant. ``numpy`` is what one would write
without thinking; its bits depend on NumPy's version and on the order of the calls.
"""

import argparse
import sys
import timeit

import numba
import numpy as np

from daskimg import kernels
from daskimg.noise import gaussian_noise, quantile_table

_CALLS = 20  # of a round


def kernel(out):
    """Fill as a build does."""
    gaussian_noise(out, seed=1, row=2, compiled=True)


def philox_in_numpy(out):
    """Make the same bits without numba."""
    gaussian_noise(out, seed=1, row=2, compiled=False)


def one_loop(out):
    """Make the same bits block by block, words and look-ups in one loop."""
    _one_loop(out.reshape(-1), quantile_table(), np.uint64(1), np.uint64(2))


@numba.njit(nogil=True)
def _one_loop(out, table, seed, row):
    low16, low32, zero = np.uint64(0xFFFF), np.uint64(0xFFFFFFFF), np.uint64(0)
    for block in range((out.size + 7) // 8):
        words = kernels.philox4x32(
            np.uint64(block), zero, row, zero, seed & low32, seed >> np.uint64(32)
        )
        for lane in range(8):
            if 8 * block + lane < out.size:
                word = words[lane // 2]
                out[8 * block + lane] = table[(word >> np.uint64(16 * (lane % 2))) & low16]


def numpy_normal(out):
    """Draw normal numbers, clip and convert."""
    values = np.random.default_rng(1).normal(127, 100, out.shape)
    out[...] = np.clip(values, 0, 255)


def memset(out):
    """Store a constant."""
    out.fill(127)


WAYS = {
    "kernel": kernel,
    "kernel, one loop": one_loop,
    "philox in NumPy": philox_in_numpy,
    "numpy normal, clip, cast": numpy_normal,
    "memset": memset,
}


def seconds_per_call(out, rounds):
    """Return each way's best time; in turn, so that a busy machine is busy for all."""
    times = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            way(out)  # compiled, and out of the caches of another
            times[name].append(timeit.timeit(lambda way=way: way(out), number=_CALLS) / _CALLS)
    return {name: min(several) for name, several in times.items()}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--side", type=int, default=128)
    options.add_argument("--rounds", type=int, default=30)
    given = options.parse_args()
    out = np.zeros((given.side, given.side, 3), np.uint8)
    for name, seconds in seconds_per_call(out, given.rounds).items():
        sys.stdout.write(
            f"{name:26} {out.size / seconds / 1e9:8.3f} G values/s"
            f" {seconds / out.size * 1e9:8.3f} ns/value\n"
        )


if __name__ == "__main__":
    main()
