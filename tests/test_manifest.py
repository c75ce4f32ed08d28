import itertools
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskimg.errors import DaskimgError, ManifestError, OptionError
from daskimg.manifest import _pieces as pieces_room
from daskimg.manifest import encode_label, read_manifest

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the test data is not beside this checkout")


def rows_of(manifest):
    facts = manifest.scan()
    frames = list(manifest.pieces(facts))
    return pd.concat(frames, ignore_index=True) if frames else facts.sample


def written(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def labelled(manifest):
    """All labels of a manifest, by array, encoded piece by piece."""
    facts = manifest.scan()
    frames = list(manifest.pieces(facts))
    return {
        label.array: np.concatenate([encode_label(f[label.column], label) for f in frames])
        for label in facts.labels
    }


# What a table of text says


@pytest.mark.parametrize(
    ("cells", "kind", "first"),
    [
        (["00123", "7"], "text", "00123"),
        (["12", "-7", ""], "int64", 12),
        (["1.5", "2", ""], "float64", 1.5),
        (["1e3", ".5", "5."], "float64", 1000.0),
        (["+49", "1"], "text", "+49"),
        (["nan", "1"], "text", "nan"),
        (["NA", "null", "None"], "text", "NA"),
        (["9223372036854775807", "1"], "int64", 2**63 - 1),
        (["9223372036854775808", "1"], "text", "9223372036854775808"),
        (["9007199254740993", "0.5"], "text", "9007199254740993"),
        (["1e999", "1"], "text", "1e999"),
        ([" 5", "6"], "text", " 5"),
        (["", ""], "text", None),
    ],
)
def test_a_column_of_text_has_one_type_that_loses_nothing(tmp_path, cells, kind, first):
    lines = "".join(f"{i}.jpg,{cell}\n" for i, cell in enumerate(cells))
    manifest = read_manifest(written(tmp_path / "a.csv", f"path,value\n{lines}"))

    facts, rows = manifest.scan(), rows_of(manifest)

    assert facts.columns["value"] == kind
    assert pd.isna(rows["value"][0]) if first is None else rows["value"][0] == first


def test_whole_numbers_stay_whole_beside_an_empty_cell(tmp_path):
    table = written(tmp_path / "a.csv", f"path,id\na,{2**60 + 1}\nb,\n")

    rows = rows_of(read_manifest(table))

    assert rows["id"].tolist() == [2**60 + 1, pd.NA]


def test_only_the_empty_cell_is_no_class(tmp_path):
    table = written(tmp_path / "a.csv", "path,label\na,NA\nb,None\nc,null\nd,\ne,nan\n")
    manifest = read_manifest(table)

    (label,) = manifest.scan().labels

    assert label.classes == ("NA", "None", "nan", "null")
    assert labelled(manifest)["label"].tolist() == [0, 1, 3, -1, 2]
    assert (label.counts, label.empties) == ((1, 1, 1, 1), 1)


def test_quotes_hold_commas_newlines_and_quotes(tmp_path):
    table = written(tmp_path / "a.csv", 'path,title\n"a,b.jpg","two\nlines, ""q"""\nc.jpg,x\n')

    rows = rows_of(read_manifest(table))

    assert rows["path"].tolist() == ["a,b.jpg", "c.jpg"]
    assert rows["title"][0] == 'two\nlines, "q"'


@pytest.mark.parametrize(
    "name", ["ä #1 100%.jpg", "日本/語.png", "a?b*[c].jpg", "::x.jpg", "ÿ\u0301"]
)
def test_any_name_comes_through(tmp_path, name):
    table = written(tmp_path / "t #1 50%.csv", f'path,label\n"{name}",{name}\n')
    manifest = read_manifest(table)

    rows = rows_of(manifest)

    assert rows["path"].tolist() == rows["key"].tolist() == [name]
    assert manifest.resolve(name) == str(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        "path,label\na,x\nb,y\n",
        "path,label\r\na,x\r\nb,y\r\n",
        "\ufeffpath,label\na,x\nb,y",
        "\n\npath,label\na,x\n\nb,y\n",
        '"path","label"\n"a","x"\n"b","y"\n',
    ],
)
def test_spellings_of_a_table_are_one_table(tmp_path, content):
    plain = read_manifest(written(tmp_path / "p.csv", "path,label\na,x\nb,y\n")).scan()

    facts = read_manifest(written(tmp_path / "q.csv", content)).scan()

    assert (facts.rows, facts.digest) == (2, plain.digest)
    assert facts.values_digest == plain.values_digest


