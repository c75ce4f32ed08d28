import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskimg.errors import ManifestError, OptionError
from daskimg.manifest import Label, _census, encode_label, read_manifest


def csv(folder, header, *rows):
    path = folder / "t.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def scanned(source, *labels, **options):
    """The first label of a table, and all of it encoded."""
    manifest = read_manifest(source, labels=labels, **options)
    facts = manifest.scan()
    values = pd.concat(manifest.pieces(facts))[facts.labels[0].column]
    return facts.labels[0], encode_label(values, facts.labels[0])


@pytest.mark.parametrize(
    ("cells", "spec", "kind", "dtype", "expected"),
    [
        (["b", "", "a"], "x", "class", "int32", [1, -1, 0]),
        (["3.0", "", "1.0"], "x", "int", "int32", [3, -1, 1]),
        (["3.5", "", "1"], "x", "float", "float32", [3.5, np.nan, 1]),
        (["7", "-2147483649", ""], "x", "int", "int64", [7, -2147483649, -1]),
        (["2147483647", "-2147483648", ""], "x", "int", "int32", [2**31 - 1, -(2**31), -1]),
        (["9007199254740993", "1", ""], "x", "int", "int64", [2**53 + 1, 1, -1]),
        (["1e17", "0.5", ""], "x", "float", "float32", [1e17, 0.5, np.nan]),
        (["1e17", "1e18", ""], "x", "float", "float32", [1e17, 1e18, np.nan]),
        (["00123", "+4", ""], "x:int", "int", "int32", [123, 4, -1]),
        (["00123", "5", ""], "x", "class", "int32", [0, 1, -1]),
        (["10", "9", ""], "x:class", "class", "int32", [1, 0, -1]),
        (["10.0", "9", ""], "x:class", "class", "int32", [1, 0, -1]),
        (["0.5", "x", ""], "x:class", "class", "int32", [0, 1, -1]),
        (["1", "2", ""], "x:float", "float", "float32", [1, 2, np.nan]),
        (["00.5", "nan", ""], "x:float", "float", "float32", [0.5, np.nan, np.nan]),
        (["", "", ""], "x", "class", "int32", [-1, -1, -1]),
    ],
)
def test_a_column_of_text_becomes_numbers(tmp_path, cells, spec, kind, dtype, expected):
    table = csv(tmp_path, "path,x", *(f"{i},{cell}" for i, cell in enumerate(cells)))

    label, encoded = scanned(table, spec)

    assert (label.kind, label.dtype, str(encoded.dtype)) == (kind, dtype, dtype)
    np.testing.assert_array_equal(encoded, np.array(expected, dtype))


@pytest.mark.parametrize(
    ("cells", "classes", "separator"),
    [
        (["a|b", "c"], ("a", "b", "c"), "|"),
        (["a;b", "c, d"], ("a", "b", "c, d"), ";"),
        (["a, b", "c d"], ("a", "b", "c d"), ","),
        (["a b", "c"], ("a", "b", "c"), " "),
        (["x", "y"], ("x", "y"), ""),
        (["2", "10"], ("2", "10"), ""),
        (["2|10", "3"], ("10", "2", "3"), "|"),
    ],
)
def test_several_names_stand_between_the_separator_of_the_whole_column(
    tmp_path, cells, classes, separator
):
    table = csv(tmp_path, "path,x", *(f'{i},"{cell}"' for i, cell in enumerate(cells)), "9,")

    label, encoded = scanned(table, "x:multi")

    assert (label.classes, label.separator, label.empties) == (classes, separator, 1)
    assert encoded.dtype == np.uint8
    assert encoded.shape == (3, len(classes))
    assert encoded.sum(axis=0).tolist() == list(label.counts)
    assert encoded[2].sum() == 0


def test_lists_are_several_names_and_numbers_sort_as_numbers():
    frame = pd.DataFrame({"path": list("abc"), "x": [[10, 9], np.array([9]), None]})

    label, encoded = scanned(frame, "x")

    assert (label.kind, label.classes, label.counts) == ("multi", ("9", "10"), (2, 1))
    assert encoded.tolist() == [[1, 1], [1, 0], [0, 0]]


