"""What a row's cells and mask files become, and what of them is refused."""

import json
import pickle
from io import BytesIO

import numpy as np
import numpy.testing as npt
import pyarrow as pa
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

import daskimg
from daskimg import DecodeOptions, PlanError, Recipe, StoreError
from daskimg.cells import numbers
from daskimg.decode import Picture
from daskimg.errors import REASONS, OptionError, SampleError
from daskimg.recipe import Row
from daskimg.targets import Keypoints, MaskFile, finished
from daskimg.transforms import (
    CenterCrop,
    Fit,
    PersonCrop,
    Resize,
    Sample,
    Spec,
    Target,
    resolve_chain,
)

quick = settings(max_examples=25, deadline=None)
TWO = Keypoints(count=2)
POINTS = [[10.5, 20.0], [-1.0, -1.0]]


def cells(points=POINTS, visible=(1, 0)):
    return {"joints": points, "joints_vis": visible}


def png(array):
    file = BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


# -- keypoints ----------------------------------------------------------------------------

FORMS = {
    "lists": POINTS,
    "JSON text": json.dumps(POINTS),
    "JSON text with null": "[[10.5, 20], [null, null]]",
    "an array": np.array(POINTS),
    "an array of arrays": pa.array([POINTS]).to_pandas()[0],
    "tuples": tuple(map(tuple, POINTS)),
}


@pytest.mark.parametrize("form", FORMS)
def test_keypoints_are_read_whatever_form_the_table_gives_them(form):
    found = TWO.read(cells(FORMS[form], np.array([1, 0])))

    keypoint, visible = found["keypoint"], found["visible"]
    npt.assert_array_equal(keypoint.array, np.array([[10.5, 20], [np.nan] * 2], np.float32))
    npt.assert_array_equal(visible.array, np.array([1, 0], np.uint8))
    for spec in TWO.specs():
        target = found[spec.name]
        assert (target.kind, target.array.shape) == (spec.kind, spec.shape)
        assert target.array.dtype == spec.dtype


def test_a_hidden_joint_may_have_a_place():
    found = TWO.read(cells([[1, 2], [3, 4]], [1, 0]))

    npt.assert_array_equal(found["keypoint"].array, [[1, 2], [3, 4]])


def test_missing_joints_are_stored_as_they_came_whatever_was_done_to_them():
    sample = Sample(Picture.from_array(np.zeros((40, 60, 3), np.uint8)), targets=TWO.read(cells()))

    (made,) = CenterCrop(16, 16)(*Fit(64, 64)(sample))

    stored = finished(made.targets["keypoint"])
    npt.assert_array_equal(stored[1], [-1, -1])
    assert (stored[0] != -1).all()
    assert stored.dtype == np.float32
    npt.assert_array_equal(finished(made.targets["visible"]), [1, 0])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(cells(None), "joints holds no numbers: None", id="nothing"),
        pytest.param(cells(""), "joints holds no numbers: ''", id="an empty cell"),
        pytest.param(cells("[[1, 2], [3"), r"joints holds no numbers: '\[\[1, 2\]", id="half"),
        pytest.param(
            cells("[" * 5000), r"joints holds no numbers: '\[{59}\.\.\.$", id="very deep"
        ),
        pytest.param(cells(b"ab"), "joints holds no numbers: a bytes", id="bytes"),
        pytest.param(cells({"x": 1}), "joints holds no numbers: a dict", id="an object"),
        pytest.param(cells([[1, 2], [3]]), "joints holds no numbers: a list", id="ragged"),
        pytest.param(cells(POINTS[:1]), "joints must be 2 x 2 numbers, got 1 x 2", id="one joint"),
        pytest.param(cells(3), "joints must be 2 x 2 numbers, got one number", id="a number"),
        pytest.param(cells([[1e300, 0]] * 2), "joints holds a number over 16777216", id="far"),
        pytest.param(
            cells("[[1, 2], [-Infinity, 2]]"), "joints holds a number over", id="endless"
        ),
        pytest.param(cells(f"[[1, 2], [{10**400}, 2]]"), "joints holds no numbers", id="huge"),
        pytest.param(cells(visible=[1]), "joints_vis must be 2 numbers, got 1", id="one visible"),
        pytest.param(cells(visible=[1, 0.5]), "joints_vis must be whole numbers", id="half seen"),
        pytest.param(cells(visible=[1, None]), "joints_vis must be whole numbers", id="who knows"),
        pytest.param(cells(visible=[1, -1]), "joints_vis must be whole numbers", id="minus one"),
        pytest.param(cells(visible=[1, 1]), "joint 1 is visible but has no place", id="nowhere"),
    ],
)
def test_cells_that_are_no_keypoints_cost_one_sample(given, words):
    with pytest.raises(SampleError, match=f"target: {words}") as caught:
        TWO.read(given)

    assert caught.value.reason in REASONS


