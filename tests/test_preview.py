"""One row looked at: what is on the sheet, what is said, what is read, what is refused."""

import json
import re
from base64 import b64decode
from dataclasses import dataclass, replace
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import numpy.testing as npt
import pandas as pd
import pytest
import scenes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import daskimg
from daskimg import cli, run
from daskimg.decode import Picture, contact_sheet, decode
from daskimg.errors import ManifestError, OptionError, PlanError, SampleError, TransformError
from daskimg.options import DecodeOptions
from daskimg.preview import PreviewSample, PreviewStage, preview_row, preview_rows
from daskimg.preview._panels import panels_of
from daskimg.recipe import Recipe
from daskimg.sheets import hues, rgb_of
from daskimg.targets import Keypoints, MaskFile
from daskimg.transforms import (
    IDENTITY,
    Concatenate,
    Heatmaps,
    MinSize,
    Mirror,
    PersonCrop,
    Resize,
    Target,
    Tiles,
)

quick = settings(max_examples=25, deadline=None)
COLOURS = np.array([[40 + 13 * i, 250 - 15 * i, (90 + 37 * i) % 256] for i in range(16)], np.uint8)
"""Of sixteen tiles: none is a colour of the paper, the ink or a mark."""


@dataclass(frozen=True)
class Buggy:
    def resolve(self, spec):
        return [spec]

    def __call__(self, sample):
        return [1 / 0]


@dataclass(frozen=True)
class Halved:
    """Halves of different widths, which no store can hold."""

    def resolve(self, spec):
        return [spec, replace(spec, width=7)]

    def __call__(self, sample):
        return [sample, replace(sample, image=sample.image.window(0, 0, 10, 7))]


def saved(array, path):
    Image.fromarray(array).save(path)
    return str(path)


def table_of(path, **columns):
    return daskimg.read_manifest(pd.DataFrame({"path": [path], **columns}))


def chequered(folder):
    """A picture of 2 x 8 tiles of 16 x 16 pixels, each of one colour."""
    array = COLOURS.reshape(2, 8, 3).repeat(16, 0).repeat(16, 1)
    return table_of(saved(array, folder / "chequered.png"))


def count(sheet, colour):
    """How many pixels of a sheet have exactly this colour."""
    return int((sheet == np.asarray(colour)).all(axis=2).sum())


def black(height=96, width=96, **targets):
    """A sample of a black picture, with targets."""
    picture = Picture.from_array(np.zeros((height, width, 3), np.uint8))
    return PreviewSample(picture, IDENTITY, targets)


def jointed(points, visible, height=96, width=96):
    return black(
        height,
        width,
        keypoint=Target("points", np.array(points, np.float32)),
        visible=Target("joints", np.array(visible, np.uint8)),
    )


def panels(*samples):
    return list(panels_of(PreviewStage("x", "x", samples)))


# -- sheets -------------------------------------------------------------------------------


def test_a_sheet_shows_the_first_tiles_enlarged_and_says_how_many_more(tmp_path):
    found = preview_row(chequered(tmp_path), Recipe((Tiles(16, 16),)))

    sheet = found.sheet()

    # 128 pixels are enlarged to 384 alone, 16 pixels to 160 beside seven others.
    assert [count(sheet, colour) for colour in COLOURS] == [48**2 + 160**2] * 8 + [48**2] * 8
    assert (sheet.dtype, sheet.shape[2]) == (np.uint8, 3)
    assert found.stages[1].more == 8
    assert "+ 8 more" in found._repr_html_()


def test_eight_of_them_stand_in_a_row_in_order(tmp_path):
    sheet = preview_row(chequered(tmp_path), Recipe((Tiles(16, 16),))).sheet()

    rows = [np.argwhere((sheet[300:] == colour).all(axis=2)) for colour in COLOURS[:8]]

    assert len({place[:, 0].min() for place in rows}) == 1
    lefts = [place[:, 1].min() for place in rows]
    assert lefts == sorted(lefts)


