"""A table of pictures: opened early, scanned once, read again in numbered pieces."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskimg import fetch
from daskimg.errors import ManifestError, OptionError
from daskimg.manifest._choices import Choice, choose, require
from daskimg.manifest._classes import Classes, ClassNames, read_classes
from daskimg.manifest._facts import Facts, column_texts, frame_of, rows_table, with_sealed
from daskimg.manifest._keys import Occurrences, RowsDigest, first_missing
from daskimg.manifest._parquet import places
from daskimg.manifest._pieces import Source, numbered
from daskimg.manifest._scan import Scan
from daskimg.manifest._sources import absolute, open_source
from daskimg.options import given, one_of, texts, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from daskimg.manifest._labels import Unknown
    from daskimg.manifest._splits import Split


def read_manifest(
    source: Any,
    *,
    kind: str | None = None,
    path: str | None = None,
    labels: Sequence[str] = (),
    classes: str | Sequence[str] | None = None,
    unknown: Unknown = "refuse",
    key: str | None = None,
    root: str | os.PathLike[str] | None = None,
    extensions: Sequence[str] = (),
    limit: int | None = None,
) -> Manifest:
    """Open a table of pictures as far as its columns, and refuse early what cannot work.

    Parameters
    ----------
    source
        A CSV, TSV, JSON-lines or Parquet file, a glob or URL of such, a folder of class
        folders or of Parquet files, a glob of pictures, a pandas or Dask DataFrame; a
        tiny-imagenet folder (columns ``path label split words``), or MPII's annotations in
        JSON (``path joints joints_vis scale center`` and what else a record has).
    kind
        ``csv``, ``tsv``, ``jsonl``, ``parquet``, ``folder``, ``glob``, ``tiny-imagenet`` or
        ``mpii``, where ``source`` does not tell.
    path
        The column of paths, or of picture bytes in Parquet. By default the first of ``path``,
        ``image_path``, ``filename``, ``file``, ``image``; picture bytes before paths.
    labels
        Label columns, each ``column`` or ``column:kind`` with a kind of ``class``, ``int``,
        ``float``, ``multi``. The first becomes the array ``label``. By default the first of
        ``label``, ``class``, ``target``, if there is one.
    classes
        Names in the order of their numbers: a file (one a line, or a JSON list), an earlier
        store, or the names. A store's go to the label arrays that have them there; other
        names go to the first label of kind ``class`` or ``multi``. A JSON object
        ``{column: {name: code}}`` has the names of several label columns: where such a column
        holds numbers, they are the codes, and each stays the number it is. A code between
        others that has no name is a class called by its number. A source's own order, as
        that of a tiny-imagenet, holds if nothing is given.
    unknown
        Whether a name or code that is not in ``classes`` is refused, or ``none``: -1.
    key
        A column that names each row. By default the path, with a number if it comes again.
    root
        What relative paths are relative to, instead of the manifest's folder.
    extensions
        What to put behind a path that names no file, in this order, as ``(".jpg", ".png")``.
        They are tried when a picture is read, and cost nothing where the path is right.
    limit
        Only so many first rows.

    Raises
    ------
    ManifestError
        If there is no such table or column, or a label column's name cannot be an array's.
    OptionError
        If an option is out of range, or there are no such classes.
    """
    one_of("unknown", unknown, ("refuse", "none"))
    if limit is not None:
        whole("limit", limit, "or leave it out")
    labels = texts("labels", labels, "try labels=['label', 'price:float']")
    if not isinstance(classes, str | Iterable | None):
        raise OptionError(
            f"classes must be a file, a store or names, got {given(classes)}; "
            f"try classes='classes.txt', or ['cat', 'dog']"
        )
    for name, value in {"path": path, "key": key, "root": root}.items():
        _refuse_no_name(name, value)
    with fetch.scrubbing():
        opened, choice = choose(open_source(source, kind), path, labels, key)
        names = _classes(opened, choice, classes)
    return Manifest(
        source=opened.name,
        root=opened.folder if root is None else absolute(os.fspath(root)),
        limit=limit,
        extensions=_extensions(extensions),
        table=opened,
        choice=choice,
        classes=names,
        unknown=unknown,
    )


def _refuse_no_name(option: str, value: object) -> None:
    kinds = (str, os.PathLike) if option == "root" else str
    if value is not None and not isinstance(value, kinds):
        what = "a folder or a URL" if option == "root" else "the name of a column"
        raise OptionError(f"{option} must be {what}, got {given(value)}; or leave it out")
    if option == "root" and value is not None:
        fetch.refuse_slip(os.fspath(value))


def _extensions(chosen: Sequence[str]) -> tuple[str, ...]:
    extensions = texts("extensions", chosen, "try extensions=['.jpg']")
    for extension in extensions:
        if not extension.startswith(".") or "/" in extension or len(extension) < 2:
            raise OptionError(
                f"extensions begin with a dot, got {extension!r}; try "
                f"{'.' + extension.strip('./') if extension.strip('./') else '.jpg'!r}"
            )
    return extensions


def _classes(source: Source, choice: Choice, given: str | Sequence[str] | None) -> Classes:
    """Return the class names that were given, or those the source itself has, by array."""
    if given is not None:
        return read_classes(given, choice.labels)
    return {
        label.array: ClassNames(source.class_names[label.column])
        for label in choice.labels
        if label.column in source.class_names and label.kind in (None, "class", "multi")
    }


def _silent(rows: int) -> None:
    """Tell nobody."""


class Cells(NamedTuple):
    """Some cells of consecutive rows, as text.

    Attributes
    ----------
    row
        Number of the first row.
    paths : (row,)
        Text, "" where there is none.
    columns : (row,) each
        Text of the columns asked for, by name; "" for the empty cell.
    pictures
        Where picture bytes lie, as ``read_pictures`` takes it; ``None`` if they are in files.
    """

    row: int
    paths: pa.Array
    columns: dict[str, pa.Array]
    pictures: pd.DataFrame | None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.paths)

    def at(self, place: int) -> Cells:
        """Return one row's."""
        one = slice(place, place + 1)
        columns = {name: texts[one] for name, texts in self.columns.items()}
        pictures = None if self.pictures is None else self.pictures.iloc[one]
        return Cells(self.row + place, self.paths[one], columns, pictures)


