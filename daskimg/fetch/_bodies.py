"""Bodies of HTTP answers: read within a limit and a time, and checked."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from daskimg.errors import SampleError
from daskimg.fetch._integrity import check, check_length, promise_of
from daskimg.fetch._options import configured
from daskimg.fetch._traffic import meter

if TYPE_CHECKING:
    import aiohttp

    from daskimg.fetch._integrity import Promise

Room = Callable[[int], memoryview]
"""Gives memory for so many bytes that are about to arrive; for the same again after a fault."""

_SLOWEST = 1 << 19  # bytes a second below which a line counts as dead
_LARGE = 1 << 20  # bytes whose hash is worth a thread: other transfers share the loop


def refuse_large(size: int, max_bytes: int) -> None:
    """Refuse a source of more bytes than the limit."""
    if size > max_bytes:
        raise SampleError("bytes", f"more than the limit of {max_bytes:,} bytes")


def timeouts() -> Any:
    """Return the time-outs of a request; its body as a whole has ``patience``."""
    import aiohttp  # here: who reads local files only need not wait for its import

    options = configured()
    return aiohttp.ClientTimeout(
        total=None, sock_connect=options.connect_seconds, sock_read=options.read_seconds
    )


def patience(size: int) -> float:
    """Return the seconds within which so many bytes must have gone over the line.

    A limit on silence alone is not enough: nothing is heard while a body is sent, and a line
    that drips is never silent.
    """
    options = configured()
    return options.connect_seconds + options.read_seconds + size / _SLOWEST


class Body(io.BytesIO):
    """What is sent: the time for it ends early when none of it goes over the line any more."""

    def watch(self, alarm: asyncio.Timeout) -> None:
        """Have an alarm, which is set to the end of its patience, go off where it stalls."""
        self._alarm = alarm
        self._end = alarm.when()

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next part to be sent: the one before has been taken."""
        if self._end is not None:
            now = asyncio.get_running_loop().time()
            self._alarm.reschedule(min(self._end, now + patience(0)))
        return super().read(size)


def once_each(session: Any) -> Any:
    """Keep a session of aiohttp from sending a request again by itself: uncounted, at once."""
    session._retry_connection = False
    return session


async def body_of(answer: aiohttp.ClientResponse, limit: int | None = None) -> bytes:
    """Return the bytes of an answer.

    Raises
    ------
    SampleError
        If there are more than ``limit``: seen before they are read where the server says it.
    Fault
        If they are not those which the server promised.
    """
    promise = promise_of(answer.status, answer.headers)
    if limit is not None and promise.length is not None:
        refuse_large(promise.length, limit)
    known = None if promise.length is None else patience(promise.length)
    async with asyncio.timeout(known):
        content = await _content(answer, None if promise.length is not None else limit)
    meter().moved(received=len(content))
    await _compare(content, promise)
    return content


async def body_into(answer: aiohttp.ClientResponse, room: Room, *, checked: bool) -> memoryview:
    """Return the bytes of an answer, in memory that is there already if their number is known.

    Fresh memory for each large object, and one more copy of it, cost as much as receiving it.

    Parameters
    ----------
    answer
        Of which only the head has arrived.
    room
        Gives the memory.
    checked
        Whether the bytes are compared with the server's hash; if not, whoever asks does it.

    Raises
    ------
    Fault
        If they are not those which the server promised.
    """
    promise = promise_of(answer.status, answer.headers)
    if promise.length is None:
        return memoryview(await body_of(answer))
    content, size = room(promise.length), 0
    async with asyncio.timeout(patience(promise.length)):
        async for part in answer.content.iter_any():
            start, size = size, size + len(part)
            if size > promise.length:  # it was the length of something else
                break
            content[start:size] = part
    meter().moved(received=size)
    check_length(size, promise)
    if checked:
        await _compare(content, promise)
    return content


async def _compare(content: bytes | memoryview, promise: Promise) -> None:
    """Refuse what has arrived if it is not what was promised."""
    if len(content) > _LARGE and promise.has_hash:
        await asyncio.to_thread(check, content, promise)
    else:
        check(content, promise)


async def _content(answer: aiohttp.ClientResponse, limit: int | None) -> bytes:
    if limit is None:
        return await answer.read()
    content = bytearray()
    async for part in answer.content.iter_any():  # its length is not known beforehand
        content += part
        refuse_large(len(content), limit)
    return bytes(content)
