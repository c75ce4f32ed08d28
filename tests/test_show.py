import pytest
import scenes

import daskimg
from daskimg import cli
from daskimg.show import describe


@pytest.fixture(scope="module")
def text(pictures, tmp_path_factory, threads):
    table = scenes.table_of(*pictures)
    table = table.assign(split=["train" if i < 30 else "test" for i in range(40)])
    more = [table, table.iloc[[0, 0]], table.iloc[[0]].assign(label="dog", split="test")]
    table = scenes.pd.concat(more, ignore_index=True)
    url = tmp_path_factory.mktemp("show") / "out.zarr"
    manifest = daskimg.read_manifest(table, labels=["label", "price"])
    scenes.build(manifest, url, threads, max_failed=1)
    return "\n".join(describe(str(url)))


def test_it_says_what_the_store_is(text):
    assert "samples: 43 of 16 x 16 x 3 uint8, 2 failed" in text
    assert "resize(height=16, width=16, method=bicubic)" in text
    assert "pillow" in text


def test_it_counts_classes_and_ranges(text):
    assert "label: column 'label', 3 classes, 0 without" in text
    assert "       16  cat" in text
    assert "price: column 'price', float32, 0.0 to 19.5" in text


def test_it_counts_modes_and_sizes(text):
    assert "pictures: 41, 0 grey and 41 in colour (RGB 41)" in text
    assert "sizes (width x height): 38 different, width 48 to 60, median " in text
    assert "        4  60 x 30" in text


def test_it_names_failures_by_reason(text):
    assert "failures: 2" in text
    assert "format, first row 5:" in text


def test_it_finds_pictures_that_are_there_twice(text):
    assert "byte-identical pictures: 4 rows of 1 file\n" in text
    assert "most repeated: 4 times, first row 0" in text
    assert "in several labels ('label'): 1 file\n" in text
    assert "in several splits ('split'): 1 file\n" in text
    assert "row 42 dog" in text


def test_one_of_a_kind_is_not_many_and_odd_names_are_quoted(pictures, tmp_path, threads):
    table = scenes.table_of(*pictures)[:1].assign(label=" red\tcat ")
    scenes.build(table, tmp_path / "a.zarr", threads)

    lines = list(describe(str(tmp_path / "a.zarr")))

    assert "label: column 'label', 1 class, 0 without" in lines
    assert "          1  ' red\\tcat '" in lines


def test_the_last_one_behind_those_that_are_named_is_one(table, tmp_path, threads):
    few = table[:21].assign(label=[f"class {i:02}" for i in range(21)])
    scenes.build(few, tmp_path / "a.zarr", threads, max_failed=1)

    text = "\n".join(describe(str(tmp_path / "a.zarr")))

    assert "          1  in 1 more class\n" in text


def test_the_command_prints_it(pictures, tmp_path, threads, capsys):
    scenes.build(scenes.table_of(*pictures), tmp_path / "a.zarr", threads, max_failed=1)

    assert cli.main(["show", str(tmp_path / "a.zarr")]) == 0
    assert "samples: 40 of" in capsys.readouterr().out


def test_a_recipe_is_printed_as_toml(capsys, tmp_path):
    assert cli.main(["recipe", "fit", "--size", "32x48", "--set", "fit.method=box"]) == 0

    (tmp_path / "r.toml").write_text(capsys.readouterr().out)
    recipe = daskimg.recipes.read_recipe(str(tmp_path / "r.toml"))
    assert recipe.transforms == (daskimg.Fit(32, 48, method="box"),)