def test_lists_of_lists_are_no_label():
    frame = pd.DataFrame({"path": ["a"], "x": [[[1, 2], [3, 4]]]})

    with pytest.raises(ManifestError, match=r"'x' holds list<.*>, which is no label"):
        scanned(frame, "x")


def test_the_first_label_is_the_array_label_and_others_keep_their_names():
    frame = pd.DataFrame({"path": ["a"], "Brand": ["x"], "Kids": [1], "label": ["z"]})

    facts = read_manifest(frame, labels=["Brand", "Kids:float"]).scan()

    assert [(x.array, x.column, x.kind) for x in facts.labels] == [
        ("label", "Brand", "class"),
        ("Kids", "Kids", "float"),
    ]


def test_a_label_column_that_has_one_of_our_names_is_read_under_the_stored_one():
    frame = pd.DataFrame({"path": ["a", "b"], "key": ["y", "x"]})

    label, encoded = scanned(frame, "key")

    assert (label.array, label.column) == ("label", "key_")
    assert encoded.tolist() == [1, 0]


@pytest.mark.parametrize("text", ["dog\ncat\n", "\ufeffdog\r\ncat", '["dog", "cat"]'])
def test_classes_come_in_the_order_of_a_file(tmp_path, text):
    names = tmp_path / "classes.txt"
    names.write_bytes(text.encode())
    frame = pd.DataFrame({"path": ["a", "b"], "label": ["cat", "cat"]})

    label, encoded = scanned(frame, classes=str(names))

    assert label.classes == ("dog", "cat")
    assert label.counts == (0, 2)
    assert encoded.tolist() == [1, 1]


def test_classes_come_from_an_earlier_store(tmp_path):
    ours = {
        "columns": {"label": ["kind", "class"], "tags": ["tags", "multi"], "n": ["n", "int"]},
        "classes": {"kind": ["dog", "cat"], "tags": ["q", "p"]},
    }
    (tmp_path / "zarr.json").write_text(json.dumps({"attributes": {"daskimg": ours}}))
    frame = pd.DataFrame({"path": ["a"], "animal": ["cat"], "tags": [["p"]]})

    manifest = read_manifest(frame, labels=["animal", "tags"], classes=str(tmp_path))

    assert [label.classes for label in manifest.scan().labels] == [("dog", "cat"), ("q", "p")]


def test_classes_given_go_to_the_first_label_of_names():
    frame = pd.DataFrame({"path": ["a"], "n": [1], "x": ["p"], "y": ["z"]})

    manifest = read_manifest(frame, labels=["n", "x", "y"], classes=["q", "p"])

    assert [label.classes for label in manifest.scan().labels] == [(), ("q", "p"), ("z",)]


def test_a_name_outside_the_classes_is_refused_with_its_row():
    frame = pd.DataFrame({"path": list("abc"), "label": ["cat", "dgo", "zebra"]})

    with pytest.raises(ManifestError, match=r"'dgo' in row 1 is none of the 2.*mean 'dog'"):
        read_manifest(frame, classes=["cat", "dog"]).scan()


@pytest.mark.parametrize(("labels", "expected"), [("x", [0, -1]), ("x:multi", [[1, 0], [0, 0]])])
def test_a_name_outside_the_classes_may_count_as_none(labels, expected):
    frame = pd.DataFrame({"path": ["a", "b"], "x": ["cat", "emu"]})
    manifest = read_manifest(frame, labels=[labels], classes=["cat", "dog"], unknown="none")

    facts = manifest.scan()

    assert encode_label(facts.sample["x"], facts.labels[0]).tolist() == expected
    assert "1 rows with 1 names outside the classes" in facts.mentions[0]


def test_encoding_refuses_a_name_that_the_scan_has_not_seen():
    label = Label("label", "x", "class", "int32", ("cat",))

    with pytest.raises(ManifestError, match="'cta' is none of the 1 classes; did you mean 'cat'"):
        encode_label(pd.Series(["cat", "cta"]), label)

    assert encode_label(pd.Series(["cat", "cta"]), label, unknown="none").tolist() == [0, -1]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["a", "a"], "the class 'a' comes twice"),
        ([], "there must be classes"),
        (["a", ""], "none without a name"),
        ("absent.txt", "there is no file absent.txt"),
    ],
)
def test_bad_classes_are_refused(classes, message):
    with pytest.raises(OptionError, match=message):
        read_manifest(pd.DataFrame({"path": ["a"]}), classes=classes)


