"""Data sets in their own layouts: what a folder or a file of a known form says."""

import json
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daskimg.errors import ManifestError
from daskimg.manifest import encode_label, read_manifest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not (SHARED / "imagenet").is_dir(), reason="no shared/data beside the repository"
)


def rows_of(manifest):
    facts = manifest.scan()
    return pd.concat(manifest.pieces(facts), ignore_index=True)


def labels_of(manifest):
    facts = manifest.scan()
    label = facts.labels[0]
    return encode_label(pd.concat(manifest.pieces(facts))[label.column], label).tolist()


# Tiny-ImageNet

TINY = {
    "wnids.txt": "n2\nn1\n",
    "words.txt": "n0\tentity\nn1\tgoldfish, Carassius auratus\nn2\tbullfrog\n",
    "train/n1/images/n1_0.JPEG": "",
    "train/n2/images/n2_10.JPEG": "",
    "train/n2/images/n2_9.JPEG": "",
    "train/n2/images/.hidden.JPEG": "",
    "train/n2/images/notes.txt": "",
    "train/n2/n2_boxes.txt": "n2_9.JPEG\t0\t0\t1\t1\n",
    "val/val_annotations.txt": "val_1.JPEG\tn1\t0\t0\t1\t1\r\nval_0.JPEG\tn2\t0\t0\t1\t1\r\n",
    "val/images/val_0.JPEG": "",
    "test/images/test_0.JPEG": "",
}


def laid_out(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return str(root)


@pytest.fixture(params=["disk", "memory"])
def tiny(request, tmp_path):
    """Puts files of a tiny-imagenet somewhere and returns where."""
    if request.param == "disk":
        yield lambda files: laid_out(tmp_path / "tiny", files)
        return
    system = fsspec.filesystem("memory")

    def put(files):
        for name, text in files.items():
            system.pipe_file(f"{tmp_path}/tiny/{name}", text.encode())
        return f"memory://{tmp_path}/tiny"

    yield put
    system.rm(str(tmp_path), recursive=True)


def test_a_tiny_imagenet_is_train_by_class_then_val_then_test(tiny):
    manifest = read_manifest(tiny(TINY))

    rows = rows_of(manifest)

    assert rows["path"].tolist() == [
        "train/n2/images/n2_9.JPEG",
        "train/n2/images/n2_10.JPEG",
        "train/n1/images/n1_0.JPEG",
        "val/images/val_1.JPEG",
        "val/images/val_0.JPEG",
        "test/images/test_0.JPEG",
    ]
    assert rows["split"].tolist() == ["train"] * 3 + ["val"] * 2 + ["test"]
    assert rows["words"].tolist()[:3] == ["bullfrog"] * 2 + ["goldfish, Carassius auratus"]
    assert labels_of(manifest) == [0, 0, 1, 1, 0, -1]


def test_the_classes_of_a_tiny_imagenet_keep_its_order_and_have_words(tiny):
    manifest = read_manifest(tiny(TINY))

    (label,) = manifest.scan().labels

    assert label.classes == ("n2", "n1")
    assert manifest.class_words == {"n2": "bullfrog", "n1": "goldfish, Carassius auratus"}
    assert manifest.split_column == "split"


@pytest.mark.parametrize(
    ("gone", "splits", "classes"),
    [
        ("wnids.txt", ["train", "val", "test"], ("n1", "n2")),
        ("words.txt", ["train", "val", "test"], ("n2", "n1")),
        ("val/", ["train", "test"], ("n2", "n1")),
        ("test/", ["train", "val"], ("n2", "n1")),
    ],
)
def test_parts_of_a_tiny_imagenet_may_be_missing(tiny, gone, splits, classes):
    files = {name: text for name, text in TINY.items() if not name.startswith(gone)}
    manifest = read_manifest(tiny(files))

    assert rows_of(manifest)["split"].unique().tolist() == splits
    assert manifest.scan().labels[0].classes == classes


def test_val_without_annotations_has_no_labels(tiny):
    files = {name: text for name, text in TINY.items() if not name.endswith("annotations.txt")}

    rows = rows_of(read_manifest(tiny(files)))

    assert rows["label"][rows["split"] == "val"].isna().tolist() == [True]


def test_classes_given_win_over_those_of_the_source(tmp_path):
    root = laid_out(tmp_path, TINY)

    assert read_manifest(root, classes=["n1", "n2"]).scan().labels[0].classes == ("n1", "n2")


def test_a_class_folder_that_wnids_forgot_comes_last(tmp_path):
    root = laid_out(tmp_path, TINY | {"train/n0/images/n0_0.JPEG": ""})

    assert read_manifest(root).scan().labels[0].classes == ("n2", "n1", "n0")


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ("val_0.JPEG\tn1\nval_1.JPEG n2\n", "line 2: 'val_1.JPEG n2' is no file and class"),
        ("val_0.JPEG\tn7\t0\t0\t1\t1\n", "'n7' in row 3 is none of the 2 classes"),
    ],
)
def test_a_bad_annotation_is_named(tmp_path, annotations, message):
    root = laid_out(tmp_path, TINY | {"val/val_annotations.txt": annotations})

    with pytest.raises(ManifestError, match=message):
        read_manifest(root).scan()


