from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st

from daskimg.decode import Picture
from daskimg.errors import OptionError
from daskimg.recipe import Recipe
from daskimg.transforms import (
    STREAMS,
    NoiseFit,
    NoiseFrames,
    PhotometricJitter,
    RandomCrop,
    RandomMirror,
    Sample,
    Spec,
    Target,
    apply_affine,
)

SPEC = Spec(None, None, 3, "uint8")
RANDOM = [
    RandomCrop(8, 8),
    RandomMirror(),
    PhotometricJitter(),
    NoiseFrames(32, 64),
    NoiseFit(64, 64),
]
quick = settings(max_examples=25, deadline=None)


def made(transform, **who):
    picture = Picture(scenes.picture(3, 40, 50), 3)
    sample = transform(Sample(picture, **who))[-1]
    return sample.image.array().tobytes()


@pytest.mark.parametrize("transform", RANDOM)
def test_randomness_depends_on_seed_row_and_part_only(transform):
    who = [{"seed": s, "row": r, "part": p} for s in range(3) for r in range(3) for p in range(3)]

    first = [made(transform, **one) for one in who]
    np.random.default_rng().random()
    again = [made(transform, **one) for one in reversed(who)]

    assert first == again[::-1]
    several = 2 if isinstance(transform, RandomMirror) else len(who)
    assert len(set(first)) == several


def test_every_random_transform_has_a_stream_of_its_own():
    assert len(set(STREAMS.values())) == len(STREAMS)
    assert all(0 < stream < 1000 for stream in STREAMS.values())


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_as_many_are_mirrored_as_asked(p):
    picture = Picture.from_array(np.zeros((1, 2, 3), np.uint8))

    mirrored = [
        RandomMirror(p)(Sample(picture, row=row))[0].affine[0, 0] < 0 for row in range(900)
    ]

    assert abs(np.mean(mirrored) - p) < 4 * np.sqrt(p * (1 - p) / 900)


@quick
@given(
    height=st.integers(1, 60), width=st.integers(1, 60), row=st.integers(0, 10_000),
    low=st.floats(0.01, 1),
)  # fmt: skip
def test_a_random_part_lies_in_its_picture_and_in_its_ranges(height, width, row, low):
    sample = Sample(Picture.from_array(np.zeros((height, width, 3), np.uint8)), row=row)
    crop = RandomCrop(4, 5, scale=(low, 1.0), ratio=(0.5, 2.0))

    top, left, tall, wide = crop.window(sample)
    (made,) = crop(sample)

    assert 0 <= top < top + tall <= height
    assert 0 <= left < left + wide <= width
    # Sides are rounded to whole pixels.
    assert (tall + 0.5) / (wide - 0.5) >= 0.5 or height / width < 0.5
    assert (wide + 0.5) / (tall - 0.5) >= 0.5 or width / height < 0.5
    assert made.image.array().shape == (4, 5, 3)


def test_parts_are_spread_over_area_shape_and_place():
    crop = RandomCrop(8, 8, scale=(0.1, 0.5), ratio=(0.5, 2.0))
    picture = Picture.from_array(np.zeros((1000, 1000, 3), np.uint8))

    parts = np.array([crop.window(Sample(picture, row=row)) for row in range(500)], float)

    area = parts[:, 2] * parts[:, 3] / 1e6
    assert 0.099 < area.min() < 0.13
    assert 0.47 < area.max() < 0.501
    npt.assert_allclose(area.mean(), 0.3, atol=0.02)
    npt.assert_allclose(np.log(parts[:, 3] / parts[:, 2]).mean(), 0, atol=0.06)
    places = parts[:, :2] / (1000 - parts[:, 2:])
    npt.assert_allclose(places.mean(axis=0), 0.5, atol=0.05)
    npt.assert_allclose(places.std(axis=0), 1 / np.sqrt(12), atol=0.03)


def test_a_part_that_cannot_be_drawn_is_the_largest_in_the_centre():
    flat = Sample(Picture.from_array(np.zeros((10, 1000, 3), np.uint8)))

    assert RandomCrop(8, 8, scale=(0.9, 1.0), ratio=(0.5, 2.0)).window(flat) == (0, 490, 10, 20)


def test_a_part_is_cut_first_and_then_scaled_by_pillow():
    image = scenes.picture(5, 60, 80)
    sample = Sample(Picture(image, 3), row=3)
    crop = RandomCrop(16, 16, method="bilinear")
    top, left, tall, wide = crop.window(sample)

    (made,) = crop(sample)

    part = image.crop((left, top, left + wide, top + tall))
    npt.assert_array_equal(made.image.array(), np.asarray(part.resize((16, 16), 2)))


@quick
@given(row=st.integers(0, 1000))
def test_the_affine_of_a_part_maps_its_corners_to_the_outputs(row):
    crop = RandomCrop(12, 7)
    mask = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50, 1)
    sample = Sample(
        Picture(scenes.picture(1, 40, 50), 3), row=row, targets={"mask": Target("mask", mask)}
    )
    top, left, tall, wide = crop.window(sample)

    (made,) = crop(sample)

    corners = np.array([[left, top], [left + wide, top + tall]], float)
    npt.assert_allclose(apply_affine(made.affine, corners), [[0, 0], [7, 12]], atol=1e-9)
    part = mask[top : top + tall, left : left + wide]
    assert np.isin(made.targets["mask"].array, part).all()


def test_the_spec_is_the_size_of_the_output():
    (spec,) = RandomCrop(12, 7).resolve(replace(SPEC, height=5, width=900))

    assert (spec.height, spec.width) == (12, 7)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        pytest.param({"height": 0}, "try --size", id="no height"),
        pytest.param({"scale": (0.5, 0.2)}, r"try scale = \[0.08, 1.0\]", id="falling"),
        pytest.param({"scale": (0.5, 2)}, "at most 1", id="more than there is"),
        pytest.param({"scale": 0.5}, "scale must rise", id="one number"),
        pytest.param({"ratio": (0, 1)}, "ratio must rise", id="no width"),
        pytest.param({"method": "cubic"}, "must be one of", id="unknown method"),
    ],
)
def test_bad_crops_are_refused_with_advice(options, advice):
    with pytest.raises(OptionError, match=advice):
        RandomCrop(**{"height": 8, "width": 8, **options})


@pytest.mark.parametrize("transform", RANDOM)
def test_random_transforms_go_to_toml_and_back(transform):
    recipe = Recipe((transform,))

    assert Recipe.from_dict(recipe.to_dict()) == recipe
