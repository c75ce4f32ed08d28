"""What a notebook shows of plans, reports, recipes and samples: pictures, counts, words."""

import re
from base64 import b64decode
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest
import scenes
from PIL import Image

import daskimg
from daskimg import markup
from daskimg.errors import OptionError

CLASSES = ["<b>cat</b>", 'dog & "pup"', "emu"]


@pytest.fixture(scope="module")
def table(pictures):
    table = scenes.table_of(*pictures)
    table["label"] = [CLASSES[i % 3 if i % 7 else 0] for i in range(40)]
    table["tags"] = [["a", "b"][: i % 3] for i in range(40)]
    return table


@pytest.fixture(scope="module")
def manifest(table):
    return daskimg.read_manifest(table, labels=["label", "price", "tags"])


@pytest.fixture(scope="module")
def samples(manifest, tmp_path_factory, threads):
    return scenes.build(
        manifest, tmp_path_factory.mktemp("display") / "out.zarr", threads, max_failed=1
    )


def page_of(thing):
    """The page, parsed: it is well-formed, and needs nothing from elsewhere."""
    text = thing._repr_html_()
    assert not re.search(r"https?:|<script|<link", text)
    return ElementTree.fromstring(text)


def words(page):
    return " ".join(" ".join(page.itertext()).split())


def pictures_of(page):
    found = []
    for image in page.iter("img"):
        shown = Image.open(BytesIO(b64decode(image.attrib["src"].partition(",")[2])))
        assert shown.size == (int(image.attrib["width"]), int(image.attrib["height"]))
        assert image.attrib["alt"]
        found.append(np.asarray(shown))
    return found


def test_samples_show_pictures_classes_and_failures(samples):
    page = page_of(samples)

    assert len(pictures_of(page)) == 12
    text = words(page)
    assert "samples by label <b>cat</b>" in text
    assert "failed samples by reason format 2" in text
    assert "price: float32, 0 to 19.5" in text
    counts = {
        "".join(line.find("th").itertext()): line.find("td").text
        for line in page.iter("tr")
        if line.find("td") is not None
    }
    good = samples.labels[samples.status == 1]
    assert [counts[name] for name in CLASSES] == [str((good == i).sum()) for i in range(3)]
    assert counts["a"] == str((samples.array("tags")[samples.status == 1][:, 0]).sum())


def test_a_page_is_small_and_its_tables_have_headers(samples):
    page = page_of(samples)

    assert len(samples._repr_html_()) < 100_000
    tables = list(page.iter("table"))
    assert len(tables) > 2
    for table in tables:
        assert all(line.find("th").attrib["scope"] in ("row", "col") for line in table.iter("tr"))


def test_pages_take_the_colours_of_the_theme(samples, manifest, tmp_path):
    plan = scenes.plan(manifest, tmp_path / "a.zarr")

    for thing in (samples, plan, plan.recipe):
        styles = re.findall(r"style='([^']*)'", thing._repr_html_())
        assert not any(re.search(r"#[0-9a-f]{3}|rgb|(?<!-)color:", each) for each in styles)


