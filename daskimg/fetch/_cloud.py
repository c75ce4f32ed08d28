"""Google Cloud Storage: gcsfs's addresses, listings and credentials; requests of our own.

gcsfs waits for ever, does not read ``Retry-After``, repeats on rules of its own and checks no
hash. So its one method that sends a request is replaced, and objects go in and out in here.
"""

from __future__ import annotations

import asyncio
import io
import json as json_text
import re
import uuid
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from gcsfs.core import GCSFileSystem
from gcsfs.retry import validate_response

from daskimg.errors import OptionError, TransportError
from daskimg.fetch._bodies import Body, body_into, body_of, once_each, patience, timeouts
from daskimg.fetch._integrity import crc32c_of
from daskimg.fetch._permissions import RefusedError, permission_of, refused
from daskimg.fetch._plain import Plain
from daskimg.fetch._retries import Fault, retried, status_fault
from daskimg.fetch._system import BeyondError, Listed, Page
from daskimg.fetch._systems import in_loop
from daskimg.fetch._traffic import meter
from daskimg.fetch._web import range_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from daskimg.fetch._bodies import Room
    from daskimg.fetch._system import Content
    from daskimg.fetch._traffic import Kind

Taken = TypeVar("Taken", bytes, memoryview)

_WRITER = "daskimg-writer"  # metadata of a created object: tells our own from another's
_UNLIKE = re.compile(r"(crc32c|md5).*match", re.IGNORECASE | re.DOTALL)
_LATER = (408, 429)
_BEYOND = 416
_AT_ONCE = 64  # deletions under way


class CloudFiles(GCSFileSystem):  # type: ignore[misc]  # gcsfs has no types
    """gcsfs, with requests that end, are repeated in one place, and are checked."""

    @staticmethod
    def close_session(loop: Any, session: Any, asynchronous: bool = False) -> None:
        """Close the connections where they live: gcsfs does it from whatever thread ends."""
        if loop is None or not loop.is_running() or in_loop(loop):
            GCSFileSystem.close_session(loop, session, asynchronous)
            return
        with suppress(Exception):  # at the end of the process, and it need not succeed
            asyncio.run_coroutine_threadsafe(session.close(), loop).result(1.0)

    async def _set_session(self) -> Any:
        if self._session is None and not getattr(self, "_use_client_cert", False):
            import aiohttp

            given: dict[str, Any] = self.session_kwargs  # type: ignore[has-type]
            if "connector" not in given:  # reading ahead has a limit of its own
                self.session_kwargs = {**given, "connector": aiohttp.TCPConnector(limit=0)}
        return once_each(await super()._set_session())

    async def _request(
        self, method: str, path: str, *args: Any, headers: Any = None, **sent: Any
    ) -> tuple[int, Any, Any, bytes]:
        """Send what gcsfs wants sent; what it does not take as a word goes into the query."""
        body = {name: sent.pop(name, None) for name in ("json", "data")}
        query = {n: v for n, v in sent.items() if n not in ("cache_type", "cache_source")}
        url = self._format_path(path, args)

        async def once() -> tuple[int, Any, Any, bytes]:
            return await self.exchange(method, url, headers=headers, query=query, **body)

        try:
            return await retried(
                once, _told(path, args), _kind(method, url, query), self._location
            )
        except FileNotFoundError:
            if method.upper() != "DELETE":
                raise
            return 204, {}, None, b""  # gone: by another, or by us before an answer was lost

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Any = None,
        query: Any = None,
        taken: Callable[[Any], Awaitable[Any]] = body_of,
        **body: Any,
    ) -> tuple[int, Any, Any, Any]:
        """Send one request, once; return status, headers, request and the body, as it is taken."""
        await self._set_session()
        data = body.pop("data", None)
        if hasattr(data, "seek"):
            data.seek(0)
        request = self.session.request(
            method=method,
            url=url,
            params=self._get_params(query or {}),
            headers=self._get_headers(headers),
            timeout=self.requests_timeout or timeouts(),
            data=data,
            **body,
        )
        alarm = asyncio.timeout(patience(_size_of(data)))
        if isinstance(data, Body):
            data.watch(alarm)
        async with alarm, request as r:
            alarm.reschedule(None)  # what comes back has limits of its own
            meter().moved(sent=_size_of(data))
            if r.status >= 400:
                _refuse(r.status, r.headers, await r.read(), method, url)
            return r.status, r.headers, r.request_info, await taken(r)


