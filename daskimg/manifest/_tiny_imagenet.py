"""Tiny-ImageNet's own layout: class folders, annotations in a file, classes named in two."""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from daskimg import fetch
from daskimg.errors import ManifestError
from daskimg.manifest._cells import arrow
from daskimg.manifest._listings import PICTURES, extension, natural
from daskimg.manifest._pieces import PIECE_ROWS, Piece, Source
from daskimg.manifest._streams import NOT_UTF8, opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COLUMNS = ("path", "label", "split", "words")
_ANNOTATIONS = "val/val_annotations.txt"


class _Row(NamedTuple):
    path: str
    label: str | None
    split: str


@dataclass(frozen=True, kw_only=True)
class TinyImageNet(Source):
    """All of train, class by class, then val as it is annotated, then test, without labels.

    Attributes
    ----------
    listed
        Names of a remote folder's pictures, by folder, listed once; a local one is listed
        each time.
    """

    listed: Mapping[str, tuple[str, ...]] | None = field(default=None, repr=False)

    @classmethod
    def open(cls, name: str, folder: str) -> TinyImageNet | None:
        """Read the names of the classes; ``None`` if the folder has another layout."""
        top = fetch.open_folder(folder).names()
        if "train" not in top or not {"wnids.txt", "words.txt"} & set(top):
            return None
        listed = _by_folder(folder) if fetch.is_url(folder) else None
        found = _class_folders(folder, listed)
        if not found:
            return None
        wnids = _lines(f"{folder}/wnids.txt") if "wnids.txt" in top else []
        classes = tuple(dict.fromkeys((*filter(None, map(str.strip, wnids)), *found)))
        words = _words(f"{folder}/words.txt", classes) if "words.txt" in top else {}
        return cls(
            name=name,
            folder=folder,
            columns=COLUMNS,
            class_names={"label": classes},
            class_words=words,
            split_column="split",
            listed=listed,
        )

    def pieces(self) -> Iterator[Piece]:
        """Yield the columns ``path label split words``."""
        rows = itertools.chain(self._train(), self._val(), self._listing("test/images", "test"))
        while found := list(itertools.islice(rows, PIECE_ROWS)):
            columns = dict(zip(_Row._fields, zip(*found, strict=True), strict=True))
            columns["words"] = tuple(self.class_words.get(row.label or "") for row in found)
            arrays = {name: arrow(values, pa.string()) for name, values in columns.items()}
            yield Piece(len(found), arrays)

    def _train(self) -> Iterator[_Row]:
        for wnid in self.class_names["label"]:
            yield from self._listing(f"train/{wnid}/images", "train", wnid)

    def _val(self) -> Iterator[_Row]:
        location = f"{self.folder}/{_ANNOTATIONS}"
        try:
            lines = _lines(location)
        except ManifestError:
            if fetch.open_folder(self.folder).size(_ANNOTATIONS) is not None:
                raise
            yield from self._listing("val/images", "val")
            return
        for number, line in enumerate(lines, 1):
            name, tab, rest = line.partition("\t")
            wnid = rest.partition("\t")[0]
            if line and not (name and tab and wnid):
                raise ManifestError(
                    f"{location}, line {number}: {line!r} is no file and class with a tab between"
                )
            if line:
                yield _Row(f"val/images/{name}", wnid, "val")

    def _listing(self, below: str, split: str, label: str | None = None) -> Iterator[_Row]:
        for name in sorted(self._names(below), key=natural):
            yield _Row(f"{below}/{name}", label, split)

    def _names(self, below: str) -> list[str]:
        if self.listed is not None:
            return list(self.listed.get(below, ()))
        try:
            names = os.listdir(Path(fetch.local_path(self.folder), below))  # noqa: PTH208  names alone
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name for name in names if _is_picture(name)]


def _is_picture(name: str) -> bool:
    return extension(name) in PICTURES and not name.startswith(".")


def _by_folder(folder: str) -> dict[str, tuple[str, ...]]:
    found = defaultdict(list)
    for path in fetch.open_folder(folder).sizes():
        below, _, name = path.rpartition("/")
        if _is_picture(name):
            found[below].append(name)
    return {below: tuple(names) for below, names in found.items()}


def _class_folders(folder: str, listed: Mapping[str, tuple[str, ...]] | None) -> list[str]:
    """Return the names of the class folders, sorted."""
    if listed is not None:
        parts = (below.split("/") for below in listed)
        return sorted(p[1] for p in parts if (p[0], *p[2:]) == ("train", "images"))
    train = Path(fetch.local_path(folder), "train")
    return sorted(path.name for path in train.iterdir() if (path / "images").is_dir())


def _words(location: str, classes: tuple[str, ...]) -> dict[str, str]:
    """Return the words of the classes that there are; the file has those of all of WordNet."""
    wanted = set(classes)
    pairs = (line.partition("\t") for line in _lines(location))
    found = {wnid: words.strip() for wnid, _, words in pairs if wnid in wanted}
    return {wnid: found[wnid] for wnid in classes if found.get(wnid)}


def _lines(location: str) -> list[str]:
    try:
        with opened(location) as file:
            text = file.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(f"{location} {NOT_UTF8}") from None
    return [line.rstrip("\r") for line in text.split("\n")]
