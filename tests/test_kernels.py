import ast
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from daskimg import kernels

# The first example of each dtype compiles, which takes longer than any deadline.
unhurried = settings(deadline=None, max_examples=25)

DTYPES = st.sampled_from([np.uint8, np.uint16])
SHAPES = st.tuples(*[st.integers(1, 4)] * 3, st.sampled_from([1, 2, 3, 4, 5]))
LEVELS = arrays.arrays(np.uint8, SHAPES)


def sums_of(images):
    channels = images.shape[-1]
    sums, squares = np.zeros(channels, np.uint64), np.zeros(channels, np.uint64)
    kernels.channel_sums(images, sums, squares)
    return tuple(sums.tolist()), tuple(squares.tolist())


@unhurried
@given(images=DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)))
def test_sums_are_those_of_python_integers(images):
    _, sums, squares = naive.channel_sums(images)

    assert (sums, squares) == sums_of(images)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_white_pictures_do_not_overflow(dtype, channels):
    white = int(np.iinfo(dtype).max)
    images = np.full((2, 70, 70, channels), white, dtype)  # more than a block of many channels

    sums, squares = sums_of(images)

    assert sums == (9800 * white,) * channels
    assert squares == (9800 * white * white,) * channels


def test_sums_are_added_to_what_is_there():
    images = np.array([[[[2, 3]]]], np.uint8)
    sums, squares = np.array([10, 20], np.uint64), np.array([100, 200], np.uint64)

    kernels.channel_sums(images, sums, squares)

    assert sums.tolist() == [12, 23]
    assert squares.tolist() == [104, 209]


@unhurried
@given(images=LEVELS)
def test_sums_picture_by_picture_are_those_of_each_alone(images):
    sums, squares = np.zeros((2, len(images), images.shape[-1]), np.uint64)

    kernels.image_sums(images, sums, squares)

    each = [sums_of(images[i : i + 1]) for i in range(len(images))]
    assert sums.tolist() == [list(one) for one, _ in each]
    assert squares.tolist() == [list(one) for _, one in each]


@unhurried
@given(images=LEVELS, planar=st.booleans(), each=st.booleans())
def test_every_level_is_replaced_by_its_entry(images, planar, each):
    samples, channels = images.shape[0], images.shape[-1]
    rng = np.random.default_rng(0)
    tables = rng.random((samples if each else 1, channels, 256), np.float32)
    expected = naive.look_up(images, tables, planar)
    out = np.full_like(expected, np.nan)

    kernels.look_up(images, tables, out, planar)

    npt.assert_array_equal(out, expected)


def test_half_precision_passes_as_its_bits():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    table = np.linspace(-3, 3, 256).astype(np.float16)
    out = np.empty(images.shape, np.float16)

    kernels.look_up(images, table.view(np.uint16).reshape(1, 1, 256), out.view(np.uint16), True)

    npt.assert_array_equal(out.ravel(), table)


@unhurried
@given(images=LEVELS, planar=st.booleans(), past=st.booleans(), shift=st.sampled_from([0, 4, 16]))
def test_samples_are_gathered_from_anywhere_in_memory(images, planar, past, shift):
    samples, *_, channels = images.shape
    images = np.ascontiguousarray(images)
    size = images[0].size
    lines = np.random.default_rng(0).permutation(samples)
    addresses = images.ctypes.data + np.arange(samples) * size
    scale, offset = np.linspace(0.01, 0.02, channels), np.linspace(-2, 2, channels)
    table = (np.arange(256) * scale[:, None] + offset[:, None]).astype(np.float32)
    expected = naive.look_up(images, table[None], planar).reshape(samples, size)
    memory = np.full(4 * samples * size + 64, 255, np.uint8)
    start = -memory.ctypes.data % 16 + shift
    out = memory[start : start + 4 * samples * size].view(np.float32).reshape(samples, size)
    past = past and channels == 3 and kernels.streams(out)

    kernels.gather_scaled(addresses, lines, scale, offset, out, planar, past)
    npt.assert_array_equal(out[lines], expected)
    kernels.gather_look_up(addresses, lines, table, out[::-1].copy()[::-1], planar)

    assert (memory[:start] == 255).all()
    assert (memory[start + out.nbytes :] == 255).all()


@pytest.mark.parametrize("planar", [False, True])
def test_what_is_written_past_the_caches_is_the_same(planar):
    levels = np.arange(3 * 64 * 5, dtype=np.uint64).astype(np.uint8)
    addresses, lines = levels.ctypes.data + np.array([0, 192, 384, 600]), np.array([2, 0, 3, 1])
    scale, shift = np.array([0.01, 0.02, 0.03]), np.array([-1.0, 0.0, 1.0])
    plain, past = np.zeros((2, 4, 192), np.float32)

    kernels.gather_scaled(addresses, lines, scale, shift, plain, planar, False)
    kernels.gather_scaled(addresses, lines, scale, shift, past, planar, True)

    assert kernels.streams(past)
    assert plain.all(axis=1).any()
    npt.assert_array_equal(past, plain)


def test_read_only_pictures_are_read():
    images = np.frombuffer(bytes(range(48)), np.uint8).reshape(1, 4, 4, 3)

    sums, _ = sums_of(images)

    assert sums == (360, 376, 392)


def test_kernels_import_numpy_and_numba_only():
    files = Path(kernels.__file__).parent.glob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    plain = [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
    named = [node.module for node in nodes if isinstance(node, ast.ImportFrom)]

    modules = {name for name in plain + named if not name.startswith("daskimg.kernels.")}

    packages = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)
    assert packages == {"llvmlite", "numba", "numpy"}  # the first is numba's compiler


def test_only_importing_the_kernels_imports_numba():
    script = (
        "import sys, numpy, daskimg.statistics as s; i = numpy.zeros((9, 8, 8, 3), 'uint8');"
        "s.channel_sums(i, compiled=False); s.normalize(i, mode='per-image');"
        "assert 'numba' not in sys.modules;"
        "import daskimg.kernels; assert 'numba' in sys.modules"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
