"""Which split a row is of: stable, without straddling, whatever the pieces."""

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskimg.errors import ManifestError, OptionError
from daskimg.manifest import Split, declared_sizes, parse_split, read_manifest
from daskimg.manifest import _pieces as pieces_room

quick = settings(max_examples=25, deadline=None)


def texts(*cells):
    return pa.array(cells, pa.string())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("every:2", ("train", "test")),
        ("hash:a:0.8,0.2", ("train", "val")),
        ("hash:a:0.8,0.1,0.1", ("train", "val", "test")),
        ("hash:a:b:0.5,0.25,0.25", ("train", "val", "test")),
        ("column:split", ()),
        ("column:a:b", ()),
    ],
)
def test_a_split_is_read_and_written_as_the_option_says_it(text, names):
    split = parse_split(text)

    assert (split.names, str(split)) == (names, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("random", "say every:K, hash:COLUMN:"),
        ("", "'' is no split; say every:K"),
        ("every:", "must be a whole number, got ''"),
        ("every:-3", "must be a whole number, got '-3'"),
        ("every:1", "at least 2, got 1; try every:10"),
        ("every:0", "at least 1, got 0; try every:10"),
        ("hash:0.8,0.2", "needs a column"),
        ("hash:a:0.8;0.2", "'0.8;0.2' are no fractions of a split; try 0.8,0.1,0.1"),
        ("hash:a", "'a' are no fractions"),
        ("hash:a:1", "two or three fractions, for train, val and test; got 1"),
        ("hash:a:0.4,0.2,0.2,0.2", "two or three fractions"),
        ("hash:a:1,0", "between 0 and 1, got 1,0"),
        ("hash:a:nan,0.5", "between 0 and 1, got nan,0.5"),
        ("hash:a:0.8,0.1", "sum to 1, got 0.8,0.1, which sum to 0.9"),
        ("column:", "needs a column"),
    ],
)
def test_a_split_that_is_none_is_refused_with_what_would_work(text, message):
    with pytest.raises(OptionError, match=message):
        parse_split(text)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "__a", "daskimg", "zarr.json"])
def test_a_name_that_no_group_can_have_is_refused(name):
    with pytest.raises(OptionError, match="cannot be the name of a split"):
        parse_split("column:a").with_names(["train", name])


def test_a_column_of_other_things_is_no_column_of_splits():
    with pytest.raises(OptionError, match=r"at most 256 splits, got 257.*is it the column"):
        parse_split("column:a").with_names(map(str, range(257)))


def test_every_kth_row_beginning_with_the_first_is_test():
    split = parse_split("every:3")

    assigned = split.assign(5, 5)

    assert assigned.dtype == np.uint8
    assert [split.names[i] for i in assigned] == ["train", "test", "train", "train", "test"]


def test_names_of_a_column_are_sorted_behind_the_usual_ones():
    split = parse_split("column:a").with_names(["zoo", "test", "10", "val", "train", "zoo"])

    assert split.names == ("train", "val", "test", "10", "zoo")
    assert split.assign(0, 3, texts("zoo", "train", "test")).tolist() == [4, 0, 2]


@pytest.mark.parametrize(
    ("cell", "message"),
    [("", "row 12 names no split in column 'a'"), ("new", "row 12 is of a new split 'new'")],
)
def test_a_row_of_no_split_is_named(cell, message):
    split = parse_split("column:a").with_names(["train"])

    with pytest.raises(ManifestError, match=message):
        split.assign(10, 3, texts("train", "train", cell))


def by_hand(cell, fractions):
    """The definition: the first 53 bits of sha256 as a fraction of one."""
    bits = "".join(f"{byte:08b}" for byte in hashlib.sha256(cell.encode()).digest())
    share = int(bits[:53], 2) / 2**53
    return next(
        (i for i in range(len(fractions)) if share < sum(fractions[: i + 1])), len(fractions) - 1
    )


@quick
@given(cells=st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=40))
def test_a_hash_depends_on_the_cell_and_on_nothing_else(cells):
    fractions = (0.5, 0.25, 0.25)
    split = parse_split("hash:a:0.5,0.25,0.25")

    assigned = split.assign(7, len(cells), texts(*cells))

    assert assigned.tolist() == [by_hand(cell, fractions) for cell in cells]


def test_missing_and_empty_cells_are_one_key():
    assigned = parse_split("hash:a:0.5,0.5").assign(0, 4, texts("", None, "", None))

    assert len(set(assigned.tolist())) == 1


def test_a_hash_keeps_to_its_fractions():
    cells = texts(*(f"patient {i}" for i in range(20_000)))

    assigned = parse_split("hash:a:0.7,0.2,0.1").assign(0, len(cells), cells)

    shares = np.bincount(assigned) / len(cells)
    np.testing.assert_allclose(shares, [0.7, 0.2, 0.1], atol=0.015)