def test_a_large_picture_is_scaled_down_and_keeps_its_shape(tmp_path):
    array = np.full((400, 1000, 3), COLOURS[3])
    found = preview_row(table_of(saved(array, tmp_path / "a.png")), Recipe(()))

    (panel,) = panels_of(found.stages[0])

    assert panel.image.shape == (154, 384, 3)
    assert panel.caption == "at 38.4 %"
    assert (panel.image == COLOURS[3]).all()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param(np.full((1, 1, 1), 65535, np.uint16), [[255] * 3], id="16 bits"),
        pytest.param(np.full((1, 1, 1), 0.2, np.float32), [[51] * 3], id="0 to 1"),
        pytest.param(np.array([[[-5.0], [15], [5]]], np.float32),
                     [[0] * 3, [255] * 3, [128] * 3], id="any numbers"),
        pytest.param(np.full((1, 1, 2), 9, np.uint8), [[9] * 3], id="two channels"),
        pytest.param(np.full((1, 1, 5), [1, 2, 3, 4, 5], np.uint8), [[1, 2, 3]], id="five"),
        pytest.param(np.full((1, 1, 1), np.nan, np.float32), [[0] * 3], id="nan"),
    ],
)  # fmt: skip
def test_pictures_of_every_kind_can_be_seen(image, expected):
    found = rgb_of(image)

    assert found[0].tolist() == expected
    assert found.dtype == np.uint8


@given(place=st.tuples(st.floats(0, 95.9), st.floats(0, 95.9)), size=st.integers(8, 300))
@quick
def test_a_visible_joint_is_a_disc_at_its_place(place, size):
    place = np.array(place) * size / 96

    (panel,) = panels(jointed([place], [1], size, size))

    x, y = (place * len(panel.image) / size).astype(int)
    assert panel.image[y, x].tolist() == hues(np.arange(1))[0].tolist()


def test_a_hidden_joint_is_a_ring_and_a_missing_one_is_nothing():
    points = [[20, 20], [60, 60], [np.nan, np.nan], [200, 20], [-1, 5]]

    (panel,) = panels(jointed(points, [1, 0, 0, 1, 0]))

    disc, ring, *absent = (count(panel.image, colour) for colour in hues(np.arange(5)))
    assert disc > ring > 20
    assert absent == [0, 0, 0]
    assert panel.image[4 * 60, 4 * 60].tolist() == [0, 0, 0]  # seen through the ring


def test_joints_without_a_word_on_visibility_are_visible():
    sample = black(points=Target("points", np.array([[48, 48]], np.float32)))

    (panel,) = panels(sample)

    assert panel.image[192, 192].tolist() == hues(np.arange(1))[0].tolist()


