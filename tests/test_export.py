"""Exports: the same pixels, labels and order in other forms; resumed; the same bytes again."""

import csv
import io
import json
import tarfile
from collections import Counter
from itertools import chain
from pathlib import Path

import naive
import numpy as np
import numpy.testing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scenes
import shelves
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import daskimg
from daskimg import cli, fetch, store
from daskimg.decode import decode, encode_jpeg, encode_png
from daskimg.errors import OptionError
from daskimg.export import FORMATS, LAYOUTS
from daskimg.export._tfrecord import example, framed
from daskimg.options import DecodeOptions

CLASSES = ["cat", "dog", "emu/owl"]


@pytest.fixture(scope="module")
def samples(pictures, tmp_path_factory, threads):
    """Forty samples of which 5 and 17 failed, with labels of every kind."""
    table = scenes.table_of(*pictures)
    table["label"] = [("cat", "dog", "emu/owl", "")[i % 4] for i in range(40)]
    table["tags"] = [["a", "b"][: i % 3] for i in range(40)]
    table["count"] = range(40)
    labels = ["label", "price", "tags", "count"]
    manifest = daskimg.read_manifest(table, labels=labels)
    url = tmp_path_factory.mktemp("export") / "out.zarr"
    return scenes.build(manifest, url, threads, max_failed=1)


@pytest.fixture(scope="module")
def good(samples):
    """The slots that did not fail."""
    return np.flatnonzero(samples.status == store.OK).tolist()


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


# -- round trips: pixels, labels, order ---------------------------------------------------


def test_pictures_lie_in_class_folders_with_every_pixel(samples, good, tmp_path):
    samples.export(tmp_path / "a", format="png")

    found = {
        int(path.stem): (path.parent.name, pixels(path.read_bytes()))
        for path in (tmp_path / "a").rglob("*.png")
    }
    assert sorted(found) == good
    for slot, (folder, image) in found.items():
        label = samples.labels[slot]
        assert folder == (["cat", "dog", "emu%2Fowl"][label] if label >= 0 else "_none")
        npt.assert_array_equal(image, samples.image[slot])


def test_the_table_beside_them_makes_the_same_store_again(samples, good, tmp_path, threads):
    samples.export(tmp_path / "a", format="png")

    classes = str(tmp_path / "a" / "classes.txt")
    again = scenes.build(
        daskimg.read_manifest(str(tmp_path / "a" / "labels.csv"), classes=classes),
        tmp_path / "again.zarr",
        threads,
    )

    npt.assert_array_equal(again.image[:], samples.image[:][good])
    npt.assert_array_equal(again.labels, samples.labels[good])
    assert again.classes == samples.classes == CLASSES


def test_jpegs_are_those_of_pillow_at_quality_95(samples, good, tmp_path):
    found = samples.export(tmp_path / "a", format="jpeg")

    (path,) = (tmp_path / "a").rglob("03.jpg")
    buffer = io.BytesIO()
    Image.fromarray(samples.image[3]).save(buffer, "JPEG", quality=95)
    assert path.read_bytes() == buffer.getvalue()
    assert any("JPEG of quality 95: pixels are not kept exactly" in note for note in found.notes)


def test_records_hold_pixels_and_labels_in_order(samples, good, tmp_path):
    samples.export(tmp_path / "a", format="tfrecord", shard_samples=16)

    paths = sorted((tmp_path / "a").glob("*.tfrecord"))
    assert [path.name for path in paths] == [
        f"samples-0000{i}-of-00003.tfrecord" for i in range(3)
    ]
    parts = [naive.records(path.read_bytes()) for path in paths]
    assert [len(part) for part in parts] == [16, 16, 6]
    for slot, record in zip(good, chain(*parts), strict=True):
        found = naive.example(record)
        label = int(samples.labels[slot])
        npt.assert_array_equal(pixels(found["image/encoded"]), samples.image[slot])
        assert found["image/class/label"] == [label]
        assert found["image/class/text"].decode() == (CLASSES[label] if label >= 0 else "")
        assert found["image/row"] == [slot]
        assert found["image/count/label"] == [slot]
        assert found["image/tags/label"] == samples.array("tags")[slot].tolist()
        assert found["image/price/label"] == [slot / 2]
        assert found["image/height"] == found["image/width"] == [16]


