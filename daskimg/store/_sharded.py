"""Reading a sharded array without zarr: the index once, then chunks, each by its crc32c.

What is read is what ``_shard`` and ``_metadata`` write. zarr-python reads the same bytes, ten
times slower, and takes a missing shard for zeros.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from daskimg.errors import StoreError
from daskimg.fetch import is_url
from daskimg.store._codecs import decode_into
from daskimg.store._layout import chunk_name
from daskimg.store._maps import mapped_file
from daskimg.streams import find_damaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from daskimg.fetch import Folder
    from daskimg.options import Codec
    from daskimg.store._open import Committed

_CRC = 4
_CODECS = {"zstd": "zstd", "blosc": "lz4"}


@dataclass(frozen=True)
class Sharded:
    """A sharded array of a finished store.

    Attributes
    ----------
    folder, name
        The store, and the array's name in it, as ``train/image``.
    shape, dtype
        Of the whole array; samples come first.
    shard, chunk
        Samples in each.
    codec
        How chunks are compressed.
    stamps
        Bytes and sha256 of each shard, as they were committed.
    """

    folder: Folder
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    shard: int
    chunk: int
    codec: Codec
    stamps: tuple[tuple[int, str], ...]

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample, uncompressed."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def chunks(self) -> int:
        """Number of chunks in all; every shard but the last has equally many."""
        return -(-self.shape[0] // self.chunk)

    @property
    def chunks_per_shard(self) -> int:
        """Number of chunks in every shard but the last, which may have fewer."""
        return self.shard // self.chunk

    @property
    def plain_bytes(self) -> int:
        """Bytes of a chunk that is not compressed, its crc32c included."""
        return self.chunk * self.sample_bytes + _CRC

    @property
    def local(self) -> bool:
        """Whether its shards are files of this machine."""
        return not is_url(self.folder.url)

    @property
    def mappable(self) -> bool:
        """Whether its samples lie in local files as they are."""
        return self.local and self.codec == "none"

    @property
    def unit(self) -> int:
        """Samples that are best read and decoded together.

        A file gives any chunk at once; a request costs so much that a whole shard is better.
        """
        return self.chunk if self.local else self.shard

    def at_size(self, height: int, width: int) -> Sharded:
        """Return the array as it would be, were its pictures of another size."""
        return replace(self, shape=(self.shape[0], height, width, *self.shape[3:]))

    @cached_property  # there may be tens of thousands
    def largest(self) -> int:
        """Bytes of the largest shard, as it is stored."""
        return max(size for size, _ in self.stamps)

    def mapped(self, shard: int) -> NDArray[np.uint8]:
        """Return the read-only bytes of a shard that is a local file, mapped.

        Raises
        ------
        StoreError
            If it is missing, or not as long as it was committed.
        """
        return self._whole(shard, lambda name: mapped_file(Path(self.folder.url, name)))

    def received(
        self, shard: int, memory: Callable[[], NDArray[np.uint8]], *, check: bool
    ) -> NDArray[np.uint8]:
        """Return the read-only bytes of a shard of a bucket.

        Parameters
        ----------
        shard
            Its number.
        memory
            Gives (``largest``,) uint8 to receive it in, the same each time; not called for
            storage whose objects come in memory of their own.
        check
            Whether its chunks are compared with their crc32c, or only all of it with the hash
            that the server gives, if it gives one.

        Raises
        ------
        StoreError
            If it is missing, not as long as it was committed, or damaged.
        """
        if check:
            # What is damaged lies there so, or was damaged on its way: the server's hash tells.
            with suppress(StoreError):
                return self._checked(shard, self._read(shard, memory, checked=False))
        content = self._read(shard, memory, checked=True)
        return self._checked(shard, content) if check else content

    def _read(
        self, shard: int, memory: Callable[[], NDArray[np.uint8]], *, checked: bool
    ) -> NDArray[np.uint8]:
        def room(size: int) -> memoryview:
            if size > self.largest:
                raise self._of_size(shard, size)
            return memory().data[:size]

        def read(name: str) -> NDArray[np.uint8]:
            content = self.folder.read_into(name, room, checked=checked)
            return np.frombuffer(content.toreadonly(), np.uint8)

        return self._whole(shard, read)

    def _whole(self, shard: int, read: Callable[[str], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Return a shard's bytes, if they are there, and as many as were committed."""
        try:
            content = read(self._object(shard))
        except FileNotFoundError:
            raise self.damage(shard, self._span(shard), "is missing") from None
        if len(content) != self.stamps[shard][0]:
            raise self._of_size(shard, len(content))
        return content

    def _of_size(self, shard: int, size: int) -> StoreError:
        fault = f"has {size:,} bytes, not {self.stamps[shard][0]:,}"
        return self.damage(shard, self._span(shard), fault)

    def index(self, shard: int, content: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return (chunk, 2): where in the shard each of its chunks begins, and its bytes.

        Raises
        ------
        StoreError
            If the index is damaged, or points beyond the shard.
        """
        start = len(content) - _CRC - 16 * self.chunks_per_shard
        first, stop = self._span(shard)
        if start < 0 or not _is_sound(content[max(start, 0) :]):
            raise self.damage(shard, (first, stop), "has a damaged index")
        chunks = -(-(stop - first) // self.chunk)
        pairs = content[start:-_CRC].view("<i8").reshape(-1, 2)[:chunks]
        begin, length = pairs.T
        long_enough = length == self.plain_bytes if self.codec == "none" else length >= _CRC
        # Their sum might wrap; the difference cannot, of what begins within the shard.
        fits = (begin >= 0) & (begin <= start) & long_enough & (length <= start - begin)
        if not fits.all():
            raise self.damage(shard, (first, stop), "has an index that points elsewhere")
        return pairs.astype(np.int64)

    def _checked(self, shard: int, content: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a shard's bytes if its index and all chunks are as they were written."""
        first = shard * self.chunks_per_shard
        self.check_within(first, content, self.index(shard, content))
        return content

    def check_within(
        self, first: int, content: NDArray[np.uint8], pairs: NDArray[np.int64]
    ) -> None:
        """Refuse chunks of a shard's content, from number ``first`` on: see ``check``.

        ``pairs`` are theirs, of the index.
        """
        begins, lengths = pairs.T
        chunks, addresses = first + np.arange(len(pairs)), content.ctypes.data + begins
        for same in np.unique(lengths).tolist():  # one, unless they are compressed
            which = lengths == same
            self.check(chunks[which], addresses[which], same)

    def check(self, chunks: NDArray[np.int64], addresses: NDArray[np.int64], size: int) -> None:
        """Refuse chunks whose bytes, crc32c included, are not as they were written.

        Parameters
        ----------
        chunks : (chunk,) int64
            Their numbers.
        addresses : (chunk,) int64
            Where they begin in memory.
        size
            Bytes of each, as it is stored.

        Raises
        ------
        StoreError
            Naming array, object and samples of one that is damaged.
        """
        damaged = find_damaged(addresses, size)
        if damaged >= 0:
            raise self._chunk_damage(int(chunks[damaged]), "has a damaged chunk (crc32c)")

    def decode(self, chunk: int, encoded: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Decode a compressed chunk into ``out``, (byte,) uint8, padding included.

        Raises
        ------
        StoreError
            If that cannot be done.
        """
        try:
            decode_into(self.codec, encoded[:-_CRC], out)
        except (RuntimeError, ValueError):  # what numcodecs raises where it is not checked
            raise self._chunk_damage(chunk, "has a chunk that cannot be decoded") from None

    def _chunk_damage(self, chunk: int, fault: str) -> StoreError:
        span = chunk * self.chunk, min(self.shape[0], (chunk + 1) * self.chunk)
        return self.damage(chunk // self.chunks_per_shard, span, fault)

    def damage(self, shard: int, samples: tuple[int, int], fault: str) -> StoreError:
        """Return the error that names array, object and samples."""
        first, stop = samples
        return StoreError(
            f"{self.folder.url}: {self._object(shard)} {fault}, so samples {first} to {stop - 1} "
            f"of {self.name} cannot be read; run the command that builds the store again to "
            f"repair it (daskimg verify lists all)"
        )

    def _object(self, shard: int) -> str:
        return chunk_name(self.name, shard, len(self.shape))

    def _span(self, shard: int) -> tuple[int, int]:
        return shard * self.shard, min(self.shape[0], (shard + 1) * self.shard)


def open_sharded(committed: Committed, name: str) -> Sharded | None:
    """Return an array by its name in the store, or ``None`` if it is not sharded.

    Raises
    ------
    StoreError
        If its metadata is not as daskimg writes it.
    """
    folder = committed.folder
    try:
        given = json.loads(folder.read(f"{name}/zarr.json"))
        if given["codecs"][0]["name"] != "sharding_indexed":
            return None
        shape, shard = (
            tuple(given["shape"]),
            given["chunk_grid"]["configuration"]["chunk_shape"][0],
        )
        inner = given["codecs"][0]["configuration"]
        dtype = np.dtype(given["data_type"]).newbyteorder("<")
        chunk, codec = inner["chunk_shape"][0], _codec_of(inner["codecs"])
        names = [chunk_name(name, i, len(shape)) for i in range(-(-shape[0] // shard))]
        stamps = tuple(committed.commit.objects[each] for each in names)
    except (FileNotFoundError, ValueError, KeyError, TypeError, IndexError) as error:
        raise StoreError(
            f"{folder.url}: the metadata of {name} is damaged ({error!r}); "
            f"run the command that builds it again"
        ) from error
    return Sharded(folder, name, shape, dtype, shard, chunk, codec, stamps)


def _codec_of(codecs: list[dict[str, Any]]) -> Codec:
    """Return how chunks are compressed; ``ValueError`` if not in one of our ways."""
    first, *compressors, last = [codec["name"] for codec in codecs]
    if (first, last) != ("bytes", "crc32c") or len(compressors) > 1:
        raise ValueError(f"codecs {[codec['name'] for codec in codecs]}")
    return cast("Codec", _CODECS[compressors[0]] if compressors else "none")


def _is_sound(content: NDArray[np.uint8]) -> bool:
    """Tell whether bytes end in the crc32c of those before."""
    return len(content) >= _CRC and find_damaged(np.array([content.ctypes.data]), len(content)) < 0