def test_a_mask_lies_half_transparent_over_its_picture():
    mask = np.zeros((96, 96, 1), np.uint8)
    mask[:10], mask[40:50] = 1, 255

    (panel,) = panels(black(mask=Target("mask", mask)))

    orange = hues(np.array([1]))[0].astype(int)
    assert panel.image[4 * 5, 7].tolist() == ((orange + 1) // 2).tolist()
    assert panel.image[4 * 45, 7].tolist() == [128] * 3
    assert not panel.image[4 * 10 : 4 * 40].any()


def test_a_mask_in_colours_keeps_them():
    mask = np.zeros((96, 96, 3), np.uint8)
    mask[:10] = 200, 100, 0

    (panel,) = panels(black(mask=Target("mask", mask)))

    assert panel.image[0, 0].tolist() == [100, 50, 0]


def test_heatmaps_are_beside_the_picture_and_glow_where_the_joints_are():
    heat = np.zeros((24, 24, 2), np.float32)
    heat[3, 5, 0], heat[20, 10, 1] = 1, 0.5
    grey = np.full((96, 96, 3), [90, 120, 150], np.uint8)
    sample = PreviewSample(Picture.from_array(grey), IDENTITY, {"heat": Target("heatmap", heat)})

    plain, hot = panels(sample)

    assert (plain.image == [90, 120, 150]).all()
    assert hot.caption == "heat"
    assert (hot.image[16 * 3 : 16 * 4, 16 * 5 : 16 * 6] == 255).all()
    assert hot.image[16 * 20 + 8, 16 * 10 + 8].tolist() == [164, 100, 36]
    assert (hot.image[0, 0] == 72).all()


def test_colours_of_numbers_differ():
    found = hues(np.arange(26)).astype(int)

    apart = np.abs(found[:, None] - found[None]).sum(axis=2) + 999 * np.eye(26, dtype=int)
    assert apart.min() > 40
    npt.assert_array_equal(hues(np.array([25, 3])), hues(np.arange(26))[[25, 3]])


# -- pictures that have no pixels of their own size ----------------------------------------


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_decoded_at_a_reduced_scale_is_shown_where_it_lies(tmp_path, orientation):
    quarters = COLOURS[[0, 5, 10, 15]].reshape(2, 2, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(quarters.repeat(320, 0).repeat(480, 1))
    image.save(tmp_path / "a.jpg", quality=95, exif=exif, subsampling=0)
    upright = quarters if orientation == 1 else np.rot90(quarters, -1)

    found = preview_row(table_of(str(tmp_path / "a.jpg")), Recipe((Resize(16, 16),)))

    (sample,) = found.stages[0].samples
    assert sample.picture.scale > 4
    assert sample.image.shape == ((640, 960, 3) if orientation == 1 else (960, 640, 3))
    npt.assert_allclose(sample.image[100::400, 100::400][:2, :2].astype(int), upright, atol=4)
    assert "decoded at 1/8 of its size" in found.text()
    (panel,) = panels_of(found.stages[0])
    npt.assert_allclose(panel.image[80::160, 80::160][:2, :2].astype(int), upright, atol=4)


@given(height=st.integers(1, 9), width=st.integers(1, 9), channels=st.sampled_from([1, 3]))
@quick
def test_pixels_are_those_of_the_array_but_not_to_be_changed(height, width, channels):
    mode = "L" if channels == 1 else "RGB"
    image = scenes.picture(3, height, width).convert(mode)
    buffer = BytesIO()
    image.save(buffer, "PNG")

    for wanted in (1, 3):
        picture, _ = decode(buffer.getvalue(), DecodeOptions(channels=wanted))
        npt.assert_array_equal(picture.pixels(), picture.array())
        assert picture.scale == 1
        assert not picture.pixels().flags.writeable


def test_a_picture_that_is_too_large_is_shown_by_its_tiles(tmp_path):
    array = np.asarray(scenes.picture(5, 64, 96))
    Image.fromarray(array).save(tmp_path / "a.tif")
    recipe = Recipe((Tiles(32, 32),), DecodeOptions(max_pixels=2000))

    found = preview_row(table_of(str(tmp_path / "a.tif")), recipe)

    assert "not decoded as a whole" in found.text()
    assert [panel.caption for panel in panels_of(found.stages[0])] == ["too large to show"]
    npt.assert_array_equal(found.stages[1].samples[4].image, array[32:, 32:64])
    assert found.sheet().any()


# -- words --------------------------------------------------------------------------------


def test_the_text_says_what_each_stage_made(tmp_path):
    mask = np.zeros((32, 128), np.uint8)
    mask[3, 3] = 7
    manifest = table_of(
        saved(COLOURS.reshape(2, 8, 3).repeat(16, 0).repeat(16, 1), tmp_path / "c.png"),
        mask=saved(mask, tmp_path / "m.png"),
        joints=[[[1, 2], [-1, -1], [40, 30]]],
        joints_vis=[[1, 0, 0]],
    )
    targets = MaskFile(), Keypoints(count=3)
    recipe = Recipe(
        (Tiles(32, 16), Concatenate(((), (Mirror(pairs=((0, 1),)),)))), targets=targets
    )

    lines = preview_row(manifest, recipe).text().split("\n")

    levels = f"least {COLOURS.min()}, mean {COLOURS.mean():.4g}, greatest {COLOURS.max()}"
    assert lines[0] == f"row 0 of DataFrame of 4 columns: {tmp_path / 'c.png'}"
    assert lines[1:5] == [
        "0  decode",
        f"     1 sample of 32 x 128 x 3 uint8; {levels}",
        "     mask: 32 x 128 x 1 uint8, values 0, 7",
        "     keypoint: 3 x 2 float32, 1 visible, 1 hidden, 1 missing",
    ]
    assert lines[5] == "1  tiles(height=32, width=16)"
    assert lines[6] == f"     8 samples of 32 x 16 x 3 uint8; {levels}"
    assert lines[8].endswith("1 missing, 1 outside the picture (the first sample's)")
    assert lines[9] == "2  concatenate(branches=[[], [mirror(pairs=[[0, 1]])]])"
    assert lines[10].startswith("     16 samples") and lines[10].endswith("(of the first 8)")  # noqa: PT018


def test_of_one_sample_the_affine_is_said(tmp_path):
    found = preview_row(chequered(tmp_path), Recipe((Resize(16, 32), Mirror())))

    assert "from the source: x' = 0.25 x, y' = 0.5 y" in found.text()
    assert "from the source: x' = -0.25 x + 32, y' = 0.5 y" in found.text()
    assert repr(found) == found.text()


def test_a_row_that_is_left_out_ends_there(tmp_path):
    found = preview_row(chequered(tmp_path), Recipe((MinSize(99, 99), Tiles(9, 9))))

    assert [len(stage.samples) for stage in found.stages] == [1, 0, 0]
    assert found.text().count("no sample: the row ends here") == 2
    assert found.sheet().shape[1] == 640


def test_a_recipe_that_no_run_would_take_is_shown_with_the_reason(tmp_path):
    found = preview_row(chequered(tmp_path), Recipe((Halved(),)))

    assert "2 samples of 32 x 128 x 3 uint8 ... 10 x 7 x 3 (2 sizes)" in found.text()
    assert "a run would refuse this recipe: samples would not be of one size" in found.text()
    assert "a run would refuse this recipe" in found._repr_html_()
    assert found.sheet().shape[0] > preview_row(chequered(tmp_path), Recipe(())).sheet().shape[0]


def test_a_decoder_of_the_users_own_is_named(tmp_path):
    found = preview_row(chequered(tmp_path), Recipe((), decoder=rgb_decoder))

    assert f"0  decode by {__name__}:rgb_decoder" in found.text()


def rgb_decoder(content):
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


def test_the_page_is_well_formed_and_needs_nothing_else(tmp_path):
    name = tmp_path / "a <b> & 'c'.png"
    found = preview_row(table_of(saved(np.zeros((8, 8, 3), np.uint8), name)), Recipe((Mirror(),)))

    page = ElementTree.fromstring(found._repr_html_())

    assert name.name in "".join(page.itertext())
    images = list(page.iter("img"))
    assert len(images) == 2
    for image in images:
        head, content = image.attrib["src"].split(",")
        assert head == "data:image/png;base64"
        shown = Image.open(BytesIO(b64decode(content)))
        assert shown.size == (int(image.attrib["width"]), int(image.attrib["height"]))
    assert not re.search(r"https?:|<script|<link", found._repr_html_())


@pytest.mark.parametrize("name", ["übung.png", "写真.png", "a\nb\t\x07.png", "x" * 200 + ".png"])
def test_any_name_can_be_written_on_a_sheet(tmp_path, name):
    found = preview_row(
        table_of(saved(np.zeros((8, 8, 3), np.uint8), tmp_path / name)), Recipe(())
    )

    assert found.sheet().shape[1] == 640


# -- what is read -------------------------------------------------------------------------


def test_the_table_is_read_as_far_as_the_row_and_one_picture_of_it(tmp_path):
    saved(np.zeros((8, 8, 3), np.uint8), tmp_path / "2.png")
    table = pd.DataFrame({"path": [f"{i}.png" for i in range(9)], "label": list("aaaaaaaaz")})
    manifest = daskimg.read_manifest(table, root=str(tmp_path), labels=["label"], classes=["a"])

    found = preview_row(manifest, Recipe((Mirror(),)), row=2)

    assert found.title == "row 2 of DataFrame of 2 columns: 2.png"
    with pytest.raises(ManifestError, match="'z'"):
        manifest.scan()


def test_pictures_may_be_in_the_table(tmp_path):
    contents = []
    for i in range(3):
        buffer = BytesIO()
        scenes.picture(i, 20, 30).save(buffer, "PNG")
        contents.append(buffer.getvalue())
    pd.DataFrame({"image": contents}).to_parquet(tmp_path / "t.parquet")

    found = preview_row(daskimg.read_manifest(str(tmp_path / "t.parquet")), Recipe(()), row=1)

    npt.assert_array_equal(found.stages[0].samples[0].image, scenes.picture(1, 20, 30))


def test_extensions_are_tried(tmp_path):
    saved(np.zeros((8, 8, 3), np.uint8), tmp_path / "a.png")
    frame = pd.DataFrame({"path": [str(tmp_path / "a")]})
    manifest = daskimg.read_manifest(frame, extensions=[".jpg", ".png"])

    assert len(preview_row(manifest, Recipe(())).stages) == 1


@pytest.mark.parametrize(
    ("split", "row", "name"),
    [("every:2", 2, "test"), ("every:2", 1, "train"), ("column:part", 1, "b"), ("none", 1, "")],
)
def test_a_row_goes_the_way_of_its_split(tmp_path, split, row, name):
    path = saved(np.zeros((8, 12, 3), np.uint8), tmp_path / "a.png")
    manifest = daskimg.read_manifest(pd.DataFrame({"path": [path] * 3, "part": list("abc")}))
    splits = {} if split == "none" else {"b": (Mirror(),), "test": (Mirror(),)}
    own = {key: steps for key, steps in splits.items() if split.startswith("column") or key != "b"}

    found = preview_row(manifest, Recipe((), splits=own), row=row, split=split)

    assert len(found.stages) == (2 if name in ("b", "test") else 1)
    assert (f"split {name}" if name else "columns: ") in found.title


def test_a_recipe_for_a_split_that_is_not_there_is_refused(tmp_path):
    recipe = Recipe((), splits={"val": (Mirror(),)})

    with pytest.raises(PlanError, match="steps for split 'val'; the splits are train, test"):
        preview_row(chequered(tmp_path), recipe, split="every:2")


# -- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (1, "the table has 1 rows, and no row 1; try 0 to 0"),
        (-1, "whole number of at least 0, got -1"),
        (1.5, "got 1.5"),
        (True, "got True"),
    ],
)
def test_a_row_that_is_not_there_is_refused(tmp_path, row, words):
    with pytest.raises(OptionError, match=words):
        preview_row(chequered(tmp_path), Recipe(()), row=row)


