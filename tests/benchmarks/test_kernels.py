"""Channel sums and look-ups beside their bounds: what memory gives without any arithmetic.

Run with ``python -m pytest tests/benchmarks/test_kernels.py --benchmark-enable``; the column
of extra figures is in the JSON that ``--benchmark-json`` writes, and in ``--benchmark-verbose``.
"""

import numpy as np
import numpy.testing as npt
import pytest

from daskimg import kernels
from daskimg.compiling import Rent
from daskimg.statistics import _normalization, channel_sums, normalize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(params=[64, 224])
def images(request, benchmark):
    """A shard of about 4 MB: out of the second cache, as pictures are when they are read."""
    samples = 4_200_000 // (request.param**2 * 3) if benchmark.enabled else 2
    shape = (samples, request.param, request.param, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def timed(benchmark, images, call, moved):
    """Run ``call``, compiled outside the clock; say GB/s of the bytes it moves."""
    call()
    got = benchmark(call)
    if benchmark.stats:
        seconds = benchmark.stats.stats.median
        benchmark.extra_info["gigabytes_per_second"] = round(moved / seconds / 1e9, 2)
        benchmark.extra_info["nanoseconds_per_value"] = round(seconds / images.size * 1e9, 3)
        per_sample = round(seconds / len(images) * 1e6, 2)
        benchmark.extra_info["microseconds_per_sample"] = per_sample
    return got


@pytest.mark.benchmark(group="sums")
@pytest.mark.parametrize("compiled", [False, True], ids=["numpy", "kernel"])
def test_channel_sums(benchmark, images, compiled):
    got = timed(benchmark, images, lambda: channel_sums(images, compiled=compiled), images.nbytes)

    assert got.sums == tuple(images.sum(axis=(0, 1, 2), dtype=np.uint64).tolist())


@pytest.mark.benchmark(group="sums")
def test_sums_bound_np_sum(benchmark, images):
    """Sum all values, without channels and squares: what one would write without thinking."""
    got = timed(benchmark, images, lambda: np.sum(images, dtype=np.uint64), images.nbytes)

    assert 0 < got < images.size * 255


@pytest.mark.benchmark(group="sums")
def test_sums_bound_read(benchmark, images):
    """Read every byte once, by NumPy's fastest reduction."""
    got = timed(benchmark, images, lambda: np.max(images), images.nbytes)

    assert got == 255


@pytest.mark.benchmark(group="normalisation")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", ["hwc", "chw"])
@pytest.mark.parametrize("mode", ["mean-std", "per-image"])
def test_normalize(benchmark, images, mode, layout, dtype, monkeypatch):
    monkeypatch.setattr(_normalization, "_LOOK_UPS", Rent(0))
    chosen = {"mean": MEAN, "std": STD} if mode == "mean-std" else {"mode": mode}
    out = normalize(images, **chosen, layout=layout, dtype=dtype)

    def call():
        return normalize(images, **chosen, layout=layout, dtype=dtype, out=out)

    got = timed(benchmark, images, call, images.nbytes + out.nbytes)

    assert got is out


@pytest.mark.benchmark(group="normalisation")
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_normalize_without_numba(benchmark, images, layout, monkeypatch):
    monkeypatch.setattr(_normalization, "_LOOK_UPS", Rent(1 << 62))
    out = normalize(images, mean=MEAN, std=STD, layout=layout)

    def call():
        return normalize(images, mean=MEAN, std=STD, layout=layout, out=out)

    timed(benchmark, images, call, images.nbytes + out.nbytes)


@pytest.mark.benchmark(group="normalisation")
def test_look_up_kernel_alone(benchmark, images):
    tables = np.linspace(-2, 2, 768, dtype=np.float32).reshape(1, 3, 256)
    out = np.empty(images.shape, np.float32)

    def call():
        kernels.look_up(images, tables, out, False)

    timed(benchmark, images, call, images.nbytes + out.nbytes)

    npt.assert_array_equal(out[0, ..., 1], tables[0, 1][images[0, ..., 1]])


@pytest.mark.benchmark(group="normalisation")
def test_normalize_bound_plain_numpy(benchmark, images):
    """What people write: three passes and two temporaries."""
    mean, std = np.float32(MEAN), np.float32(STD)

    def call():
        return (images / np.float32(255) - mean) / std

    got = timed(benchmark, images, call, images.nbytes + 4 * images.size)

    npt.assert_allclose(got, normalize(images, mean=MEAN, std=STD), atol=1e-5)


@pytest.mark.benchmark(group="normalisation")
def test_normalize_bound_cast(benchmark, images):
    """Convert and store, and nothing else: the bound of one pass."""
    out = np.empty(images.shape, np.float32)

    timed(benchmark, images, lambda: np.copyto(out, images), images.nbytes + out.nbytes)

    npt.assert_array_equal(out, images)


@pytest.mark.benchmark(group="normalisation")
def test_normalize_bound_memset(benchmark, images):
    """Store the results, without reading anything."""
    out = np.empty(images.shape, np.float32)

    timed(benchmark, images, lambda: out.fill(1), out.nbytes)

    assert (out == 1).all()
