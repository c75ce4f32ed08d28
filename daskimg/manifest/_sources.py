"""Recognise what a manifest is: a table, many, a folder, a glob, or a data frame."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pandas as pd

from daskimg import fetch
from daskimg.errors import AccessError, DaskimgError, ManifestError, OptionError, TransportError
from daskimg.manifest._frames import FrameTable, is_dask
from daskimg.manifest._listings import (
    PICTURES,
    PictureFolder,
    PictureList,
    extension,
    natural,
)
from daskimg.manifest._mpii import MpiiFile, is_mpii
from daskimg.manifest._parquet import ParquetTable
from daskimg.manifest._spool import Spool
from daskimg.manifest._streams import COMPRESSIONS
from daskimg.manifest._texts import JsonLines, TextTable
from daskimg.manifest._tiny_imagenet import TinyImageNet
from daskimg.options import one_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from daskimg.manifest._pieces import Source

Kind = Literal["csv", "tsv", "jsonl", "parquet", "folder", "glob", "tiny-imagenet", "mpii"]

_TABLES: dict[str, Kind] = {
    "csv": "csv",
    "tsv": "tsv",
    "tab": "tsv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "jsonl",
    "parquet": "parquet",
    "pq": "parquet",
}
_MAGIC = re.compile(r"[*?\[]")
_WORKS = (
    "a manifest is a CSV, TSV, JSON-lines or Parquet table, a folder of class folders or of "
    "Parquet files, or a glob of pictures or tables"
)


def open_source(source: Any, kind: str | None) -> Source:
    """Return the table that ``source`` is; opened as far as its columns.

    Raises
    ------
    OptionError
        If ``kind``, or the type of ``source``, is unknown.
    ManifestError
        If there is nothing there, or nothing that could be a table.
    """
    if kind is not None:
        one_of("the kind of a manifest", kind, get_args(Kind))
    if isinstance(source, pd.DataFrame) or is_dask(source):
        return FrameTable.open(source)
    if not isinstance(source, (str, os.PathLike)):
        raise OptionError(
            f"a manifest is a path, a URL, or a pandas or Dask DataFrame; "
            f"got {type(source).__name__}"
        )
    location = os.fspath(source)
    if not location:
        raise ManifestError(f"the manifest's name is empty; {_WORKS}")
    fetch.refuse_slip(location)
    return _at(location, kind)


def _at(location: str, kind: str | None) -> Source:
    if _is_folder(location):
        return _folder(location, kind)
    spool = _listing(location) if _is_glob(location) else None
    found = _names(location, spool)
    sought = kind
    if kind in (None, "glob"):
        kind = _kind_of_files(location, found, kind)
    if kind in ("folder", "tiny-imagenet"):
        raise ManifestError(f"{location} is not a folder")
    if kind == "glob":
        spool = spool or Spool(
            [[fetch.Listed(name, None, None) for name in found]], _fixed(location)
        )
        return PictureList.matching(fetch.name_of(location), _lead(location), spool)
    tables = sorted(found, key=natural)
    if kind == "mpii" or (kind == "jsonl" and sought is None and _may_be_mpii(tables)):
        return _mpii(location, tables)
    return _tables(fetch.name_of(location), _lead(location), tables, kind)


def _listing(pattern: str) -> Spool:
    """Return what a pattern names; a bucket's listing is read here, and only here."""
    with _reached(pattern):
        spool = Spool(fetch.list_matches(pattern), _fixed(pattern))
    if not spool.rows:
        raise ManifestError(f"no file matches {pattern}")
    return spool


def _names(location: str, spool: Spool | None) -> Collection[str]:
    return _there(location) if spool is None else spool


def _is_folder(location: str) -> bool:
    # A listing page on a web server is no folder, and a table's page is no listing.
    if location.startswith(("http://", "https://")):
        return False
    with _reached(location):
        try:
            return fetch.is_folder(location)
        except AccessError:
            if not _table_kind(location):
                raise
            return False  # a table may be read where nothing may be listed


@contextmanager
def _reached(location: str) -> Iterator[None]:
    """Tell what a remote file system raises, each from a tree of its own, in one line.

    Raises
    ------
    ManifestError
        If it may not be read.
    TransportError
        If it cannot be reached.
    """
    try:
        yield
    except DaskimgError:
        raise
    except PermissionError as error:
        if fetch.is_url(location):
            raise fetch.access_error(location, error) from None
        raise ManifestError(f"{location} may not be read: permission denied") from None
    except Exception as error:
        if not fetch.is_url(location):
            raise
        said = fetch.scrubbed(" ".join(str(error).split()))
        raise TransportError(fetch.shown(location), f"{type(error).__name__}: {said}") from None


def _is_glob(location: str) -> bool:
    if location.startswith(("http://", "https://")):
        return "*" in location  # a question mark begins the query
    exists = not fetch.is_url(location) and Path(fetch.local_path(location)).exists()
    return _MAGIC.search(location) is not None and not exists


def _there(location: str) -> list[str]:
    if fetch.is_url(location):
        return [location]  # opening it tells whether it is there
    found = fetch.expand(location)
    if not found:
        raise ManifestError(f"there is no manifest {location}; {_WORKS}")
    return found


def _stem(location: str) -> str:
    """Return a location without the ending of a compression."""
    for suffix in COMPRESSIONS:
        location = location.removesuffix(suffix)
    return location


def _without_query(location: str) -> str:
    is_web = location.startswith(("http://", "https://"))
    return location.partition("?")[0] if is_web else location


