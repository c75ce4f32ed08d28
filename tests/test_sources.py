"""Data sets in their own layouts: what a folder or a file of a known form says."""

from pathlib import Path

import fsspec
import pandas as pd
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
