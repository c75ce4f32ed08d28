"""Heatmaps by the kernel and by NumPy, beside zeros: most of a heatmap is zeros.

Run with ``python -m pytest tests/benchmarks/test_heatmaps.py --benchmark-enable``; nanoseconds
per heatmap are in the JSON that ``--benchmark-json`` writes, and in ``--benchmark-verbose``.
"""

import numpy as np
import numpy.testing as npt
import pytest

from daskimg import draw_heatmaps

JOINTS = 16


@pytest.fixture(params=[1, 64], ids=["one sample", "a batch"])
def samples(request):
    """Joints of so many samples, all on pictures of 256 by 256, and room for their heatmaps."""
    points = np.random.default_rng(0).uniform(0, 256, (request.param, JOINTS, 2))
    return points, np.zeros((request.param, 64, 64, JOINTS), np.float32)


def timed(benchmark, call, maps):
    """Run ``call``, compiled outside the clock; say ns per heatmap."""
    call()
    benchmark(call)
    if benchmark.stats:
        seconds = benchmark.stats.stats.median
        per_heatmap = seconds / (len(maps) * JOINTS)
        benchmark.extra_info["nanoseconds_per_heatmap"] = round(per_heatmap * 1e9)


@pytest.mark.benchmark(group="heatmaps")
@pytest.mark.parametrize("compiled", [False, True], ids=["numpy", "kernel"])
def test_draw_heatmaps(benchmark, samples, compiled):
    points, out = samples
    visible = np.ones(points.shape[:-1])
    options = {"image_size": (256, 256), "size": (64, 64), "sigma": 2.0, "out": out}

    timed(benchmark, lambda: draw_heatmaps(points, visible, **options, compiled=compiled), out)

    assert (out.max(axis=(1, 2)) > 0.9).all()


@pytest.mark.benchmark(group="heatmaps")
def test_heatmaps_bound_memset(benchmark, samples):
    """Store zeros, and draw nothing."""
    _, out = samples

    timed(benchmark, lambda: out.fill(0), out)

    npt.assert_array_equal(out, 0)
