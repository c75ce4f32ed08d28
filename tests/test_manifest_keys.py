from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskimg.errors import ManifestError
from daskimg.manifest import _keys, _scan, read_manifest
from daskimg.manifest import _pieces as pieces_room


def keys_of(frame, **options):
    manifest = read_manifest(frame, **options)
    facts = manifest.scan()
    keys = [key for piece in manifest.pieces(facts) for key in piece["key"]]
    assert facts.sample["key"].tolist() == [keys[row] for row in facts.sample["row"]]
    return keys


def expected_keys(paths):
    seen = Counter()
    for path in paths:
        seen[path] += 1
        yield path if seen[path] == 1 else f"{path}\t{seen[path]}"


PATHS = st.lists(st.sampled_from(["a", "b", "ä", "", "a b"]), min_size=1, max_size=30)


@given(paths=PATHS, rows=st.integers(1, 7), bucket=st.integers(1, 9))
@settings(deadline=None)
def test_a_repeated_path_is_numbered_however_little_memory_there_is(paths, rows, bucket):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces_room, "PIECE_ROWS", rows)
        patch.setattr(_keys, "BUCKET_ROWS", bucket)
        patch.setattr(_keys, "_IN_MEMORY", 16)

        found = keys_of(pd.DataFrame({"path": paths}))

    assert found == list(expected_keys(paths))


@given(paths=PATHS)
@settings(deadline=None)
def test_paths_of_one_hash_are_told_apart(paths):
    def poor(texts, key=_keys._FIRST):
        if key == _keys._FIRST:
            return np.zeros(len(texts), np.uint64)
        return pd.util.hash_array(texts, hash_key=key, categorize=False)

    array = pa.array(paths, pa.string())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_keys, "hashed", poor)
        occurrences = _keys.Occurrences(np.zeros(1, np.uint64))

        found = occurrences.keys(array[:7]).to_pylist() + occurrences.keys(array[7:]).to_pylist()

    assert found == list(expected_keys(paths))


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 20))
@settings(deadline=None)
def test_the_spool_finds_all_hashes_that_come_again(numbers, bucket):
    spool = _keys.HashSpool()
    hashes = np.array(numbers, np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_keys, "BUCKET_ROWS", bucket)
        spool.add(hashes[:20])
        spool.add(hashes[20:])
        repeated = spool.repeated()
        occurrence = spool.occurrence(np.arange(len(hashes)))
        spool.close()

    assert repeated.tolist() == sorted(n for n, count in Counter(numbers).items() if count > 1)
    assert occurrence.tolist() == [numbers[: i + 1].count(n) for i, n in enumerate(numbers)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7, 5], ["7", "5"]), (["x", "ä"], ["x", "ä"]), ([0.5, 2.0], ["0.5", "2"])],
)
def test_a_key_column_names_the_rows(values, expected):
    assert keys_of(pd.DataFrame({"path": "a", "id": values}), key="id") == expected


def test_a_text_table_keeps_keys_as_they_are_written(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("path,id\na,1.0\nb,2.50\n")

    assert keys_of(table, key="id") == ["1.0", "2.50"]


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_a_key_that_comes_twice_is_refused_with_both_rows(monkeypatch, rows):
    monkeypatch.setattr(pieces_room, "PIECE_ROWS", rows)
    frame = pd.DataFrame({"path": "a", "id": ["p", "q", "r", "q"]})

    with pytest.raises(ManifestError, match="rows 1 and 3 have the same key 'q' in column 'id'"):
        read_manifest(frame, key="id").scan()


def test_keys_that_only_share_a_hash_are_not_refused(monkeypatch):
    def poor(texts, key=_keys._FIRST):
        return np.zeros(len(texts), np.uint64)

    monkeypatch.setattr(_keys, "hashed", poor)
    monkeypatch.setattr(_scan, "hashed", poor)

    assert keys_of(pd.DataFrame({"path": "a", "id": ["p", "q"]}), key="id") == ["p", "q"]


@pytest.mark.parametrize("empty", ["", None])
def test_a_row_without_a_key_is_refused(empty):
    with pytest.raises(ManifestError, match="row 1 has no key in column 'id'"):
        read_manifest(pd.DataFrame({"path": "a", "id": ["p", empty]}), key="id").scan()


def test_the_digest_is_of_keys_and_paths_and_nothing_else():
    def digest(paths, **columns):
        key = "id" if "id" in columns else None
        return read_manifest(pd.DataFrame({"path": paths, **columns}), key=key).scan().digest

    plain = digest(["a", "b"])

    assert digest(["a", "b"], label=["x", "y"]) == plain
    assert digest(["a", "b"], id=["a", "b"]) == plain
    different = [
        digest(["b", "a"]),
        digest(["a", "b", ""]),
        digest(["ab", ""]),
        digest(["a", "b"], id=["1", "2"]),
        digest(["a", "b"], id=["b", "a"]),
    ]
    assert len({plain, *different}) == 6


def test_the_values_digest_changes_with_any_value():
    def digest(**columns):
        return read_manifest(pd.DataFrame({"path": ["a", "b"], **columns})).scan().values_digest

    found = [
        digest(label=["x", "y"]),
        digest(label=["y", "x"]),
        digest(label=["xy", ""]),
        digest(label=["xy", None]),
        digest(other=["x", "y"]),
        digest(label=["x", "y"], other=["x", "y"]),
        digest(label=[1.5, 2.5]),
        digest(label=[[1], [2]]),
    ]

    assert len(set(found)) == len(found)
    assert digest(label=["x", "y"]) == found[0]


@given(rows=st.integers(1, 20), prefix=st.integers(0, 25), size=st.integers(1, 6))
@settings(deadline=None)
def test_appended_rows_leave_the_digest_of_the_first(rows, prefix, size):
    frame = pd.DataFrame({"path": [f"{i % 5}" for i in range(rows)]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces_room, "PIECE_ROWS", size)

        found = read_manifest(frame).scan(prefix).prefix_digest

    expected = read_manifest(frame[:prefix]).scan().digest if 0 < prefix <= rows else None
    assert found == expected


def test_repeated_paths_are_mentioned():
    facts = read_manifest(pd.DataFrame({"path": ["a", "a", "b"]})).scan()

    assert facts.mentions[0].startswith("1 path comes more than once")