def test_a_reader_that_is_not_ours_reads_the_records(samples, good, tmp_path):
    tfrecord = pytest.importorskip("tfrecord")
    samples.export(tmp_path / "a", format="tfrecord", layout="one-hot")

    (path,) = (tmp_path / "a").glob("*.tfrecord")
    found = list(tfrecord.tfrecord_loader(str(path), None))

    assert len(found) == len(good)
    for slot, record in zip(good, found, strict=True):
        image = np.frombuffer(record["image"], np.uint8).reshape(16, 16, 3)
        npt.assert_array_equal(image, samples.image[slot])
        assert record["label"].tolist() == [int(i == samples.labels[slot]) for i in range(3)]
    assert json.loads((tmp_path / "a" / "sizes.json").read_text()) == {"samples": 38}


def test_tensorflow_reads_the_records(samples, good, tmp_path):
    tf = pytest.importorskip("tensorflow")
    samples.export(tmp_path / "a", format="tfrecord", shard_samples=20)
    paths = sorted(map(str, (tmp_path / "a").glob("*.tfrecord")))
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
        "image/price/label": tf.io.FixedLenFeature([], tf.float32),
    }

    records = list(tf.data.TFRecordDataset(paths))

    for slot, record in zip(good, records, strict=True):
        found = tf.io.parse_single_example(record, features)
        npt.assert_array_equal(tf.io.decode_png(found["image/encoded"]), samples.image[slot])
        assert int(found["image/class/label"]) == samples.labels[slot]