def test_every_format_gives_the_same_rows(tmp_path):
    frame = pd.DataFrame({"path": ["a", "b"], "label": ["x", "y"], "n": [1, 2]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    given = [frame, *(tmp_path / f"a.{e}" for e in ["csv", "csv.gz", "tsv", "parquet", "jsonl"])]

    found = [read_manifest(source) for source in given]

    assert len({manifest.scan().digest for manifest in found}) == 1
    for manifest in found:
        pd.testing.assert_frame_equal(rows_of(manifest), rows_of(found[0]))


def test_the_index_that_pandas_wrote_is_a_column_with_a_name(tmp_path):
    pd.DataFrame({"path": ["a"]}).to_csv(tmp_path / "a.csv")

    rows = rows_of(read_manifest(tmp_path / "a.csv"))

    assert list(rows.columns) == ["row", "key", "path", "Unnamed: 0"]


@pytest.mark.parametrize("content", ["path,label\n", "path,label", "path,label\n\n"])
def test_a_table_without_rows_has_zero_rows(tmp_path, content):
    manifest = read_manifest(written(tmp_path / "a.csv", content))

    facts = manifest.scan()

    assert facts.rows == len(facts.sample) == 0
    assert list(manifest.pieces(facts)) == []
    assert facts.labels[0].classes == ()
    assert facts.schema.names == ["row", "key", "path", "label"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: a table starts with the names"),
        ("path,label\na,x\nb,y,z\n", "line 3: 3 cells, but the header has 2"),
        ('path,label\n"a\nb",x\nc\n', "line 4: 1 cells"),
        ("path,path\na,b\n", "two columns named 'path'"),
        ("path;label\na;b\n", "separated by something else"),
        ("name,label\na,b\n", r"no column path, image_path.*its columns: name, label"),
    ],
)
def test_a_bad_text_table_is_refused_in_one_line(tmp_path, content, message):
    table = written(tmp_path / "a.csv", content)

    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(table).scan()

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_other_encodings_are_refused(tmp_path, encoding, suffix):
    text = "path,label\na,é\n" if suffix == "csv" else '{"path": "é"}\n'
    table = written(tmp_path / f"a.{suffix}", text, encoding)

    with pytest.raises(ManifestError, match="is not UTF-8"):
        read_manifest(table).scan()


# JSON lines


def test_json_keeps_its_types_and_mixed_ones_become_text(tmp_path):
    lines = [
        {"path": "a", "id": "007", "n": 1, "f": 1, "mixed": 1, "tags": ["x", "y"], "box": [[1]]},
        {"path": "b", "id": "8", "n": None, "f": 2.5, "mixed": "two", "tags": [], "late": True},
    ]
    table = written(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    manifest = read_manifest(table, labels=["tags"])

    facts, rows = manifest.scan(), rows_of(manifest)

    assert facts.columns == {
        "id": "text", "n": "int64", "f": "float64", "mixed": "text", "tags": "list",
        "box": "list", "late": "bool",
    }  # fmt: skip
    assert rows["mixed"].tolist() == ["1", "two"]
    assert rows["box"][0].tolist() == [[1]]
    assert rows["late"].tolist() == [pd.NA, True]
    assert labelled(manifest)["label"].tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"path": "a"}]', "line 1 is not a JSON object .a list."),
        ('{"path": "a"}\n\n{"path":\n', "line 3 is not a JSON object"),
        ('{"path": "a"}, {"path": "b"}\n', "line 1 is not a JSON object"),
        ('{"path": ["a"]}\n', "path column 'path' of a.json holds no text"),
        ('{"path": "\\ud800"}\n', "not valid Unicode"),
    ],
)
def test_bad_json_lines_are_named(tmp_path, text, message):
    table = written(tmp_path / "a.json", text)

    with pytest.raises(ManifestError, match=message):
        read_manifest(table).scan()