class Cloud(Plain):
    """Buckets: whole objects, verified both ways; creation only where there was nothing."""

    async def read(
        self,
        path: str,
        start: int | None,
        stop: int | None,
        limit: int | None,
        generation: str | None = None,
    ) -> bytes:
        """Return an object, or the part of it from ``start`` to ``stop``."""
        if start is not None and start == stop:
            return b""
        headers = range_of(start, stop)
        query = {} if generation is None else {"generation": generation}
        try:
            taken = partial(body_of, limit=limit)
            return await self._got(path, taken, headers=headers, query=query)
        except BeyondError:
            return b""

    async def read_into(self, path: str, room: Room, *, checked: bool) -> memoryview:
        """Return an object, in memory that is given for it."""
        return await self._got(path, partial(body_into, room=room, checked=checked))

    async def _got(
        self, path: str, taken: Callable[[Any], Awaitable[Taken]], **request: Any
    ) -> Taken:
        """Return the body of an object, as it is taken."""
        url = self.system.url(path)

        async def once() -> Taken:
            answer = await self.system.exchange("GET", url, taken=taken, **request)
            content: Taken = answer[3]
            return content

        return await retried(once, f"gs://{path}", "read", self.system._location)

    async def write(self, path: str, content: Content, *, create: bool) -> None:
        """Write an object in one request, which the server refuses if its crc32c differs."""
        bucket, name, _ = self.system.split_path(path)
        writer = uuid.uuid4().hex
        metadata = {"name": name, "crc32c": crc32c_of(content)}
        if create:
            metadata["metadata"] = {_WRITER: writer}
        try:
            await self.upload(bucket, metadata, content, "0" if create else None)
        except FileExistsError:
            # A lost answer to our own write comes back as "exists": our mark is on it.
            found = await self.ask("get_object", path)
            if (found.get("metadata") or {}).get(_WRITER) != writer:
                raise

    async def find(self, path: str) -> Listed:
        """Return what a listing would tell of an object."""
        facts = await self.ask("get_object", path)
        sums = facts.get("crc32c"), facts.get("md5Hash")
        return Listed(path, int(facts["size"]), str(facts["generation"]), *sums)

    async def replace(self, path: str, content: Content, generation: str | None) -> None:
        """Write an object whole in the place of one writing of it, and no other."""
        bucket, name, _ = self.system.split_path(path)
        metadata = {"name": name, "crc32c": crc32c_of(content)}
        await self.upload(bucket, metadata, content, generation)

    async def upload(
        self, bucket: str, metadata: dict[str, Any], content: Content, replaced: str | None
    ) -> None:
        """Write an object of some metadata, if what it replaces has the right generation.

        ``None`` replaces any, and ``0`` none; ``FileExistsError`` if it would not be that one.
        """
        kind, body = _multipart(metadata, content)
        query = {"uploadType": "multipart", "ifGenerationMatch": replaced}
        url = f"{self.system._location}/upload/storage/v1/b/{quote(bucket, safe='')}/o"

        async def once() -> None:
            answer = await self.system.exchange(
                "POST",
                url,
                headers={"Content-Type": kind},
                query=query,
                data=Body(body),
            )
            _check_upload(answer[3], len(content), metadata["crc32c"])

        await retried(once, f"gs://{bucket}/{metadata['name']}", "write", self.system._location)

    async def copy(self, path: str, other: str, content: Content) -> None:
        """Have the service copy an object, in as many requests as it takes; nothing is sent."""
        names = [part for place in (path, other) for part in self.system.split_path(place)[:2]]
        token: str | None = None
        while True:
            answer = await self.system._call(
                "POST",
                "b/{}/o/{}/rewriteTo/b/{}/o/{}",
                *names,
                rewriteToken=token,
                headers={"Content-Type": "application/json"},
                json_out=True,
            )
            if answer["done"]:
                break
            token = answer["rewriteToken"]
        found = answer["resource"]
        if found.get("crc32c", "") != crc32c_of(content):
            told = f"the service copied other bytes than were read of gs://{path}"
            raise TransportError(f"gs://{other}", told)

    async def size(self, path: str) -> int | None:
        """Return an object's bytes."""
        return int((await self.ask("get_object", path))["size"])

    async def remove(self, path: str) -> None:
        """Delete an object and all below it: a listing, and a request for each.

        gcsfs asks four times for what a name may be, and its batches report faults in parts.
        """
        bucket, key, _ = self.system.split_path(path)
        found = [name async for name in self._names(bucket, key)]
        for start in range(0, len(found), _AT_ONCE):
            part = found[start : start + _AT_ONCE]
            await asyncio.gather(*(self.ask("rm_file", f"{bucket}/{name}") for name in part))

    async def is_folder(self, path: str) -> bool:
        """Tell whether there is anything below a path: one request, where gcsfs has four."""
        bucket, key, _ = self.system.split_path(path)
        within = f"{key.rstrip('/')}/" if key else ""
        return bool((await self.listed(bucket, within, "name", None, most=1)).get("items"))

    async def page(self, folder: str, beginning: str, *, flat: bool, token: str | None) -> Page:
        """Return a page of a listing; objects that stand for a folder are left out."""
        bucket, key, _ = self.system.split_path(folder)
        within = f"{key.rstrip('/')}/" if key else ""
        page = await self.listed(
            bucket, within + beginning, "name,size,generation,crc32c", token, flat=flat
        )
        skip = len(within)
        objects = [
            Listed(each["name"][skip:], int(each["size"]), each["generation"], each.get("crc32c"))
            for each in page.get("items", ())
            if not each["name"].endswith("/")
        ]
        folders = [name[skip:].rstrip("/") for name in page.get("prefixes", ())]
        return Page(objects, page.get("nextPageToken"), folders)

    async def listed(
        self,
        bucket: str,
        prefix: str,
        of_each: str,
        token: str | None,
        *,
        flat: bool = False,
        most: int | None = None,
    ) -> dict[str, Any]:
        """Return a page of a listing as the service gives it: so much of each object."""
        query = {"prefix": prefix or None, "pageToken": token, "delimiter": "/" if flat else None}
        query["maxResults"] = None if most is None else str(most)
        fields = f"items({of_each}),prefixes,nextPageToken"
        found: dict[str, Any] = await self.system._call(
            "GET", "b/{}/o", bucket, fields=fields, json_out=True, **query
        )
        return found

    async def _names(self, bucket: str, key: str) -> AsyncIterator[str]:
        """Yield the names of an object and of those below it."""
        token = None
        while True:
            page = await self.listed(bucket, key, "name", token)
            for each in page.get("items", ()):
                if f"{each['name']}/".startswith(f"{key}/"):  # not what only begins like it
                    yield each["name"]
            token = page.get("nextPageToken")
            if token is None:
                return

    async def facts(self, bucket: str) -> dict[str, Any]:
        """Return what a bucket says of itself: where it is, and its storage class."""
        found: dict[str, Any] = await self.system._call(
            "GET", "b/{}", bucket, fields="location,storageClass", json_out=True
        )
        return found

    async def refused(self, path: str, wanted: Sequence[str]) -> list[RefusedError]:
        """Return the refusals of those of some permissions that are not granted at a path.

        Raises
        ------
        FileNotFoundError
            If there is no such bucket.
        """
        return await refused(self, path, wanted)

    async def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Return what a method of gcsfs returns; each of its requests is repeated alone."""
        return await getattr(self.system, f"_{name}")(*arguments, **options)


def _refuse(status: int, headers: Any, content: bytes, method: str, url: str) -> None:
    if status == _BEYOND:
        raise BeyondError
    message = _message(content)
    if status >= 500 or status in _LATER:
        raise status_fault(status, message, headers.get("Retry-After"))
    if status == 401 and "Invalid Credentials" in message:
        raise Fault("credentials", f"401 {message}")  # a token that has just expired
    if status in (401, 403):
        raise RefusedError(permission_of(method, url, message), message)
    if status == 400 and _UNLIKE.search(message):
        raise Fault("corrupt", f"400 {message}")  # what was sent is not what arrived
    if status == 400 and "requester pays" in message:
        raise OptionError("the bucket's requester pays; set the storage option gs.requester_pays")
    if status in (404, 412):
        validate_response(status, content, url)
    raise status_fault(status, message)


def _message(content: bytes) -> str:
    """Return what an answer of Google says, or its beginning."""
    text = content.decode("utf-8", errors="replace")
    try:
        error = json_text.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return text[:200].strip()


def _multipart(metadata: dict[str, Any], content: Content) -> tuple[str, bytes]:
    """Return the type and the body of an upload in one request (RFC 2387)."""
    boundary = uuid.uuid4().hex
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
        f"{json_text.dumps(metadata)}\r\n"
        f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    body = b"".join((head.encode(), content, f"\r\n--{boundary}--\r\n".encode()))
    return f'multipart/related; boundary="{boundary}"', body


def _check_upload(answer: bytes, size: int, crc32c: str) -> None:
    found = json_text.loads(answer)
    if int(found["size"]) != size or found.get("crc32c", crc32c) != crc32c:
        raise Fault("corrupt", f"{size:,} bytes were sent, others were stored")


def _size_of(data: Any) -> int:
    if data is None:
        return 0
    return data.getbuffer().nbytes if isinstance(data, io.BytesIO) else len(data)


def _kind(method: str, url: str, query: dict[str, Any]) -> Kind:
    """Return what a request of gcsfs is."""
    if method.upper() == "DELETE":
        return "delete"
    if method.upper() != "GET":
        return "write"
    if url.partition("?")[0].endswith("/o"):
        return "list"
    return "read" if "alt=media" in url or query.get("alt") == "media" else "meta"


def _told(path: str, arguments: tuple[Any, ...]) -> str:
    """Return a request of gcsfs as an address: of an object, a bucket, or of the service."""
    return "gs://" + "/".join(map(str, arguments)) if arguments else path