def test_tars_hold_the_files_of_a_sample_beside_each_other(samples, good, tmp_path):
    samples.export(tmp_path / "a", format="webdataset", shard_samples=30)

    found = []
    for path in sorted((tmp_path / "a").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
                found.append((member.name, tar.extractfile(member).read()))
    keys = dict.fromkeys(name.partition(".")[0] for name, _ in found)
    contents = dict(found)
    assert [int(key) for key in keys] == good
    for key in keys:
        slot, words = int(key), json.loads(contents[f"{key}.json"])
        npt.assert_array_equal(pixels(contents[f"{key}.png"]), samples.image[slot])
        assert int(contents[f"{key}.cls"]) == samples.labels[slot]
        assert words["label"] == [*CLASSES, None][samples.labels[slot]]
        assert words["tags"] == ["a", "b"][: slot % 3]
        assert (words["row"], words["count"], words["price"]) == (slot, slot, slot / 2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # leaves files open
def test_webdataset_reads_the_tars(samples, good, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    samples.export(tmp_path / "a", format="webdataset", shard_samples=30)

    shards = str(tmp_path / "a" / "samples-{00000..00001}-of-00002.tar")
    found = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))

    assert [int(each["__key__"]) for each in found] == good
    for slot, each in zip(good, found, strict=True):
        npt.assert_array_equal(each["png"], samples.image[slot])


def test_arrays_are_those_of_the_store(samples, good, tmp_path):
    samples.export(tmp_path / "a", format="npy", shard_samples=16)

    def joined(name):
        paths = sorted((tmp_path / "a").glob(f"*-of-00003-{name}.npy"))
        return np.concatenate([np.load(path) for path in paths])

    npt.assert_array_equal(joined("image"), samples.image[:][good])
    npt.assert_array_equal(joined("sample"), good)
    for name in ("label", "price", "tags", "count", "row", "part", "affine"):
        npt.assert_array_equal(joined(name), samples.array(name)[good])
        assert joined(name).dtype == samples.array(name).dtype


def test_tables_hold_pictures_as_hugging_face_reads_them(samples, good, tmp_path):
    samples.export(tmp_path / "a", format="parquet", shard_samples=30)

    paths = sorted((tmp_path / "a").glob("*.parquet"))
    tables = [pq.read_table(path) for path in paths]
    rows = [row for table in tables for row in table.to_pylist()]
    features = json.loads(tables[0].schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": CLASSES, "_type": "ClassLabel"}
    for slot, row in zip(good, rows, strict=True):
        npt.assert_array_equal(pixels(row["image"]["bytes"]), samples.image[slot])
        assert row["label"] == samples.labels[slot]
        assert row["tags"] == list(range(slot % 3))
        assert (row["row"], row["count"], row["price"]) == (slot, slot, slot / 2)


def test_hugging_face_datasets_reads_the_tables(samples, good, tmp_path):
    datasets = pytest.importorskip("datasets")
    samples.export(tmp_path / "a", format="parquet", shard_samples=30)

    found = datasets.load_dataset(
        str(tmp_path / "a"), split="train", cache_dir=str(tmp_path / "cache")
    )

    assert found.features["label"].names == CLASSES
    for slot, row in zip(good, found, strict=True):
        npt.assert_array_equal(np.asarray(row["image"]), samples.image[slot])
        assert row["label"] == samples.labels[slot]


# -- poses --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(tmp_path_factory, threads):
    folder = tmp_path_factory.mktemp("people")
    scenes.picture(1, 120, 200).save(folder / "a.png")
    people = [
        {"image": "a.png", "center": [100.0, 60.0], "scale": 0.4, "joints_vis": [1] * 15 + [0],
         "joints": [[80.0 + 3 * i, 40.0 + 2 * i] for i in range(15)] + [[-1.0, -1.0]]},
        {"image": "a.png", "center": [60.0, 50.0], "scale": 0.1, "joints_vis": [1] * 16,
         "joints": [[20.0 + 10 * i, 50.0] for i in range(16)]},
    ]  # fmt: skip
    (folder / "people.json").write_text(json.dumps(people))
    manifest = daskimg.read_manifest(str(folder / "people.json"))
    recipe = daskimg.recipes.read_recipe("pose", (64, 64))
    return scenes.build(manifest, folder / "pose.zarr", threads, recipe=recipe)


def test_a_pose_is_a_crop_as_jpeg_with_joints_in_its_pixels(people, tmp_path):
    found = people.export(tmp_path / "a", format="tfrecord", layout="pose")

    (path,) = (tmp_path / "a").glob("*.tfrecord")
    records = [naive.example(record) for record in naive.records(path.read_bytes())]
    points, visible = people.array("keypoint"), people.array("visible")
    outside = 0
    for person, record in enumerate(records):
        assert record["image/encoded"] == encode_jpeg(people.image[person], 95)
        assert record["image/filename"].endswith(b"a.png")
        joints = zip(*(record[f"image/object/parts/{axis}"] for axis in "xyv"), strict=True)
        for joint, (x, y, v) in enumerate(joints):
            there = all(points[person, joint] >= 0) and all(points[person, joint] < 64)
            outside += not there
            wanted = [*points[person, joint].astype(int), 2 * visible[person, joint]]
            assert [x, y, v] == (wanted if there else [-1, -1, 0])
        assert abs(record["image/object/center/x"][0] - 32) <= 1
        assert abs(record["image/object/center/y"][0] - 32) <= 1
    assert outside > 3
    assert "no place in tfrecord for heatmap: left out" in found.notes


def test_masks_go_along(tmp_path, threads):
    names = scenes.make_pictures(tmp_path, 6)
    table = scenes.table_of(tmp_path, names).assign(mask=[f"{name}.mask.png" for name in names])
    for name in names:
        grey = Image.open(tmp_path / name).convert("L").point(lambda level: level // 32)
        grey.save(tmp_path / f"{name}.mask.png")
    recipe = daskimg.recipes.masked(daskimg.recipes.resize(16), "mask")
    manifest = daskimg.read_manifest(table, root=str(tmp_path))
    samples = scenes.build(manifest, tmp_path / "a.zarr", threads, recipe=recipe)
    masks = samples.array("mask")

    for form in ("webdataset", "tfrecord", "parquet", "npy"):
        samples.export(tmp_path / form, format=form)

    assert len(np.unique(masks)) > 3
    stem = "samples-00000-of-00001"
    with tarfile.open(tmp_path / "webdataset" / f"{stem}.tar") as tar:
        found = [pixels(tar.extractfile(f"{i}.mask.png").read()) for i in range(6)]
    npt.assert_array_equal(found, masks[..., 0])
    records = naive.records((tmp_path / "tfrecord" / f"{stem}.tfrecord").read_bytes())
    found = [pixels(naive.example(each)["image/mask/encoded"]) for each in records]
    npt.assert_array_equal(found, masks[..., 0])
    rows = pq.read_table(tmp_path / "parquet" / f"{stem}.parquet")["mask"].to_pylist()
    npt.assert_array_equal([pixels(each["bytes"]) for each in rows], masks[..., 0])
    npt.assert_array_equal(np.load(tmp_path / "npy" / f"{stem}-mask.npy"), masks)


# -- the same bytes, and no work done twice -------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_the_bytes_do_not_depend_on_the_threads_or_the_day(samples, tmp_path, form):
    for threads, name in ((1, "a"), (3, "b")):
        samples.export(tmp_path / name, format=form, shard_samples=7, threads=threads)

    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("form", FORMATS)
def test_a_stopped_export_goes_on_with_what_is_missing(samples, tmp_path, form):
    whole = samples.export(tmp_path / "whole", format=form, shard_samples=7)
    samples.export(tmp_path / "a", format=form, shard_samples=7)
    every = [path for path in sorted((tmp_path / "a").rglob("*-0*")) if path.is_file()]
    gone = (every or sorted((tmp_path / "a").rglob(f"*/*.{form[:2]}*g")))[1::3]
    for path in gone:
        path.unlink()
    left = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.*")}
    assert gone

    found = samples.export(tmp_path / "a", format=form, shard_samples=7)

    assert files(tmp_path / "a") == files(tmp_path / "whole")
    written = [path.name for path, time in left.items() if path.stat().st_mtime_ns != time]
    kept = [name for name in written if name not in ("labels.csv", "classes.txt")]
    if form != "npy":  # there all arrays of a shard are written again
        assert kept == []
        assert found.found == whole.files - len(gone)


def test_it_goes_on_after_a_fault_in_the_middle(samples, tmp_path, monkeypatch):
    seen = []

    def stop(done, total):
        seen.append((done, total))
        if done >= 14:
            raise KeyboardInterrupt

    monkeypatch.setattr("daskimg.export._export._BATCH", 7)
    with pytest.raises(KeyboardInterrupt):
        daskimg.export_samples(
            samples, tmp_path / "a", format="tfrecord", shard_samples=7, on_samples=stop
        )
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*.tfrecord")}

    found = samples.export(tmp_path / "a", format="tfrecord", shard_samples=7)

    assert seen == [(7, 38), (14, 38)]
    assert found.found == len(there) == 2
    assert all(path.stat().st_mtime_ns == time for path, time in there.items())
    samples.export(tmp_path / "b", format="tfrecord", shard_samples=7)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_limit_takes_the_first_ones(samples, good, tmp_path):
    found = samples.export(tmp_path / "a", format="npy", limit=9)

    slots = np.load(tmp_path / "a" / "samples-00000-of-00001-sample.npy")
    assert slots.tolist() == good[:9]
    assert found.samples == 9


def test_it_says_what_failed(samples, tmp_path):
    found = samples.export(tmp_path / "a", format="tfrecord")

    assert (found.samples, found.failed) == (38, 2)
    assert "2 samples that failed left out" in repr(found)


def test_a_view_is_exported_under_its_slots(samples, good, tmp_path):
    cats = samples.select(classes=["cat"])

    cats.export(tmp_path / "a", format="png")
    cats.export(tmp_path / "b", format="npy")

    slots = [slot for slot in good if samples.labels[slot] == 0]
    assert sorted(int(path.stem) for path in (tmp_path / "a").rglob("*.png")) == slots
    found = np.load(tmp_path / "b" / "samples-00000-of-00001-image.npy")
    npt.assert_array_equal(found, samples.image[:][slots])
    with pytest.raises(OptionError, match="its samples is 10, and here it is 9"):
        samples.select(rows=range(1, 40)).select(classes=["cat"]).export(
            tmp_path / "b", format="npy"
        )


def test_other_labels_are_another_export(samples, tmp_path):
    keys = samples.rows[["key"]].assign(label=["x", "y"] * 20)

    samples.with_columns(keys).export(tmp_path / "a", format="webdataset")

    with tarfile.open(tmp_path / "a" / "samples-00000-of-00001.tar") as tar:
        words = json.loads(tar.extractfile("03.json").read())
    assert words["label"] == "y"
    with pytest.raises(
        OptionError, match="holds another export, by other labels; name another folder"
    ):
        samples.export(tmp_path / "a", format="webdataset")


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
@pytest.mark.parametrize("form", ["webdataset", "png"])
def test_an_export_may_go_to_a_bucket(samples, tmp_path, gcs, form):
    url = f"gs://{gcs.bucket()}/out"
    first = samples.export(url, format=form, shard_samples=16)
    gcs.forget()

    again = samples.export(url, format=form, shard_samples=16)

    assert first.found == 0
    assert again.found == again.files == first.files
    samples.export(tmp_path / "a", format=form, shard_samples=16)
    folder = fetch.open_folder(url)
    assert {name: folder.read(name) for name in folder.sizes()} == files(tmp_path / "a")


# -- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "lmdb"}, "format must be one of png, jpeg.*got 'lmdb'"),
        ({"format": "png", "layout": "pose"}, "layout is for tfrecord, and the format is png"),
        ({"format": "npy", "encoding": "png"}, "encoding is for tfrecord, webdataset, parquet"),
        ({"format": "tfrecord", "layout": "one-hot", "encoding": "png"}, "holds raw pixels"),
        ({"format": "tfrecord", "layout": "pose"}, "no keypoint and no visible; build it with"),
        ({"format": "jpeg", "quality": 101}, "quality must be 1 to 100, got 101; try 95"),
        ({"format": "npy", "shard_samples": 0}, "shard_samples must be .* got 0"),
    ],
)
def test_what_does_not_fit_is_refused_with_advice(samples, tmp_path, options, message):
    with pytest.raises(OptionError, match=message):
        samples.export(tmp_path / "a", **options)

    assert not (tmp_path / "a").exists()


def test_floats_have_no_place_in_a_png(tmp_path):
    images = shelves.pictures(4).astype(np.float32)
    url = shelves.write_store(tmp_path / "a.zarr", images, shard=4, chunk=2)

    with pytest.raises(
        OptionError, match=r"png files do not hold 3 channels of float32; try .*npy"
    ):
        daskimg.open_store(url).export(tmp_path / "out", format="png")


def test_a_folder_of_something_else_is_left_alone(samples, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(OptionError, match="is not empty, and no export; name a new folder"):
        samples.export(tmp_path, format="png")
    with pytest.raises(OptionError, match="is in the store itself"):
        samples.export(f"{samples.url}/png", format="png")

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_another_export_is_not_mixed_into_a_folder(samples, tmp_path):
    samples.export(tmp_path / "a", format="tfrecord")
    before = files(tmp_path / "a")

    with pytest.raises(OptionError, match="its format is 'tfrecord', and here it is 'parquet'"):
        samples.export(tmp_path / "a", format="parquet")
    with pytest.raises(OptionError, match="its samples is 38, and here it is 5"):
        samples.export(tmp_path / "a", format="tfrecord", limit=5)

    assert files(tmp_path / "a") == before


def test_a_store_built_anew_from_other_pictures_is_another_export(tmp_path, threads):
    names = scenes.make_pictures(tmp_path / "in", 6)
    table = scenes.table_of(tmp_path / "in", names)
    first = scenes.build(table, tmp_path / "out.zarr", threads)
    first.export(tmp_path / "a", format="npy", shard_samples=2)
    before = files(tmp_path / "a")
    again = scenes.build(table, tmp_path / "out.zarr", threads, overwrite=True)
    again.export(tmp_path / "a", format="npy", shard_samples=2)  # the same pixels
    scenes.picture(77).save(tmp_path / "in" / names[5])
    other = scenes.build(table, tmp_path / "out.zarr", threads, overwrite=True)
    assert other.attributes["fingerprints"] == first.attributes["fingerprints"]

    with pytest.raises(OptionError, match="another export, of other pixels; name another folder"):
        other.export(tmp_path / "a", format="npy", shard_samples=2)

    assert files(tmp_path / "a") == before


# -- parts --------------------------------------------------------------------------------


@given(content=st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_a_record_is_framed_as_the_format_says(content):
    assert naive.records(framed(content) + framed(b"")) == [content, b""]


@given(
    st.dictionaries(
        st.text(max_size=9),
        st.one_of(
            st.binary(max_size=200),
            st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9),
            st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=9),
        ),
        max_size=5,
    )
)
@settings(max_examples=100, deadline=None)
def test_an_example_comes_back(features):
    given = {name: v if isinstance(v, bytes) else np.array(v) for name, v in features.items()}

    assert naive.example(example(given)) == features


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (3, "uint8"), (1, "uint16")])
def test_png_keeps_every_pixel(channels, dtype):
    values = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (9, 7, channels))
    image = values.astype(dtype)

    picture, _ = decode(encode_png(image), DecodeOptions(channels=channels, dtype=dtype))

    npt.assert_array_equal(picture.array(), image)