def declared_sizes(heights: pa.Array, widths: pa.Array) -> NDArray[np.int64] | None:
    """Return (row, 2) heights and widths of columns of text, in pixels.

    ``None`` unless every cell is a whole number of at least 1, of up to 9 digits.
    """
    if not all(pc.all(pc.match_substring_regex(t, _SIZE)).as_py() for t in (heights, widths)):
        return None
    return np.stack([np.asarray(t.cast(pa.int64())) for t in (heights, widths)], axis=1)


_GENERATION = "generation"
_SIZE = r"^[1-9][0-9]{0,8}$"


@dataclass(frozen=True, eq=False, repr=False)
class Manifest:
    """A table of pictures, opened; see ``read_manifest``.

    Attributes
    ----------
    source
        How to name it in a message.
    root
        What relative paths are relative to; "" is the working directory.
    limit
        Only so many first rows, or ``None``.
    extensions
        What ``fetch`` is to put behind a path that names no file.
    table, choice, classes, unknown
        The rows as they come, which columns matter, and the classes given.
    """

    source: str
    root: str
    limit: int | None
    extensions: tuple[str, ...]
    table: Source
    choice: Choice
    classes: Classes
    unknown: Unknown

    def __repr__(self) -> str:
        root = f", root {self.root}" if self.root else ""
        limit = f", its first {self.limit:,} rows" if self.limit else ""
        return f"Manifest({self.source}{root}{limit})"

    @property
    def bytes_column(self) -> str | None:
        """The column that pictures come from; ``None`` if they come from paths."""
        return self.table.bytes_column

    @property
    def class_words(self) -> dict[str, str]:
        """What classes are called in words, by name: of a tiny-imagenet; of others nothing."""
        return dict(self.table.class_words)

    @property
    def split_column(self) -> str | None:
        """The column of splits of a source that is made of splits, as tiny-imagenet."""
        return self.table.split_column

    @property
    def observed(self) -> tuple[str, ...]:
        """Columns of what a listing says of each object: of sources of any other kind none."""
        return self.table.observed

    @property
    def generation(self) -> str | None:
        """The column of the generations that were listed, if there is one."""
        return _GENERATION if _GENERATION in self.table.observed else None

    def limited(self, rows: int) -> Manifest:
        """Return the manifest of the first ``rows`` rows, or of fewer if it has its own limit."""
        return replace(self, limit=rows if self.limit is None else min(rows, self.limit))

    def columns_pieces(self, columns: Sequence[str]) -> Iterator[Cells]:
        """Yield the paths and some columns of all rows, in order, without any other work.

        For what must be known before ``scan``: sizes for an expansion, splits.

        Raises
        ------
        ManifestError
            If there is no such column.
        """
        for column in columns:
            require(self.table, column)
        return self._cells(columns)

    def _cells(self, columns: Sequence[str]) -> Iterator[Cells]:
        for row, piece in numbered(self.table, self.limit):
            pictures = None
            if piece.part is not None:
                pictures = pa.table(places(piece)).to_pandas()
            found = {name: column_texts(piece, name) for name in columns}
            paths = column_texts(piece.whole(), self.choice.path)
            yield Cells(row, paths, found, pictures)

    def settled(self, split: Split) -> Split:
        """Return a split with all its names; one of kind ``column`` costs a pass over the table.

        Raises
        ------
        ManifestError
            If there is no such column, or a row is of no split.
        OptionError
            If a name cannot be a split's.
        """
        if split.column is None:
            return split
        require(self.table, split.column)
        if split.kind != "column" or split.names:
            return split
        names: set[str] = set()
        for cells in self.columns_pieces([split.column]):
            texts = cells.columns[split.column]
            empty = first_missing(texts)
            if empty is not None:
                raise ManifestError(
                    f"row {cells.row + empty} names no split in column {split.column!r}"
                )
            names.update(texts.unique().to_pylist())
            split.with_names(names)  # a column of something else is refused early
        return split.with_names(names)

    def scan(
        self,
        prefix_rows: int | None = None,
        split: Split | None = None,
        on_rows: Callable[[int], None] | None = None,
    ) -> Facts:
        """Read the table once, in bounded memory, and return what it holds.

        Parameters
        ----------
        prefix_rows
            Also digest the first so many rows by themselves.
        split
            What splits the store, if anything does: a ``split`` column that does not is mentioned.
        on_rows
            Called now and then with the number of rows read so far.

        Raises
        ------
        ManifestError
            If rows are ragged, keys are empty or repeated, labels do not fit their kind, or
            a class is none of those given.
        """
        splitting = split.column if split is not None else None
        scan = Scan(self.table, self.choice, self.limit, splitting)
        with fetch.scrubbing(), closing(scan):
            prefix = scan.run(prefix_rows, on_rows or _silent)
            return scan.facts(prefix, self.classes, self.unknown)

    def pieces(self, facts: Facts) -> Iterator[pd.DataFrame]:
        """Yield the numbered rows, in order, at most 100,000 at a time.

        Columns: ``row`` int64 from 0; ``key``, ``path`` text; for picture bytes
        ``bytes_file`` text, ``bytes_group``, ``bytes_index`` int64; then the table's own, under
        their names, or with ``_`` behind those that would be one of ours. Secrets of addresses
        are left out of all of these, and sealed in a column of their own.

        Raises
        ------
        ManifestError
            Behind the last piece, if these are not the rows that were scanned.
        """
        occurrences, digest = Occurrences(facts.repeated), RowsDigest()
        for row, piece in numbered(self.table, self.limit):
            paths = column_texts(piece, self.choice.path)
            key = self.choice.key
            keys = column_texts(piece, key) if key else None
            digest.add_piece(piece, paths, keys)
            keys = occurrences.keys(paths) if keys is None else keys
            table = rows_table(piece, row, keys, paths, facts.kept)
            table = with_sealed(table, piece, self.choice.path, facts.kept, facts.key)
            yield frame_of(table, facts.kept)
        if digest.hexdigest() != facts.digest:
            raise ManifestError(f"{self.source} has changed since it was first read")

    def resolve(self, path: str) -> str:
        """Return where a picture is, from its ``path`` in the table; "" for none."""
        return fetch.join(self.root, path) if path else ""