@quick
@given(
    cells=st.lists(st.sampled_from(["train", "test", "x"]), min_size=1, max_size=30),
    cut=st.integers(0, 30),
    text=st.sampled_from(["every:4", "hash:a:0.6,0.4", "column:a"]),
)
def test_splits_do_not_depend_on_how_a_table_is_cut(cells, cut, text):
    split = parse_split(text)
    split = split.with_names(cells) if split.kind == "column" else split
    head, tail = cells[:cut], cells[cut:]

    together = split.assign(0, len(cells), texts(*cells))
    apart = [
        *split.assign(0, len(head), texts(*head)),
        *split.assign(len(head), len(tail), texts(*tail)),
    ]

    assert together.tolist() == apart


# What a manifest gives before it is scanned


def frame(**columns):
    count = len(next(iter(columns.values())))
    return pd.DataFrame({"path": [f"{i}.jpg" for i in range(count)], **columns})


def test_cells_come_before_the_scan_numbered_and_as_text(monkeypatch):
    monkeypatch.setattr(pieces_room, "PIECE_ROWS", 2)
    manifest = read_manifest(frame(a=[1.0, None, 0.5], b=["x", "y", None]))

    pieces = list(manifest.columns_pieces(["b", "a"]))

    assert [(cells.row, cells.rows) for cells in pieces] == [(0, 2), (2, 1)]
    assert [cells.paths.to_pylist() for cells in pieces] == [["0.jpg", "1.jpg"], ["2.jpg"]]
    assert [cells.columns["a"].to_pylist() for cells in pieces] == [["1", ""], ["0.5"]]
    assert [cells.columns["b"].to_pylist() for cells in pieces] == [["x", "y"], [""]]


def test_cells_of_picture_bytes_say_where_they_are(tmp_path):
    frame(image=[b"a", b"b", b"c"]).to_parquet(tmp_path / "t.parquet", row_group_size=2)
    manifest = read_manifest(str(tmp_path / "t.parquet"), path="image")

    pieces = list(manifest.columns_pieces([]))

    assert [list(cells.pictures["bytes_group"]) for cells in pieces] == [[0, 0], [1]]
    assert [list(cells.pictures["bytes_index"]) for cells in pieces] == [[0, 1], [0]]


@pytest.mark.parametrize("columns", [["widht"], ["width", "widht"]])
def test_a_column_that_is_not_there_is_refused_before_a_row_is_read(columns):
    manifest = read_manifest(frame(width=[1]))

    with pytest.raises(ManifestError, match="no column 'widht'; did you mean 'width'"):
        manifest.columns_pieces(columns)


def test_a_split_is_settled_by_one_pass_over_its_column():
    manifest = read_manifest(frame(fold=["b", "test", "b", "train"]))

    assert manifest.settled(parse_split("column:fold")).names == ("train", "test", "b")
    assert manifest.settled(parse_split("every:2")) == parse_split("every:2")
    with pytest.raises(ManifestError, match="no column 'flod'; did you mean 'fold'"):
        manifest.settled(parse_split("hash:flod:0.5,0.5"))


def test_a_row_without_a_split_is_named_as_it_is_settled():
    manifest = read_manifest(frame(part=["b", None]))

    with pytest.raises(ManifestError, match="row 1 names no split in column 'part'"):
        manifest.settled(parse_split("column:part"))


def test_a_limited_manifest_has_the_first_rows_and_keeps_to_a_lower_limit():
    manifest = read_manifest(frame(a=[1, 2, 3]), limit=2)

    assert manifest.limited(1).scan().rows == 1
    assert manifest.limited(3).scan().rows == 2


def test_the_split_column_that_splits_is_not_mentioned():
    manifest = read_manifest(frame(split=["train", "test"]))
    split = manifest.settled(parse_split("column:split"))

    assert not manifest.scan(split=split).mentions
    assert "`split` column" in manifest.scan(split=parse_split("every:2")).mentions[0]


def test_sizes_are_taken_from_columns_that_hold_nothing_else():
    sizes = declared_sizes(texts("480", "1"), texts("640", "2"))

    assert sizes.tolist() == [[480, 640], [1, 2]]
    for odd in ("", "0", "-3", "1.5", "0x1", " 7", "٣"):
        assert declared_sizes(texts("480", odd), texts("640", "2")) is None


def test_a_split_compares_by_value_and_checks_itself():
    assert parse_split("every:4") == Split(kind="every", every=4)
    with pytest.raises(OptionError, match="the kind of a split must be one of every, hash"):
        Split(kind="random")