def test_a_column_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PlanError, match="reads column 'center', which the table has not"):
        preview_row(chequered(tmp_path), Recipe((PersonCrop(),)))


def test_what_is_wrong_with_a_row_is_said_with_its_stage(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    path = saved(np.zeros((8, 8, 3), np.uint8), tmp_path / "a.png")
    cells = {"center": [[500, 500]] * 3, "scale": [0.1] * 3}
    table = pd.DataFrame({"path": [path, str(tmp_path / "broken.png"), "gone.png"], **cells})
    manifest = daskimg.read_manifest(table, root=str(tmp_path))
    recipe = Recipe((Mirror(), PersonCrop()))

    with pytest.raises(
        SampleError, match=r"target: .*; at person-crop \(step 2 of 2\) of row 0 \(.*a.png\)"
    ):
        preview_row(manifest, recipe, row=0)
    with pytest.raises(SampleError, match=r"format: .*; at decode of row 1 \(.*broken.png\)"):
        preview_row(manifest, recipe, row=1)
    with pytest.raises(SampleError, match=f"missing: no such file; row 2 .{tmp_path}/gone.png"):
        preview_row(manifest, recipe, row=2)


def test_a_bug_is_named_with_row_and_place_unless_the_recipe_itself_is_wrong(tmp_path):
    with pytest.raises(TransformError, match=r"Buggy \(step 2 of 2\) failed on row 0 .*ZeroDiv"):
        preview_row(chequered(tmp_path), Recipe((Resize(8, 8), Buggy())))
    with pytest.raises(PlanError, match="end the recipe with resize"):
        preview_row(chequered(tmp_path), Recipe((Buggy(),)))


def test_a_bug_in_a_branch_is_named_with_its_place_there(tmp_path):
    recipe = Recipe((Resize(8, 8), Concatenate(((), (Mirror(), Buggy())))))

    with pytest.raises(
        TransformError,
        match=r"Concatenate \(step 2 of 2\) failed on row 0 .*: ZeroDivisionError: .*, "
        r"in Buggy, step 2 of 2, in branch 2 of 2$",
    ):
        preview_row(chequered(tmp_path), recipe)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("sheet.jpg", "a sheet is a PNG, got .*sheet.jpg; try .*sheet.png"),
        ("no/sheet.png", "there is no folder .*no for"),
    ],
)
def test_a_sheet_is_saved_as_a_local_png_only(tmp_path, path, words):
    found = preview_row(chequered(tmp_path), Recipe(()))

    with pytest.raises(OptionError, match=words):
        found.save(tmp_path / path)
    with pytest.raises(OptionError, match="a local file"):
        found.save("gs://bucket/sheet.png")


