"""Azure's blobs through adlfs: listings in pages, and one writing of a blob by its ETag."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions

from daskimg.fetch._plain import Plain
from daskimg.fetch._system import Listed, Page
from daskimg.fetch._traffic import meter

if TYPE_CHECKING:
    from daskimg.fetch._system import Content


class Azure(Plain):
    """Containers of Azure's blob storage."""

    async def read_pinned(
        self, path: str, start: int | None, stop: int | None, generation: str
    ) -> bytes:
        """Return one writing of a blob, or a part of it."""
        container, blob, _ = self.system.split_path(path)
        if start is None and stop is not None:
            start = 0
        length = None if stop is None or start is None else stop - start

        async def once() -> bytes:
            client = self.system.service_client.get_blob_client(container, blob)
            found = await client.download_blob(offset=start, length=length, **_only(generation))
            return bytes(await found.readall())

        found: bytes = await self.repeated(once, path, "read")
        return found

    async def find(self, path: str) -> Listed:
        """Return a blob's size, its ETag, and its MD5 where it has one."""
        container, blob, _ = self.system.split_path(path)

        async def once() -> Any:
            client = self.system.service_client.get_blob_client(container, blob)
            return await client.get_blob_properties()

        return _listed(path, await self.repeated(once, path, "meta"))

    async def replace(self, path: str, content: Content, generation: str | None) -> None:
        """Write a blob whole in the place of one writing of it, and no other."""
        condition = _only(generation) if generation else {}
        await self.ask("pipe_file", path, bytes(content), **condition)
        meter().moved(sent=len(content))

    async def page(self, folder: str, beginning: str, *, flat: bool, token: str | None) -> Page:
        """Return a page of a listing: up to 5,000 blobs, by rising name."""
        container, key, _ = self.system.split_path(folder)
        within = f"{key.rstrip('/')}/" if key else ""

        async def once() -> tuple[list[Any], str | None]:
            client = self.system.service_client.get_container_client(container)
            asked = {"name_starts_with": within + beginning, "include": ["metadata"]}
            found = (
                client.walk_blobs(delimiter="/", **asked) if flat else client.list_blobs(**asked)
            )
            pages = found.by_page(token)
            page = [each async for each in await anext(pages)]
            return page, pages.continuation_token or None

        found, token = await self.repeated(once, folder, "list")
        skip = len(within)
        blobs = [each for each in found if not _is_folder(each)]
        folders = {each.name[skip:].rstrip("/") for each in found if _is_folder(each)}
        return Page(
            [_listed(each.name[skip:], each) for each in blobs], token, sorted(folders - {""})
        )


def _listed(location: str, facts: Any) -> Listed:
    md5 = facts.content_settings.content_md5
    told = base64.b64encode(md5).decode() if md5 else None
    return Listed(location, int(facts.size), facts.etag.strip('"'), None, told)


def _is_folder(each: Any) -> bool:
    """Tell whether this is a beginning of names, or a blob that stands for a folder."""
    marked = (getattr(each, "metadata", None) or {}).get("hdi_isfolder")
    return each.name.endswith("/") or marked == "true"


def _only(generation: str) -> dict[str, Any]:
    """Return the condition that a blob is the one of an ETag."""
    return {"etag": f'"{generation}"', "match_condition": MatchConditions.IfNotModified}
