"""The main job on real pictures, held against Pillow and against the tables' own expectations."""

import warnings
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scenes
from PIL import Image, ImageOps

import daskimg
from daskimg import recipes


def reference(path, size=64):
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB").resize((size, size)))


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "scaled"])
def test_imagenet_in_table_order(shared, tmp_path, threads, exact):
    table = pd.read_csv(shared / "imagenet" / "labels.csv")
    manifest = daskimg.read_manifest(str(shared / "imagenet" / "labels.csv"))

    samples = scenes.build(
        manifest, tmp_path / "out.zarr", threads, recipe=recipes.resize(64, exact=exact)
    )

    assert len(samples) == len(table) == 300
    assert samples.rows["path"].tolist() == table["path"].tolist()
    assert [samples.classes[code] for code in samples.labels] == table["label"].tolist()
    assert samples.classes == sorted(set(table["label"]))
    images = samples.image[:]
    for i in range(300) if exact else range(0, 300, 10):
        wanted = reference(shared / "imagenet" / table["path"][i])
        if exact:
            npt.assert_array_equal(images[i], wanted)
        else:
            assert np.abs(images[i].astype(int) - wanted).mean() < 2


def test_the_catalogue_keeps_its_missing_pictures_in_place(shared, tmp_path, threads):
    path = shared / "catalogue" / "catalogue.csv"
    manifest = daskimg.read_manifest(str(path), labels=["Category", "Brand", "Kids"])

    samples = scenes.build(manifest, tmp_path / "out.zarr", threads, max_failed=0.1)

    table = pd.read_csv(path)
    there = [(shared / "catalogue" / p).is_file() for p in table["image_path"]]
    assert (samples.status == 1).tolist() == there
    assert set(samples.failures["reason"]) == {"missing"}
    npt.assert_array_equal(samples.labels, table["Category"].fillna(-1).astype(int))
    assert samples.attributes["columns"]["Kids"][1] == "int"


@pytest.fixture(scope="module")
def hostile(shared, tmp_path_factory, threads):
    manifest = daskimg.read_manifest(str(shared / "hostile" / "manifest.csv"))
    url = tmp_path_factory.mktemp("hostile") / "out.zarr"
    return scenes.build(manifest, url, threads, size=64, max_failed=1)


def test_hostile_files_cost_their_own_samples_only(hostile):
    rows = hostile.rows

    assert (rows["status"][rows["expected"] == "decode"] == 1).all()
    assert (rows["status"][rows["expected"] == "error"] == 2).all()
    assert hostile.failures["message"].str.len().min() > 5
    assert not hostile.image[:][rows["status"] == 2].any()


def expected_colour(path, stated):
    """Mean R, G, B: over white where there is transparency, else what the table states."""
    with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
        # Pillow's own warnings, of odd EXIF and palettes
        clear = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        if clear and image.mode.startswith("I;16"):
            values = np.asarray(image)
            shown = np.where(values == image.info["transparency"], 255, values / 257)
            return np.full(3, shown.mean())
        if clear:
            white = Image.new("RGBA", image.size, "white")
            picture = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
            return np.asarray(picture).reshape(-1, 3).mean(axis=0)
    levels = [float(word) for word in stated.split("(")[0].split()]
    return np.resize(levels, 3)


def test_hostile_files_that_decode_have_the_expected_colours(shared, hostile):
    rows = hostile.rows
    good = np.flatnonzero(rows["expected"] == "decode")

    for i in good:
        wanted = expected_colour(shared / "hostile" / rows["path"][i], rows["ref_rgb_mean"][i])
        got = hostile.image[int(i)].reshape(-1, 3).mean(axis=0)
        npt.assert_allclose(got, wanted, atol=2, err_msg=rows["path"][i])

    assert len(good) == 38