def test_samples_are_drawn_and_saved(samples, tmp_path):
    sheet = samples.show([3, 5, -1])

    sheet.save(tmp_path / "a.png")

    captions = [panel.caption for panel in sheet.strips[0].panels]
    assert captions == ["3: <b>cat</b>, 16 times", "5: failed", "39: <b>cat</b>, 16 times"]
    first = sheet.strips[0].panels[0].image
    np.testing.assert_array_equal(first[::16, ::16], samples.image[3])
    with Image.open(tmp_path / "a.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), sheet.pixels())
    assert len(pictures_of(page_of(sheet))) == 3


def test_so_many_samples_are_spread_over_those_that_did_not_fail(samples):
    shown = samples.show(10).strips[0].panels

    slots = [int(panel.caption.partition(":")[0]) for panel in shown]
    assert (slots[0], slots[-1], len(slots)) == (0, 39, 10)
    assert slots == sorted(slots)
    assert len(samples.show(99).strips[0].panels) == 38


def test_a_view_shows_its_own_samples(samples):
    view = samples.select(rows=[3, 5, 39])

    page = page_of(view)

    assert len(pictures_of(page)) == 2
    assert "failed samples by reason format 1" in words(page)
    (first, *_) = view.show(2).strips[0].panels
    np.testing.assert_array_equal(first.image[::16, ::16], samples.image[3])


def test_a_sample_that_is_not_there_is_refused(samples):
    with pytest.raises(OptionError, match="there are 40 samples, and no sample 40"):
        samples.show([40])
    with pytest.raises(OptionError, match=r"samples must be .* got 0; try 24"):
        samples.show(0)


def test_joints_and_heatmaps_are_drawn(shared, tmp_path, threads):
    manifest = daskimg.read_manifest(str(shared / "mpii" / "validation.json"))
    recipe = daskimg.recipes.read_recipe("pose", (64, 64))
    samples = scenes.build(manifest, tmp_path / "pose.zarr", threads, recipe=recipe)

    plain, heat = samples.show([2]).strips[0].panels

    assert heat.caption == "2, heatmap"
    assert heat.image.max() > 240
    assert (plain.image != np.repeat(np.repeat(samples.image[2], 4, 0), 4, 1)).any()


def test_a_plan_shows_its_table_and_the_rows_of_each_class(manifest, tmp_path):
    page = page_of(scenes.plan(manifest, tmp_path / "a.zarr"))

    text = words(page)
    assert text.startswith("Plan: nothing has been written yet manifest DataFrame")
    assert "samples 40" in text
    assert 'rows by label <b>cat</b> 18 dog & "pup" 11 emu 11' in text


def test_a_report_shows_failures_by_reason_with_examples(manifest, tmp_path, threads):
    report = daskimg.build_store(scenes.plan(manifest, tmp_path / "a.zarr"), client=threads)

    page = page_of(report)

    text = words(page)
    assert text.startswith("not committed: 40 samples, 2 failed (5.00 %)")
    assert "failed samples by reason format 2" in text
    assert "not a picture" in text
    assert [each.text for each in page.iter("th") if each.attrib["scope"] == "col"] == [
        "row", "path", "reason", "message",
    ]  # fmt: skip


def test_a_recipe_says_what_each_step_makes():
    recipe = daskimg.recipes.read_recipe("mirrored", (32, 32))

    assert repr(recipe).startswith("Recipe(seed 0): decode > square-crop")
    text = words(page_of(recipe))
    assert "0 decode any x any x 3 uint8" in text
    assert "2 x 32 x 32 x 3 uint8" in text
    assert "[[transform]]" in text


def test_a_recipe_with_steps_of_a_split_has_a_table_for_it():
    recipe = daskimg.recipes.read_recipe("pose")

    assert "; train: person-crop" in repr(recipe)
    page = page_of(recipe)
    assert [each.text for each in page.iter("caption")] == ["of the split train"]
    assert "256 x 256 x 3 uint8, keypoint, visible, heatmap" in words(page)


def test_a_step_that_does_not_fit_is_told_and_not_raised():
    recipe = daskimg.Recipe((daskimg.Heatmaps(),))

    assert "heatmaps" in words(page_of(recipe))


def test_a_manifest_and_an_epoch_say_in_a_line_what_they_are(samples, manifest):
    epoch = samples.batches(16, shuffle=True, seed=3, epoch=2)

    next(epoch)

    assert repr(manifest) == "Manifest(DataFrame of 4 columns)"
    assert repr(epoch) == (
        "Epoch(seed 3, epoch 2): 16 of 38 samples read, 16 a batch, order 'full'"
    )
    epoch.close()


def test_a_histogram_names_twenty_and_counts_the_rest():
    counts = {f"c{i}": 100 - i for i in range(50)}

    page = ElementTree.fromstring(markup.bars(counts, "rows", "more classes"))

    lines = list(page.iter("tr"))
    assert len(lines) == 21
    assert words(lines[-1]) == f"30 more classes {sum(range(51, 81)):,}"
