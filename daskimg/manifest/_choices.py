"""Which column is what: paths or bytes, labels, keys; refused early, with advice."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from daskimg.errors import ManifestError
from daskimg.options import one_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from daskimg.manifest._pieces import Source

LabelKind = Literal["class", "int", "float", "multi"]

PATHS = ("path", "image_path", "filename", "file", "image")
LABELS = ("label", "class", "target")

ARRAYS = frozenset(
    ("row", "part", "status", "image", "affine", "keypoint", "visible", "heatmap", "mask")
) | {"daskimg"}
"""Names that a label column cannot have: the store's own arrays and groups."""

_OURS = frozenset(
    ("row", "key", "path", "bytes_file", "bytes_group", "bytes_index", "first_sample")
) | {"samples", "status", "reason"}


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """A label column: its name in the table, its array's, and its kind if one was given."""

    column: str
    array: str
    kind: LabelKind | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The columns that matter."""

    path: str
    labels: tuple[LabelChoice, ...]
    key: str | None


def choose(
    source: Source, path: str | None, labels: Sequence[str], key: str | None
) -> tuple[Source, Choice]:
    """Return the columns to use, and the source set to read pictures from them.

    Raises
    ------
    ManifestError
        If there is no such column, or a label cannot have the name it has.
    """
    path = _path_column(source, path)
    if path in source.binary:
        source = source.from_bytes(path)
    if key is not None:
        require(source, key)
    chosen = _labels(source, labels)
    for column in (key, *(label.column for label in chosen)):
        if column in source.binary:
            raise ManifestError(f"column {column!r} holds bytes: it cannot be a key or a label")
    return source, Choice(path, chosen, key)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return advice if a similar name exists, else nothing.

    >>> did_you_mean("lable", ["path", "label"])
    "; did you mean 'label'?"
    """
    close = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


def require(source: Source, column: str) -> None:
    """Refuse a column that the table has not, with the name that may be meant."""
    if column not in source.columns:
        hint = did_you_mean(column, source.columns)
        raise ManifestError(
            f"{source.name} has no column {column!r}{hint}; its columns: {_listed(source.columns)}"
        )


def _path_column(source: Source, path: str | None) -> str:
    if path is not None:
        require(source, path)
        return path
    # Pictures that are in the table come before names of files that may be nowhere.
    text = [column for column in source.columns if column not in source.binary]
    tried = (source.binary, text) if source.reads_bytes else (text, source.binary)
    found = _first(PATHS, tried[0]) or _first(PATHS, tried[1])
    if not found:
        hint = " (are its cells separated by something else?)" * _is_other_separator(source)
        raise ManifestError(
            f"{source.name} has no column {', '.join(PATHS)}: name the one that holds the paths "
            f"with path= (--path-column); its columns: {_listed(source.columns)}{hint}"
        )
    return found


def _is_other_separator(source: Source) -> bool:
    return len(source.columns) == 1 and any(mark in source.columns[0] for mark in ";\t|,")


def _first(wanted: Sequence[str], columns: Sequence[str]) -> str | None:
    """Return the first wanted name there is; upper and lower case differ only at need."""
    folded = {column.casefold(): column for column in reversed(columns)}
    found = [name for name in wanted if name in columns]
    found += [folded[name] for name in wanted if name in folded]
    return found[0] if found else None


def _labels(source: Source, specs: Sequence[str]) -> tuple[LabelChoice, ...]:
    if isinstance(specs, str):
        specs = (specs,)
    if not specs:
        found = _first(LABELS, [c for c in source.columns if c not in source.binary])
        specs = (found,) if found else ()
    chosen: list[LabelChoice] = []
    for spec in specs:
        column, kind = _spec(source, spec)
        chosen.append(LabelChoice(column, column if chosen else "label", kind))
    _refuse_names(chosen)
    return tuple(chosen)


def _spec(source: Source, spec: str) -> tuple[str, LabelKind | None]:
    column, colon, kind = spec.rpartition(":")
    if spec in source.columns or not colon:
        require(source, spec)
        return spec, None
    require(source, column if column in source.columns or kind in get_args(LabelKind) else spec)
    one_of(f"the kind of label {column!r}", kind, get_args(LabelKind))
    return column, cast("LabelKind", kind)


def _refuse_names(labels: Sequence[LabelChoice]) -> None:
    seen: set[str] = set()
    for label in labels:
        name = label.column
        if name in ARRAYS:
            raise ManifestError(
                f"a label column cannot be named {name!r}: the store has an array of that name; "
                f"rename it in the table"
            )
        if label.array in seen or any(other.column == name for other in labels if other != label):
            raise ManifestError(
                f"label column {name!r} is given twice, or is not the first: the first label "
                f"column becomes the array `label`"
            )
        if label.array != "label" and not _is_array_name(name):
            raise ManifestError(
                f"{name!r} cannot be the name of an array (no '/', no leading '__', not empty); "
                f"rename the column, or name it first, as it is then called `label`"
            )
        seen.add(label.array)


def _is_array_name(name: str) -> bool:
    odd = name in ("", ".", "..", "zarr.json") or "/" in name or name.startswith("__")
    return not odd


def stored_names(columns: Sequence[str], path: str) -> dict[str, str]:
    """Return what each column is called in the rows table: its name, or with ``_`` behind.

    >>> stored_names(["path", "row", "title"], "path")
    {'path': 'path', 'row': 'row_', 'title': 'title'}
    """
    taken = {name for name in columns if not _is_ours(name)}
    names = {}
    for column in columns:
        name = column
        if _is_ours(column) and not column == path == "path":
            while name == column or name in taken or name in _OURS:
                name += "_"
            taken.add(name)
        names[column] = name
    return names


def _is_ours(name: str) -> bool:
    return name in _OURS or name.startswith("source_")