# Parts, globs, folders


def test_parts_come_in_natural_order(tmp_path):
    for part in (10, 9, 1):
        written(tmp_path / f"part-{part}.csv", f"path\n{part}.jpg\n")

    rows = rows_of(read_manifest(f"{tmp_path}/part-*.csv"))

    assert rows["path"].tolist() == ["1.jpg", "9.jpg", "10.jpg"]
    assert rows["row"].tolist() == [0, 1, 2]


def test_parts_share_types_and_their_columns_may_come_in_any_order(tmp_path):
    written(tmp_path / "1.csv", "path,n\na,1\n")
    written(tmp_path / "2.csv", "n,path\nx,b\n")

    rows = rows_of(read_manifest(f"{tmp_path}/*.csv"))

    assert rows["n"].tolist() == ["1", "x"]
    assert rows["path"].tolist() == ["a", "b"]


def test_parquet_parts_of_unlike_types_agree_on_one(tmp_path):
    pd.DataFrame({"path": ["a"], "n": [1], "t": ["x"]}).to_parquet(tmp_path / "1.parquet")
    pd.DataFrame({"path": ["b"], "n": [1.5], "t": [2]}).to_parquet(tmp_path / "2.parquet")
    manifest = read_manifest(tmp_path)

    facts, rows = manifest.scan(), rows_of(manifest)

    assert facts.columns == {"n": "float64", "t": "text"}
    assert rows["t"].tolist() == ["x", "2"]


def test_parts_with_other_columns_are_refused(tmp_path):
    written(tmp_path / "1.csv", "path,n\na,1\n")
    written(tmp_path / "2.csv", "path,m\nb,1\n")

    with pytest.raises(ManifestError, match=r"2\.csv has other columns .*: m, n"):
        read_manifest(f"{tmp_path}/*.csv").scan()


def test_a_folder_of_class_folders_is_labelled_by_its_top(tmp_path):
    for name in ("b/1.JPG", "a-b/2.png", "a/deep/3.webp", "a/.4.jpg", ".c/5.jpg", "a/notes.txt"):
        written(tmp_path / name, "")
    manifest = read_manifest(tmp_path)

    rows = rows_of(manifest)

    assert rows["path"].tolist() == ["a-b/2.png", "a/deep/3.webp", "b/1.JPG"]
    assert rows["label"].tolist() == ["a-b", "a", "b"]
    assert labelled(manifest)["label"].tolist() == [1, 0, 2]
    assert manifest.root == str(tmp_path)


@given(st.sets(st.text("a-/.b", min_size=1, max_size=6), max_size=12))
@settings(max_examples=25, deadline=None)
def test_a_folder_is_walked_in_the_order_of_sorted_paths(names):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = set()
        for name in names:
            parts = [part.replace(".", "_") for part in name.split("/") if part]
            path = "/".join(["x", *parts]) + ".jpg"
            written(Path(folder, path), "")
            made.add(path)
        if not made:
            written(Path(folder, "only.jpg"), "")
            made.add("only.jpg")

        rows = rows_of(read_manifest(folder))

    assert rows["path"].tolist() == sorted(made)


def test_pictures_beside_class_folders_have_no_label(tmp_path):
    written(tmp_path / "a.jpg", "")
    written(tmp_path / "cat/b.jpg", "")

    assert labelled(read_manifest(tmp_path))["label"].tolist() == [-1, 0]


