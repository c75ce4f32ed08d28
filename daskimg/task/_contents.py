"""The files of rows: the pictures, and those of their targets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from daskimg import fetch
from daskimg.errors import SampleError
from daskimg.manifest import SEALED, read_pictures, unsealed
from daskimg.store import content_hash
from daskimg.task._tried import TRIED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.plan import Brief


@dataclass(frozen=True)
class Content:
    """What a row points at.

    Attributes
    ----------
    picture
        The picture's file.
    files
        Those of its targets, by column.
    extension
        What had to be put behind the path for the picture to be found.
    """

    picture: bytes
    files: dict[str, bytes]
    extension: str

    @cached_property
    def digest(self) -> str:
        """sha256 of the picture's file."""
        return content_hash(self.picture)


def read_contents(
    rows: pd.DataFrame, brief: Brief, *, whole: bool = False
) -> Iterator[Content | SampleError]:
    """Yield what each row points at, in order, or what is wrong with it.

    ``whole`` says that all of them will be used: many are asked for at once. What a trial reads
    (it has no run yet) is kept for the tasks that come after it in this process.
    """
    limit = brief.groups[0].recipe.decode.max_bytes
    stored = dict(brief.columns)
    names = brief.groups[0].recipe.file_columns
    if not names:  # as it nearly always is, for each picture
        for picture, extension in _pictures(rows, brief, limit, whole):
            if isinstance(picture, SampleError):
                yield picture
            else:
                yield Content(picture, {}, extension)
        return
    secrets = _secrets(rows, brief)
    paths = [rows[stored[name]].tolist() for name in names]
    full = [_revealed(rows, stored[name], secrets) for name in names]
    others = zip(*(_found(column, brief, limit, whole) for column in full), strict=True)
    cells = zip(*paths, strict=True)
    pictures = _pictures(rows, brief, limit, whole)
    for found, own, where in zip(pictures, others, cells, strict=True):
        if isinstance(found.content, SampleError):
            yield found.content
            continue
        faults = [
            SampleError("target", f"{name} {path}: {each.content.message}")
            for name, path, each in zip(names, where, own, strict=True)
            if isinstance(each.content, SampleError)
        ]
        held = {name: each.content for name, each in zip(names, own, strict=True)}
        yield faults[0] if faults else Content(found.content, held, found.extension)


def _pictures(rows: pd.DataFrame, brief: Brief, limit: int, whole: bool) -> Iterator[fetch.Found]:
    if brief.bytes_column is None:
        generations = rows[brief.generation].tolist() if brief.generation else None
        paths = _revealed(rows, "path", _secrets(rows, brief))
        return _found(paths, brief, limit, whole, generations)
    files = pd.Series(_revealed(rows, "bytes_file", _secrets(rows, brief)), rows.index)
    pictures = read_pictures(rows.assign(bytes_file=files), brief.bytes_column)
    return (fetch.Found(fetch.limited(content, limit), "") for content in pictures)


def _secrets(rows: pd.DataFrame, brief: Brief) -> list[dict[str, str]]:
    """Return what is secret of each row, by column; nothing for rows that hold no secrets."""
    return list(unsealed(rows[SEALED], brief.key)) if brief.key and SEALED in rows else []


def _revealed(rows: pd.DataFrame, column: str, secrets: list[dict[str, str]]) -> list[str | None]:
    """Return a column with the secrets of its addresses."""
    cells: list[str | None] = rows[column].tolist()
    for place, own in enumerate(secrets):
        cells[place] = own.get(column, cells[place])
    return cells


def _found(
    paths: list[str | None],
    brief: Brief,
    limit: int,
    whole: bool,
    generations: list[str] | None = None,
) -> Iterator[fetch.Found]:
    # An empty cell comes as None or as NaN.
    there = (path if isinstance(path, str) else "" for path in paths)
    places: Iterator[str] = (fetch.join(brief.root, path) if path else "" for path in there)
    if generations is not None:
        places = map(fetch.pinned, places, generations)
    wanted = list(places)
    if not brief.run:
        ahead = fetch.find_ahead(wanted, limit, brief.extensions, whole=whole)
        return TRIED.kept(brief.whose, wanted, ahead)
    held = TRIED.take(brief.whose, wanted)
    if not held:
        return fetch.find_ahead(wanted, limit, brief.extensions, whole=whole)
    others = [place for place in wanted if place not in held]
    ahead = fetch.find_ahead(others, limit, brief.extensions, whole=whole)
    return (held[place] if place in held else next(ahead) for place in wanted)