# -- the command --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def split(pictures, tmp_path_factory, threads):
    table = scenes.table_of(*pictures).drop([5, 17])
    url = tmp_path_factory.mktemp("split") / "out.zarr"
    plan = daskimg.plan_store(
        daskimg.read_manifest(table), url, daskimg.recipes.resize(16), split="every:4"
    )
    daskimg.build_store(plan, client=threads)
    return url


def test_the_command_exports_all_splits(split, tmp_path, capsys):
    out = tmp_path / "a"

    assert (
        cli.main(["export", str(split), "--to", "tfrecord", "--layout", "one-hot", str(out)]) == 0
    )

    told = capsys.readouterr().out
    assert "train: 28 samples in 1 file" in told
    assert "test: 10 samples in 1 file" in told
    assert json.loads((out / "sizes.json").read_text()) == {"test": 10, "train": 28}
    assert cli.main(["export", str(split), "--to", "png", str(tmp_path / "b"), "--quiet"]) == 0
    with (tmp_path / "b" / "train" / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["path"].partition("/")[0] for row in rows) == Counter(
        row["label"] for row in rows
    )
    assert len(rows) == 28
    assert pd.read_csv(tmp_path / "b" / "test" / "labels.csv").shape == (10, 2)


def test_the_command_takes_one_split_and_refuses_in_one_line(split, tmp_path, capsys):
    line = ["export", str(split), "--to", "webdataset", str(tmp_path / "a"), "--split", "test"]

    assert cli.main(line) == 0
    assert cli.main([*line[:-1], "nosuch"]) == 2
    assert cli.main(["export", str(split), "--to", "npy", str(tmp_path / "a")]) == 2

    assert [path.name for path in (tmp_path / "a").glob("*.tar")] == ["test-00000-of-00001.tar"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "not 'nosuch'" in lines[0]


def test_the_command_says_in_a_line_what_is_missing_or_in_the_way(split, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    line = ["export", str(split), "--to", "npy"]

    codes = [cli.main(each) for each in ([*line[:2], "x"], [*line, str(tmp_path / "file")])]

    assert codes == [2, 2]
    missing, in_the_way = capsys.readouterr().err.splitlines()
    assert "Missing option '--to'" in missing
    assert "cannot write to" in in_the_way


def test_the_command_offers_every_format():
    choices = {
        parameter.name: tuple(parameter.type.choices)
        for parameter in cli.group.commands["export"].params
        if hasattr(parameter.type, "choices")
    }

    assert choices["form"] == FORMATS
    assert choices["layout"] == LAYOUTS
