"""Pictures without a table: a folder of class folders, or a list of files."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from daskimg import fetch
from daskimg.manifest._cells import arrow
from daskimg.manifest._pieces import PIECE_ROWS, Piece, Source
from daskimg.manifest._spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURES = frozenset(
    "jpg jpeg jfif png gif bmp tif tiff webp avif jp2 ppm pgm pbm".split()  # noqa: SIM905
)
"""Extensions of pictures, in lower case."""

_PICTURE = rf"(?i)[^/]\.({'|'.join(sorted(PICTURES))})$"
_HIDDEN = r"(^|/)\."
_DIGITS = re.compile(r"(\d+)")


def extension(name: str) -> str:
    """Return a name's extension in lower case, without the dot.

    >>> extension("a/b.JPEG"), extension(".jpg"), extension("a.b/c")
    ('jpeg', '', '')
    """
    return os.path.splitext(name)[1][1:].lower()  # noqa: PTH122  a third of pathlib's cost, per file


def natural(name: str) -> list[list[str | int]]:
    """Sort ``part-2`` before ``part-10``."""
    return [
        [int(text) if i % 2 else text for i, text in enumerate(_DIGITS.split(part))]
        for part in name.split("/")
    ]


@dataclass(frozen=True, kw_only=True)
class PictureFolder(Source):
    """Pictures below a local folder, sorted by path; the top folder's name is the class.

    It is walked anew each time that it is read.
    """

    @classmethod
    def open(cls, name: str, folder: str) -> Source | None:
        """Look for the first picture, and the first in a class folder; ``None`` if none."""
        if fetch.is_url(folder):
            return PictureList.below(name, folder)
        table = cls(name=name, folder=folder, columns=("path",))
        if next(table.paths(), None) is None:
            return None
        has_classes = any("/" in path for path in table.paths())
        return replace(table, columns=("path", "label")) if has_classes else table

    def paths(self) -> Iterator[str]:
        """Yield the relative paths of all pictures, sorted, hidden ones left out."""
        return _walk(fetch.local_path(self.folder), "", frozenset())

    def pieces(self) -> Iterator[Piece]:
        """Yield ``path``, relative to the folder, and ``label`` where there are class folders."""
        paths = self.paths()
        while found := list(itertools.islice(paths, PIECE_ROWS)):
            columns = {"path": arrow(found, pa.string())}
            if "label" in self.columns:
                columns["label"] = _tops(found)
            yield Piece(len(found), columns)


def _tops(paths: list[str]) -> pa.Array:
    """Return (row,) the first folder of each path, none where it has no folder."""
    parts = (path.partition("/") for path in paths)
    return arrow([top if slash else None for top, slash, _ in parts], pa.string())


def _walk(root: str, below: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """Walk depth first; a folder sorts as ``name/``, so that whole paths come out sorted."""
    with os.scandir(Path(root, below)) as entries:
        found = sorted(
            (entry.name + "/" * entry.is_dir(), entry)
            for entry in entries
            if not entry.name.startswith(".")
        )
    for name, entry in found:
        if not name.endswith("/"):
            if extension(name) in PICTURES:
                yield below + name
            continue
        status = entry.stat()
        here = (status.st_dev, status.st_ino)
        if here not in above:  # a link to a folder above would never end
            yield from _walk(root, below + name, above | {here})


@dataclass(frozen=True, kw_only=True)
class PictureList(Source):
    """A listing of pictures, by a pattern or below a remote folder: sorted by name, read once.

    Columns: ``path``, relative to the folder; ``label`` where there are class folders; ``size``
    in bytes and ``generation``, as the storage tells them.

    Attributes
    ----------
    spool
        The listing.
    pictures, visible
        Whether other files, and hidden ones, are left out.
    """

    spool: Spool = field(repr=False)
    pictures: bool
    visible: bool = False

    @classmethod
    def matching(cls, name: str, folder: str, spool: Spool) -> PictureList:
        """Return the pictures in a listing; all of it, if none has the extension of one."""
        observed = _observed(spool)
        pictures = any(extension(name) in PICTURES for name in spool)
        return cls(
            name=name,
            folder=folder,
            columns=("path", *observed),
            observed=observed,
            spool=spool,
            pictures=pictures,
        )

    @classmethod
    def below(cls, name: str, folder: str) -> PictureList | None:
        """List a remote folder; hidden files are left out, and ``None`` if nothing is left."""
        spool = Spool(fetch.list_below(folder), f"{folder}/")
        table = replace(cls.matching(name, folder, spool), visible=True)
        rows, has_classes = 0, False
        for piece in table.pieces():
            rows += piece.rows
            has_classes |= bool(pc.any(pc.match_substring(piece.columns["path"], "/")).as_py())
        if not (rows and table.pictures):
            return None
        return replace(table, columns=("path", "label", *table.observed)) if has_classes else table

    def pieces(self) -> Iterator[Piece]:
        """Yield the columns."""
        for table in self.spool.tables():
            kept = table
            if self.pictures:
                kept = kept.filter(pc.match_substring_regex(kept["path"], _PICTURE))
            if self.visible:
                kept = kept.filter(pc.invert(pc.match_substring_regex(kept["path"], _HIDDEN)))
            columns = {name: kept[name].combine_chunks() for name in ("path", *self.observed)}
            if "label" in self.columns:
                columns["label"] = _tops(columns["path"].to_pylist())
            yield Piece(len(kept), columns)


def _observed(spool: Spool) -> tuple[str, ...]:
    return ("size",) * spool.has_sizes + ("generation",) * spool.has_generations
