"""An export: which files it is made of, which of them are there, and the others written."""

from __future__ import annotations

import hashlib
import json
import math
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from daskimg import fetch, store
from daskimg.decode import encode_jpeg, encode_png
from daskimg.errors import OptionError
from daskimg.export._arrays import Arrays
from daskimg.export._folders import Folders
from daskimg.export._items import cast_of, refuse_pixels
from daskimg.export._options import ExportOptions, chosen_options
from daskimg.export._tables import Tables
from daskimg.export._tars import Tars
from daskimg.export._tfrecord import Examples
from daskimg.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from os import PathLike

    from numpy.typing import NDArray

    from daskimg.export._items import Item
    from daskimg.fetch import Content, Folder
    from daskimg.read import Samples

_BATCH = 64  # samples that are read at once, and that wait to be encoded
_SCHEMA = 1
_DESCRIBED = ".export.json"  # what the name of an export's description ends in
_SIZES = "sizes.json"
_HASHED = {
    "store": ", of another store",
    "pixels": ", of other pixels",
    "order": ", of other samples",
    "labels": ", by other labels",
}


class Form(Protocol):
    """Samples as they are exported: each encoded by a thread, then joined to files.

    ``endings`` are those of a file's names, of every file of a shard; none, if samples are
    files of their own.
    """

    endings: tuple[str, ...]

    def encoded(self, item: Item) -> Any:
        """Return what a sample becomes."""

    def joined(self, pieces: Iterator[Any], count: int) -> Mapping[str, Content]:
        """Return the content of each file, by the ending of its name, of so many samples."""


