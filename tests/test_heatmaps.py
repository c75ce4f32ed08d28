import math
import subprocess
import sys

import naive
import numba
import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskimg import kernels
from daskimg.errors import OptionError
from daskimg.heatmaps import draw_heatmaps, exponential

# The first example compiles, which takes longer than any deadline.
unhurried = settings(deadline=None, max_examples=25)

both_ways = pytest.mark.parametrize("compiled", [False, True], ids=["numpy", "kernel"])

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))
SIGMAS = st.floats(0.05, 6)
RADII = st.floats(0.2, 6) | st.just(math.inf)


def points_on(image_size):
    """Joints on the image, half of them a little outside or on a line between pixels."""
    height, width = image_size
    x = st.floats(-2, width + 2) | st.integers(-1, width + 1)
    y = st.floats(-2, height + 2) | st.integers(-1, height + 1)
    return st.lists(st.tuples(x, y), min_size=1, max_size=4)


def drawn(points, visible=None, **options):
    """Heatmaps of eight by eight pixels for an image of that size, unless said otherwise."""
    points = np.asarray(points, np.float64)
    shown = np.ones(points.shape[:-1], np.uint8) if visible is None else visible
    chosen = {"image_size": (8, 8), "size": (8, 8), "sigma": 1.0, "compiled": False} | options
    return draw_heatmaps(points, shown, **chosen)


def expected(points, image_size, size, sigma, radius):
    maps = [
        naive.heatmap(point, image_size, size, sigma, radius)
        if 0 <= point[0] < image_size[1] and 0 <= point[1] < image_size[0]
        else np.zeros(size)
        for point in points
    ]
    return np.stack(maps, axis=-1)


# Values


@both_ways
@unhurried
@given(draws=st.data(), image_size=SIZES, size=SIZES, sigma=SIGMAS)
def test_heatmaps_are_the_oracles(compiled, draws, image_size, size, sigma):
    points = draws.draw(points_on(image_size))
    options = {"image_size": image_size, "size": size, "sigma": sigma, "radius": math.inf}

    got = drawn(points, compiled=compiled, **options)

    assert got.dtype == np.float32
    npt.assert_allclose(got, expected(points, **options), rtol=2e-7, atol=1e-38)


@unhurried
@given(draws=st.data(), image_size=SIZES, size=SIZES, sigma=SIGMAS, radius=RADII)
def test_the_kernel_and_numpy_give_the_same_heatmaps(draws, image_size, size, sigma, radius):
    points = draws.draw(points_on(image_size))
    options = {"image_size": image_size, "size": size, "sigma": sigma, "radius": radius}

    numpy, kernel = (drawn(points, compiled=way, **options) for way in (False, True))

    npt.assert_array_equal(numpy, kernel)


@both_ways
def test_the_peak_is_1_where_a_pixels_centre_is_on_the_joint(compiled):
    maps = drawn([[2.5, 5.5]], compiled=compiled)

    assert maps[5, 2, 0] == 1
    assert (np.delete(maps.ravel(), 5 * 8 + 2) < 1).all()
    assert maps[5, 3, 0] == maps[4, 2, 0] == np.float32(math.exp(-0.5))


@both_ways
def test_a_joint_between_pixels_is_shared_by_them(compiled):
    maps = drawn([[3.0, 4.0]], compiled=compiled)[..., 0]

    patch = np.full((2, 2), np.float32(math.exp(-0.25)))
    npt.assert_array_equal(maps[3:5, 2:4], patch)
    assert maps.max() == patch[0, 0]
    npt.assert_array_equal(maps[:, 1], maps[:, 4])


@unhurried
@given(x=st.floats(5, 11), y=st.floats(5, 11))
def test_the_centre_of_mass_gives_the_sub_pixel_place_back(x, y):
    maps = drawn([[x, y]], image_size=(16, 16), size=(16, 16), radius=math.inf)[..., 0]

    centres = np.arange(16) + 0.5
    mass = maps.sum(dtype=np.float64)
    assert (maps.sum(axis=0) @ centres) / mass == pytest.approx(x, abs=1e-4)
    assert (maps.sum(axis=1) @ centres) / mass == pytest.approx(y, abs=1e-4)