def test_a_cells_words_do_not_flood_the_ledger():
    with pytest.raises(SampleError) as caught:
        numbers({"c": "\ud800\n" * 10_000}, "c")

    assert len(caught.value.message) < 120
    assert caught.value.message.isascii()
    assert "\n" not in caught.value.message


def test_all_of_mpiis_records_are_read(shared):
    for name in ("train", "validation", "annotations_only"):
        for record in json.loads((shared / "mpii" / f"{name}.json").read_text()):
            found = Keypoints().read(record)

            stored = finished(found["keypoint"])
            npt.assert_allclose(stored, record["joints"], rtol=1e-6)
            npt.assert_array_equal(found["visible"].array, record["joints_vis"])


def test_a_person_without_joints_is_refused():
    with pytest.raises(OptionError, match="got 0; MPII has 16, COCO 17"):
        Keypoints(count=0)


# -- masks --------------------------------------------------------------------------------


@quick
@given(
    array=hnp.arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30))),
    transform=st.sampled_from(
        [Resize(16, 12), CenterCrop(16, 12), Fit(16, 12), Fit(40, 40, enlarge=False)]
    ),
)
def test_no_geometry_makes_a_value_that_the_mask_does_not_hold(array, transform):
    declared = MaskFile(fill=77)
    targets = declared.read(png(array), *array.shape)
    black = Picture.from_array(np.zeros((*array.shape, 3), np.uint8))
    (spec,) = resolve_chain((transform,), Spec(None, None, 3, "uint8", declared.specs()))

    (made,) = transform(Sample(black, targets=targets))

    mask = made.targets["mask"].array
    assert mask.shape == spec.targets[0].shape
    assert set(np.unique(mask)) <= {77, *np.unique(array)}


@pytest.mark.parametrize(
    ("fill", "dtype"), [(0, "uint8"), (255, "uint8"), (65535, "uint16"), (300, "uint16")]
)
def test_padding_holds_the_masks_own_fill(fill, dtype):
    declared = MaskFile(fill=fill, dtype=dtype)
    ones = np.ones((10, 20), dtype)
    white = Picture.from_array(np.full((10, 20, 3), 255, np.uint8))

    (made,) = Fit(20, 20)(Sample(white, targets=declared.read(png(ones), 10, 20)))

    mask = made.targets["mask"].array[:, :, 0]
    assert mask.dtype == dtype
    npt.assert_array_equal(mask[5:15], np.ones((10, 20)))
    npt.assert_array_equal(mask[:5], np.full((5, 20), fill))
    npt.assert_array_equal(mask[15:], np.full((5, 20), fill))


def test_16_bit_values_survive_every_geometry():
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    declared = MaskFile(dtype="uint16")
    black = Picture.from_array(np.zeros((64, 64, 3), np.uint8))
    sample = Sample(
        black, targets=declared.read(png(values), 64, 64), cells={"center": [32, 32], "scale": 0.3}
    )

    for transform in (Resize(128, 128), CenterCrop(128, 128), PersonCrop(128, 128)):
        (made,) = transform(sample)
        found = made.targets["mask"].array

        assert found.dtype == np.uint16
        assert set(np.unique(found)) <= set(values.reshape(-1))
        assert len(np.unique(found)) > 2000


