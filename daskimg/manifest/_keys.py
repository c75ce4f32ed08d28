"""Keys and digests of a table of any length, in bounded memory.

Only 64-bit hashes of keys are set aside, in an unnamed temporary file; keys themselves are
held for those few whose hash comes twice.
"""

from __future__ import annotations

import hashlib
import tempfile
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from daskimg import fetch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from daskimg.manifest._pieces import Piece

BUCKET_ROWS = 2_000_000
"""Hashes sorted at once: 16 MB, and as much again for the sorting."""

_IN_MEMORY = 16 << 20  # bytes of hashes below which no temporary file is made
_FIRST, _SECOND = "daskimg-key-hash", "second-key--hash"  # pandas wants 16 characters


def hashed(texts: NDArray[np.object_], key: str = _FIRST) -> NDArray[np.uint64]:
    """Return (row,) 64-bit hashes of text."""
    return pd.util.hash_array(texts, hash_key=key, categorize=False)


class TextDigest:
    """sha256 of a column of text, with lengths, so that it is the same however it is cut."""

    def __init__(self) -> None:
        self._lengths = hashlib.sha256()
        self._bytes = hashlib.sha256()

    def add(self, texts: pa.Array) -> None:
        """Go on with (row,) text; a missing one counts as none, not as empty."""
        if not len(texts):
            return
        filled = texts.fill_null("") if texts.null_count else texts
        _, offsets, content = filled.buffers()
        ends = np.frombuffer(offsets, np.int32)[filled.offset : filled.offset + len(filled) + 1]
        lengths = np.diff(ends).astype("<i8")
        if texts.null_count:
            lengths[texts.is_null().to_numpy(zero_copy_only=False)] = -1
        self._lengths.update(lengths.tobytes())
        if content is not None:
            self._bytes.update(memoryview(content)[ends[0] : ends[-1]])

    def add_missing(self, rows: int) -> None:
        """Go on with so many rows without text."""
        for start in range(0, rows, 1 << 20):
            count = min(1 << 20, rows - start)
            self._lengths.update(np.full(count, -1, "<i8").tobytes())

    def digest(self) -> bytes:
        """Return the digest so far; more can be added."""
        return self._lengths.digest() + self._bytes.digest()


class RowsDigest:
    """sha256 of the ordered (key, path) of all rows, and of the files of picture bytes."""

    def __init__(self) -> None:
        self._paths = TextDigest()
        self._keys: TextDigest | None = None
        self._files = hashlib.sha256()
        self._last = ""

    def add_piece(self, piece: Piece, paths: pa.Array, keys: pa.Array | None) -> None:
        """Go on with a piece's rows, and with the file of picture bytes they lie in."""
        if piece.part is not None:
            part = piece.part
            self.add_file(part.location, fetch.name_of(part.location), part.size, part.rows)
        self.add(paths, keys)

    def add(self, paths: pa.Array, keys: pa.Array | None) -> None:
        """Go on with rows; keys that follow from the paths are ``None``."""
        self._paths.add(paths)
        if keys is not None:
            self._keys = self._keys or TextDigest()
            self._keys.add(keys)

    def add_file(self, location: str, name: str, size: int, rows: int) -> None:
        """Count a file in, once, when its first row comes."""
        if location != self._last:
            self._files.update(f"{len(name.encode())}:{name}:{size}:{rows};".encode())
            self._last = location

    def hexdigest(self) -> str:
        """Return the digest so far; more can be added."""
        paths = self._paths.digest()
        keys = self._keys.digest() if self._keys else paths
        return hashlib.sha256(keys + paths + self._files.digest()).hexdigest()


