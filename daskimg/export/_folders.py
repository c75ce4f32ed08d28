"""Pictures in class folders, as ImageFolder readers take them, with a table of all beside them."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

from daskimg.errors import OptionError
from daskimg.export._tars import spoken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from daskimg.export._items import Cast, Item
    from daskimg.export._options import ExportOptions
    from daskimg.fetch import Folder

_UNFIT = re.compile(r'[/\\:*?"<>|%\x00-\x1f\x7f]|^[._ ]|[. ]$')  # in a folder's name, anywhere


class Folders:
    """A file a sample, written by the thread that encodes it; those that are there stay.

    Raises
    ------
    OptionError
        If a sample may be of several classes.
    """

    endings: tuple[str, ...] = ()

    def __init__(
        self,
        folder: Folder,
        prefix: str,
        cast: Cast,
        options: ExportOptions,
        encode: Callable[[NDArray[Any]], bytes],
        width: int,
    ) -> None:
        self._folder, self._prefix = folder, f"{prefix}/" if prefix else ""
        self._suffix, self._encode, self._width = options.suffix, encode, width
        self._label = cast.label()
        self._there = frozenset(folder.sizes(prefix))
        if self._label is not None and self._label.kind == "multi":
            raise OptionError(
                "a sample of several classes is in no one class folder; try webdataset or parquet"
            )
        self._names = [_folder_name(each) for each in self._label.classes] if self._label else []

    def encoded(self, item: Item) -> tuple[str, str]:
        """Write a sample's file, unless it is there; return its name and its label."""
        label = self._label
        value = item.numbers["label"] if label is not None else None
        name = f"{self._class_folder(value)}/{item.slot:0{self._width}d}.{self._suffix}"
        if f"{self._prefix}{name}" not in self._there:
            self._folder.put(f"{self._prefix}{name}", self._encode(item.image))
        word = None if label is None else spoken(label, value)
        return name, "" if word is None else str(word)

    def _class_folder(self, value: Any) -> str:
        label = self._label
        if label is None or label.kind == "float":
            return "images"
        if value < 0:
            return "_none"
        return self._names[value] if label.kind == "class" else str(int(value))

    def joined(self, pieces: Iterator[tuple[str, str]], count: int) -> dict[str, bytes]:  # noqa: ARG002
        """Return the table of all files in their order: it makes the same store again."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("path", "label") if self._label else ("path",))
        table.writerows(pieces if self._label else [(name,) for name, _ in pieces])
        found = {f"{self._prefix}labels.csv": text.getvalue().encode()}
        if self._names and self._label:
            lines = "".join(f"{name}\n" for name in self._label.classes)
            found[f"{self._prefix}classes.txt"] = lines.encode()
        return found


def _folder_name(name: str) -> str:
    """Return a class's name as a folder may be called; what may not be in one as ``%2F``.

    >>> [_folder_name(name) for name in ("snow leopard", "a/b", "..", "_none", "")]
    ['snow leopard', 'a%2Fb', '%2E%2E', '%5Fnone', '%']
    """
    return _UNFIT.sub(lambda letter: f"%{ord(letter[0]):02X}", name) or "%"