def test_a_folder_of_pictures_alone_has_no_labels(tmp_path):
    written(tmp_path / "a.jpg", "")

    facts = read_manifest(tmp_path).scan()

    assert facts.labels == ()
    assert facts.columns == {}


def test_a_link_to_the_folder_above_ends(tmp_path):
    written(tmp_path / "a/1.jpg", "")
    (tmp_path / "a" / "up").symlink_to(tmp_path / "a")

    assert rows_of(read_manifest(tmp_path))["path"].tolist() == ["a/1.jpg"]


def test_a_folder_of_nothing_useful_names_what_would_work(tmp_path):
    written(tmp_path / "labels.csv", "path\n")

    with pytest.raises(ManifestError, match=r"no pictures.*is labels\.csv in it the manifest"):
        read_manifest(tmp_path)


def test_a_folder_whose_names_hold_columns_is_refused(tmp_path):
    (tmp_path / "label=cat").mkdir()
    pd.DataFrame({"path": ["a"]}).to_parquet(tmp_path / "label=cat" / "1.parquet")

    with pytest.raises(ManifestError, match="keeps columns in the names of folders"):
        read_manifest(tmp_path)


def test_a_glob_of_pictures_is_relative_to_its_fixed_part(tmp_path, monkeypatch):
    for name in ("in/x/2.jpg", "in/y/1.jpg", "in/y/notes.txt"):
        written(tmp_path / name, "")
    monkeypatch.chdir(tmp_path)

    for pattern in (f"{tmp_path}/in/*/*", "in/**/*", "./in/*/*.jpg"):
        manifest = read_manifest(pattern)

        assert rows_of(manifest)["path"].tolist() == ["x/2.jpg", "y/1.jpg"]
        assert Path(manifest.resolve("x/2.jpg")).samefile(tmp_path / "in/x/2.jpg")


def test_a_file_with_a_pattern_in_its_name_is_that_file(tmp_path):
    written(tmp_path / "a[1].csv", "path\nright\n")
    written(tmp_path / "a1.csv", "path\nwrong\n")

    assert rows_of(read_manifest(tmp_path / "a[1].csv"))["path"].tolist() == ["right"]