def _table_kind(location: str) -> Kind | None:
    location = _without_query(location)
    stem = _stem(location)
    kind = _TABLES.get(extension(stem))
    return None if kind == "parquet" and stem != location else kind


def _kind_of_files(location: str, found: Collection[str], kind: str | None) -> str:
    kinds = {_table_kind(name) for name in found}
    if len(kinds) == 1 and None not in kinds:
        return str(next(iter(kinds)))
    if kind == "glob" or any(extension(name) in PICTURES for name in found):
        return "glob"
    if len(kinds) > 1:
        first = next(iter(found))
        odd = next(name for name in found if _table_kind(name) != _table_kind(first))
        raise ManifestError(
            f"{location} matches files of several kinds, as {fetch.name_of(first)} and "
            f"{fetch.name_of(odd)}; narrow it"
        )
    raise ManifestError(
        f"cannot tell what {location} is; {_WORKS}; "
        f"say which with kind= (--source): {', '.join(get_args(Kind))}"
    )


def _may_be_mpii(found: list[str]) -> bool:
    name = _stem(_without_query(found[0]))
    return len(found) == 1 and extension(name) == "json" and is_mpii(found[0])


def _mpii(location: str, found: list[str]) -> Source:
    if len(found) != 1:
        raise ManifestError(f"{location} matches {len(found)} files; an MPII manifest is one")
    return MpiiFile.open(fetch.name_of(found[0]), _lead(location), found[0])


def _tables(name: str, folder: str, locations: list[str], kind: str) -> Source:
    if kind == "parquet":
        return ParquetTable.open(name, folder, locations)
    if kind == "jsonl":
        return JsonLines.open(name, folder, locations)
    return TextTable.open(name, folder, locations, "\t" if kind == "tsv" else ",")


def _folder(location: str, kind: str | None) -> Source:
    folder = absolute(location)
    _refuse_store(location, folder)
    if kind in (None, "tiny-imagenet"):
        known = TinyImageNet.open(fetch.name_of(folder), folder)
        if known:
            return known
    if kind in (None, "parquet", "folder"):
        top = kind is None and any(_is_parquet(n) for n in fetch.open_folder(folder).names())
        for candidate in ("parquet", "folder") if top else ("folder", "parquet"):
            found = _folder_of(folder, candidate) if kind in (None, candidate) else None
            if found:
                return found
    raise ManifestError(_odd_folder(location, folder, kind))


def _refuse_store(location: str, folder: str) -> None:
    """Refuse a store: the table of rows in it is no manifest of what it was made from."""
    if {"daskimg", "zarr.json"} <= set(fetch.open_folder(folder).names()):
        raise ManifestError(
            f"{location} is a store, and no manifest: give the table or the folder that it was "
            f"made from; daskimg show and export read a store"
        )


def _folder_of(folder: str, kind: str) -> Source | None:
    name = fetch.name_of(folder)
    if kind == "folder":
        return PictureFolder.open(name, folder)
    tables = _parquet_below(folder)
    return _tables(name, folder, _refuse_hive(folder, tables), "parquet") if tables else None


def _odd_folder(location: str, folder: str, kind: str | None) -> str:
    if kind == "tiny-imagenet":
        return (
            f"the folder {location} is no tiny-imagenet: that has wnids.txt or words.txt, and "
            f"class folders train/<wnid>/images"
        )
    wanted = {"parquet": "Parquet files", "folder": "pictures"}
    if kind not in (None, *wanted):
        return f"{location} is a folder; give its files as a glob, as {location}/**/*"
    wanted_here = wanted.get(kind or "", "pictures, class folders or Parquet files")
    text = f"the folder {location} holds no {wanted_here}"
    tables = [name for name in fetch.open_folder(folder).names() if _table_kind(name)]
    return f"{text}; is {tables[0]} in it the manifest?" if tables else text


def _is_parquet(path: str) -> bool:
    hidden = any(part[:1] in "._" for part in path.split("/"))
    return _table_kind(path) == "parquet" and not hidden


def _parquet_below(folder: str) -> list[str]:
    """Return the relative paths of Parquet files, in natural order; hidden ones left out."""
    return sorted(filter(_is_parquet, fetch.open_folder(folder).sizes()), key=natural)


def _refuse_hive(folder: str, names: list[str]) -> list[str]:
    for name in names:
        if any("=" in part for part in name.split("/")[:-1]):
            raise ManifestError(
                f"{folder} keeps columns in the names of folders ({name}), which would be lost; "
                f"give the frame of dask.dataframe.read_parquet"
            )
    return [f"{folder}/{name}" for name in names]


def _fixed(location: str) -> str:
    """Return what comes before a glob's first special character, up to its folder.

    >>> _fixed("gs://bucket/in/*/a?.jpg"), _fixed("*.jpg")
    ('gs://bucket/in/', '')
    """
    path = location if fetch.is_url(location) else fetch.local_path(location)
    magic = _MAGIC.search(path) if _is_glob(location) else None
    head = path[: magic.start()] if magic else path
    return "".join(head.rpartition("/")[:2])


def _lead(location: str) -> str:
    """Return the folder that relative paths are relative to."""
    return absolute(_fixed(location) or ".")


def absolute(folder: str) -> str:
    """Return a folder's full path; a URL is one."""
    if fetch.is_url(folder):
        return folder.rstrip("/")
    return str(Path(fetch.local_path(folder)).absolute())
