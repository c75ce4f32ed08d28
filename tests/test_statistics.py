import json
import math
from fractions import Fraction

import naive
import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from daskimg import statistics
from daskimg.compiling import Rent
from daskimg.errors import OptionError
from daskimg.statistics import ChannelSums, _normalization, _sums, channel_sums, normalize

# The first example of each dtype compiles, which takes longer than any deadline.
unhurried = settings(deadline=None, max_examples=25)

DTYPES = st.sampled_from([np.uint8, np.uint16])
SHAPES = st.tuples(*[st.integers(1, 4)] * 3, st.sampled_from([1, 2, 3, 4]))
WHOLE = DTYPES.flatmap(lambda dtype: arrays.arrays(dtype, SHAPES))
LEVELS = arrays.arrays(np.uint8, SHAPES)
MODES = st.sampled_from(["mean-std", "signed", "per-image"])
LAYOUTS = st.sampled_from(["hwc", "chw"])
FLOATING = st.sampled_from(["float32", "float16"])


@pytest.fixture
def compiled(monkeypatch):
    """Let every look-up be worth a compilation."""
    monkeypatch.setattr(_normalization, "_LOOK_UPS", Rent(0))


def options_for(mode, channels):
    if mode != "mean-std":
        return {"mode": mode}
    return {"mean": [0.1 + 0.2 * i for i in range(channels)], "std": [0.3] * channels}


def rng_images(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


# Sums


@unhurried
@given(images=WHOLE, compiled=st.booleans())
def test_sums_are_those_of_python_integers_compiled_or_not(images, compiled):
    got = channel_sums(images, compiled=compiled)

    assert (got.count, got.sums, got.squares) == naive.channel_sums(images)
    assert got.scale == np.iinfo(images.dtype).max


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 7, 5000])
def test_rows_and_slabs_of_any_fill_are_summed_whole(dtype, channels):
    pixels = 3072 * 66 // channels + 5  # more than a slab, with a last row that is not full
    images = np.full((1, 1, pixels, channels), np.iinfo(dtype).max, dtype)
    images[0, 0, -1] = 7

    got = channel_sums(images, compiled=False)

    white = got.scale
    assert got.sums == ((pixels - 1) * white + 7,) * channels
    assert got.squares == ((pixels - 1) * white * white + 49,) * channels


def test_slabs_are_so_low_that_white_does_not_overflow_their_sums(monkeypatch):
    monkeypatch.setattr(_sums, "_ROW", 1)
    images = np.full((1, 1, 66_100, 1), 255, np.uint8)  # more than 2**32 / 255**2 rows

    got = channel_sums(images, compiled=False)

    assert got.squares == (66_100 * 255 * 255,)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_samples_may_lie_apart(compiled, dtype):
    buffer = rng_images((5, 4 * 4 * 3 + 4)).astype(dtype)  # as if each were a chunk and its crc
    apart = buffer[:, :-4].reshape(5, 4, 4, 3)

    got = channel_sums(apart, compiled=compiled)

    assert not apart.flags.c_contiguous
    assert got == channel_sums(apart.copy(), compiled=compiled)


def test_pictures_of_any_strides_are_summed():
    images = rng_images((3, 5, 4, 3))

    got = channel_sums(images[:, ::-1, ::2].transpose(0, 2, 1, 3), compiled=False)

    assert got == channel_sums(images[:, :, ::2].copy(), compiled=False)


@unhurried
@given(images=arrays.arrays(np.float32, SHAPES))
def test_float_values_are_rounded_to_steps_first(images):
    count, sums, squares = naive.channel_sums(naive.steps(images))

    got = channel_sums(images, compiled=False)

    assert got == ChannelSums(count, sums, squares, statistics.FLOAT_STEPS)


def test_the_largest_float_values_do_not_overflow():
    images = np.full((1, 300, 300, 1), np.inf, np.float32)
    images[0, :100] *= -1

    got = channel_sums(images, compiled=True)

    assert got.sums == (30_000 * 2**42,)
    assert got.squares == (90_000 * 2**84,)


@unhurried
@given(images=WHOLE, cut=st.integers(0, 4))
def test_sums_of_parts_add_up_to_the_sums_of_the_whole(images, cut):
    whole = channel_sums(images, compiled=False)

    parts = [channel_sums(part, compiled=False) for part in (images[cut:], images[:cut])]

    assert parts[0] + parts[1] == whole
    assert ChannelSums.none(len(whole.sums), whole.scale) + whole == whole


@unhurried
@given(images=WHOLE)
def test_mean_and_deviation_are_rounded_once(images):
    total = channel_sums(images, compiled=False)
    values = naive.channel_values(images)

    assert total.mean() == tuple(naive.mean(of_one, total.scale) for of_one in values)
    assert total.std() == tuple(naive.std(of_one, total.scale) for of_one in values)


