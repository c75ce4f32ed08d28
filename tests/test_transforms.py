from dataclasses import dataclass, replace

import numpy as np
import numpy.testing as npt
import pytest
import scenes
from hypothesis import given
from hypothesis import strategies as st

from daskimg.decode import Picture
from daskimg.errors import OptionError, PlanError
from daskimg.transforms import (
    CenterCrop,
    Fit,
    Resize,
    Sample,
    Spec,
    Target,
    TargetSpec,
    apply_affine,
    resolve_chain,
)

PLACED = [Resize, CenterCrop, Fit]
SPEC = Spec(None, None, 3, "uint8")


def one(transform, array, **fields):
    (made,) = transform(Sample(Picture.from_array(array), **fields))
    return made


def test_resize_gives_pillows_bits():
    image = scenes.picture(3, 50, 70)

    made = one(Resize(16, 24), np.asarray(image))

    npt.assert_array_equal(made.image.array(), np.asarray(image.resize((24, 16))))


def test_center_crop_scales_the_shorter_side_then_cuts_the_centre():
    image = scenes.picture(3, 300, 500)

    made = one(CenterCrop(224, 224), np.asarray(image))

    scaled = image.resize((426, 256))  # torchvision's Resize(256): int(256 * 500 / 300)
    wanted = scaled.crop((101, 16, 325, 240))  # and its CenterCrop(224)
    npt.assert_array_equal(made.image.array(), np.asarray(wanted))


def test_a_very_long_picture_is_cropped_without_being_scaled_whole():
    image = np.zeros((20_000, 3, 3), np.uint8)
    image[9_990:10_010] = 255

    made = one(CenterCrop(32, 32), image)

    assert made.image.array().shape == (32, 32, 3)
    assert made.image.array().max() == 255


def test_fit_keeps_the_shape_and_pads_with_the_colour():
    made = one(Fit(20, 20, fill=(10, 20, 30)), np.full((10, 40, 3), 200, np.uint8))

    array = made.image.array()
    assert (array[7:12] == 200).all() or (array[8:13] == 200).all()
    npt.assert_array_equal(array[0, 0], [10, 20, 30])
    npt.assert_array_equal(array[-1, -1], [10, 20, 30])


def test_fit_can_leave_small_pictures_alone():
    small = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)

    made = one(Fit(6, 6, enlarge=False), small)

    npt.assert_array_equal(made.image.array()[2:4, 2:4], small)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_padding_has_the_scale_of_the_dtype(dtype):
    made = one(Fit(4, 4, fill=(255, 255, 255)), np.zeros((1, 4, 3), dtype))

    assert made.image.array()[0, 0].tolist() == [{"uint16": 65535, "float32": 1.0}[dtype]] * 3


@pytest.mark.parametrize("kind", PLACED)
@given(height=st.integers(1, 80), width=st.integers(1, 80))
def test_any_source_becomes_the_promised_size(kind, height, width):
    transform = kind(12, 9)

    made = one(transform, np.zeros((height, width, 3), np.uint8))
    (spec,) = transform.resolve(SPEC)

    assert made.image.array().shape == (spec.height, spec.width, 3) == (12, 9, 3)


@pytest.mark.parametrize("kind", PLACED)
def test_the_affine_says_where_a_point_went(kind):
    image = np.zeros((64, 96, 3), np.uint8)
    image[30:34, 50:54] = 255  # its centre is the point (52, 32)

    made = one(kind(32, 32), image)

    weight = made.image.array()[..., 0].astype(float)
    y, x = np.mgrid[:32, :32] + 0.5
    centre = [(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()]
    npt.assert_allclose(apply_affine(made.affine, np.array([52.0, 32.0])), centre, atol=0.3)


def test_affines_of_a_chain_are_multiplied():
    first = one(Resize(40, 20), np.zeros((10, 10, 3), np.uint8))
    (second,) = Fit(10, 10)(first)

    corners = apply_affine(second.affine, np.array([[0.0, 0.0], [10.0, 10.0]]))

    npt.assert_allclose(corners, [[2, 0], [7, 10]], atol=0.51)


def test_masks_and_points_move_with_the_picture():
    mask = np.zeros((20, 40, 1), np.uint8)
    mask[:, 20:] = 7
    targets = {
        "mask": Target("mask", mask),
        "keypoint": Target("points", np.array([[40.0, 20.0]], np.float32)),
        "age": Target("values", np.array([3], np.int16)),
    }

    made = one(Resize(10, 10), np.zeros((20, 40, 3), np.uint8), targets=targets)

    assert sorted(np.unique(made.targets["mask"].array)) == [0, 7]
    assert (made.targets["mask"].array[:, 5:] == 7).all()
    npt.assert_allclose(made.targets["keypoint"].array, [[10, 10]])
    assert made.targets["age"].array.tolist() == [3]


def test_a_target_without_a_rule_is_refused_before_anything_is_read():
    @dataclass(frozen=True)
    class Warp:
        def resolve(self, spec):
            return [spec]

        def __call__(self, sample):
            return [sample]

    points = TargetSpec("keypoint", "points", ("joint", "xy"), (16, 2), "float32")

    with pytest.raises(PlanError, match="Warp has no rule for keypoint"):
        resolve_chain((Resize(8, 8), Warp()), replace(SPEC, targets=(points,)))


@pytest.mark.parametrize("kind", PLACED)
def test_size_zero_is_refused_with_advice(kind):
    with pytest.raises(OptionError, match="try --size 64"):
        kind(0, 10)


def test_random_numbers_depend_on_seed_row_part_and_stream_only():
    picture = Picture.from_array(np.zeros((1, 1, 3), np.uint8))

    def draw(stream=0, **who):
        return Sample(picture, **who).rng(stream).integers(1 << 30, size=4).tolist()

    draws = [draw(), draw(seed=1), draw(row=1), draw(part=1), draw(stream=1)]

    assert draw(seed=5, row=2**40) == draw(seed=5, row=2**40)
    assert len({tuple(d) for d in draws}) == 5