def test_remote_tables_and_folders_are_read(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/manifest-test/t.csv", b"path,label\na.jpg,x\n")
    memory.pipe_file("/manifest-test/in/cat/a.jpg", b"")
    try:
        table = read_manifest("memory://manifest-test/t.csv")
        folder = read_manifest("memory://manifest-test/in")

        assert table.resolve(rows_of(table)["path"][0]) == "memory://manifest-test/a.jpg"
        assert rows_of(folder)["path"].tolist() == ["cat/a.jpg"]
        assert folder.scan().labels[0].classes == ("cat",)
    finally:
        memory.rm("/manifest-test", recursive=True)


@pytest.mark.parametrize(
    ("source", "kind", "error", "message"),
    [
        ("absent.csv", None, ManifestError, "there is no manifest absent.csv"),
        ("absent-*.csv", None, ManifestError, "no file matches"),
        ("memory://absent.csv", None, ManifestError, "there is no file memory://absent.csv"),
        ("", None, ManifestError, "name is empty"),
        ("a.csv", "xls", OptionError, "must be one of csv, tsv"),
        ("odd.xyz", None, ManifestError, "cannot tell what .*kind= .--source.: csv"),
        ("odd.xyz", "folder", ManifestError, "is not a folder"),
        ("odd.xyz", "parquet", ManifestError, "cannot be read as Parquet"),
        (["a.jpg"], None, OptionError, "got list"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, monkeypatch, source, kind, error, message):
    written(tmp_path / "odd.xyz", "odd")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(error, match=message):
        read_manifest(source, kind=kind).scan()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_table_without_permission_is_refused(tmp_path):
    table = written(tmp_path / "a.csv", "path\na\n")
    table.chmod(0)

    with pytest.raises(ManifestError, match="permission denied"):
        read_manifest(table)


# Frames


def test_order_is_the_order_of_rows_whatever_the_index(tmp_path):
    frame = pd.DataFrame({"path": ["c", "a", "b"], "label": ["z", "x", "y"]}, index=[5, 5, 1])

    rows = rows_of(read_manifest(frame))

    assert rows["path"].tolist() == ["c", "a", "b"]
    assert rows["row"].tolist() == [0, 1, 2]
    assert list(rows.columns) == ["row", "key", "path", "label"]


def test_a_named_index_is_a_column(tmp_path):
    frame = pd.DataFrame({"path": ["b", "a"]}, index=pd.Index([7, 7], name="id"))

    assert rows_of(read_manifest(frame))["id"].tolist() == [7, 7]


@pytest.mark.parametrize(
    ("values", "kind", "codes"),
    [
        (pd.Categorical(["b", None, "a"], categories=["b", "a"]), "class", [1, -1, 0]),
        (pd.array([3, None, 1], dtype="Int64"), "int", [3, -1, 1]),
        (pd.array(["b", None, "a"], dtype="string[pyarrow]"), "class", [1, -1, 0]),
        (pd.array([True, None, False], dtype="boolean"), "int", [1, -1, 0]),
        (np.array(["b", None, "a"], object), "class", [1, -1, 0]),
        (np.array([2.0, np.nan, 1.0]), "int", [2, -1, 1]),
        (np.array([True, None, False], object), "int", [1, -1, 0]),
        (np.array([1, 2, 3], np.uint8), "int", [1, 2, 3]),
    ],
)
def test_labels_come_from_any_pandas_type(values, kind, codes):
    manifest = read_manifest(pd.DataFrame({"path": ["a", "b", "c"], "label": values}))

    (label,) = manifest.scan().labels

    assert label.kind == kind
    assert labelled(manifest)["label"].tolist() == codes


def test_paths_may_be_path_objects():
    manifest = read_manifest(pd.DataFrame({"path": [Path("a/b.jpg"), Path("c.jpg")]}))

    assert rows_of(manifest)["path"].tolist() == ["a/b.jpg", "c.jpg"]
    assert manifest.root == ""
    assert manifest.source == "DataFrame of 1 column"


def test_dates_and_structs_are_kept_as_they_are(tmp_path):
    when = pd.to_datetime(["2024-01-01", None])
    pd.DataFrame({"path": ["a", "b"], "when": when, "at": [{"x": 1}, None]}).to_parquet(
        tmp_path / "a.parquet"
    )

    rows = rows_of(read_manifest(tmp_path / "a.parquet"))

    assert rows["when"][0] == when[0]
    assert rows["at"][0] == {"x": 1}


def test_bytes_in_a_frame_are_refused_with_advice():
    with pytest.raises(ManifestError, match="write the frame with to_parquet"):
        read_manifest(pd.DataFrame({"image": [None, b"x"]}))


# Columns


@pytest.mark.parametrize("name", ["path", "image_path", "filename", "file", "image", "Path"])
def test_the_path_column_is_found_by_name(name):
    assert rows_of(read_manifest(pd.DataFrame({"x": ["y"], name: ["a"]})))["path"][0] == "a"


def test_a_path_column_by_another_name_stays_under_its_own_too():
    rows = rows_of(read_manifest(pd.DataFrame({"image_path": ["a", None]})))

    assert rows["path"].tolist() == ["a", ""]
    assert rows["image_path"][0] == "a"


def test_columns_that_would_be_ours_are_kept_under_another_name(tmp_path):
    table = written(tmp_path / "a.csv", "path,row,key,key_,source_url,status\na,1,2,3,4,5\n")

    rows = rows_of(read_manifest(table))

    assert list(rows.columns) == [
        "row", "key", "path", "row_", "key__", "key_", "source_url_", "status_",
    ]  # fmt: skip
    assert rows.iloc[0].tolist() == [0, "a", "a", 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "pth"}, "no column 'pth'; did you mean 'path'"),
        ({"labels": ["clas"]}, "no column 'clas'; did you mean 'class'"),
        ({"labels": ["zzz"]}, "no column 'zzz'; its columns: path, class, row"),
        ({"labels": ["class:text"]}, "must be one of class, int, float, multi; got 'text'"),
        ({"labels": ["row"]}, "cannot be named 'row'"),
        ({"labels": ["class", "row"]}, "cannot be named 'row'"),
        ({"labels": ["class", "a/b"]}, "'a/b' cannot be the name of an array"),
        ({"labels": ["class", "class:int"]}, "'class' is given twice"),
        ({"labels": ["class", "label"]}, "no column 'label'"),
        ({"key": "id"}, "no column 'id'"),
        ({"limit": 0}, "limit must be a whole number of at least 1, got 0"),
        ({"unknown": "ignore"}, "unknown must be one of refuse, none"),
    ],
)
def test_a_wrong_column_is_refused_before_any_row_is_read(options, message):
    frame = pd.DataFrame({"path": ["a"], "class": ["x"], "row": [1], "a/b": ["y"]})

    with pytest.raises(DaskimgError, match=message):
        read_manifest(frame, **options)