def test_a_mask_of_another_size_than_its_picture_fails_before_it_is_decoded(monkeypatch):
    content = png(np.zeros((20, 30), np.uint8))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load_prepare", None)

    with pytest.raises(SampleError, match="size: a mask of 30 x 20 for a picture of 20 x 30"):
        MaskFile().read(content, 30, 20)


def test_a_mask_has_axes_of_its_own_name():
    (spec,) = MaskFile(array="depth", channels=3, dtype="uint16").specs()

    assert spec.axes == ("depth_height", "depth_width", "depth_channel")
    assert (spec.shape, spec.dtype) == ((0, 0, 3), "uint16")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fill": 256}, "fill must be a whole number of 0 to 255 .*got 256; try 255"),
        ({"fill": -1}, "fill must be a whole number of 0 to 255"),
        ({"fill": 65536, "dtype": "uint16"}, "0 to 65535 in a mask of uint16, got 65536"),
        ({"fill": "void"}, "got 'void'"),
        ({"channels": 4}, r"channels must be 1 or 3 \(colours\), got 4; try 1"),
        ({"dtype": "float32"}, "dtype must be one of uint8, uint16; got 'float32'"),
    ],
)
def test_masks_that_cannot_be_are_refused_with_advice(options, words):
    with pytest.raises(OptionError, match=words):
        MaskFile(**options)


@pytest.mark.parametrize("declared", [Keypoints("a", "b", 3), MaskFile("c", 7, 3)])
def test_declarations_are_data_that_travels(declared):
    again = pickle.loads(pickle.dumps(declared))

    assert again == declared
    assert hash(again) == hash(declared)
    assert set(declared.columns) <= {"a", "b", "c"}


def test_a_target_has_no_fill_unless_it_is_told():
    assert Target("mask", np.zeros((1, 1, 1))).fill == 0


# -- in a store ---------------------------------------------------------------------------


def test_other_masks_are_other_pixels_and_no_new_labels(tmp_path, pictures, threads):
    table = scenes.table_of(*pictures).iloc[:3]
    recipe = Recipe((Resize(16, 16),), targets=(MaskFile(),))

    def masked(value):
        paths = [str(tmp_path / f"{value}-{i}.png") for i in range(len(table))]
        for picture, path in zip(table["path"], paths, strict=True):
            with Image.open(picture) as opened:
                Image.new("L", opened.size, value).save(path)
        return table.assign(mask=paths)

    first, other = masked(1), masked(2)
    built = scenes.build(first, tmp_path / "o", threads, recipe=recipe)

    with pytest.raises(StoreError, match="holds other pixels: cells of mask; use another"):
        scenes.build(other, tmp_path / "o", threads, recipe=recipe)
    assert set(np.unique(built.array("mask"))) == {1}
    renamed = scenes.plan(first.assign(price=7), tmp_path / "o", recipe=recipe)
    assert daskimg.build_store(renamed, client=threads).outcome == "relabelled"


def test_a_mask_may_be_as_large_as_a_picture():
    image = Image.new("RGB", (30, 20))
    content = BytesIO()
    image.save(content, "PNG")
    mask = png(np.ones((20, 30), np.uint8))
    for limit, words in (
        (600, None),
        (599, "target: mask: 30 x 20 pixels, over the limit of 599"),
    ):
        row = Row(0, "a.png", files={"mask": mask})
        recipe = Recipe((Resize(4, 4),), DecodeOptions(max_pixels=limit), targets=(MaskFile(),))
        picture, source = Recipe((Resize(4, 4),)).decoded(content.getvalue(), row)

        if words is None:
            (made,) = recipe.samples(recipe.started(picture, source, row), row)
            assert made.targets["mask"].array.all()
        else:
            with pytest.raises(SampleError, match=words):
                recipe.started(picture, source, row)


def test_a_column_that_the_table_has_not_is_refused_when_a_store_stands(
    tmp_path, pictures, threads
):
    table = scenes.table_of(*pictures).iloc[:3]
    scenes.build(table, tmp_path / "o", threads)

    with pytest.raises(PlanError, match="the recipe reads column 'mask', which the table has not"):
        scenes.build(
            table, tmp_path / "o", threads, recipe=Recipe((Resize(16, 16),), targets=(MaskFile(),))
        )
