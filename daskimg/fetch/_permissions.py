"""Permissions of a bucket: which one a request needs, and whether they are granted."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from daskimg.fetch._integrity import crc32c_of
from daskimg.fetch._traffic import meter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskimg.fetch._cloud import Cloud

LIST, GET = "storage.objects.list", "storage.objects.get"
CREATE, DELETE = "storage.objects.create", "storage.objects.delete"

_NAMED = re.compile(r"storage\.\w+\.\w+")
_WHO = re.compile(r"(.+?) does not have")
_NEVER = "1"  # a generation that no object has: a write that must replace it is no write
_PROBE = ".daskimg-permission"


class RefusedError(PermissionError):
    """A permission that a bucket does not grant, and what it says."""

    def __init__(self, permission: str, said: str) -> None:
        super().__init__(permission, said)
        self.permission = permission
        self.said = said

    @property
    def who(self) -> str | None:
        """Whom it was refused to, if the bucket says so."""
        found = _WHO.match(self.said)
        return found[1] if found else None

    def __str__(self) -> str:
        return f"Forbidden: {self.said}"  # gcsfs looks for this first word


def permission_of(method: str, url: str, said: str) -> str:
    """Return the permission that a refusal names, else what the request would have needed.

    >>> permission_of("GET", "http://host/storage/v1/b/in/o?prefix=a", "Forbidden")
    'storage.objects.list'
    """
    named = _NAMED.search(said)
    if named:
        return named[0]
    if method.upper() == "GET":
        path = url.partition("?")[0]
        return LIST if path.endswith("/o") else GET if "/o/" in path else "storage.buckets.get"
    return DELETE if method.upper() == "DELETE" else CREATE


async def refused(cloud: Cloud, path: str, wanted: Sequence[str]) -> list[RefusedError]:
    """Return the refusals of those of some permissions that are not granted at a path.

    Nothing is changed there.

    Raises
    ------
    FileNotFoundError
        If there is no such bucket.
    """
    bucket, key, _ = cloud.system.split_path(path)
    held = await _held(cloud, bucket, wanted)
    doubtful = [each for each in wanted if each not in held]
    found = [await _refusal(cloud, each, bucket, key) for each in doubtful]
    return [each for each in found if each is not None]


async def _held(cloud: Cloud, bucket: str, wanted: Sequence[str]) -> Sequence[str]:
    """Return what the bucket says that may be done in it; nothing, if it does not answer."""
    url = f"{cloud.system.base}b/{quote(bucket, safe='')}/iam/testPermissions"
    held: Sequence[str] = ()
    meter().asked("meta")  # once: an answer is welcome, not needed
    with suppress(Exception):  # an emulator refuses what it does not know in a way of its own
        answer = await cloud.system.exchange("GET", url, query={"permissions": list(wanted)})
        held = json.loads(answer[3]).get("permissions", ())
    return held


async def _refusal(cloud: Cloud, permission: str, bucket: str, key: str) -> RefusedError | None:
    """Ask for what would need a permission, so that nothing comes of it."""
    name = f"{key}/{_PROBE}" if key else _PROBE
    try:
        if permission == LIST:
            await cloud.listed(bucket, f"{key}/" if key else "", "name", None, most=1)
        elif permission == GET:
            with suppress(FileNotFoundError):
                await cloud.system._call("GET", "b/{}/o/{}", bucket, key or _PROBE, fields="name")
        elif permission == CREATE:
            await cloud.upload(bucket, {"name": name, "crc32c": crc32c_of(b"")}, b"", _NEVER)
            await cloud.remove(f"{bucket}/{name}")  # a server that knows no conditions
        elif permission == DELETE:
            await cloud.ask("rm_file", f"{bucket}/{name}")
    except RefusedError as error:
        return RefusedError(permission, error.said)
    except FileExistsError:  # it would have been written, but for the condition
        return None
    return None
