from itertools import pairwise

import numpy as np
import numpy.testing as npt
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from daskimg.decode import Picture
from daskimg.transforms import CenterCrop, Fit, RandomCrop, Resize, Sample

quick = settings(max_examples=25, deadline=None)
lengths = st.integers(1, 12)


def noisy(height, width, dtype="float32"):
    rng = np.random.default_rng(height * 100 + width)
    return (rng.random((height, width, 2)) * 255).astype(dtype)


def coverage(length, parts, low, high):
    """(part, pixel) shares of each part that each pixel covers, by definition."""
    edges = [low + (high - low) * i / parts for i in range(parts + 1)]
    return np.array(
        [
            [max(0, min(b, i + 1) - max(a, i)) / (b - a) for i in range(length)]
            for a, b in pairwise(edges)
        ]
    )


@quick
@given(height=lengths, width=lengths, tall=lengths, wide=lengths)
def test_a_pixel_is_the_mean_of_what_lies_under_it(height, width, tall, wide):
    array = noisy(height, width)

    made = Picture.from_array(array).resized(tall, wide, method="area").array()

    down, across = coverage(height, tall, 0, height), coverage(width, wide, 0, width)
    npt.assert_allclose(made, np.einsum("ih,jw,hwc->ijc", down, across, array), rtol=1e-5)


@quick
@given(left=st.floats(0, 4), top=st.floats(0, 4), right=st.floats(6, 9), bottom=st.floats(6, 7))
def test_a_part_with_broken_edges_is_averaged_too(left, top, right, bottom):
    array = noisy(7, 9)

    made = Picture.from_array(array).resized(3, 4, box=(left, top, right, bottom), method="area")

    down, across = coverage(7, 3, top, bottom), coverage(9, 4, left, right)
    npt.assert_allclose(made.array(), np.einsum("ih,jw,hwc->ijc", down, across, array), rtol=1e-4)


def test_where_the_ratio_is_whole_it_is_pillows_box_but_for_rounding():
    image = scenes.picture(3, 48, 60)

    made = Picture(image, 3).resized(16, 12, method="area").array()

    box = np.asarray(image.resize((12, 16), Image.Resampling.BOX)).astype(int)
    assert np.abs(made - box).max() <= 1
    exact = np.asarray(image).reshape(16, 3, 12, 5, 3).mean(axis=(1, 3))
    npt.assert_array_equal(made, np.rint(exact))


def test_where_it_is_not_pillows_box_is_no_area():
    row = np.array([[0, 90, 180]], np.uint8)

    made = Picture.from_array(row).resized(1, 2, method="area").array()

    assert made.ravel().tolist() == [30, 150]
    box = np.asarray(Image.fromarray(row).resize((2, 1), Image.Resampling.BOX))
    assert box.ravel().tolist() != [30, 150]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_an_even_picture_stays_even(dtype):
    white = np.iinfo(dtype).max
    array = np.full((37, 41, 3), white, dtype)

    made = Picture.from_array(array).resized(10, 7, method="area").array()

    assert (made == white).all()


def test_a_picture_decoded_at_half_its_size_has_its_own_box():
    half = noisy(8, 8, "uint8")
    picture = Picture(half, 2, (15, 16), 2)

    made = picture.resized(4, 4, method="area").array()

    down, across = coverage(8, 4, 0, 7.5), coverage(8, 4, 0, 8)
    npt.assert_array_equal(made, np.rint(np.einsum("ih,jw,hwc->ijc", down, across, half)))


@pytest.mark.parametrize(
    "transform", [kind(6, 9, method="area") for kind in (Resize, CenterCrop, Fit, RandomCrop)]
)
def test_transforms_take_it_by_name(transform):
    (made,) = transform(Sample(Picture(scenes.picture(1, 40, 50), 3)))

    assert made.image.array().shape == (6, 9, 3)
