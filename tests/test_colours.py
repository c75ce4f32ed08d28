from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from daskimg.decode import Picture, decode
from daskimg.errors import OptionError
from daskimg.options import DecodeOptions
from daskimg.recipe import Recipe
from daskimg.transforms import (
    Autocontrast,
    Equalize,
    Grayscale,
    PhotometricJitter,
    Sample,
    Spec,
    Target,
)

SPEC = Spec(None, None, 3, "uint8")
COLOURS = [Grayscale(), Autocontrast(), Equalize(), PhotometricJitter()]
quick = settings(max_examples=25, deadline=None)
needs_shared = pytest.mark.skipif(
    not (scenes.SHARED / "imagenet").is_dir(), reason="no shared/data beside the repository"
)

# What Pillow alone does to an image of mode L or RGB.
BY_PILLOW = [
    pytest.param(Grayscale(3), lambda image: image.convert("L").convert("RGB"), id="grey of 3"),
    pytest.param(Autocontrast(), ImageOps.autocontrast, id="autocontrast"),
    pytest.param(Autocontrast(5), lambda i: ImageOps.autocontrast(i, 5), id="autocontrast, 5 %"),
    pytest.param(Equalize(), ImageOps.equalize, id="equalize"),
]


def changed(transform, picture, **fields):
    (made,) = transform(Sample(picture, **fields))
    return made.image.array()


def noisy(seed, channels=3, height=12, width=17):
    """Levels of an uneven histogram."""
    rng = np.random.default_rng(seed)
    return (rng.random((height, width, channels)) ** 2 * 200 + 20).astype(np.uint8)


@pytest.mark.parametrize(("transform", "wanted"), BY_PILLOW)
@quick
@given(seed=st.integers(0, 1000))
def test_colours_have_pillows_bits(transform, wanted, seed):
    array = noisy(seed)

    made = changed(transform, Picture.from_array(array))

    npt.assert_array_equal(made, np.asarray(wanted(Image.fromarray(array))))


@pytest.mark.parametrize(("transform", "wanted"), BY_PILLOW[1:])
def test_grey_pictures_have_pillows_bits_too(transform, wanted):
    array = noisy(1, channels=1)

    made = changed(transform, Picture.from_array(array))

    npt.assert_array_equal(made[:, :, 0], np.asarray(wanted(Image.fromarray(array[:, :, 0]))))


@pytest.mark.parametrize(("transform", "wanted"), BY_PILLOW)
def test_a_grey_picture_of_three_channels_has_the_bits_of_its_colour_form(transform, wanted):
    grey = Image.fromarray(noisy(2)).convert("L")

    made = changed(transform, Picture(grey, 3))

    npt.assert_array_equal(made, np.asarray(wanted(grey.convert("RGB"))))


@needs_shared
@pytest.mark.parametrize(("transform", "wanted"), BY_PILLOW)
def test_photographs_have_pillows_bits(transform, wanted):
    for path in sorted((scenes.SHARED / "imagenet").rglob("*.JPEG"))[::75]:
        picture, _ = decode(path.read_bytes(), DecodeOptions(exact=True))

        made = changed(transform, picture)

        npt.assert_array_equal(made, np.asarray(wanted(Image.open(path).convert("RGB"))))


def test_grey_may_have_one_channel():
    array = noisy(3)

    (spec,) = Grayscale(1).resolve(SPEC)
    made = changed(Grayscale(1), Picture.from_array(array))

    assert made.shape[2] == spec.channels == 1
    npt.assert_array_equal(made[:, :, 0], np.asarray(Image.fromarray(array).convert("L")))


def test_grey_is_the_luma_of_the_formula():
    array = noisy(4).astype(np.int64)

    made = changed(Grayscale(1), Picture.from_array(array.astype(np.uint8)))

    npt.assert_array_equal(made[:, :, 0], (array @ [19595, 38470, 7471] + 32768) // 65536)


@pytest.mark.parametrize("transform", COLOURS)
def test_a_part_of_a_picture_is_coloured_by_itself(transform):
    array = noisy(5)
    whole = Picture.from_array(array)

    made = changed(transform, whole.window(2, 3, 6, 7))

    npt.assert_array_equal(made, changed(transform, Picture.from_array(array[2:8, 3:10].copy())))


@pytest.mark.parametrize("transform", COLOURS)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_wider_dtypes_are_refused_with_advice(transform, dtype):
    with pytest.raises(OptionError, match=r"needs uint8 pictures.*leave out --dtype"):
        transform.resolve(replace(SPEC, dtype=dtype))


@pytest.mark.parametrize("transform", COLOURS)
def test_targets_and_the_affine_stay(transform):
    targets = {"mask": Target("mask", np.ones((12, 17, 1), np.uint8))}
    sample = Sample(Picture.from_array(noisy(6)), targets=targets)

    (made,) = transform(sample)

    assert made.targets == targets
    assert made.affine is sample.affine


@quick
@given(row=st.integers(0, 10_000), strength=st.floats(0, 2))
def test_jitter_draws_factors_in_their_range(row, strength):
    sample = Sample(Picture.from_array(noisy(7)), row=row)

    factors = PhotometricJitter(strength, 0, strength / 2).factors(sample)

    assert max(0, 1 - strength) <= factors[0] <= 1 + strength
    assert factors[1] == 1
    assert max(0, 1 - strength / 2) <= factors[2] <= 1 + strength / 2


def test_jitter_spreads_evenly():
    jitter = PhotometricJitter(0.5, 0.5, 0.5)

    drawn = [jitter.factors(Sample(Picture.from_array(noisy(7)), row=row)) for row in range(400)]

    npt.assert_allclose(np.mean(drawn, axis=0), 1, atol=0.05)
    npt.assert_allclose(np.std(drawn, axis=0), 1 / np.sqrt(12), atol=0.03)
    npt.assert_allclose(np.corrcoef(np.transpose(drawn)), np.eye(3), atol=0.15)


def test_jitter_has_pillows_bits():
    array = noisy(8)
    sample = Sample(Picture.from_array(array), seed=1, row=2)
    jitter = PhotometricJitter(0.4, 0.5, 0.6)
    brightness, contrast, saturation = jitter.factors(sample)

    (made,) = jitter(sample)

    image = ImageEnhance.Brightness(Image.fromarray(array)).enhance(brightness)
    image = ImageEnhance.Contrast(image).enhance(contrast)
    image = ImageEnhance.Color(image).enhance(saturation)
    npt.assert_array_equal(made.image.array(), np.asarray(image))


def test_jitter_without_strength_changes_nothing():
    array = noisy(9)

    npt.assert_array_equal(changed(PhotometricJitter(0, 0, 0), Picture.from_array(array)), array)


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        pytest.param(lambda: Grayscale(2), "1 or 3", id="two channels"),
        pytest.param(lambda: Autocontrast(50), "0 to below 50", id="all cut off"),
        pytest.param(lambda: PhotometricJitter(contrast=-1), "contrast must be", id="negative"),
        pytest.param(lambda: Equalize().resolve(replace(SPEC, channels=2)), "1 or 3", id="pair"),
    ],
)
def test_bad_options_are_refused_with_advice(make, advice):
    with pytest.raises(OptionError, match=advice):
        make()


@pytest.mark.parametrize("transform", COLOURS)
def test_colours_go_to_toml_and_back(transform):
    recipe = Recipe((transform,))

    assert Recipe.from_dict(recipe.to_dict()) == recipe