def test_a_second_column_called_label_is_refused():
    frame = pd.DataFrame({"path": ["a"], "kind": ["x"], "label": ["y"]})

    with pytest.raises(ManifestError, match="the first label column becomes the array `label`"):
        read_manifest(frame, labels=["kind", "label"])


def test_a_column_whose_name_ends_like_a_kind_is_that_column():
    frame = pd.DataFrame({"path": ["a"], "x:int": ["y"]})

    (label,) = read_manifest(frame, labels=["x:int"]).scan().labels

    assert (label.column, label.kind) == ("x:int", "class")


def test_the_root_is_the_option_or_the_folder_of_the_table(tmp_path):
    table = written(tmp_path / "a.csv", "path\na\n")

    assert read_manifest(table).resolve("b/c.jpg") == str(tmp_path / "b" / "c.jpg")
    assert read_manifest(table).resolve("/abs.jpg") == "/abs.jpg"
    assert read_manifest(table).resolve("") == ""
    assert read_manifest(table, root="gs://b/in/").resolve("c.jpg") == "gs://b/in/c.jpg"


def test_a_split_column_is_mentioned(tmp_path):
    table = written(tmp_path / "a.csv", "path,split\na,train\n")

    assert "does not split the store" in read_manifest(table).scan().mentions[0]


def test_a_limit_takes_the_first_rows():
    frame = pd.DataFrame({"path": list("abcde"), "label": list("vwxyz")})

    manifest = read_manifest(frame, limit=2)

    assert rows_of(manifest)["path"].tolist() == ["a", "b"]
    assert manifest.scan().labels[0].classes == ("v", "w")
    assert manifest.scan().digest == read_manifest(frame[:2]).scan().digest


# Laws

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["a", "b|c", "1", "00", "", "é ü"]),
    st.lists(st.sampled_from(["a", 1, 2.5, None]), max_size=3),
)
POINTS = st.none() | st.lists(st.lists(st.sampled_from([1, 2.5, None]), max_size=2), max_size=2)


@st.composite
def frames(draw):
    """Tables whose columns are of one kind of value, of two, or a mess."""
    rows = draw(st.integers(0, 12))
    columns = {"path": draw(st.lists(st.sampled_from("abcdefgh"), min_size=rows, max_size=rows))}
    for name in ("x", "y"):
        cells = draw(
            st.sampled_from([CELLS, POINTS, st.integers(0, 5), st.sampled_from(["p", "q", None])])
        )
        values = draw(st.lists(cells, min_size=rows, max_size=rows))
        columns[name] = np.fromiter(values, dtype=object, count=rows)
    return pd.DataFrame(columns)