# -- several rows, several recipes ----------------------------------------------------------


def flat(folder, colours, height=96, width=128):
    """A table of plain pictures, one of each colour."""
    for i, colour in enumerate(colours):
        saved(np.full((height, width, 3), colour, np.uint8), folder / f"{i}.png")
    return daskimg.read_manifest(
        pd.DataFrame({"path": [f"{i}.png" for i in range(len(colours))]}), root=str(folder)
    )


def test_each_row_is_a_line_and_each_stage_a_column(tmp_path):
    colours = [(200, 90, 30), (30, 200, 90)]
    found = preview_rows(flat(tmp_path, colours), Recipe((Tiles(48, 64), Mirror())))

    sheet = found.sheet()

    # 176 x 132 of the source, without its lines; then twice four tiles, 87 wide and 65 high.
    for colour in colours:
        seen = np.argwhere((sheet == colour).all(axis=2))
        assert count(sheet, colour) > 2 * 4 * 87 * 65
        assert {min(x // 188, 2) for _, x in seen.tolist()} == {0, 1, 2}
    tops = [np.argwhere((sheet == colour).all(axis=2))[:, 0] for colour in colours]
    assert tops[0].max() < tops[1].min()
    assert found.text().splitlines()[1:3] == [
        "row 0: 0.png",
        "     recipe: decode: 96 x 128 > tiles: 4 of 48 x 64 > mirror: 4 of 48 x 64",
    ]


def test_tiles_stand_in_their_cell_as_in_their_picture(tmp_path):
    sheet = preview_rows(chequered(tmp_path), Recipe((Tiles(16, 16),))).sheet()

    made = sheet[:, 2 * 16 + 188 :]  # the second column
    tops, lefts = zip(
        *(np.argwhere((made == colour).all(axis=2)).min(axis=0) for colour in COLOURS),
        strict=True,
    )
    assert len({*tops[:8]}) == len({*tops[8:]}) == 1
    assert tops[0] < tops[8]
    assert lefts[:8] == lefts[8:] == tuple(sorted({*lefts}))


def test_what_no_sample_takes_is_dark_on_the_source(tmp_path):
    manifest = flat(tmp_path, [(200, 100, 50)])
    recipes = {"all": Recipe((Resize(32, 32),)), "tile": Recipe((Tiles(64, 64, stride=999),))}

    sheet = preview_rows(manifest, recipes).sheet()

    # Half of its width and two thirds of its height are taken; the rest has a line along it.
    dark = count(sheet, (60, 30, 15))
    assert 0 <= 96 * 128 * 2 / 3 - dark < 3 * 130
    columns = np.argwhere((sheet == (60, 30, 15)).all(axis=2))[:, 1]
    assert columns.min() > 2 * 188


def test_noise_around_a_picture_is_outlined(tmp_path):
    manifest = flat(tmp_path, [(250, 250, 0)], 24, 24)
    recipe = daskimg.recipes.noise_frames(48)

    with_edge, without = (
        preview_rows(manifest, each).sheet() for each in (recipe, Recipe((Resize(48, 48),)))
    )

    line = hues(np.array([0]))[0]
    made = slice(2 * 16 + 188, None)  # the second column
    assert count(with_edge[:, made], line) > 100
    assert count(without[:, made], line) == 0


def test_a_row_that_failed_says_why_in_its_place(tmp_path):
    manifest = flat(tmp_path, [(9, 9, 9)] * 3)
    (tmp_path / "1.png").write_bytes(b"no picture")
    (tmp_path / "2.png").unlink()

    found = preview_rows(manifest, {"a": Recipe(()), "b": Recipe((MinSize(500, 500),))})

    lines = found.text().splitlines()
    assert lines[3] == "     b: decode: 96 x 128 > min-size: no sample"
    assert re.search("a: format: not a picture.*row 1", lines[5])
    assert re.search("b: missing: no such file", lines[9])
    page = found._repr_html_()
    assert page.count("not a picture") == 1
    ElementTree.fromstring(page)
    assert len(re.findall("<img", page)) == 4  # of row 0: the source twice, a picture, and none
    assert found.sheet().any()


def test_rows_are_chosen_by_number_or_by_count(tmp_path):
    manifest = flat(tmp_path, [(i, i, i) for i in range(9)])

    assert list(preview_rows(manifest, Recipe(())).rows) == [0, 1, 2, 3, 4, 5]
    assert list(preview_rows(manifest, Recipe(()), rows=99).rows) == list(range(9))
    assert list(preview_rows(manifest, Recipe(()), rows=[7, 2, 7]).rows) == [7, 2]
    with pytest.raises(OptionError, match=r"rows must be a count of at least 1.*got 0; try 6"):
        preview_rows(manifest, Recipe(()), rows=0)
    with pytest.raises(OptionError, match="the table has 9 rows, and no row 9"):
        preview_rows(manifest, Recipe(()), rows=[9])


def test_tables_of_pictures_have_headers_and_pictures_a_text(tmp_path):
    page = preview_rows(flat(tmp_path, [(9, 9, 9)]), Recipe((Resize(8, 8),)))._repr_html_()

    table = ElementTree.fromstring(page).find(".//table")

    heads = [(each.attrib["scope"], "".join(each.itertext())) for each in table.iter("th")]
    assert [scope for scope, _ in heads] == ["col", "col", "col", "row"]
    assert [image.attrib["alt"] for image in table.iter("img")] == [
        "source, 96 x 128",
        "resize: 8 x 8",
    ]


def test_the_command_draws_rows_and_recipes(labels, tmp_path, capsys):
    line = ["preview", labels, "--recipe", "fit", "--recipe", "tiles", "--size", "16"]

    assert cli.main([*line, "-o", str(tmp_path / "a.png"), "--rows", "3"]) == 0
    assert cli.main([*line, "--row", "4", "--row", "5"]) == 0  # in words only

    text = capsys.readouterr().out
    assert text.startswith("3 rows of labels.csv\nrow 0: ")
    assert "row 5: " in text
    assert "tiles: format: not a picture" in text
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size[0] >= 640
    assert [path.name for path in tmp_path.glob("*.png")] == ["a.png"]


# -- the command --------------------------------------------------------------------------


@pytest.fixture
def labels(table, tmp_path):
    table.to_csv(tmp_path / "labels.csv", index=False)
    return str(tmp_path / "labels.csv")


def test_the_command_writes_the_sheet_and_prints_the_text(labels, tmp_path, capsys):
    arguments = ["--recipe", "tiles", "--size", "8x16", "--set", "tiles.stride=8", "--row", "3"]

    assert cli.main(["preview", labels, str(tmp_path / "a.png"), *arguments]) == 0

    text = capsys.readouterr().out
    assert "1  tiles(height=8, width=16, stride=8)" in text
    assert text.startswith("row 3 of labels.csv")
    recipe = daskimg.recipes.tiles((8, 16))
    recipe = replace(recipe, transforms=(Tiles(8, 16, stride=8),))
    found = preview_row(daskimg.read_manifest(labels), recipe, row=3)
    npt.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), found.sheet())


