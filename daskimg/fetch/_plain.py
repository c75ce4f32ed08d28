"""Any file system of fsspec, taken as it is: what others do better, they do instead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from daskimg.fetch._bodies import patience, refuse_large
from daskimg.fetch._retries import ABSENT, retried, status_of
from daskimg.fetch._system import BeyondError, Listed, Page
from daskimg.fetch._traffic import meter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from daskimg.fetch._bodies import Room
    from daskimg.fetch._permissions import RefusedError
    from daskimg.fetch._system import Content
    from daskimg.fetch._traffic import Kind

_KINDS: dict[str, Kind] = {
    "cat_file": "read", "pipe_file": "write", "rm": "delete",
    "ls": "list", "find": "list", "glob": "list",
}  # fmt: skip


class Plain:
    """Any file system of fsspec, taken as it is."""

    def __init__(self, system: Any) -> None:
        self.system = system

    async def read(
        self,
        path: str,
        start: int | None,
        stop: int | None,
        limit: int | None,
        generation: str | None = None,
    ) -> bytes:
        """Return an object, or a part of it."""
        if limit is not None:
            start, stop = 0, limit + 1
        if start is not None and start < 0:  # not all know what that means: adlfs does not
            start = max(0, (await self.size(path) or 0) + start)
        try:
            if generation is None:
                content = bytes(await self.ask("cat_file", path, start=start, end=stop))
            else:
                content = await self.read_pinned(path, start, stop, generation)
        except FileExistsError:  # not this writing of it: another one
            raise FileNotFoundError(path) from None
        except BeyondError:  # an object without a byte has no range that could be sent
            return b""
        meter().moved(received=len(content))
        if limit is not None:
            refuse_large(len(content), limit)
        return content

    async def read_into(self, path: str, room: Room, *, checked: bool) -> memoryview:  # noqa: ARG002  fsspec makes its own
        """Return an object."""
        return memoryview(await self.read(path, None, None, None))

    async def read_pinned(
        self, path: str, start: int | None, stop: int | None, generation: str
    ) -> bytes:
        """Return one writing of an object, or a part of it; such systems' listings tell none.

        ``FileExistsError`` if another is there.
        """
        raise NotImplementedError(f"{path} as {generation}, from {start} to {stop}")

    async def write(self, path: str, content: Content, *, create: bool) -> None:
        """Write an object whole."""
        mode = {"mode": "create"} if create else {}
        try:
            await self.ask("pipe_file", path, bytes(content), **mode)
            meter().moved(sent=len(content))
        except FileExistsError:
            # A lost answer to our own write comes back as "exists": equal bytes are ours.
            if await self.read(path, None, None, None) != content:
                raise

    async def find(self, path: str) -> Listed:
        """Return an object's size."""
        return Listed(path, await self.size(path), None)

    async def replace(self, path: str, content: Content, generation: str | None) -> None:  # noqa: ARG002  fsspec has no such condition
        """Write an object whole."""
        await self.write(path, content, create=False)

    async def copy(self, path: str, other: str, content: Content) -> None:  # noqa: ARG002  a system may have no copy that can be checked
        """Write an object's content once more."""
        await self.write(other, content, create=False)

    async def size(self, path: str) -> int | None:
        """Return an object's bytes."""
        found = (await self.ask("info", path))["size"]
        return None if found is None else int(found)

    async def is_folder(self, path: str) -> bool:
        """Tell whether a path is a folder."""
        return bool(await self.ask("isdir", path))

    async def page(self, folder: str, beginning: str, *, flat: bool, token: str | None) -> Page:  # noqa: ARG002  fsspec's listings come whole
        """Return the whole listing."""
        depth = {"maxdepth": 1, "withdirs": True} if flat else {}
        found = await self.ask("find", folder, detail=True, **depth)
        skip = len(folder.rstrip("/")) + 1
        named = {path.rstrip("/")[skip:]: facts for path, facts in sorted(found.items())}
        fit = {name: facts for name, facts in named.items() if name and name.startswith(beginning)}
        folders = [name for name, facts in fit.items() if facts["type"] == "directory"]
        objects = [
            Listed(name, facts.get("size"), None)
            for name, facts in fit.items()
            if facts["type"] != "directory"
        ]
        return Page(objects, None, folders)

    async def facts(self, bucket: str) -> dict[str, Any]:  # noqa: ARG002  not to be known
        """Return nothing: such systems have no buckets, or say nothing of them."""
        return {}

    async def refused(self, path: str, wanted: Sequence[str]) -> list[RefusedError]:  # noqa: ARG002  not to be known
        """Return nothing: such systems say it when they are asked for something."""
        return []

    async def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Return what a method of the file system returns."""
        size = len(arguments[1]) if name == "pipe_file" else 0

        async def once() -> Any:
            return await self._called(name, *arguments, **options)

        return await self.repeated(once, arguments[0], _KINDS.get(name, "meta"), size)

    async def repeated(
        self, call: Callable[[], Awaitable[Any]], path: str, kind: Kind, size: int = 0
    ) -> Any:
        """Return what a call returns, which sends about one request, with so many bytes."""

        async def once() -> Any:
            self.system.invalidate_cache()
            try:
                async with asyncio.timeout(10 * patience(size)):  # its own come first
                    return await call()
            except ABSENT:
                raise
            except Exception as error:
                status = status_of(error)
                if status == 416:
                    raise BeyondError from None
                if status == 404:  # Azure's clients have an error of their own for it
                    raise FileNotFoundError(f"no such object or container: {path}") from None
                if status == 412:  # of a condition: which writing of the object it must be
                    raise FileExistsError(path) from None
                raise

        return await retried(once, self.address(path), kind)

    async def remove(self, path: str) -> None:
        """Delete an object, or all that is below a prefix."""
        try:
            await self.ask("rm", path, recursive=True)
        except FileNotFoundError:
            return

    def address(self, path: str) -> str:
        """Return the URL of a path."""
        return str(self.system.unstrip_protocol(path))

    async def _called(self, name: str, *arguments: Any, **options: Any) -> Any:
        if self.system.async_impl:
            return await getattr(self.system, f"_{name}")(*arguments, **options)
        return await asyncio.to_thread(getattr(self.system, name), *arguments, **options)
