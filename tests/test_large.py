"""Pictures that reach into many shards, and pictures over the limit on pixels."""

from io import BytesIO

import numpy as np
import numpy.testing as npt
import pandas as pd
import pytest
import scenes
from PIL import Image
from tiffs import tiled

import daskimg
from daskimg import Recipe
from daskimg.task import _samples
from daskimg.transforms import Grayscale, NoiseFrames, Resize, Tiles


def plan_of(folder, names, url, recipe, **packing):
    return daskimg.plan_store(
        daskimg.read_manifest(pd.DataFrame({"path": [str(folder / name) for name in names]})),
        str(url),
        recipe,
        store=daskimg.StoreOptions(**packing),
        options=daskimg.RunOptions(max_failed=1),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("large")
    large = scenes.picture(1, 700, 900)
    large.save(place / "large.png")
    (place / "large.tif").write_bytes(tiled(large, 128, 128, "tiff_adobe_deflate"))
    scenes.picture(2, 60, 90).save(place / "small.png")
    return place


@pytest.mark.parametrize("spare", [0, 1 << 30])
def test_a_large_picture_is_decoded_once_if_there_is_memory(
    folder, tmp_path, threads, monkeypatch, spare
):
    decoded = []
    whole = Recipe.decoded

    def noted(recipe, content, row):
        decoded.append(row.path)
        return whole(recipe, content, row)

    monkeypatch.setattr(Recipe, "decoded", noted)
    monkeypatch.setattr(_samples, "_LARGE", 700 * 900)
    monkeypatch.setattr("daskimg.build._run._spare_memory", lambda client: spare)
    monkeypatch.setattr("daskimg.build._run.try_on", lambda crew, plan: None)
    plan = plan_of(
        folder, ["small.png", "large.png", "small.png"], tmp_path / "o",
        Recipe((Tiles(50, 50),)), shard_samples=20, chunk_samples=10,
    )  # fmt: skip

    daskimg.build_store(plan, client=threads)

    shards = plan.groups[0].layout.shards
    times = [path.endswith("large.png") for path in decoded].count(True)
    assert shards == 13
    assert times == (13 if spare == 0 else 1)
    assert _samples._PICTURES._found is None, "the last picture is still in memory"
    samples = daskimg.open_store(str(tmp_path / "o"))
    exact = np.asarray(Image.open(folder / "large.png"))
    mine = samples.array("row") == 1
    joined = daskimg.join_tiles(
        samples.image[:][mine], samples.array("affine")[mine], height=700, width=900
    )
    npt.assert_array_equal(joined, exact)


@pytest.mark.parametrize("step", [Tiles(64, 64), NoiseFrames(64, 64)])
def test_a_tiled_tiff_over_the_limit_is_read_by_windows(folder, tmp_path, threads, step):
    options = daskimg.DecodeOptions(max_pixels=70_000)
    plan = plan_of(
        folder, ["large.tif"], tmp_path / "o", Recipe((step,), options), shard_samples=40
    )
    daskimg.build_store(plan, client=threads)
    unlimited = plan_of(folder, ["large.tif"], tmp_path / "w", Recipe((step,)), shard_samples=40)
    daskimg.build_store(unlimited, client=threads)

    by_windows, whole = (daskimg.open_store(str(tmp_path / name)) for name in ("o", "w"))

    assert by_windows.attributes["failed"] == 0
    npt.assert_array_equal(by_windows.image[:], whole.image[:])
    assert by_windows.rows["source_width"].tolist() == [900]
    assert daskimg.verify_store(str(tmp_path / "o"), rows=9).findings == ()


def test_what_cannot_be_read_by_windows_fails_and_the_plan_says_so(folder, tmp_path, threads):
    options = daskimg.DecodeOptions(max_pixels=70_000)
    recipe = Recipe((Tiles(50, 50),), options)

    plan = plan_of(folder, ["large.png", "small.png", "large.tif"], tmp_path / "o", recipe)
    daskimg.build_store(plan, client=threads)

    said = "1 pictures have over 70,000 pixels and will fail; --max-pixels takes larger ones"
    assert said in repr(plan)
    samples = daskimg.open_store(str(tmp_path / "o"))
    assert samples.rows["samples"].tolist() == [1, 1, 14 * 18]
    assert samples.failures["reason"].tolist() == ["pixels"]
    assert samples.failures["message"].tolist() == ["900 x 700 pixels, over the limit of 70000"]


def test_a_window_over_the_limit_is_a_failed_sample(folder, tmp_path, threads):
    options = daskimg.DecodeOptions(max_pixels=7_000)  # less than any tile that is touched

    plan = plan_of(
        folder, ["large.tif", "small.png"], tmp_path / "o", Recipe((Tiles(50, 50),), options)
    )
    daskimg.build_store(plan, client=threads)

    samples = daskimg.open_store(str(tmp_path / "o"))
    assert samples.status.tolist() == [2] * (14 * 18) + [1]
    assert set(samples.failures["reason"]) == {"pixels"}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A tiled TIFF of which the first tile, and one other, are broken."""
    place = tmp_path_factory.mktemp("damaged")
    content = bytearray(tiled(scenes.picture(3, 64, 64), 16, 16, "packbits"))
    with Image.open(BytesIO(content)) as picture:
        starts, counts = picture.tag_v2[324], picture.tag_v2[325]
    for tile in (0, 6):
        content[starts[tile] : starts[tile] + counts[tile]] = b"\x80" * counts[tile]
    (place / "damaged.tif").write_bytes(content)
    return place


@pytest.mark.parametrize("steps", [(Tiles(16, 16),), (Tiles(16, 16), Grayscale())])
def test_broken_windows_fail_by_themselves_whatever_shares_their_shard(
    damaged, tmp_path, threads, steps
):
    recipe = Recipe(steps, daskimg.DecodeOptions(max_pixels=1000))
    for shard in (1, 5, 16):
        url = tmp_path / str(shard)
        plan = plan_of(damaged, ["damaged.tif"], url, recipe, shard_samples=shard)
        daskimg.build_store(plan, client=threads)

    stores = [daskimg.open_store(str(tmp_path / name)) for name in ("1", "5", "16")]

    for samples in stores:
        assert np.flatnonzero(samples.status == 2).tolist() == [0, 6]
        npt.assert_array_equal(samples.image[:], stores[0].image[:])
        assert daskimg.verify_store(samples.url, rows=16).findings == ()
        assert samples.rows.loc[0, ["source_height", "source_width"]].tolist() == [64, 64]


def test_a_picture_with_broken_tiles_is_not_joined(damaged, tmp_path, threads):
    content = bytearray((damaged / "damaged.tif").read_bytes())
    with Image.open(BytesIO(content)) as picture:
        starts, counts = picture.tag_v2[324], picture.tag_v2[325]
    content[starts[0] : starts[1]] = content[starts[1] : starts[2]]  # the first tile is whole
    assert counts[0] == counts[1]
    (tmp_path / "one.tif").write_bytes(content)
    recipe = Recipe((Tiles(16, 16),), daskimg.DecodeOptions(max_pixels=1000))
    daskimg.build_store(plan_of(tmp_path, ["one.tif"], tmp_path / "o", recipe), client=threads)

    samples = daskimg.open_store(str(tmp_path / "o"))

    with pytest.raises(daskimg.OptionError, match="row 0: 1 of its 16 tiles failed, part 6 first"):
        samples.join(0)


def test_a_recipe_that_needs_the_whole_picture_does_not_read_windows(folder, tmp_path, threads):
    options = daskimg.DecodeOptions(max_pixels=70_000)

    plan = plan_of(
        folder, ["large.tif", "small.png"], tmp_path / "o", Recipe((Resize(8, 8),), options)
    )
    daskimg.build_store(plan, client=threads)

    assert daskimg.open_store(str(tmp_path / "o")).status.tolist() == [2, 1]