def test_a_folder_that_is_no_store_gives_no_classes(tmp_path):
    with pytest.raises(OptionError, match="no finished daskimg store"):
        read_manifest(pd.DataFrame({"path": ["a"]}), classes=str(tmp_path))


@pytest.mark.parametrize(
    ("values", "spec", "message"),
    [
        (["1", "x"], "x:int", r"'x' in row 1 is not a whole number.*try x:class"),
        ([1.0, 2.5], "x:int", "'2.5' in row 1 is not a whole number"),
        ([1.0, 2.0**60], "x:int", "in row 1 is not a whole number that can be kept"),
        (["1", "NA"], "x:float", "'NA' in row 1 is not a number"),
        ([["a"], ["b"]], "x:class", "holds lists; its kind can only be multi"),
        ([["a"], "b"], "x", "holds lists and single values"),
        (pd.to_datetime(["2024", "2025"]), "x", "holds timestamp.*which is no label"),
    ],
)
def test_values_that_do_not_fit_their_kind_are_refused(values, spec, message):
    frame = pd.DataFrame({"path": ["a", "b"], "x": values})

    with pytest.raises(ManifestError, match=message):
        read_manifest(frame, labels=[spec]).scan()


def test_classes_for_a_column_of_numbers_are_refused_with_advice():
    frame = pd.DataFrame({"path": ["a"], "x": [3]})

    with pytest.raises(ManifestError, match="is int, not of names; say x:class"):
        read_manifest(frame, labels=["x"], classes=["3"]).scan()

    assert scanned(frame, "x:class", classes=["3"])[1].tolist() == [0]


def test_too_many_names_are_no_label_unless_told_so(monkeypatch):
    monkeypatch.setattr(_census, "MAX_NAMES", 3)
    frame = pd.DataFrame({"path": list("abcd"), "x": list("wxyz"), "n": [0.5, 1.5, 2.5, 3.5]})

    with pytest.raises(ManifestError, match=r"over 3 different names.*or say x:class"):
        read_manifest(frame, labels=["x"]).scan()

    assert len(scanned(frame, "x:class")[0].classes) == 4
    assert scanned(frame, "n")[0].kind == "float"


def test_numbers_below_zero_are_mentioned():
    facts = read_manifest(pd.DataFrame({"path": ["a"], "label": [-1]})).scan()

    assert "a -1 in the store also stands for no label" in facts.mentions[0]


def test_a_label_travels_as_json():
    label, _ = scanned(pd.DataFrame({"path": ["a"], "x": ["p;q"]}), "x:multi")

    travelled = Label.from_json(json.loads(json.dumps(label.to_json())))

    assert travelled == label
    assert "counts" not in label.to_json()


NAMES = st.text("ab é|;", max_size=4)


@given(st.lists(st.one_of(st.none(), NAMES), min_size=1, max_size=20))
def test_class_numbers_are_places_in_the_sorted_names(names):
    frame = pd.DataFrame({"path": "a", "x": pd.Series(names, dtype=object)})
    known = sorted({name for name in names if name})

    label, encoded = scanned(frame, "x:class")

    assert label.classes == tuple(known)
    assert encoded.tolist() == [known.index(n) if n else -1 for n in names]
    assert label.counts == tuple(names.count(name) for name in known)


@given(st.lists(st.one_of(st.none(), NAMES), min_size=1, max_size=20))
def test_several_names_are_found_as_a_plain_split_finds_them(cells):
    frame = pd.DataFrame({"path": "a", "x": pd.Series(cells, dtype=object)})
    mark = next((mark for mark in "|;, " if any(mark in (cell or "") for cell in cells)), None)
    rows = [{n.strip() for n in (c or "").split(mark)} - {""} if mark else {c} - {"", None}
            for c in cells]  # fmt: skip

    label, encoded = scanned(frame, "x:multi")

    assert label.classes == tuple(sorted(set().union(*rows)))
    assert [{label.classes[i] for i in np.flatnonzero(row)} for row in encoded] == rows


# Codes, and the file that names them


def profile(folder, value):
    (folder / "profile.json").write_text(
        value if isinstance(value, str) else json.dumps(value), encoding="utf-8"
    )
    return str(folder / "profile.json")