@given(count=st.integers(1, 10**15), total=st.integers(0), spread=st.integers(0, 10**40))
def test_the_deviation_is_the_nearest_float(count, total, spread):
    total %= 255 * count
    square = -(-total * total // count) + spread
    sums = ChannelSums(count, (total,), (square,), 255)

    (got,) = sums.std()

    exact = Fraction(count * square - total * total, (count * 255) ** 2)
    below, above = (math.nextafter(got, to) for to in (-math.inf, math.inf))
    low, high = (Fraction(got) + Fraction(below)) / 2, (Fraction(got) + Fraction(above)) / 2
    assert exact <= high**2
    assert exact >= low**2 or low < 0


def test_a_deviation_just_over_half_way_between_two_floats_is_rounded_up():
    half_way = (2**53 + 1) * 2**12  # the root of one more differs from it by 2**-66
    sums = ChannelSums(1, (0,), (half_way**2 + 1,), 1)

    (got,) = sums.std()

    assert got == (2**53 + 2) * 2**12
    assert ChannelSums(1, (0,), (half_way**2,), 1).std() == (2**53 * 2**12,)


def test_pictures_of_one_level_deviate_by_exactly_nothing():
    images = np.full((7, 3, 3, 3), 77, np.uint8)

    got = channel_sums(images, compiled=False)

    assert got.std() == (0.0, 0.0, 0.0)
    assert got.mean() == (77 / 255,) * 3


def test_no_pictures_have_no_mean():
    images = np.empty((0, 8, 8, 3), np.uint8)

    got = channel_sums(images, compiled=False)

    assert got == ChannelSums.none(3, 255)
    assert all(map(math.isnan, got.mean() + got.std()))
    assert normalize(images, mode="per-image", layout="chw").shape == (0, 3, 8, 8)


@given(
    count=st.integers(0),
    sums=st.lists(st.tuples(st.integers(), st.integers(0)), max_size=4),
    scale=st.sampled_from([255, 65535]),
)
def test_sums_survive_json_to_the_last_digit(count, sums, scale):
    total = ChannelSums(count, tuple(s for s, _ in sums), tuple(q for _, q in sums), scale)

    stored = json.loads(json.dumps(total.to_json()))

    assert total == ChannelSums.from_json(stored)
    assert all(isinstance(text, str) for text in stored["sums"] + stored["squares"])


@pytest.mark.parametrize(
    "other", [ChannelSums.none(3, 65535), ChannelSums.none(1, 255)], ids=["scale", "channels"]
)
def test_sums_of_unlike_pictures_do_not_add_up(other):
    with pytest.raises(OptionError, match=r"3 at scale 255 and .*sum pictures of one dtype"):
        ChannelSums.none(3, 255) + other


# Normalisation


@unhurried
@given(images=LEVELS, mode=MODES, layout=LAYOUTS, dtype=FLOATING)
def test_compiled_or_not_the_bits_are_the_same(images, mode, layout, dtype):
    settings_ = {**options_for(mode, images.shape[-1]), "layout": layout, "dtype": dtype}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_normalization, "_LOOK_UPS", Rent(1 << 62))
        plain = normalize(images, **settings_)
        patch.setattr(_normalization, "_LOOK_UPS", Rent(0))
        fast = normalize(images, **settings_)

    assert plain.dtype == fast.dtype == dtype
    assert plain.tobytes() == fast.tobytes()


@unhurried
@given(images=WHOLE)
def test_mean_and_std_are_taken_on_the_scale_of_the_dtype(images):
    white, channels = np.iinfo(images.dtype).max, images.shape[-1]
    chosen = options_for("mean-std", channels)
    centres = [Fraction(m) * int(white) for m in chosen["mean"]]
    spreads = [Fraction(s) * int(white) for s in chosen["std"]]

    got = normalize(images, **chosen)

    expected = naive.normalized(images, centres, spreads)
    npt.assert_allclose(got, expected, rtol=2e-7, atol=1e-15)


@unhurried
@given(images=WHOLE)
def test_each_picture_is_normalised_by_its_own_mean_and_deviation(images):
    got = normalize(images, mode="per-image")

    for image, normal in zip(images, got, strict=True):
        values = naive.channel_values(image[None])
        spreads = [naive.std(v, 1) or 1.0 for v in values]
        expected = naive.normalized(image, [Fraction(sum(v), len(v)) for v in values], spreads)
        npt.assert_allclose(normal, expected, rtol=2e-7, atol=1e-12)


