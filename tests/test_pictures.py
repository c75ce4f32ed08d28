"""The pictures that are shipped: small, whole, listed, and free to give away."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

PICTURES = Path(__file__).resolve().parents[1] / "notebooks" / "pictures"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "catalogue" / "images"
FOLDERS = {
    "alexeygrigorev/clothing-dataset": "clothing",
    "dotnet/eShop": "eshop",
    "marcusklasson/GroceryStoreDataset": "grocery",
}

if not PICTURES.is_dir():
    pytest.skip("the notebooks are not part of this installation", allow_module_level=True)


def listed():
    with (PICTURES / "labels.csv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


def licences():
    """Return (licence, pictures) by source: the first table of LICENSES.md."""
    lines = (PICTURES / "LICENSES.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| ")]
    return {row[1]: (row[3], int(row[4])) for row in rows[2:]}


def test_the_folder_holds_at_most_2_megabytes():
    files = [path for path in PICTURES.rglob("*") if path.is_file()]

    assert len(files) > 40
    assert sum(path.stat().st_size for path in files) <= 2_000_000


def test_every_line_names_a_picture_that_decodes():
    formats = Counter()

    for row in listed():
        with Image.open(PICTURES / row["path"]) as picture:
            picture.load()
            formats[picture.format] += 1
            assert picture.mode == "RGB"
            assert min(picture.size) >= 200

    assert formats.keys() == {"JPEG", "WEBP"}
    assert formats["WEBP"] >= 10


def test_every_picture_is_listed_once():
    files = [
        path.relative_to(PICTURES).as_posix()
        for path in PICTURES.rglob("*")
        if path.is_file() and path.suffix not in {".csv", ".md"}
    ]

    assert sorted(files) == sorted(row["path"] for row in listed())


def test_the_folder_of_a_picture_is_its_label():
    rows = listed()

    assert [row["label"] for row in rows] == [Path(row["path"]).parent.as_posix() for row in rows]
    assert len({row["label"] for row in rows}) >= 6


def test_the_licence_of_every_picture_is_noted():
    noted = licences()
    counts = Counter(row["source"] for row in listed())

    assert counts == {source: pictures for source, (_, pictures) in noted.items()}
    assert {licence for licence, _ in noted.values()} <= {"CC0-1.0", "MIT"}


def test_pictures_are_copies_to_the_byte():
    if not SHARED.is_dir():
        pytest.skip("the shared test data, with the originals, is not beside the repository")

    changed = [
        row["path"]
        for row in listed()
        if (SHARED / FOLDERS[row["source"]] / row["original"]).read_bytes()
        != (PICTURES / row["path"]).read_bytes()
    ]

    assert not changed
