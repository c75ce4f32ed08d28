"""What a finished store says of itself, counted: a few numbers, however many rows it has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskimg import store
from daskimg.read import Samples, open_store
from daskimg.words import named

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_FACTS = ["row", "path", "status", "reason", "source_sha256", "source_bytes", "source_width",
          "source_height", "source_mode"]  # fmt: skip
_EXAMPLES = 3  # of each reason
_LISTED = 20  # files that are there several times
_PICTURES = 48  # on the contact sheet
_NONE = "(none)"


class Example(NamedTuple):
    """A row that failed, and what was found."""

    row: int
    path: str
    message: str


class Repeated(NamedTuple):
    """A file that several splits have: its rows, and their splits and paths."""

    rows: list[int]
    splits: list[str]
    paths: list[str]


class Shown(NamedTuple):
    """A sample on the contact sheet: (height, width, channel) pixels, and its words."""

    pixels: NDArray[Any]
    caption: str


@dataclass(frozen=True)
class Facts:
    """What a report tells of a store.

    Attributes
    ----------
    url, attributes
        The store, and what its root says.
    groups
        Its splits, or the only group of arrays.
    rows
        Rows of the table.
    source_bytes
        Of all sources.
    reasons
        By reason: failed samples, and the first few.
    balance
        By label column: by class, the samples of each group.
    modes
        Sources by Pillow's mode.
    sides
        By a range of pixels: sources of such a width, and of such a height.
    twice, files
        Rows whose file another row has, and how many files those are.
    contradicted
        Files with several labels, by label column.
    across
        The first files that several splits have.
    crossing
        How many those are.
    """

    url: str
    attributes: dict[str, Any]
    groups: tuple[Samples, ...]
    rows: int
    source_bytes: int
    reasons: dict[str, tuple[int, list[Example]]]
    balance: dict[str, dict[str, list[int]]]
    modes: dict[str, int]
    sides: dict[str, tuple[int, int]]
    twice: int
    files: int
    contradicted: dict[str, int]
    across: list[Repeated]
    crossing: int

    def sheet(self) -> list[Shown]:
        """Return good samples from all over the store, in order."""
        each = max(1, _PICTURES // len(self.groups))
        return [shown for samples in self.groups for shown in _sheet_of(samples, each)]


def facts_of(url: str) -> Facts:
    """Return what a report tells of a finished store.

    Raises
    ------
    StoreError
        If there is none, or it is not finished.
    """
    committed = store.open_committed(url)
    groups = tuple(open_store(url, split) for split in committed.splits or (None,))
    columns = [column for column, _ in committed.attributes["columns"].values()]
    split = ["split"] if committed.splits else []
    wanted = dict.fromkeys([*_FACTS, *columns, *split])
    rows: pd.DataFrame = committed.rows(list(wanted)).to_pandas()
    twice = _repeated(rows)
    across = _crossing(twice) if split else []
    return Facts(
        url=committed.folder.url,
        attributes=committed.attributes,
        groups=groups,
        rows=len(rows),
        source_bytes=int(rows["source_bytes"].sum()),
        reasons=_reasons(committed.failures().to_pandas()),
        balance=_balance(groups),
        modes=_modes(rows),
        sides=_sides(rows),
        twice=len(twice),
        files=int(twice["source_sha256"].nunique()),
        contradicted=_contradicted(twice, columns),
        across=[_repeated_file(twice, digest) for digest in across[:_LISTED]],
        crossing=len(across),
    )


def _modes(rows: pd.DataFrame) -> dict[str, int]:
    found = {str(mode): int(n) for mode, n in rows["source_mode"].value_counts().items()}
    found.pop("", None)  # of what could not be read
    return found


def _reasons(failures: pd.DataFrame) -> dict[str, tuple[int, list[Example]]]:
    found = {}
    for reason, count in failures["reason"].value_counts().items():
        mine = failures[failures["reason"] == reason].drop_duplicates("row")
        mine = mine.nsmallest(_EXAMPLES, "row")
        lines = zip(mine["row"], mine["path"], mine["message"], strict=True)
        examples = [Example(int(row), str(path or ""), text) for row, path, text in lines]
        found[str(reason)] = int(count), examples
    return found


def _balance(groups: tuple[Samples, ...]) -> dict[str, dict[str, list[int]]]:
    """Return the samples of each class and group; a column of numbers has no classes."""
    attributes = groups[0].attributes
    found: dict[str, dict[str, list[int]]] = {}
    for array, (column, kind) in attributes["columns"].items():
        classes = attributes["classes"].get(column)
        if classes is None:
            continue
        counts = np.array([_counts(each.array(array), kind, len(classes)) for each in groups])
        names = [*map(named, classes), _NONE]
        lines = zip(names, counts.T.tolist(), strict=True)
        found[column] = {name: line for name, line in lines if name != _NONE or any(line)}
    return found


def _counts(values: NDArray[Any], kind: str, classes: int) -> list[int]:
    """Return the samples of each class, and those without one."""
    if kind == "multi":
        return [*values.sum(axis=0, dtype=np.int64).tolist(), int((~values.any(axis=1)).sum())]
    known = np.bincount(values[values >= 0], minlength=classes)
    return [*known.tolist(), int((values < 0).sum())]


def _sides(rows: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Return how many sources are how wide and how high, by powers of two."""
    known = rows[rows["source_width"].fillna(0) > 0]
    counts = [
        Counter(np.log2(known[f"source_{side}"].to_numpy(float)).astype(int).tolist())
        for side in ("width", "height")
    ]
    powers = sorted({*counts[0], *counts[1]})
    every = range(powers[0], powers[-1] + 1) if powers else ()
    return {f"{2**p:,} to {2 ** (p + 1) - 1:,}": (counts[0][p], counts[1][p]) for p in every}


def _repeated(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose file another row has too, byte for byte."""
    good = rows[(rows["status"] == store.OK) & (rows["source_sha256"].fillna("") != "")]
    return good[good.duplicated("source_sha256", keep=False)]


def _crossing(twice: pd.DataFrame) -> list[str]:
    splits = twice.groupby("source_sha256", sort=False)["split"].nunique()
    return [str(digest) for digest in splits.index[splits > 1]]


def _repeated_file(twice: pd.DataFrame, digest: str) -> Repeated:
    mine = twice[twice["source_sha256"] == digest].head(_EXAMPLES * 2)
    columns = (mine[name].tolist() for name in ("row", "split", "path"))
    return Repeated(*columns)


def _contradicted(twice: pd.DataFrame, columns: list[str]) -> dict[str, int]:
    found = {}
    for column in columns:
        values = twice[column].map(str)
        distinct = values.groupby(twice["source_sha256"], sort=False).nunique()
        found[column] = int((distinct > 1).sum())
    return found


def _sheet_of(samples: Samples, count: int) -> list[Shown]:
    good = np.flatnonzero(samples.status == store.OK)
    if not len(good):
        return []
    places = np.unique(np.linspace(0, len(good) - 1, count).astype(int))
    rows = samples.array("row")
    return [
        Shown(np.asarray(samples.image[slot]), _caption(samples, int(slot), int(rows[slot])))
        for slot in good[places].tolist()
    ]


def _caption(samples: Samples, slot: int, row: int) -> str:
    label = samples.labels[slot]
    if samples.classes and np.ndim(label) == 0 and label >= 0:
        what = f", {named(samples.classes[int(label)])}"
    else:
        what = ""
    where = f", {samples.split}" if samples.split else ""
    return f"row {row:,}{what}{where}"
