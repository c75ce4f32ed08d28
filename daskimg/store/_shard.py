"""One shard as one object: samples are decoded straight into it, then it is put once.

A Zarr v3 shard that is split on its first axis only is contiguous: chunks, each followed by
its crc32c, then an index of (offset, bytes) pairs, then the index's crc32c. Going through
zarr-python's sharding codec instead would cost a read of the old object, a quarter more CPU
and several times the memory.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from daskimg.checksums import crc32c
from daskimg.store._codecs import encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from daskimg.plan import ArraySpec, Layout

_CRC = 4
_ABSENT = 2**64 - 1  # offset and length of a chunk that lies behind the array's end


class ShardBuffer:
    """The memory of one shard: a slot for each sample, zero until it is written.

    Parameters
    ----------
    spec
        The array.
    layout
        Its shards and chunks.
    samples
        Samples in this shard: fewer than ``layout.shard`` in the last one.
    """

    def __init__(self, spec: ArraySpec, layout: Layout, samples: int) -> None:
        self.spec = spec
        self._dtype = np.dtype(spec.dtype).newbyteorder("<")
        self._encode = None if layout.codec == "none" else encoder(layout.codec)
        self._layout = layout
        self._samples = samples
        self._chunk_bytes = layout.chunk * spec.sample_bytes
        self._chunks = -(-samples // layout.chunk)
        # np.zeros takes zeroed pages as they are touched: no pass over the memory
        self._memory: NDArray[np.uint8] = np.zeros(
            self._chunks * (self._chunk_bytes + _CRC) + self._index_bytes, np.uint8
        )

    @property
    def _index_bytes(self) -> int:
        return 16 * (self._layout.shard // self._layout.chunk) + _CRC

    def slot(self, sample: int) -> NDArray[Any]:
        """Return the writable view of one sample, counted from the shard's first."""
        chunk, place = divmod(sample, self._layout.chunk)
        start = chunk * (self._chunk_bytes + _CRC) + place * self.spec.sample_bytes
        return self._view(start, self.spec.shape)

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Yield views of the chunks' samples, without what pads the last chunk."""
        for chunk in range(self._chunks):
            samples = min(self._layout.chunk, self._samples - chunk * self._layout.chunk)
            start = chunk * (self._chunk_bytes + _CRC)
            yield self._view(start, (samples, *self.spec.shape))

    def _view(self, start: int, shape: tuple[int, ...]) -> NDArray[Any]:
        return np.ndarray(shape, self._dtype, self._memory.data, start)

    def finish(self) -> memoryview:
        """Return the object's bytes; the buffer is not to be written any more."""
        return self._sealed() if self._encode is None else self._compressed(self._encode)

    def _sealed(self) -> memoryview:
        length = self._chunk_bytes
        index = self._empty_index()
        for chunk in range(self._chunks):
            start = chunk * (length + _CRC)
            end = start + length
            self._memory[end : end + _CRC] = _crc32c(self._memory[start:end])
            index[chunk] = start, length + _CRC
        self._memory[-self._index_bytes :] = _index_with_crc(index)
        return self._memory.data

    def _compressed(self, encode: Any) -> memoryview:
        parts, end = [], 0
        index = self._empty_index()
        for chunk in range(self._chunks):
            start = chunk * (self._chunk_bytes + _CRC)
            # In its own dtype: Blosc shuffles the bits of whole elements.
            raw = self._memory[start : start + self._chunk_bytes]
            content = encode(np.frombuffer(raw, self._dtype))
            parts += [content, _crc32c(content).tobytes()]
            index[chunk] = end, len(content) + _CRC
            end += len(content) + _CRC
        return memoryview(b"".join([*parts, _index_with_crc(index).tobytes()]))

    def _empty_index(self) -> NDArray[np.uint64]:
        chunks = self._layout.shard // self._layout.chunk
        return np.full((chunks, 2), _ABSENT, np.dtype("<u8"))


def small_object(values: NDArray[Any], chunk: int) -> bytes:
    """Return one chunk of a small array as an object: padded, zstd, crc32c."""
    padded = np.zeros((chunk, *values.shape[1:]), values.dtype.newbyteorder("<"))
    padded[: len(values)] = values
    content = bytes(encoder("zstd")(padded))
    return content + _crc32c(content).tobytes()


def content_hash(content: bytes | memoryview) -> str:
    """Return the sha256 of an object, as ledger and commit keep it."""
    return hashlib.sha256(content).hexdigest()


def stamp(content: bytes | memoryview) -> tuple[int, str]:
    """Return what ledger and commit keep of an object: its bytes and its sha256."""
    return len(content), content_hash(content)


def checksum(content: bytes | memoryview) -> str:
    """Return the CRC32C of an object in base64: what Google's listings tell of it."""
    return base64.b64encode(crc32c(content).to_bytes(4, "big")).decode()


def _crc32c(content: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array([crc32c(content)], "<u4").view(np.uint8)


def _index_with_crc(index: NDArray[np.uint64]) -> NDArray[np.uint8]:
    content = index.tobytes()
    return np.concatenate([np.frombuffer(content, np.uint8), _crc32c(content)])
