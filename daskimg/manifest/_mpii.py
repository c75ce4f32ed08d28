"""People and their joints: a JSON list of records in the form of MPII's annotations."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from daskimg import fetch
from daskimg.errors import ManifestError
from daskimg.manifest._cells import Column, arrow, objects
from daskimg.manifest._pieces import PIECE_ROWS, Piece, Source
from daskimg.manifest._streams import NOT_UTF8, decompressed
from daskimg.manifest._texts import refuse_repeated_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_POINT = pa.list_(pa.float64())
_KINDS = {
    "joints": pa.list_(_POINT),
    "joints_vis": pa.list_(pa.int64()),
    "image": pa.string(),
    "scale": pa.float64(),
    "center": _POINT,
}
_IMAGES = "images"


@dataclass(frozen=True, kw_only=True)
class MpiiFile(Source):
    """A row a record, which is a person; several may be of one picture.

    Attributes
    ----------
    values
        The columns, read once: the file is one JSON value, so there is no reading it in pieces.
    """

    values: Mapping[str, Column] = field(repr=False)

    @classmethod
    def open(cls, name: str, folder: str, location: str) -> MpiiFile:
        """Read and check all records.

        Raises
        ------
        ManifestError
            If it is no list of such records, naming the first that is none.
        """
        records = _records(location)
        _check(name, records)
        names = tuple(dict.fromkeys((*_KINDS, *(key for record in records for key in record))))
        values = {key: _column(records, key) for key in names}
        paths = _paths(folder, [record["image"] for record in records])
        values = {"path": paths, **{key: values[key] for key in names if key != "image"}}
        refuse_repeated_columns(name, ("path", *(key for key in names if key != "image")))
        return cls(name=name, folder=folder, columns=tuple(values), values=values)

    def pieces(self) -> Iterator[Piece]:
        """Yield ``path``, then the fields in the order in which they first come."""
        rows = len(self.values["path"])
        for start in range(0, rows, PIECE_ROWS):
            yield Piece(rows, dict(self.values)).cut(start, min(rows, start + PIECE_ROWS))


def is_mpii(location: str) -> bool:
    """Tell whether a file is a JSON list whose first record has joints."""
    with decompressed(location) as stream:
        start = stream.read(1 << 10)
    if not start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        return False
    try:
        records = _records(location)
    except ManifestError:
        return False
    return bool(records) and isinstance(records[0], dict) and set(_KINDS) <= set(records[0])


def _records(location: str) -> list[Any]:
    try:
        with decompressed(location) as stream:
            found = json.loads(stream.read().decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ManifestError(f"{location} {NOT_UTF8}") from None
    except ValueError as error:
        raise ManifestError(f"{location} cannot be read as JSON: {error}") from None
    if not isinstance(found, list):
        raise ManifestError(
            f"{location} is no list of records with {', '.join(_KINDS)}, as MPII's annotations are"
        )
    return found


def _check(name: str, records: list[Any]) -> None:
    for number, record in enumerate(records):
        fault = _fault(record) or _odd_count(record, records[0])
        if fault:
            raise ManifestError(f"{name}, record {number} (counted from 0) {fault}")


def _fault(record: Any) -> str:
    if not isinstance(record, dict):
        return "is no JSON object"
    missing = [key for key in _KINDS if key not in record]
    if missing:
        return f"has no {missing[0]!r}"
    joints, seen = record["joints"], record["joints_vis"]
    rules = {
        "image": isinstance(record["image"], str),
        "scale": _is_number(record["scale"]),
        "center": _is_point(record["center"]),
        "joints": isinstance(joints, list) and all(map(_is_point, joints)),
        "joints_vis": isinstance(seen, list) and all(map(_is_whole, seen)),
    }
    for key, holds in rules.items():
        if not holds:
            return f"has a {key!r} that is not {_WANTED[key]}: {json.dumps(record[key])[:80]}"
    return "" if len(joints) == len(seen) else f"has {len(joints)} joints, {len(seen)} joints_vis"


_WANTED = {
    "image": "the name of a file",
    "scale": "a number",
    "center": "[x, y]",
    "joints": "a list of [x, y]",
    "joints_vis": "a list of 0 and 1",
}


def _odd_count(record: Any, first: Any) -> str:
    count, expected = len(record["joints"]), len(first["joints"])
    return "" if count == expected else f"has {count} joints, but those before it {expected}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _column(records: list[Any], key: str) -> Column:
    values = (record.get(key) for record in records)
    if key == "joints_vis":
        values = ([int(seen) for seen in value] for value in values)
    if key in _KINDS:
        return arrow(list(values), _KINDS[key])
    return objects(values, len(records))


def _paths(folder: str, images: list[str]) -> pa.Array:
    """Return the pictures' paths: beside the file or, if the first found is there, in images/.

    All of them are in one place, so that no path depends on which pictures have come so far.
    """
    below = _first_found(folder, images)
    return arrow([f"{below}{image}" for image in images], pa.string())


def _first_found(folder: str, images: list[str]) -> str:
    if fetch.is_url(folder):
        beside, inside = _listed(folder), _listed(f"{folder}/{_IMAGES}")
        places = ((image in beside, image in inside) for image in images)
    else:
        root = Path(fetch.local_path(folder))
        places = (((root / i).exists(), (root / _IMAGES / i).exists()) for i in images)
    return next((("" if here else f"{_IMAGES}/") for here, there in places if here or there), "")


def _listed(folder: str) -> set[str]:
    """Return the names in a bucket's folder; a web server has no listing to rely on."""
    if folder.startswith(("http://", "https://")):
        return set()
    return set(fetch.open_folder(folder).names())
