"""Amazon's protocol through s3fs: listings in pages, and one writing of an object by its ETag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskimg.fetch._plain import Plain
from daskimg.fetch._retries import Fault, status_of
from daskimg.fetch._system import Listed, Page
from daskimg.fetch._traffic import meter
from daskimg.fetch._web import range_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from daskimg.fetch._system import Content
    from daskimg.fetch._traffic import Kind

_OVERLAPS = 409  # ConditionalRequestConflict, OperationAborted: another request is under way


class S3(Plain):
    """Buckets of Amazon's, and of all who speak its protocol."""

    def __init__(self, system: Any) -> None:
        super().__init__(system)
        # That the requester pays: s3fs 2026.6, and older, says so in some of its methods only.
        system.s3_additional_kwargs = {**system.s3_additional_kwargs, **system.req_kw}

    async def read_pinned(
        self, path: str, start: int | None, stop: int | None, generation: str
    ) -> bytes:
        """Return one writing of an object, or a part of it."""
        bucket, key, _ = self.system.split_path(path)
        ranged = range_of(start, stop)

        async def once() -> bytes:
            answer = await self.system._call_s3(
                "get_object", Bucket=bucket, Key=key, IfMatch=generation, **ranged
            )
            async with answer["Body"] as body:
                return bytes(await body.read())

        found: bytes = await self.repeated(once, path, "read")
        return found

    async def find(self, path: str) -> Listed:
        """Return an object's size, and its ETag."""
        facts = await self.ask("info", path)
        return Listed(path, int(facts["size"]), facts.get("ETag"))

    async def replace(self, path: str, content: Content, generation: str | None) -> None:
        """Write an object whole in the place of one writing of it, and no other."""
        if generation is None:
            await self.write(path, content, create=False)
            return
        bucket, key, _ = self.system.split_path(path)
        body = bytes(content)

        async def once() -> None:
            # Not through pipe_file: from 100 MiB on it sends parts, and those unconditionally.
            # In one piece, what is over 5 GiB is refused, which is better than to lose another's.
            await self.system._call_s3(
                "put_object", Bucket=bucket, Key=key, Body=body, IfMatch=generation
            )

        await self.repeated(once, path, "write", len(body))
        meter().moved(sent=len(body))

    async def repeated(
        self, call: Callable[[], Awaitable[Any]], path: str, kind: Kind, size: int = 0
    ) -> Any:
        """Return what a call returns; of two conditional writes at once one is refused for now."""

        async def once() -> Any:
            try:
                return await call()
            except OSError as error:
                if status_of(error) == _OVERLAPS:
                    raise Fault("conflict", f"409 {error}") from None
                raise

        return await super().repeated(once, path, kind, size)

    async def page(self, folder: str, beginning: str, *, flat: bool, token: str | None) -> Page:
        """Return a page of a listing: up to 1,000 objects, by rising name."""
        bucket, key, _ = self.system.split_path(folder)
        within = f"{key.rstrip('/')}/" if key else ""
        query = {"Delimiter": "/"} if flat else {}
        query |= {"ContinuationToken": token} if token else {}

        async def once() -> dict[str, Any]:
            found: dict[str, Any] = await self.system._call_s3(
                "list_objects_v2", Bucket=bucket, Prefix=within + beginning, **query
            )
            return found

        found = await self.repeated(once, folder, "list")
        skip = len(within)
        objects = [
            Listed(each["Key"][skip:], int(each["Size"]), each["ETag"])
            for each in found.get("Contents", ())
            if not each["Key"].endswith("/")  # what stands for a folder
        ]
        folders = [each["Prefix"][skip:-1] for each in found.get("CommonPrefixes", ())]
        return Page(objects, found.get("NextContinuationToken"), folders)
