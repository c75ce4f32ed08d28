"""Pictures without a table: a folder of class folders, or a list of files."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from daskimg import fetch
from daskimg.manifest._cells import arrow
from daskimg.manifest._pieces import PIECE_ROWS, Piece, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURES = frozenset(
    "jpg jpeg jfif png gif bmp tif tiff webp avif jp2 ppm pgm pbm".split()  # noqa: SIM905
)
"""Extensions of pictures, in lower case."""

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
    """Pictures below a folder, sorted by path; the top folder's name is the class.

    Attributes
    ----------
    listed
        The paths of a remote folder, listed once; a local one is walked each time.
    """

    listed: tuple[str, ...] | None = field(default=None, repr=False)

    @classmethod
    def open(cls, name: str, folder: str) -> PictureFolder | None:
        """Look for the first picture, and the first in a class folder; ``None`` if none."""
        listed = tuple(_listed(folder)) if fetch.is_url(folder) else None
        table = cls(name=name, folder=folder, columns=("path",), listed=listed)
        if next(table.paths(), None) is None:
            return None
        has_classes = any("/" in path for path in table.paths())
        return replace(table, columns=("path", "label")) if has_classes else table

    def paths(self) -> Iterator[str]:
        """Yield the relative paths of all pictures, sorted, hidden ones left out."""
        if self.listed is None:
            return _walk(fetch.local_path(self.folder), "", frozenset())
        return iter(self.listed)

    def pieces(self) -> Iterator[Piece]:
        """Yield ``path``, relative to the folder, and ``label`` where there are class folders."""
        paths = self.paths()
        while found := list(itertools.islice(paths, PIECE_ROWS)):
            columns = {"path": arrow(found, pa.string())}
            if "label" in self.columns:
                tops = (path.partition("/") for path in found)
                names = [top if slash else None for top, slash, _ in tops]
                columns["label"] = arrow(names, pa.string())
            yield Piece(len(found), columns)


def _listed(folder: str) -> Iterator[str]:
    for path in fetch.open_folder(folder).sizes():
        if extension(path) in PICTURES and not any(p.startswith(".") for p in path.split("/")):
            yield path


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
    """Files that a glob named, in its order; paths relative to its fixed leading folder."""

    columns: tuple[str, ...] = ("path",)
    paths: tuple[str, ...] = field(repr=False)

    def pieces(self) -> Iterator[Piece]:
        """Yield ``path``."""
        for start in range(0, len(self.paths), PIECE_ROWS):
            found = self.paths[start : start + PIECE_ROWS]
            yield Piece(len(found), {"path": arrow(found, pa.string())})