def test_a_folder_of_another_layout_is_no_tiny_imagenet(tmp_path):
    files = {"train/n1/a.jpg": "", "wnids.txt": "n1\n"}
    root = laid_out(tmp_path, files)

    assert read_manifest(root).split_column is None
    with pytest.raises(ManifestError, match=r"is no tiny-imagenet: that has wnids.txt or words"):
        read_manifest(root, kind="tiny-imagenet")
    with pytest.raises(ManifestError, match="is not a folder"):
        read_manifest(f"{root}/wnids.txt", kind="tiny-imagenet")


@needs_shared
def test_the_real_tiny_imagenet_is_read_whole():
    root = SHARED / "tiny-imagenet-mini"
    manifest = read_manifest(str(root))

    facts, rows = manifest.scan(), rows_of(manifest)

    assert rows["split"].value_counts().to_dict() == {"train": 200, "val": 50, "test": 50}
    assert facts.labels[0].classes == tuple((root / "wnids.txt").read_text().split())
    assert facts.labels[0].empties == 50
    assert set(manifest.class_words) == set(facts.labels[0].classes)
    assert all(Path(manifest.resolve(path)).is_file() for path in rows["path"])


# MPII


PERSON = {
    "joints_vis": [1, 0],
    "joints": [[10.0, 20.5], [-1.0, -1.0]],
    "image": "a.jpg",
    "scale": 1.5,
    "center": [30, 40.25],
}


def people(folder, *records, name="train.json"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(records), encoding="utf-8")
    return str(folder / name)


def test_a_row_of_an_mpii_file_is_a_person_in_file_order(tmp_path):
    other = PERSON | {"image": "b.jpg", "scale": 2, "dataset": "MPI", "joints_vis": [1.0, 1]}
    manifest = read_manifest(people(tmp_path, PERSON, other, PERSON))

    facts, rows = manifest.scan(), rows_of(manifest)

    assert facts.columns == {
        "joints": "list", "joints_vis": "list", "scale": "float64", "center": "list",
        "dataset": "text",
    }  # fmt: skip
    assert rows["key"].tolist() == ["a.jpg", "b.jpg", "a.jpg\t2"]
    assert np.stack(rows["joints"][0]).tolist() == PERSON["joints"]
    assert rows["joints_vis"][1].tolist() == [1, 1]
    assert rows["scale"].tolist() == [1.5, 2.0, 1.5]
    assert rows["center"][0].tolist() == [30.0, 40.25]
    assert rows["dataset"].tolist()[1] == "MPI"
    assert not facts.labels


def test_joints_are_arrow_lists_of_numbers_and_survive_parquet(tmp_path):
    manifest = read_manifest(people(tmp_path, PERSON, PERSON))
    facts = manifest.scan()
    (rows,) = manifest.pieces(facts)
    table = pa.Table.from_pandas(rows, facts.schema, preserve_index=False)

    pq.write_table(table, tmp_path / "rows.parquet")
    again = read_manifest(str(tmp_path / "rows.parquet"))

    kind = pa.list_(pa.list_(pa.float64()))
    assert table.schema.field("joints").type == kind
    assert table.schema.field("joints_vis").type == pa.list_(pa.int64())
    assert again.scan().schema.field("joints").type == kind
    assert np.stack(rows_of(again)["joints"][1]).tolist() == PERSON["joints"]
    assert pq.read_table(tmp_path / "rows.parquet")["joints"].to_pylist() == [PERSON["joints"]] * 2