@dataclass(frozen=True, slots=True)
class Export:
    """What was exported.

    Attributes
    ----------
    url
        The folder.
    format, split
        What the files are, and which split they hold.
    samples, failed
        Samples that are there now; samples that failed, and are not.
    files, found
        Files of samples in all; those that were there before.
    notes
        What was left out, in words.
    """

    url: str
    format: str
    split: str | None
    samples: int
    failed: int
    files: int
    found: int
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the summary, for people."""
        what = f"{self.split}: " if self.split else ""
        before = f", {self.found:,} of them before" if self.found else ""
        head = f"{what}{counted(self.samples, 'sample')} in {counted(self.files, 'file')}{before}"
        return [head, *(f"  {note}" for note in self.notes), f"  {self.url}"]

    def __repr__(self) -> str:
        return "\n".join(self.lines())


def export_samples(
    samples: Samples,
    url: str | PathLike[str],
    options: ExportOptions | None = None,
    *,
    on_samples: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Export:
    """Write samples as files of another format, in their order, without those that failed.

    Stopped, it goes on where it was when it is called again; files are written whole or not
    at all. Equal samples give equal bytes, whatever the number of threads.

    Parameters
    ----------
    samples
        What ``open_store`` returned.
    url
        A folder, here or in a bucket; a store's splits may share one.
    options
        What to write.
    on_samples
        Called with the samples that are finished and those there are in all.
    **settings
        Fields of ``ExportOptions``; those of ``options`` give way to them.

    Raises
    ------
    OptionError
        If a format cannot hold these samples, or the folder holds something else.

    Examples
    --------
    >>> export_samples(open_store("out.zarr"), "tars", format="webdataset")  # doctest: +SKIP
    """
    chosen = chosen_options(options, settings)
    return _Writing(samples, str(url), chosen, on_samples or _silent).write()


def _silent(done: int, total: int) -> None:
    """Tell nobody."""


class _Writing:
    """One export of one store or split."""

    def __init__(
        self, samples: Samples, url: str, options: ExportOptions, tell: Callable[[int, int], None]
    ) -> None:
        self._samples, self._options, self._tell = samples, options, tell
        self._cast = cast_of(samples)
        self._epoch = samples.batches(
            _BATCH, failed="drop", targets=self._wanted(), threads=options.workers
        )
        count = len(self._epoch.order)
        self._total = min(count, options.limit or count)
        if not self._total:
            raise OptionError(f"{samples.url} has no sample to export: all of them failed")
        self._folder = _folder(url, samples)
        self._prefix = samples.split or "samples"
        self._form = self._formed()
        self._spans = self._cut()

    def _wanted(self) -> tuple[str, ...]:
        """Return the names of the arrays that the format has a place for."""
        cast = self._cast
        if self._options.format in ("png", "jpeg"):
            return tuple(label.name for label in cast.labels if label.name == "label")
        return (*cast.names, *cast.heavy) if self._options.format == "npy" else cast.names

    def _left_out(self) -> list[str]:
        """Return the names of those that it has no place for."""
        every = {*self._cast.names, *self._cast.heavy} - {"row", "part", "affine"}
        return sorted(every - {*self._wanted()})

    def _cut(self) -> list[range]:
        """Return the samples of each file, or one span where each is a file of its own."""
        total, size = self._total, self._total
        if self._form.endings:
            size = self._options.shard(self._sample_bytes())
        return [range(start, min(start + size, total)) for start in range(0, total, size)]

    def _sample_bytes(self) -> int:
        image = self._samples.image
        return int(math.prod(image.shape[1:]) * image.dtype.itemsize)

    def _formed(self) -> Form:
        samples, cast, options = self._samples, self._cast, self._options
        if options.format == "npy":
            return Arrays(cast)
        if options.layout != "one-hot":
            refuse_pixels(samples, options.pictures)
        width = len(str(int(samples.slots[-1])))
        encode = _encoder(options)
        if options.format == "tfrecord":
            return Examples(samples, cast, options, encode)
        if options.format == "webdataset":
            return Tars(cast, options, encode, width)
        if options.format == "parquet":
            return Tables(samples, cast, options, encode, width)
        return Folders(self._folder, samples.split or "", cast, options, encode, width)

    def write(self) -> Export:
        self._begin()
        there = self._folder.sizes()
        left = [number for number in range(len(self._spans)) if not self._is_there(number, there)]
        before = len(self._spans) - len(left)
        with ThreadPoolExecutor(self._options.workers, "daskimg-export") as threads:
            for first, last in _runs(left):
                self._write_run(first, last, threads)
        self._say_sizes()
        return self._finished(before, there)

    def _begin(self) -> None:
        """Say in the folder what is being written, or find that the same was begun there."""
        name = f".{self._prefix}{_DESCRIBED}"
        wanted = self._described()
        try:
            if self._folder.create(name, _json(wanted)):
                return
        except OSError as error:
            raise OptionError(f"cannot write to {self._folder.url}: {error.strerror}") from error
        given = json.loads(self._folder.read(name))
        for key, value in wanted.items():
            if given.get(key) != value:
                words = f": its {key} is {given.get(key)!r}, and here it is {value!r}"
                raise OptionError(
                    f"{self._folder.url} holds another export{_HASHED.get(key, words)}; "
                    f"name another folder"
                )

    def _described(self) -> dict[str, Any]:
        """Return all that the files depend on, as plain data."""
        samples, options = self._samples, self._options
        order = samples.slots[self._epoch.order[: self._total]]
        return {
            "schema": _SCHEMA,
            "format": options.format,
            "layout": options.layout,
            "encoding": options.pictures,
            "quality": options.quality,
            "split": samples.split,
            "store": samples.attributes["fingerprints"]["pixels"],
            "pixels": samples.content_digest(),
            "samples": self._total,
            "order": hashlib.sha256(order.astype("<i8").tobytes()).hexdigest(),
            "samples per file": len(self._spans[0]),
            "labels": self._label_digest(),
        }

    def _label_digest(self) -> str:
        """Return a hash of all labels: a view may have others than its store."""
        found = hashlib.sha256()
        for label in self._cast.labels:
            found.update(repr(label).encode())
            found.update(np.ascontiguousarray(self._samples.array(label.name)).tobytes())
        return found.hexdigest()

    def _is_there(self, number: int, there: Mapping[str, int]) -> bool:
        names = self._names(number)
        return bool(names) and there.keys() >= set(names)

    def _names(self, number: int) -> list[str]:
        """Return the names of the files of a shard."""
        return [f"{self._stem(number)}{ending}" for ending in self._form.endings]

    def _stem(self, number: int) -> str:
        return f"{self._prefix}-{number:05d}-of-{len(self._spans):05d}"

    def _write_run(self, first: int, last: int, threads: ThreadPoolExecutor) -> None:
        """Write the files of shards that follow each other."""
        pieces = self._encoded(self._spans[first].start, self._spans[last].stop, threads)
        for number in range(first, last + 1):
            count = len(self._spans[number])
            for ending, content in self._form.joined(islice(pieces, count), count).items():
                name = f"{self._stem(number)}{ending}" if self._form.endings else ending
                self._folder.put(name, content)

    def _encoded(self, start: int, stop: int, threads: ThreadPoolExecutor) -> Iterator[Any]:
        """Yield some samples, encoded, in order; no more than two batches are held."""
        with self._epoch as epoch:
            epoch.load_state_dict({**epoch.state_dict(), "position": start})
            for batch in epoch:
                slots = self._samples.slots[batch.sample]
                items = islice(self._cast.items(batch, slots), stop - start)
                pieces = list(threads.map(self._form.encoded, items))
                start += len(pieces)
                yield from pieces
                self._tell(start, self._total)
                if start == stop:
                    return

    def _say_sizes(self) -> None:
        """Write how many records each split has, where a layout has such a file."""
        if self._options.layout != "one-hot":
            return
        known: dict[str, int] = {}
        with suppress(FileNotFoundError):
            known = json.loads(self._folder.read(_SIZES))
        known[self._prefix] = self._total
        self._folder.put(_SIZES, _json(dict(sorted(known.items()))))

    def _finished(self, before: int, there: Mapping[str, int]) -> Export:
        files = len(self._form.endings) * len(self._spans)
        found = len(self._form.endings) * before
        if not self._form.endings:
            start, end = f"{self._samples.split or ''}", f".{self._options.suffix}"
            single = sum(name.startswith(start) and name.endswith(end) for name in there)
            files, found = self._total, min(single, self._total)
        failed = int((self._samples.status == store.FAILED).sum())
        return Export(
            self._folder.url,
            self._options.format,
            self._samples.split,
            self._total,
            failed,
            files,
            found,
            tuple(self._notes(failed)),
        )

    def _notes(self, failed: int) -> Iterator[str]:
        if failed:
            yield f"{counted(failed, 'sample')} that failed left out"
        if self._left_out():
            yield f"no place in {self._options.format} for {', '.join(self._left_out())}: left out"
        if self._options.pictures == "jpeg" and self._options.layout != "one-hot":
            yield f"JPEG of quality {self._options.quality}: pixels are not kept exactly"


def _encoder(options: ExportOptions) -> Callable[[NDArray[Any]], bytes]:
    if options.pictures == "jpeg":
        return partial(encode_jpeg, quality=options.quality)
    return encode_png


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of numbers that follow each other.

    >>> list(_runs([0, 1, 4, 6, 7]))
    [(0, 1), (4, 4), (6, 7)]
    """
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        yield found[0], found[-1]


def _folder(url: str, samples: Samples) -> Folder:
    """Return the folder that is written to, or refuse one that holds what is none of ours."""
    folder = fetch.open_folder(url)
    if f"{folder.url}/".startswith(f"{samples.url}/"):
        raise OptionError(f"{folder.url} is in the store itself; name a folder beside it")
    names = folder.names()
    if names and not any(name.endswith(_DESCRIBED) for name in names):
        raise OptionError(f"{folder.url} is not empty, and no export; name a new folder")
    return folder


def _json(value: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(value, indent=1)}\n".encode()