class HashSpool:
    """The 64-bit hash of every row's key, in row order, outside memory."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  closed below
        self._rows = 0

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Set aside (row,) hashes."""
        self._file.write(hashes.tobytes())
        self._rows += len(hashes)

    def repeated(self) -> NDArray[np.uint64]:
        """Return the hashes that come more than once, sorted."""
        buckets = max(1, -(-self._rows // BUCKET_ROWS))
        found = [self._repeated_in(bucket, buckets) for bucket in range(buckets)]
        return np.sort(np.concatenate(found))

    def _repeated_in(self, bucket: int, buckets: int) -> NDArray[np.uint64]:
        own = [block[block % np.uint64(buckets) == bucket] for block in self._blocks()]
        hashes = np.sort(np.concatenate([np.empty(0, np.uint64), *own]))
        return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])

    def occurrence(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return, for each of a few rows in order, how many rows up to it have its hash."""
        hashes = self._at(rows)
        counts = np.zeros(len(rows), np.int64)
        for start, block in self._numbered_blocks():
            places = np.flatnonzero(np.isin(block, hashes))
            for i, row in enumerate(rows):
                earlier = places[places + start <= row]
                counts[i] += np.count_nonzero(block[earlier] == hashes[i])
        return counts

    def _at(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        found = [np.empty(0, np.uint64)]
        for start, block in self._numbered_blocks():
            here = rows[(rows >= start) & (rows < start + len(block))]
            found.append(block[here - start])
        return np.concatenate(found)

    def close(self) -> None:
        """Give the temporary file back."""
        self._file.close()

    def _numbered_blocks(self) -> Iterator[tuple[int, NDArray[np.uint64]]]:
        start = 0
        for block in self._blocks():
            yield start, block
            start += len(block)

    def _blocks(self) -> Iterator[NDArray[np.uint64]]:
        self._file.seek(0)
        while content := self._file.read(8 * BUCKET_ROWS):
            yield np.frombuffer(content, np.uint64)


class Occurrences:
    """Keys of rows that have none: the path, and from its second row on a number behind it.

    Parameters
    ----------
    repeated
        Sorted hashes of the paths that may come more than once. Per such hash there are 20
        bytes here: a count and a second hash, which tells two paths of one hash apart.
    """

    def __init__(self, repeated: NDArray[np.uint64]) -> None:
        self._repeated = repeated
        self._counts = np.zeros(len(repeated), np.int32)
        self._seconds = np.zeros(len(repeated), np.uint64)
        self._strays: dict[str, int] = {}

    def keys(self, paths: pa.Array) -> pa.Array:
        """Return (row,) keys of the next rows."""
        if not len(self._repeated) or not len(paths):
            return paths
        keys = paths.to_numpy(zero_copy_only=False)
        hashes = hashed(keys)
        slots = np.searchsorted(self._repeated, hashes).clip(max=len(self._repeated) - 1)
        rows = np.flatnonzero(self._repeated[slots] == hashes)
        seconds = hashed(keys[rows], _SECOND)
        for row, slot, second in zip(rows, slots[rows], seconds, strict=True):
            count = self._count(slot, second, keys[row])
            keys[row] = numbered_key(keys[row], count)
        return pa.array(keys, pa.string())

    def _count(self, slot: np.intp, second: np.uint64, path: str) -> int:
        if not self._counts[slot]:
            self._seconds[slot] = second
        if self._seconds[slot] == second:
            self._counts[slot] += 1
            return int(self._counts[slot])
        self._strays[path] = self._strays.get(path, 0) + 1  # another path with this hash
        return self._strays[path]


def numbered_key(path: str, occurrence: int) -> str:
    r"""Return the key of the n-th row of a path.

    >>> numbered_key("a.jpg", 1), numbered_key("a.jpg", 2)
    ('a.jpg', 'a.jpg\t2')
    """
    return path if occurrence == 1 else f"{path}\t{occurrence}"


def first_repetition(
    keys: Iterable[tuple[int, pa.Array]], repeated: NDArray[np.uint64]
) -> tuple[str, int, int] | None:
    """Return a key that two rows have, and the rows; ``None`` if only hashes agreed.

    Parameters
    ----------
    keys
        First row and (row,) keys of each piece of the table.
    repeated
        Sorted hashes that come more than once. Only keys with one of these are held.
    """
    seen: dict[str, int] = {}
    for start, piece in keys:
        texts = piece.to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(np.isin(hashed(texts), repeated)):
            first = seen.setdefault(texts[row], start + int(row))
            if first != start + row:
                return texts[row], first, start + int(row)
    return None


def sampled(start: int, rows: int) -> NDArray[np.uint64]:
    """Return (row,) a pseudo-random number of each row: splitmix64 of the row's own number.

    References
    ----------
    Steele, Lea, Flood: Fast splittable pseudorandom number generators.
    doi:10.1145/2714064.2660195
    """
    x = (np.arange(start, start + rows, dtype=np.uint64) + np.uint64(1)) * np.uint64(
        0x9E3779B97F4A7C15
    )
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def first_missing(texts: pa.Array) -> int | None:
    """Return the first row whose text is missing or empty."""
    place = pc.index(pc.equal(texts.fill_null(""), ""), pa.scalar(True)).as_py()
    return None if place < 0 else int(place)