def outcome(source, spec="x"):
    """All that a caller sees of a table, or the refusal; comparable by ==."""
    try:
        manifest = read_manifest(source, labels=[spec])
        facts = manifest.scan(3)
        frames = list(manifest.pieces(facts))
        rows = [pa.Table.from_pandas(f, facts.schema, preserve_index=False) for f in frames]
        table = pa.concat_tables(rows) if rows else facts.schema.empty_table()
        return (
            facts.rows, facts.digest, facts.prefix_digest, facts.values_digest, facts.columns,
            [(label.to_json(), label.counts, label.empties) for label in facts.labels],
            repr(facts.sample.to_dict("list")), repr(table.to_pydict()),
            [labelled(manifest)[label.array].tolist() for label in facts.labels] if rows else [],
        )  # fmt: skip
    except ManifestError:
        return "refused"  # of two faults, either may be named


SPECS = st.sampled_from(["x", "x:class", "x:multi", "x:int", "x:float"])


@given(frame=frames(), rows=st.integers(1, 5), spec=SPECS)
@settings(max_examples=60, deadline=None)
def test_nothing_depends_on_how_a_table_is_cut(frame, rows, spec):
    with pytest.MonkeyPatch.context() as patch:
        whole = repr(outcome(frame, spec))
        patch.setattr(pieces_room, "PIECE_ROWS", rows)

        cut = repr(outcome(frame, spec))

    assert cut == whole


@given(frame=frames(), cuts=st.lists(st.integers(0, 12), max_size=3))
@settings(max_examples=15, deadline=None)
def test_a_dask_frame_gives_what_its_pandas_frame_gives(frame, cuts):
    dask = pytest.importorskip("dask")
    dd = pytest.importorskip("dask.dataframe")
    bounds = [0, *sorted(min(cut, len(frame)) for cut in cuts), len(frame)]
    parts = [frame.iloc[a:b] for a, b in itertools.pairwise(bounds)]

    with dask.config.set({"dataframe.convert-string": False}):
        partitioned = dd.from_map(lambda i: parts[i], range(len(parts)), meta=frame.iloc[:0])
        with dask.config.set(scheduler="synchronous"):
            found = repr(outcome(partitioned))

    assert found == repr(outcome(frame))


@given(frame=frames(), rows=st.integers(1, 5), spec=SPECS)
@settings(max_examples=40, deadline=None)
def test_labels_of_slices_are_slices_of_the_labels(frame, rows, spec):
    try:
        manifest = read_manifest(frame, labels=[spec])
        facts = manifest.scan()
    except ManifestError:
        return
    (label,) = facts.labels
    values = pd.concat([facts.sample[:0], *manifest.pieces(facts)])[label.column]
    whole = encode_label(values, label)

    slices = [encode_label(values[i : i + rows], label) for i in range(0, len(values), rows)]

    assert whole.dtype == label.dtype
    if slices:
        np.testing.assert_array_equal(np.concatenate(slices), whole)


def test_text_tables_are_the_same_however_they_are_cut(tmp_path, monkeypatch):
    lines = [f"{i % 7}.jpg,{c}" for i, c in enumerate(["1", "2", "", "x", "1.5", "007"] * 5)]
    table = written(tmp_path / "a.csv", "path,x\n" + "\n".join(lines) + "\n")
    whole = outcome(table)
    from daskimg.manifest import _texts

    monkeypatch.setattr(_texts, "_BLOCK", 40)

    assert outcome(table) == whole
    assert whole[0] == 30


