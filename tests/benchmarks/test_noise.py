"""Noise beside its bounds: memset below it, and the ways that it replaces above.

Run with ``python -m pytest tests/benchmarks/test_noise.py --benchmark-enable``; the values per
second are in the JSON that ``--benchmark-json`` writes, and in ``--benchmark-verbose``.
``python tests/benchmarks/noise.py`` prints them side by side.
"""

import numpy as np
import numpy.testing as npt
import pytest
from benchmarks import noise

SHAPE = (128, 128, 3)


@pytest.mark.benchmark(group="noise")
@pytest.mark.parametrize("way", noise.WAYS, ids=[*noise.WAYS])
def test_noise(benchmark, way):
    out = np.zeros(SHAPE if benchmark.enabled else (8, 8, 3), np.uint8)
    fill = noise.WAYS[way]
    fill(out)  # compiled outside the clock

    benchmark(fill, out)

    if benchmark.stats:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["gigavalues_per_second"] = round(out.size / seconds / 1e9, 3)
        benchmark.extra_info["nanoseconds_per_value"] = round(seconds / out.size * 1e9, 3)
    assert out.any()


def test_the_ways_of_philox_make_the_same_noise():
    same = ["kernel", "kernel, one loop", "philox in NumPy"]
    outs = [np.empty((5, 7, 3), np.uint8) for _ in same]

    for way, out in zip(same, outs, strict=True):
        noise.WAYS[way](out)

    npt.assert_array_equal(outs[0], outs[1])
    npt.assert_array_equal(outs[0], outs[2])