def test_a_code_stays_the_number_it_is_and_gets_its_name(tmp_path):
    table = csv(tmp_path, "path,x,y", "a,3.0,1.0", "b,,", "c,0.0,0.0")
    names = {"x": {"rice": 3, "corn": 0, "oats": 1.0}, "y": {"new": 1, "old": 0}, "z": {}}

    facts = read_manifest(table, labels=["x", "y"], classes=profile(tmp_path, names)).scan()

    assert [(label.kind, label.classes) for label in facts.labels] == [
        ("class", ("corn", "oats", "2", "rice")),
        ("class", ("old", "new")),
    ]
    assert facts.labels[0].counts == (1, 0, 0, 1)
    assert encode_label(facts.sample["x"], facts.labels[0]).tolist() == [3, -1, 0]
    assert encode_label(facts.sample["y"], facts.labels[1]).tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2, 0], [2, 0]),
        ([2.0, None], [2, -1]),
        (pd.array([2, None], "Int64"), [2, -1]),
        (["c", "a"], [2, 0]),
        ([[2, 0], [1]], [[1, 0, 1], [0, 1, 0]]),
        ([["c"], []], [[0, 0, 1], [0, 0, 0]]),
    ],
    ids=["whole", "floats", "nullable", "names", "lists of codes", "lists of names"],
)
def test_codes_and_names_of_a_profile_are_told_apart_by_the_columns_type(
    tmp_path, values, expected
):
    frame = pd.DataFrame({"path": ["p", "q"], "x": values})

    label, encoded = scanned(
        frame, "x", classes=profile(tmp_path, {"x": {"a": 0, "b": 1, "c": 2}})
    )

    assert label.classes == ("a", "b", "c")
    assert encoded.tolist() == expected
    assert Label.from_json(json.loads(json.dumps(label.to_json()))) == label


@pytest.mark.parametrize("code", [3, -1, 0.5])
def test_a_code_without_a_name_is_refused_or_none(tmp_path, code):
    frame = pd.DataFrame({"path": ["p", "q"], "x": [1, code]})
    names = profile(tmp_path, {"x": {"a": 0, "b": 1, "c": 2}})

    with pytest.raises(ManifestError, match=f"'{code}' in row 1 is none .* coded 0 to 2"):
        read_manifest(frame, labels=["x"], classes=names).scan()
    assert scanned(frame, "x", classes=names, unknown="none")[1].tolist() == [1, -1]


def test_a_kind_that_is_said_wins_over_a_profile(tmp_path):
    frame = pd.DataFrame({"path": ["p", "q"], "x": [1, 7], "y": [1, 0]})
    names = profile(tmp_path, {"x": {"a": 1}, "y": {"a": 0, "b": 1}})

    facts = read_manifest(frame, labels=["x:int", "y"], classes=names).scan()

    assert [(label.kind, label.classes) for label in facts.labels] == [
        ("int", ()),
        ("class", ("a", "b")),
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"cat": 0, "dog": 1}, "not of the form .column: .name: code..: 'cat' has no names"),
        ({"x": ["cat"]}, "'x' has no names with codes; a list of names in order"),
        ({"y": {"cat": 0}}, r"no codes of the label columns \(x\); it has those of y; name one"),
        ({}, "it has those of none"),
        ({"x": {"cat": "0"}}, "'x': the code of 'cat' must be a whole number .* got \"0\""),
        ({"x": {"cat": -1}}, "whole number of 0 to 99,999, got -1"),
        ({"x": {"cat": 0.5}}, r"got 0\.5"),
        ({"x": {"cat": True}}, "got true"),
        ({"x": {"cat": 10**9}}, "got 1000000000"),
        ({"x": {"cat": 1, "dog": 1}}, "the code 1 comes twice"),
        ({"x": {"1": 0, "cat": 2}}, "the class '1' comes twice"),
        ({"x": {"": 0}}, "none without a name"),
        ({"x": {}}, "there must be classes"),
        ('{"x": ', "cannot be read as JSON"),
    ],
)
def test_a_profile_of_another_form_is_refused(tmp_path, value, message):
    frame = pd.DataFrame({"path": ["p"], "x": [0]})

    with pytest.raises(OptionError, match=message):
        read_manifest(frame, labels=["x"], classes=profile(tmp_path, value))