@both_ways
def test_places_are_scaled_from_the_image_to_the_heatmap(compiled):
    scaled = drawn([[100.0, 90.0]], image_size=(120, 200), size=(12, 16), compiled=compiled)

    there = drawn([[8.0, 9.0]], image_size=(12, 16), size=(12, 16), compiled=compiled)
    assert scaled.shape == (12, 16, 1)
    npt.assert_array_equal(scaled, there)


# Where nothing is drawn


@both_ways
@pytest.mark.parametrize(
    "point",
    [
        (math.nan, 3),
        (3, math.nan),
        (math.inf, 3),
        (-1, -1),
        (-1e-9, 3),
        (3, -1e-9),
        (20, 3),
        (3, 10),
        (1.7e308, -1.7e308),
    ],
)
def test_a_joint_outside_the_image_has_no_heatmap(compiled, point):
    both = [point, (4.0, 4.0)]

    maps = drawn(both, image_size=(10, 20), size=(20, 60), compiled=compiled)

    assert not maps[..., 0].any()
    assert maps[..., 1].any()


@both_ways
@pytest.mark.parametrize("point", [(0, 0), (np.nextafter(20, 0), np.nextafter(10, 0))])
def test_a_joint_on_the_edge_of_the_image_has_a_heatmap(compiled, point):
    maps = drawn([point], image_size=(10, 20), compiled=compiled)

    corner = maps[0, 0, 0] if point == (0, 0) else maps[-1, -1, 0]
    assert corner == pytest.approx(math.exp(-0.25), rel=1e-6)


@both_ways
@pytest.mark.parametrize("dtype", [np.uint8, np.bool, np.int64, np.float32])
def test_a_joint_that_is_not_visible_has_no_heatmap(compiled, dtype):
    points = [[4, 4], [4, 4], [4, 4]]

    maps = drawn(points, np.array([1, 0, 1], dtype), compiled=compiled)

    assert maps.any(axis=(0, 1)).tolist() == [True, False, True]


@both_ways
@unhurried
@given(x=st.floats(0, 11.99), y=st.floats(0, 8.99), sigma=SIGMAS, radius=st.floats(0.2, 6))
def test_beyond_the_radius_along_an_axis_there_is_nothing(compiled, x, y, sigma, radius):
    size = {"image_size": (9, 12), "size": (9, 12)}

    maps = drawn([[x, y]], sigma=sigma, radius=radius, compiled=compiled, **size)[..., 0]

    whole = drawn([[x, y]], sigma=sigma, radius=math.inf, compiled=compiled, **size)[..., 0]
    near_x = np.abs(np.arange(12) + 0.5 - x) <= radius * sigma
    near_y = np.abs(np.arange(9) + 0.5 - y) <= radius * sigma
    npt.assert_array_equal(maps, np.where(near_y[:, None] & near_x, whole, 0))


@both_ways
def test_the_patch_ends_after_three_sigmas_unless_said(compiled):
    maps = drawn([[15.5, 15.5]], image_size=(32, 32), size=(32, 32), compiled=compiled)[..., 0]

    rows, columns = np.nonzero(maps)
    assert {*rows} == {*columns} == set(range(12, 19))
    assert rows.size == 7 * 7


# Batches


@both_ways
@unhurried
@given(seed=st.integers(0, 99), samples=st.integers(0, 4), joints=st.integers(0, 5))
def test_a_batch_is_its_samples_one_by_one(compiled, seed, samples, joints):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-1, 9, (samples, joints, 2)).astype(np.float32)
    visible = rng.integers(0, 3, (samples, joints))

    batch = drawn(points, visible, size=(6, 5), compiled=compiled)

    assert batch.shape == (samples, 6, 5, joints)
    for one, place, shown in zip(batch, points, visible, strict=True):
        npt.assert_array_equal(one, drawn(place, shown, size=(6, 5), compiled=compiled))


