"""A store's objects for zarr, through our own door: its time-outs, retries, checks, options.

zarr's ``FsspecStore`` would open a second connection, which waits for ever, checks no hash, knows
nothing of the options and ends with a traceback. This one travels as a URL.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zarr.abc.store import (
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)

from daskimg.errors import SampleError
from daskimg.fetch import begin_read, open_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from typing import NoReturn

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


class RemoteStore(Store):
    """The objects below a URL, to be read.

    Parameters
    ----------
    url
        Of the Zarr group at the top.
    """

    def __init__(self, url: str) -> None:
        super().__init__(read_only=True)
        self.url = url

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteStore) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"RemoteStore({self.url!r})"

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return an object, or a part of it; ``None`` if there is none."""
        start, stop = _span(byte_range)
        try:
            content = await asyncio.wrap_future(begin_read(f"{self.url}/{key}", start, stop))
        except SampleError as error:
            if error.reason != "missing":
                raise
            return None
        return prototype.buffer.from_bytes(content)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of objects, asked for at once."""
        return list(await asyncio.gather(*(self.get(k, prototype, r) for k, r in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Tell whether there is an object."""
        return await asyncio.to_thread(open_folder(self.url).size, key) is not None

    async def list(self) -> AsyncIterator[str]:
        """Yield the names of all objects."""
        async for name in self.list_prefix(""):
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names that begin with a prefix."""
        above = prefix.rpartition("/")[0]
        for name in await asyncio.to_thread(open_folder(self.url).sizes, above):
            if name.startswith(prefix):
                yield name

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield what is directly below a prefix: objects and folders."""
        place = f"{self.url}/{prefix}".rstrip("/")
        for name in await asyncio.to_thread(open_folder(place).names):
            yield name

    @property
    def supports_listing(self) -> bool:
        """Whether names can be listed: they can."""
        return True

    @property
    def supports_writes(self) -> bool:
        """Whether anything can be written: a finished store is only read."""
        return False

    @property
    def supports_deletes(self) -> bool:
        """Whether anything can be deleted: a finished store is only read."""
        return False

    async def set(self, key: str, value: Buffer) -> NoReturn:  # noqa: ARG002
        """Refuse to write."""
        self._check_writable()
        raise AssertionError

    async def delete(self, key: str) -> NoReturn:  # noqa: ARG002
        """Refuse to delete."""
        self._check_writable()
        raise AssertionError


def _span(asked: ByteRequest | None) -> tuple[int | None, int | None]:
    """Return where to start and to stop; a start below zero counts from the end."""
    if isinstance(asked, RangeByteRequest):
        return asked.start, asked.end
    if isinstance(asked, OffsetByteRequest):
        return asked.offset, None
    if isinstance(asked, SuffixByteRequest):
        return -asked.suffix, None
    return None, None