def test_pictures_kept_as_bytes_give_the_same_store(tmp_path, threads):
    chance = np.random.default_rng(0)
    for i in range(20):
        noise = chance.integers(0, 256, (60, 60, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    (tmp_path / "5.png").write_bytes(b"this is no picture")
    table = scenes.table_of(tmp_path, [f"{i}.png" for i in range(20)])
    content = [Path(path).read_bytes() for path in table["path"]]
    column = pa.array([{"bytes": c, "path": f"{i}.png"} for i, c in enumerate(content)])
    frame = pa.table({"image": column, "label": pa.array(table["label"])})
    pq.write_table(frame, tmp_path / "pictures.parquet", row_group_size=7)
    packing = {"shard": 8, "chunk": 4, "max_failed": 1}

    as_paths = scenes.build(table, tmp_path / "paths.zarr", threads, **packing)
    manifest = daskimg.read_manifest(str(tmp_path / "pictures.parquet"))
    as_bytes = scenes.build(manifest, tmp_path / "bytes.zarr", threads, **packing)

    npt.assert_array_equal(as_bytes.image[:], as_paths.image[:])
    npt.assert_array_equal(as_bytes.labels, as_paths.labels)
    assert as_bytes.failures["sample"].tolist() == [5]
    assert as_bytes.rows["path"][3] == "3.png"
    assert daskimg.verify_store(str(tmp_path / "bytes.zarr"), rows=10).findings == ()
    records = scenes.objects(tmp_path / "bytes.zarr", "daskimg").values()
    assert sum(map(len, records)) < sum(map(len, content)) / 4, "pictures were copied"


def test_awkward_names_are_only_names(tmp_path, threads):
    names = ["nét 图像 #1 100%.png", "a::b.png", "[x].png", "%41.png", "with space?.png"]
    (tmp_path / "in").mkdir()
    for i, name in enumerate(names):
        scenes.picture(i).save(tmp_path / "in" / name)
    table = pd.DataFrame({"path": names, "label": names})
    manifest = daskimg.read_manifest(table, root=str(tmp_path / "in"))

    samples = scenes.build(manifest, tmp_path / "out 100% #1.zarr", threads)

    assert samples.rows["path"].tolist() == names
    assert samples.attributes["failed"] == 0
    assert daskimg.verify_store(samples.url, rows=5).findings == ()
    assert samples.to_xarray().sizes["sample"] == 5


def test_classes_of_an_earlier_store_are_taken_over(table, tmp_path, threads):
    scenes.build(table, tmp_path / "first.zarr", threads, max_failed=1)
    later = table.iloc[:4].assign(label=["emu", "fox", "cat", "emu"])

    with pytest.raises(daskimg.ManifestError, match="fox"):
        daskimg.plan_store(
            daskimg.read_manifest(later, classes=str(tmp_path / "first.zarr")),
            str(tmp_path / "second.zarr"),
            recipes.resize(8),
        )
    manifest = daskimg.read_manifest(later, classes=str(tmp_path / "first.zarr"), unknown="none")
    samples = scenes.build(manifest, tmp_path / "second.zarr", threads)

    assert samples.classes == ["cat", "dog", "emu"]
    assert samples.labels.tolist() == [2, -1, 0, 2]


def test_a_folder_of_class_folders_is_a_manifest(tmp_path, threads):
    samples = scenes.build(
        daskimg.read_manifest(str(scenes.PICTURES)), tmp_path / "a.zarr", threads, size=32
    )

    assert samples.classes == sorted(p.name for p in scenes.PICTURES.iterdir() if p.is_dir())
    folders = [path.split("/")[0] for path in samples.rows["path"]]
    assert [samples.classes[code] for code in samples.labels] == folders


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_sixteen_bits_are_kept_on_request(tmp_path, threads, dtype):
    levels = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    table = pd.DataFrame({"path": [str(tmp_path / "deep.png")]})

    kept = scenes.build(
        table, tmp_path / "k.zarr", threads, recipe=recipes.resize(64, dtype=dtype, channels=1)
    )
    plan = scenes.plan(table, tmp_path / "r.zarr", recipe=recipes.resize(64, channels=1))
    report = daskimg.build_store(plan, client=threads)

    wanted = levels if dtype == "uint16" else (levels / 65535).astype(np.float32)
    npt.assert_allclose(kept.image[0][..., 0], wanted, rtol=1e-6)
    npt.assert_allclose(kept.mean, [0.5], atol=1e-3)
    assert report.reduced == 1
    assert any("reduced to 8 bits" in line for line in report.lines())


def test_a_store_may_lie_on_any_file_system(table, tmp_path, threads):
    url = f"memory://{tmp_path.name}/out.zarr"

    samples = scenes.build(table, url, threads, shard=8, chunk=4, max_failed=1)
    again = daskimg.build_store(scenes.plan(table, url, shard=8, chunk=4), client=threads)

    local = scenes.build(table, tmp_path / "out.zarr", threads, shard=8, chunk=4, max_failed=1)
    npt.assert_array_equal(samples.image[:], local.image[:])
    assert again.outcome == "unchanged"
    assert daskimg.verify_store(url, rows=5).findings == ()