@both_ways
@pytest.mark.parametrize("lead", [(), (3,)], ids=["one", "batch"])
def test_heatmaps_are_drawn_where_they_are_asked_for(compiled, lead):
    points = np.random.default_rng(0).uniform(0, 8, (*lead, 4, 2))
    out = np.full((*lead, 8, 8, 4), np.nan, np.float32)

    got = drawn(points, out=out, compiled=compiled)

    assert got is out
    npt.assert_array_equal(out, drawn(points))


# The exponential


def test_the_exponential_is_right_to_a_unit_in_the_last_place():
    exponents = np.append(np.linspace(-699, 0, 20_001), [-0.0, -1e-300])

    got = exponential(exponents)

    exact = np.array([math.exp(exponent) for exponent in exponents])
    assert (np.abs(got - exact) <= np.spacing(exact)).all()
    assert got[-1] == got[-2] == 1


def test_far_from_a_sharp_joint_values_vanish_silently():
    maps = drawn([[0.5, 0.5]], image_size=(64, 64), size=(64, 64), sigma=0.01, radius=math.inf)

    assert maps[0, 0, 0] == 1
    assert np.count_nonzero(maps) == 1


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled with the JIT off")
def test_products_and_sums_of_the_kernel_are_not_fused():
    drawn([[1, 1]], compiled=True)

    code = "".join(kernels.draw_gaussians.inspect_asm().values())

    # Fused operations round once less, so that processors without them give other bits.
    assert code
    assert "fmadd" not in code
    assert "fnmadd" not in code


# Refusals


@pytest.mark.parametrize(
    ("points", "visible"),
    [((4, 3), (4,)), ((2,), ()), ((2, 3, 4, 2), (2, 3, 4)), ((4, 2), (3,)), ((3, 4, 2), (4,))],
)
def test_points_and_flags_that_do_not_match_are_refused(points, visible):
    with pytest.raises(OptionError, match=r"\(joint, xy\) or \(sample, joint, xy\), .*; try"):
        drawn(np.ones(points), np.ones(visible))


@pytest.mark.parametrize("name", ["image_size", "size"])
@pytest.mark.parametrize("value", [(0, 8), (8, -1), (8.0, 8)])
def test_a_size_that_is_none_is_refused(name, value):
    with pytest.raises(OptionError, match=rf"{name} must be a whole .*; try \(64, 64\)"):
        drawn([[1, 1]], **{name: value})


@pytest.mark.parametrize("name", ["image_size", "size"])
def test_a_size_of_another_length_is_refused(name):
    with pytest.raises(OptionError, match=rf"{name} must be \(height, width\), got \(8, 8, 3\)"):
        drawn([[1, 1]], **{name: (8, 8, 3)})


@pytest.mark.parametrize("sigma", [0, -1, 0.001, math.nan, math.inf])
def test_a_sigma_that_draws_nothing_is_refused(sigma):
    with pytest.raises(OptionError, match=rf"sigma must be at least 0.01 .* got {sigma}; try 2"):
        drawn([[1, 1]], sigma=sigma)


@pytest.mark.parametrize("radius", [0, -1, math.nan])
def test_a_radius_that_leaves_nothing_is_refused(radius):
    with pytest.raises(OptionError, match=rf"radius must be .* got {radius}; try 3"):
        drawn([[1, 1]], radius=radius)


@both_ways
@pytest.mark.parametrize(
    "out",
    [
        np.empty((8, 8, 2), np.float32),
        np.empty((8, 8, 1), np.float64),
        np.empty((8, 16, 1), np.float32)[:, ::2],
        np.frombuffer(bytes(256), np.float32).reshape(8, 8, 1),
    ],
    ids=["shape", "dtype", "order", "read-only"],
)
def test_what_cannot_be_drawn_into_is_refused(compiled, out):
    with pytest.raises(OptionError, match=r"writable C-contiguous \(8, 8, 1\) .*; try out=None"):
        drawn([[1, 1]], out=out, compiled=compiled)


def test_a_few_heatmaps_do_not_import_numba():
    script = (
        "import sys, daskimg;"
        "daskimg.draw_heatmaps([[1, 1]], [1], image_size=(8, 8));"
        "assert 'numba' not in sys.modules"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