def test_the_rows_come_back_from_parquet_as_they_were(tmp_path):
    frame = pd.DataFrame(
        {"path": list("ab"), "n": pd.array([2**60 + 1, None], "Int64"), "l": [["x"], None]}
    )
    manifest = read_manifest(frame, labels=["n", "l"])
    facts = manifest.scan()
    (rows,) = manifest.pieces(facts)
    table = pa.Table.from_pandas(rows, facts.schema, preserve_index=False)

    pq.write_table(table, tmp_path / "rows.parquet")
    back = pd.read_parquet(tmp_path / "rows.parquet")

    for label in facts.labels:
        expected = encode_label(rows[label.column], label)
        np.testing.assert_array_equal(encode_label(back[label.column], label), expected)
    assert encode_label(back["n"], facts.labels[0]).tolist() == [2**60 + 1, -1]


def test_the_sample_is_of_rows_as_they_are(monkeypatch):
    frame = pd.DataFrame({"path": [f"{i % 300}.jpg" for i in range(1000)], "n": range(1000)})
    manifest = read_manifest(frame)

    facts = manifest.scan()
    rows = pd.concat(manifest.pieces(facts), ignore_index=True)

    assert len(facts.sample) == 100
    assert facts.sample["row"].iloc[0] == 0
    assert facts.sample["row"].is_monotonic_increasing
    assert facts.sample["row"].iloc[-1] > 800
    expected = rows.iloc[facts.sample["row"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(facts.sample, expected)


def test_the_room_imports_nothing_slow():
    import subprocess
    import sys

    code = (
        "import sys, daskimg.manifest; "
        "print([m for m in ('dask', 'zarr', 'PIL', 'numba', 'pyarrow.csv', 'pyarrow.parquet') "
        "if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )

    assert found.stdout.strip() == "[]"


# Real tables


@real
def test_the_catalogue_is_read_with_codes_as_whole_numbers():
    manifest = read_manifest(REAL / "catalogue" / "catalogue.csv", labels=["Category", "Brand"])

    facts = manifest.scan()

    assert facts.rows == 147
    assert [(label.array, label.kind) for label in facts.labels] == [
        ("label", "int"),
        ("Brand", "int"),
    ]
    assert labelled(manifest)["label"][:5].tolist() == [3, 1, 0, 0, 3]


@real
def test_imagenet_rows_are_the_same_from_a_table_and_from_a_folder():
    table = read_manifest(REAL / "imagenet" / "labels.csv").scan()

    folder = read_manifest(REAL / "imagenet").scan()

    assert table.rows == folder.rows == 300
    assert table.digest == folder.digest


@real
def test_hostile_names_lead_to_files_that_are_there():
    manifest = read_manifest(REAL / "hostile" / "manifest.csv")

    rows = rows_of(manifest)

    assert len(rows) == 66
    assert all(Path(manifest.resolve(path)).is_file() for path in rows["path"])


@real
def test_the_codes_of_the_catalogue_get_their_names():
    folder = REAL / "catalogue"
    columns = ["Category", "Brand", "Product_type", "Kids"]
    manifest = read_manifest(
        folder / "catalogue.csv", labels=columns, classes=str(folder / "profile.json")
    )
    names = json.loads((folder / "profile.json").read_text())

    facts, labels = manifest.scan(), labelled(manifest)

    codes = pd.read_csv(folder / "catalogue.csv")
    for label, column in zip(facts.labels, columns, strict=True):
        assert label.classes == tuple(sorted(names[column], key=names[column].get))
        expected = codes[column].fillna(-1).astype(int)
        np.testing.assert_array_equal(labels[label.array], expected)


def test_extensions_are_kept_for_the_reading_and_checked():
    frame = pd.DataFrame({"path": ["a"]})

    assert read_manifest(frame, extensions=[".jpg", ".png"]).extensions == (".jpg", ".png")
    assert read_manifest(frame, extensions=".jpg").extensions == (".jpg",)
    for odd, advice in (("jpg", "try '.jpg'"), (".", "try '.jpg'"), ("/x.png", "try '.x.png'")):
        with pytest.raises(OptionError, match=f"begin with a dot, got {odd!r}; {advice}"):
            read_manifest(frame, extensions=[odd])
