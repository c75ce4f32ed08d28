"""Objects behind http(s): one plain GET each, redirects followed, hashes checked."""

from __future__ import annotations

from typing import Any

from daskimg.errors import SampleError
from daskimg.fetch._bodies import body_of, timeouts
from daskimg.fetch._integrity import promise_of
from daskimg.fetch._plain import Plain
from daskimg.fetch._retries import retried, status_fault

_GONE = (404, 410)
_BEYOND = 416  # nothing of the range asked for is there


class Web(Plain):
    """Web servers, through the session that fsspec holds."""

    async def read(
        self,
        path: str,
        start: int | None,
        stop: int | None,
        limit: int | None,
        generation: str | None = None,  # noqa: ARG002  a page has none
    ) -> bytes:
        """Return an object, or the part of it from ``start`` to ``stop``."""
        if start is not None and start == stop:
            return b""

        async def once() -> bytes:
            async with await self._asked(path, range_of(start, stop)) as answer:
                if answer.status == _BEYOND:
                    return b""
                _refuse(answer)
                return await body_of(answer, limit)

        return await retried(once, path, "read")

    async def size(self, path: str) -> int | None:
        """Return an object's bytes, or ``None`` where the server does not say."""

        async def once() -> int | None:
            async with await self._asked(path, range_of(0, 1)) as answer:
                total = answer.headers.get("Content-Range", "").rpartition("/")[2]
                if answer.status in (206, _BEYOND) and total.isdigit():
                    return int(total)
                _refuse(answer)
                return promise_of(answer.status, answer.headers).length

        return await retried(once, path, "meta")

    async def _asked(self, url: str, ranges: dict[str, str]) -> Any:
        sent = dict(self.system.kwargs)
        headers = {**sent.pop("headers", {}), **ranges}
        session = await self.system.set_session()
        address = self.system.encode_url(url)
        return session.get(address, headers=headers, **{"timeout": timeouts(), **sent})


def range_of(start: int | None, stop: int | None) -> dict[str, str]:
    """Return the header that asks for a part; none for the whole.

    >>> range_of(0, 4), range_of(-3, None), range_of(None, None)
    ({'Range': 'bytes=0-3'}, {'Range': 'bytes=-3'}, {})
    """
    if start is None and stop is None:
        return {}
    if start is not None and start < 0:
        return {"Range": f"bytes={start}"}
    return {"Range": f"bytes={start or 0}-{'' if stop is None else stop - 1}"}


def _refuse(answer: Any) -> None:
    if answer.status in _GONE:
        raise FileNotFoundError(str(answer.status))
    if answer.status == 403:
        raise SampleError("unreadable", "the server refuses it (403)")
    if answer.status >= 400:
        message = answer.reason or ""
        raise status_fault(answer.status, message, answer.headers.get("Retry-After"))