def test_the_command_knows_the_options_of_a_table_and_of_a_recipe(labels, tmp_path, capsys):
    arguments = ["--path-column", "path", "--split", "every:5", "--channels", "1", "--row", "10"]

    assert cli.main(["preview", labels, str(tmp_path / "a.png"), *arguments]) == 0

    text = capsys.readouterr().out
    assert "0  decode(channels=1)" in text
    assert "x 1 uint8" in text
    assert "split test" in text


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a.png", "--row", "40"], run.REFUSED, "the table has 40 rows, and no row 40"),
        (["a.jpg", "--row", "5"], run.REFUSED, "a sheet is a PNG"),  # before row 5 is read
        (["a.png", "--recipe", "center-corp"], run.REFUSED, "Did you mean center-crop"),
        (["a.png", "--row", "5"], run.TOO_MANY_FAILED, "format: .* at decode of row 5"),
        (["a.png", "--recipe", "buggy.toml", "--row", "0"], run.STOPPED, r"Buggy \(step 2 of 2\)"),
        (["a.png", "--limit", "3"], run.REFUSED, "No such option"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_one_line_and_an_exit_code(
    labels, tmp_path, capsys, monkeypatch, arguments, code, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "buggy.toml").write_text(Recipe((Resize(8, 8), Buggy())).to_toml())

    assert cli.main(["preview", labels, *arguments]) == code

    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert re.search(words, captured.err)
    assert not (tmp_path / "a.png").exists()


def test_debug_shows_where_a_transform_failed(labels, tmp_path, capsys):
    (tmp_path / "buggy.toml").write_text(Recipe((Resize(8, 8), Buggy())).to_toml())
    arguments = ["--recipe", str(tmp_path / "buggy.toml"), "--debug"]

    assert cli.main(["preview", labels, str(tmp_path / "a.png"), *arguments]) == run.STOPPED

    assert "return [1 / 0]" in capsys.readouterr().err


# -- real people --------------------------------------------------------------------------


def test_a_real_persons_joints_and_heatmaps_are_on_the_sheet(shared):
    records = json.loads((shared / "mpii" / "validation.json").read_text())
    columns = ("joints", "joints_vis", "center", "scale", "image")
    table = pd.DataFrame([{name: each[name] for name in columns} for each in records])
    manifest = daskimg.read_manifest(table, root=str(shared / "mpii" / "images"))
    recipe = Recipe((PersonCrop(), Heatmaps()), targets=(Keypoints(),))

    found = preview_row(manifest, recipe, row=2)

    assert "keypoint: 16 x 2 float32, 14 visible, 2 missing" in found.text()
    assert "heatmap: 64 x 64 x 16 float32, 14 of 16 drawn" in found.text()
    (drawn, heat), (sample,) = list(panels_of(found.stages[2])), found.stages[2].samples
    for joint, (x, y) in enumerate(sample.targets["keypoint"].array):
        seen = count(drawn.image, hues(np.arange(16))[joint])
        assert (seen > 0) == (not np.isnan(x)), joint
        if seen:
            assert heat.image[int(y), int(x), 0] > 240
    sheet = found.sheet()
    assert count(sheet, hues(np.arange(16))[9]) > 3 * 30


def test_letters_that_the_font_has_not_are_drawn_as_those_it_has():
    drawn = lambda text: contact_sheet(text, [], 900)  # noqa: E731

    for text, plain in {
        "Straßen/Übergrößen/Café": "Strassen/Ubergrossen/Cafe",
        "o\u0308": "o",
        "3 \xd7 4": "3 x 4",
        "æøł µ½ 5 €": "aeol u\\xbd 5 EUR",
        "\u732b": r"\u732b",
    }.items():
        npt.assert_array_equal(drawn(text), drawn(plain))