def test_the_normalised_train_split_has_mean_0_and_deviation_1():
    images = rng_images((6, 9, 7, 3), np.uint16)
    total = channel_sums(images, compiled=False)

    got = normalize(images, mean=total.mean(), std=total.std()).astype(np.float64)

    npt.assert_allclose(got.mean(axis=(0, 1, 2)), 0, atol=1e-7)
    npt.assert_allclose(got.std(axis=(0, 1, 2)), 1, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("floating", ["float32", "float16"])
def test_signed_sends_black_to_minus_1_and_white_to_1(dtype, floating):
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    images = np.array([0, white], dtype).reshape(1, 2, 1, 1)

    got = normalize(images, mode="signed", dtype=floating)

    assert got.ravel().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_channel_of_a_single_level_becomes_zeros(dtype):
    images = np.full((2, 5, 5, 3), 0.3 if dtype == np.float32 else 77, dtype)

    got = normalize(images, mode="per-image")

    npt.assert_array_equal(got, 0)


def test_a_float_picture_may_hold_values_that_are_none():
    images = np.array([np.nan, np.inf, 1e38, 0.5], np.float32).reshape(1, 2, 2, 1)

    signed = normalize(images, mode="signed", dtype="float16")
    alone = normalize(images, mode="per-image")

    npt.assert_array_equal(signed.ravel(), [np.nan, np.inf, np.inf, 0])
    assert np.isnan(alone).all()


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("mode", ["mean-std", "per-image"])
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_many_blocks_are_one_result(mode, layout, monkeypatch):
    images = rng_images((7, 3, 3, 3))
    whole = normalize(images, **options_for(mode, 3), layout=layout)
    monkeypatch.setattr(_normalization, "_BLOCK", 60)  # two pictures a block, and one left

    got = normalize(images[::1, :, ::-1], **options_for(mode, 3), layout=layout)

    back = got[..., ::-1] if layout == "chw" else got[:, :, ::-1]
    npt.assert_array_equal(back, whole)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("apart", [False, True])
def test_results_go_straight_into_out(apart):
    images = rng_images((4, 3, 3, 3))
    out = np.full((4, 3, 3, 3 + apart), np.nan, np.float32)[..., :3]

    got = normalize(images, mode="signed", out=out)

    assert got is out
    assert out.flags.c_contiguous is not apart
    npt.assert_array_equal(out, normalize(images, mode="signed"))


def test_renting_ends_when_the_rent_paid_is_the_price():
    rent = Rent(100)

    assert [rent.worth(40) for _ in range(4)] == [False, False, True, True]


def test_who_foresees_that_it_pays_rents_nothing():
    rent = Rent(100)

    rent.foresee(100)
    assert not rent.worth(10)
    rent.foresee(91)
    assert rent.worth(0)


IMAGES = np.zeros((2, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0], r"got shape \(4, 4, 3\); try images\[None\]"),
        (IMAGES[:, :0], "with a pixel at least"),
        (IMAGES.astype(np.int64), "uint8, uint16 or float32 .* got <i8"),
        (IMAGES.astype(">u2"), "this machine's byte order, got >u2"),
    ],
    ids=["dimensions", "no pixel", "dtype", "byte order"],
)
def test_what_is_no_stack_of_pictures_is_refused(images, message):
    with pytest.raises(OptionError, match=message):
        channel_sums(images, compiled=False)
    with pytest.raises(OptionError, match=message):
        normalize(images, mode="signed")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({}, r"mean must be 3 finite numbers.*got None; try \(0.5, 0.5, 0.5\)"),
        ({"mean": [0.5] * 3}, "std must be 3 finite numbers"),
        ({"mean": 0.5, "std": 0.2}, "one per channel, got 0.5"),
        ({"mean": [0.5] * 2, "std": [0.2] * 2}, "one per channel"),
        ({"mean": [math.nan] * 3, "std": [0.2] * 3}, "finite"),
        ({"mean": [127.5] * 3, "std": [51] * 3}, r"0..1 scale.*try \(0.5, 0.5, 0.5\)"),
        ({"mean": [0.5] * 3, "std": [0.2, 0, 0.2]}, "std must be above 0"),
        ({"mean": [0.5] * 3, "std": [0.2] * 3, "mode": "signed"}, "signed takes no mean"),
        ({"mode": "minmax"}, "mode must be one of mean-std, signed, per-image"),
        ({"mode": "signed", "layout": "nchw"}, "layout must be one of hwc, chw"),
        ({"mode": "signed", "dtype": "float64"}, "dtype must be one of float32, float16"),
        ({"mean": [0.5] * 3, "std": [1e-6] * 3, "dtype": "float16"}, "up to 65504.*larger std"),
    ],
)
def test_settings_that_do_not_fit_are_refused(chosen, message):
    with pytest.raises(OptionError, match=message):
        normalize(IMAGES, **chosen)


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 3, 4, 4), np.float32),
        np.empty((2, 4, 4, 3), np.float16),
        np.broadcast_to(np.float32(0), (2, 4, 4, 3)),
    ],
    ids=["shape", "dtype", "read-only"],
)
def test_an_out_that_does_not_fit_is_refused(out):
    with pytest.raises(OptionError, match=r"writable \(2, 4, 4, 3\) array of float32, got "):
        normalize(IMAGES, mode="signed", out=out)


def test_float_pictures_may_be_normalised_on_a_scale_of_their_own():
    images = np.array([-1000, 3000], np.float32).reshape(1, 2, 1, 1)

    got = normalize(images, mean=[1000], std=[2000])

    assert got.ravel().tolist() == [-1.0, 1.0]
