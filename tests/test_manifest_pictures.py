import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskimg.errors import ManifestError, SampleError, TransportError
from daskimg.manifest import _parquet, _pictures, encode_label, read_manifest, read_pictures

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def content(i):
    return None if i % 5 == 3 else f"picture {i}".encode() * (i % 3 + 1)


def write(path, start, stop, *, struct=True, group=4, column="image"):
    """A file as Hugging Face writes them; a picture in five is null."""
    rows = range(start, stop)
    if struct:
        values = pa.array([{"bytes": content(i), "path": f"{i}.jpg"} for i in rows], STRUCT)
    else:
        values = pa.array([content(i) for i in rows], pa.binary())
    table = pa.table({column: values, "label": pa.array([i % 2 for i in rows], pa.int64())})
    pq.write_table(table, path, row_group_size=group)
    return path


def rows_of(manifest):
    facts = manifest.scan()
    return pd.concat(manifest.pieces(facts), ignore_index=True)


def told(found):
    return found.reason if isinstance(found, SampleError) else found


def expected(rows):
    return ["missing" if content(i) is None else content(i) for i in rows]


@pytest.mark.parametrize("struct", [True, False])
def test_pictures_are_read_from_where_they_are(tmp_path, struct):
    write(tmp_path / "part-10.parquet", 7, 12, struct=struct)
    write(tmp_path / "part-9.parquet", 0, 7, struct=struct)
    manifest = read_manifest(f"{tmp_path}/part-*.parquet")

    rows = rows_of(manifest)

    assert manifest.bytes_column == "image"
    assert list(rows.columns) == [
        "row", "key", "path", "bytes_file", "bytes_group", "bytes_index", "label",
    ]  # fmt: skip
    assert rows["bytes_group"].tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1]
    assert rows["bytes_index"].tolist() == [0, 1, 2, 3, 0, 1, 2, 0, 1, 2, 3, 0]
    assert rows["path"].tolist() == [f"{i}.jpg" if struct else "" for i in range(12)]
    assert rows["key"].is_unique
    assert list(map(told, read_pictures(rows, "image"))) == expected(range(12))


@given(st.lists(st.integers(0, 11), max_size=20), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_any_rows_in_any_order_get_their_own_pictures(tmp_path_factory, chosen, batch):
    folder = tmp_path_factory.getbasetemp() / "any-rows"
    if not folder.exists():
        folder.mkdir()
        write(folder / "1.parquet", 0, 5, group=3)
        write(folder / "2.parquet", 5, 12, group=100)
    rows = rows_of(read_manifest(folder)).iloc[chosen]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pictures, "_BATCH_ROWS", batch)

        found = list(map(told, read_pictures(rows, "image")))

    assert found == expected(chosen)


def test_rows_are_counted_through_a_large_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(_parquet, "_BATCH_ROWS", 3)
    manifest = read_manifest(write(tmp_path / "a.parquet", 0, 11, group=8))

    rows = rows_of(manifest)

    assert rows["bytes_index"].tolist() == [*range(8), *range(3)]
    assert list(map(told, read_pictures(rows, "image"))) == expected(range(11))


def test_a_struct_without_any_bytes_gives_its_paths(tmp_path):
    values = pa.array([{"bytes": None, "path": "a.jpg"}, None], STRUCT)
    pq.write_table(pa.table({"image": values}), tmp_path / "a.parquet")

    manifest = read_manifest(tmp_path / "a.parquet")

    assert manifest.bytes_column is None
    assert rows_of(manifest)["path"].tolist() == ["a.jpg", ""]


def test_pictures_in_the_table_come_before_names_of_files(tmp_path):
    table = pa.table({"filename": ["a"], "image": pa.array([b"x"]), "mask": pa.array([b"y"])})
    pq.write_table(table, tmp_path / "a.parquet")

    manifest = read_manifest(tmp_path / "a.parquet")
    facts = manifest.scan()

    assert manifest.bytes_column == "image"
    assert facts.columns == {"filename": "text"}
    assert "column 'mask' holds bytes" in facts.mentions[0]
    assert list(read_pictures(rows_of(manifest), "image")) == [b"x"]


def test_a_named_column_of_bytes_is_the_pictures(tmp_path):
    path = write(tmp_path / "a.parquet", 0, 2, column="photo", struct=False)

    manifest = read_manifest(path, path="photo")

    assert list(read_pictures(rows_of(manifest), "photo")) == [content(0), content(1)]
    with pytest.raises(ManifestError, match="'photo' holds bytes: it cannot be a key or a label"):
        read_manifest(path, path="label", labels=["photo"])


def test_picture_bytes_are_not_read_by_the_scan(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", 0, 8)
    asked = []
    original = pq.ParquetFile.iter_batches

    def spy(self, *arguments, columns=None, **options):
        asked.extend(columns)
        return original(self, *arguments, columns=columns, **options)

    manifest = read_manifest(path)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    rows_of(manifest)

    assert set(asked) == {"label", "image.path"}


def test_the_digest_of_picture_bytes_is_of_their_files_too(tmp_path):
    for folder in "abcd":
        (tmp_path / folder).mkdir()
    first = write(tmp_path / "a" / "1.parquet", 0, 6)
    same = write(tmp_path / "b" / "1.parquet", 0, 6)
    renamed = write(tmp_path / "c" / "2.parquet", 0, 6)
    write(tmp_path / "d" / "1.parquet", 0, 6)
    write(tmp_path / "d" / "2.parquet", 6, 9)

    digests = [read_manifest(path).scan().digest for path in (first, same, renamed)]
    appended = read_manifest(tmp_path / "d").scan(6)

    assert digests[0] == digests[1] != digests[2]
    assert appended.prefix_digest == digests[0] != appended.digest


def test_labels_beside_picture_bytes_are_encoded(tmp_path):
    manifest = read_manifest(write(tmp_path / "a.parquet", 0, 5))

    (label,) = manifest.scan().labels

    assert encode_label(rows_of(manifest)[label.column], label).tolist() == [0, 1, 0, 1, 0]


def test_a_file_that_has_changed_is_an_error_not_a_broken_picture(tmp_path):
    path = write(tmp_path / "a.parquet", 0, 8)
    rows = rows_of(read_manifest(path))

    write(path, 0, 2)

    with pytest.raises(ManifestError, match="is not the file it was"):
        list(read_pictures(rows, "image"))


def test_a_file_that_is_gone_is_an_error_not_a_broken_picture(tmp_path):
    path = write(tmp_path / "a.parquet", 0, 2)
    rows = rows_of(read_manifest(path))

    path.unlink()

    with pytest.raises((ManifestError, TransportError), match=r"no file .*a\.parquet"):
        list(read_pictures(rows, "image"))


def test_a_table_without_row_groups_has_zero_rows(tmp_path):
    manifest = read_manifest(write(tmp_path / "a.parquet", 0, 0))

    facts = manifest.scan()

    assert facts.rows == 0
    assert manifest.bytes_column == "image"
    assert "bytes_file" in facts.schema.names
