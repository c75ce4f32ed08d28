"""Batches of 224x224x3 pictures, each beside its bound. Run with --benchmark-enable."""

import numpy as np
import pytest
import shelves

import daskimg
from daskimg.compiling import Rent

COUNT, SIDE = 64, 224


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    image = shelves.pictures(COUNT, SIDE, SIDE)
    url = tmp_path_factory.mktemp("reading") / "store"
    return daskimg.open_store(shelves.write_store(url, image, shard=16, chunk=8))


@pytest.mark.benchmark(group="reading")
@pytest.mark.parametrize("dtype", [None, "float32", "float16"])
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_batches(benchmark, samples, dtype, layout, monkeypatch):
    monkeypatch.setattr("daskimg.read._writers._GATHERED", Rent(0))
    form = {"dtype": dtype, "layout": layout, "reuse": True}

    def call():
        return sum(len(b.image) for b in samples.batches(32, shuffle=True, **form))

    count = benchmark(call)

    assert count == COUNT


@pytest.mark.benchmark(group="reading")
def test_batches_bound_plain_copy(benchmark, samples):
    """Copy pictures that lie in memory, one by one, by one thread."""
    image = samples.image[:]
    order = daskimg.epoch_order(COUNT)
    out = np.empty((32, *image.shape[1:]), np.uint8)

    def call():
        for start in range(0, COUNT, 32):
            for line, slot in enumerate(order[start : start + 32].tolist()):
                out[line] = image[slot]

    benchmark(call)

    assert (out == image[order[-32:]]).all()


@pytest.mark.benchmark(group="the order of an epoch")
def test_epoch_order(benchmark):
    order = benchmark(daskimg.epoch_order, 100_000)

    assert len(order) == 100_000