@pytest.mark.parametrize(
    ("kinds", "joints"),
    [
        ([pa.list_(pa.list_(pa.float32())), pa.list_(pa.list_(pa.int64()))], [[1, 2], [3, 4]]),
        ([pa.list_(pa.list_(pa.float64(), 2)), pa.large_list(pa.list_(pa.float64()))], [[1, 2]]),
        ([pa.list_(pa.list_(pa.float64())), pa.null()], None),
    ],
    ids=["floats and whole numbers", "lists of any sort", "none at all"],
)
def test_parquet_parts_with_unlike_lists_of_lists_agree_on_one(tmp_path, kinds, joints):
    for i, kind in enumerate(kinds):
        columns = {"path": [f"{i}.jpg"], "joints": pa.array([joints], kind)}
        pq.write_table(pa.table(columns), tmp_path / f"{i}.parquet")

    facts = read_manifest(str(tmp_path / "*.parquet")).scan()

    assert facts.schema.field("joints").type == pa.list_(pa.list_(pa.float64()))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([[1, 2], [3]], pa.list_(pa.list_(pa.int64()))),
        ([[], [0.5]], pa.list_(pa.list_(pa.float64()))),
        (np.ones((2, 2)), pa.list_(pa.list_(pa.float64()))),
        ([["a"]], pa.list_(pa.list_(pa.string()))),
        ([[[1]]], pa.list_(pa.list_(pa.list_(pa.int64())))),
        ([[1], 2], pa.string()),
        ([[{"a": 1}]], pa.string()),
    ],
    ids=["whole", "floats", "array", "text", "deeper", "mixed", "objects"],
)
def test_lists_of_lists_stay_lists_unless_they_are_mixed(value, kind):
    column = np.empty(2, object)
    column[0] = value
    manifest = read_manifest(pd.DataFrame({"path": ["a", "b"], "x": column}))

    facts = manifest.scan()
    (rows,) = manifest.pieces(facts)
    table = pa.Table.from_pandas(rows, facts.schema, preserve_index=False)

    assert table.schema.field("x").type == kind
    plain = value.tolist() if isinstance(value, np.ndarray) else value
    expected = plain if kind != pa.string() else json.dumps(plain)
    assert table["x"].to_pylist() == [expected, None]


@pytest.mark.parametrize(
    ("where", "path"),
    [(["a.jpg"], "a.jpg"), (["images/a.jpg"], "images/a.jpg"), ([], "a.jpg"),
     (["a.jpg", "images/a.jpg"], "a.jpg")],
)  # fmt: skip
def test_pictures_lie_beside_the_file_or_in_images(tmp_path, where, path):
    table = people(tmp_path, PERSON | {"image": "gone.jpg"}, PERSON)
    for name in where:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    manifest = read_manifest(table)

    assert rows_of(manifest)["path"][1] == path
    assert rows_of(manifest)["path"][0] == path.replace("a.jpg", "gone.jpg")


def test_pictures_of_a_remote_file_are_looked_for_too(tmp_path):
    system = fsspec.filesystem("memory")
    system.pipe_file(f"{tmp_path}/t.json", json.dumps([PERSON]).encode())
    system.pipe_file(f"{tmp_path}/images/a.jpg", b"x")

    rows = rows_of(read_manifest(f"memory://{tmp_path}/t.json"))

    assert rows["path"].tolist() == ["images/a.jpg"]


def without(key):
    return {name: value for name, value in PERSON.items() if name != key}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (without("scale"), "record 1 .counted from 0. has no 'scale'"),
        (PERSON | {"joints": [[1, 2], [3]]}, "record 1 .* 'joints' that is not a list of .x, y."),
        (PERSON | {"joints": [[1, 2]]}, "has 1 joints, 2 joints_vis"),
        (PERSON | {"joints": [[1, 2]], "joints_vis": [1]}, "1 joints, but those before it 2"),
        (PERSON | {"joints_vis": [1, 0.5]}, "'joints_vis' that is not a list of 0 and 1"),
        (PERSON | {"center": [1]}, "'center' that is not .x, y.: .1."),
        (PERSON | {"scale": "big"}, "'scale' that is not a number: \"big\""),
        (PERSON | {"image": None}, "'image' that is not the name of a file: null"),
        ([1], "is no JSON object"),
        (PERSON | {"path": "x"}, "has two columns named 'path'; rename one"),
    ],
)
def test_a_record_that_is_no_person_is_named(tmp_path, record, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(people(tmp_path, PERSON, record))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{}", "is no list of records with joints"), ("[1", "cannot be read as JSON")],
)
def test_what_is_no_mpii_file_is_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)

    with pytest.raises(ManifestError, match=message):
        read_manifest(str(tmp_path / "a.json"), kind="mpii")


def test_mpii_is_one_file_of_any_name_when_it_is_said_to_be(tmp_path):
    first = people(tmp_path, PERSON, name="people.txt")
    people(tmp_path, PERSON, name="more.txt")

    assert rows_of(read_manifest(first, kind="mpii"))["path"].tolist() == ["a.jpg"]
    with pytest.raises(ManifestError, match="matches 2 files; an MPII manifest is one"):
        read_manifest(str(tmp_path / "*.txt"), kind="mpii")


@needs_shared
@pytest.mark.parametrize(
    ("name", "count"), [("train", 25), ("validation", 23), ("annotations_only", 975)]
)
def test_the_real_annotations_are_read(name, count):
    path = SHARED / "mpii" / f"{name}.json"
    manifest = read_manifest(str(path))

    rows, records = rows_of(manifest), json.loads(path.read_text())

    assert len(rows) == count
    assert [np.stack(j).tolist() for j in rows["joints"]] == [r["joints"] for r in records]
    assert rows["scale"].tolist() == [r["scale"] for r in records]
    is_there = [Path(manifest.resolve(p)).is_file() for p in rows["path"]]
    assert all(is_there) or name == "annotations_only"
