"""Permissions: what a bucket refuses, and which permission each request needs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from gcs_server import json_api
from gcs_server.messages import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gcs_server.buckets import Buckets
    from gcs_server.calls import Call
    from gcs_server.messages import Request

_LIST, _GET = "storage.objects.list", "storage.objects.get"
_CREATE, _DELETE = "storage.objects.create", "storage.objects.delete"
_NEEDED = {
    "media": _GET, "part": _GET, "info": _GET, "list": _LIST, "put": _CREATE,
    "create": _CREATE, "begin": _CREATE, "chunk": _CREATE, "finish": _CREATE,
    "compose": _CREATE, "patch": "storage.objects.update", "delete": _DELETE,
}  # fmt: skip


class Permissions:
    """What each bucket refuses; at first everything is granted."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._denied: dict[str, frozenset[str]] = {}
        self._untold: set[str] = set()

    def deny(self, bucket: str, permissions: Iterable[str], *, told: bool = True) -> None:
        """Refuse some permissions of a bucket from now on, instead of any others.

        If it is not ``told``, the bucket does not answer the question what may be done, as
        emulators do not.
        """
        self._denied[bucket] = frozenset(permissions)
        (self._untold.discard if told else self._untold.add)(bucket)

    def granted(self, bucket: str, asked: Iterable[str]) -> list[str]:
        """Return those of some permissions that a bucket grants."""
        if bucket in self._untold:
            raise Refusal(501, "testIamPermissions is not imitated by this bucket")
        return [each for each in asked if each not in self._denied.get(bucket, ())]

    def check(self, request: Request, call: Call) -> None:
        """Refuse with 403 what needs a permission that is not granted."""
        for bucket, permission in self._needed(request, call):
            if permission in self._denied.get(bucket, ()):
                raise Refusal(
                    403,
                    f"Anonymous caller does not have {permission} access to the Google Cloud "
                    f"Storage object. Permission '{permission}' denied on resource (or it may "
                    f"not exist).",
                )

    def _needed(self, request: Request, call: Call) -> Iterator[tuple[str, str]]:
        if call.kind == "copy":
            yield call.bucket, _GET
            match = json_api.COPY.search(request.path)
            yield (unquote(match[2]) if match else call.bucket), _CREATE
        elif call.kind in _NEEDED:
            yield call.bucket, _NEEDED[call.kind]
        elif request.method == "GET" and not json_api.PERMISSIONS.fullmatch(request.path):
            yield call.bucket, "storage.buckets.get"
        if call.kind == "put" and self._is_there(call):
            yield call.bucket, _DELETE  # what is replaced is deleted

    def _is_there(self, call: Call) -> bool:
        try:
            return self._buckets[call.bucket].find(call.name) is not None
        except Refusal:
            return False
