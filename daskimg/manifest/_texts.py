"""CSV, TSV and JSON lines, read in blocks."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from daskimg import fetch
from daskimg.errors import ManifestError
from daskimg.manifest._cells import objects, plain
from daskimg.manifest._pieces import Piece, Source
from daskimg.manifest._streams import NOT_UTF8, decompressed

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 4 << 20  # bytes read at once; a record longer than this is taken for an open quote


@dataclass(frozen=True, kw_only=True)
class TextTable(Source):
    """CSV or TSV files of the same columns, one after another."""

    locations: tuple[str, ...]
    separator: str
    cells: ClassVar[bool] = True

    @classmethod
    def open(cls, name: str, folder: str, locations: list[str], separator: str) -> TextTable:
        """Read the header of the first file."""
        columns = _named(locations[0], _header(locations[0], separator)[0])
        return cls(
            name=name,
            folder=folder,
            columns=columns,
            locations=tuple(locations),
            separator=separator,
        )

    def pieces(self) -> Iterator[Piece]:
        """Yield a piece per block, every value as text."""
        for location in self.locations:
            header, is_filled = _header(location, self.separator)
            refuse_other_columns(location, _named(location, header), self.columns)
            if is_filled:
                yield from self._blocks(location, header)

    def _blocks(self, location: str, header: list[str]) -> Iterator[Piece]:
        columns = _named(location, header)
        try:
            with decompressed(location) as stream:
                for batch in _csv_reader(stream, header, self.separator):
                    found = dict(zip(columns, map(plain, batch.columns), strict=True))
                    yield Piece(batch.num_rows, {name: found[name] for name in self.columns})
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise ManifestError(_csv_fault(location, len(header), self.separator, error)) from None


def _header(location: str, separator: str) -> tuple[list[str], bool]:
    """Return the first record of a file, and whether anything follows it."""
    try:
        with decompressed(location) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            names = next(filter(None, csv.reader(text, delimiter=separator)), None)
            is_filled = any(line.strip("\r\n") for line in text)
    except UnicodeDecodeError:
        raise ManifestError(f"{location} {NOT_UTF8}") from None
    except csv.Error as error:
        raise ManifestError(f"{location}: the header cannot be read: {error}") from None
    if names is None:
        raise ManifestError(f"{location} is empty: a table starts with the names of its columns")
    return names, is_filled


def _named(location: str, header: list[str]) -> tuple[str, ...]:
    # The nameless column is the index that pandas writes; it gets the name pandas reads it by.
    columns = tuple(name or f"Unnamed: {i}" for i, name in enumerate(header))
    refuse_repeated_columns(location, columns)
    return columns


def _csv_reader(stream: pa.NativeFile, header: list[str], separator: str) -> Any:
    from pyarrow import csv as arrow_csv

    return arrow_csv.open_csv(
        stream,
        arrow_csv.ReadOptions(block_size=_BLOCK),
        arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()),
            null_values=[],
            strings_can_be_null=False,
        ),
    )


def _csv_fault(location: str, width: int, separator: str, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError) or "UTF8" in str(error):
        return f"{location} {NOT_UTF8}"
    if "Expected" in str(error):
        return _ragged_line(location, width, separator)
    if "straddling" in str(error):
        return f"{location}: a record is longer than {_BLOCK:,} bytes; is a quote left open?"
    return f"{location}: {error}"


def _ragged_line(location: str, width: int, separator: str) -> str:
    """Find the line by itself: Arrow counts records, and a record may span lines."""
    with decompressed(location) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, delimiter=separator)
        for record in reader:
            if record and len(record) != width:
                return (
                    f"{location}, line {reader.line_num}: {len(record)} cells, but the header "
                    f"has {width}; put a cell that holds {separator!r} in quotes"
                )
    return f"{location}: not every line has the {width} cells of the header"


def refuse_other_columns(
    location: str, columns: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """Refuse a part whose columns are not those of the first part; order is free."""
    odd = sorted(set(columns) ^ set(expected))
    if odd:
        raise ManifestError(
            f"{location} has other columns than the parts before it: {', '.join(odd[:5])}; "
            f"all parts of a table need the same"
        )


def refuse_repeated_columns(source: str, columns: tuple[str, ...]) -> None:
    """Refuse a table in which a name would not say which column is meant."""
    for i, name in enumerate(columns):
        if name in columns[:i]:
            raise ManifestError(f"{source} has two columns named {name!r}; rename one")


@dataclass(frozen=True, kw_only=True)
class JsonLines(Source):
    """Files with one JSON object a line; values keep their JSON types."""

    locations: tuple[str, ...]

    @classmethod
    def open(cls, name: str, folder: str, locations: list[str]) -> JsonLines:
        """Learn the columns from the first block; later lines may bring more."""
        block = next(_json_blocks(locations[0]), [])
        columns = _keys(block)
        return cls(name=name, folder=folder, columns=columns, locations=tuple(locations))

    def pieces(self) -> Iterator[Piece]:
        """Yield a piece per block, as Python objects; an absent key is a missing value."""
        columns = self.columns
        for location in self.locations:
            for records in _json_blocks(location):
                columns = tuple(dict.fromkeys((*columns, *_keys(records))))
                found = {
                    name: objects((record.get(name) for record in records), len(records))
                    for name in columns
                }
                yield Piece(len(records), found)


def _keys(records: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for record in records for name in record))


def _json_blocks(location: str) -> Iterator[list[dict[str, Any]]]:
    line = 0
    for lines in _line_blocks(location):
        yield [
            _json_object(text, location, line + i)
            for i, text in enumerate(lines, 1)
            if text.strip()
        ]
        line += len(lines)


def _line_blocks(location: str) -> Iterator[list[bytes]]:
    rest = b""
    with decompressed(location) as stream:
        while block := stream.read(_BLOCK):
            whole, newline, after = (rest + block).rpartition(b"\n")
            rest = after
            if newline:
                yield whole.split(b"\n")
    if rest:
        yield [rest]


def _json_object(text: bytes, location: str, line: int) -> dict[str, Any]:
    try:
        found = json.loads(text.decode("utf-8-sig" if line == 1 else "utf-8"))
    except UnicodeDecodeError:
        raise ManifestError(f"{location} {NOT_UTF8}") from None
    except ValueError as error:
        found, reason = None, str(error)
    else:
        reason = f"a {type(found).__name__}"
    if isinstance(found, dict):
        return found
    raise ManifestError(
        f"{fetch.name_of(location)}, line {line} is not a JSON object ({reason}); "
        f"write one object a line (jq -c '.[]')"
    )
