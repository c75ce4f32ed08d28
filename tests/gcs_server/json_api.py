"""The JSON API, as gcsfs and google-cloud-storage use it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from gcs_server.buckets import Stored, metadata_of, now
from gcs_server.listing import page_of
from gcs_server.media import media_of
from gcs_server.messages import Refusal, Reply
from gcs_server.uploads import Uploads

if TYPE_CHECKING:
    from gcs_server.buckets import Buckets
    from gcs_server.messages import Request
    from gcs_server.permissions import Permissions

UPLOAD = re.compile(r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o")
BUCKETS = re.compile(r"/storage/v1/b(?:/([^/]+))?")
PERMISSIONS = re.compile(r"/storage/v1/b/([^/]+)/iam/testPermissions")
OBJECTS = re.compile(r"/storage/v1/b/([^/]+)/o")
OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/(.+)")
COPY = re.compile(r"([^/]+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")
MOVE = re.compile(r"([^/]+)/moveTo/o/([^/]+)")
COMPOSE = re.compile(r"([^/]+)/compose")

_NOT_IMITATED = ("matchGlob", "versions", "softDeleted", "userProject")


class JsonApi:
    """Buckets and objects over ``/storage/v1``."""

    def __init__(self, buckets: Buckets, permissions: Permissions) -> None:
        self._buckets = buckets
        self._granted = permissions.granted
        self.uploads = Uploads(buckets)

    def reply(self, request: Request) -> Reply | None:
        """Answer a request, or return ``None`` if it is none of this API."""
        for name in _NOT_IMITATED:
            if request.query.get(name, "false") != "false":
                raise Refusal(501, f"{name} is not imitated by this server")
        if match := UPLOAD.fullmatch(request.path):
            return self.uploads.reply(request, unquote(match[1]))
        if match := BUCKETS.fullmatch(request.path):
            return self._of_bucket(request, unquote(match[1] or ""))
        if match := PERMISSIONS.fullmatch(request.path):
            return self._permissions(request, unquote(match[1]))
        if match := OBJECTS.fullmatch(request.path):
            return self._listing(request, unquote(match[1]))
        if match := OBJECT.fullmatch(request.path):
            return self._of_object(request, unquote(match[1]), match[2])
        return None

    def _of_bucket(self, request: Request, name: str) -> Reply:
        if not name and request.method == "POST":
            return Reply.of(self._buckets.create(json.loads(request.body)).facts)
        if not name:
            facts = [bucket.facts for bucket in self._buckets]
            return Reply.of({"kind": "storage#buckets", "items": facts})
        if request.method == "DELETE":
            self._buckets.delete(name)
            return Reply(204)
        return Reply.of(self._buckets[name].facts)

    def _permissions(self, request: Request, bucket: str) -> Reply:
        """Tell which of some permissions are granted: whoever asks may ask this."""
        self._buckets[bucket]
        held = self._granted(bucket, request.query["permissions"].split(","))
        answer: dict[str, Any] = {"kind": "storage#testIamPermissionsResponse"}
        return Reply.of({**answer, "permissions": held} if held else answer)

    def _listing(self, request: Request, name: str) -> Reply:
        bucket = self._buckets[name]
        page = page_of(bucket.names(), request.query)
        found: dict[str, Any] = {"kind": "storage#objects"}
        if page.names:
            found["items"] = [bucket.get(each, {}).facts for each in page.names]
        if page.folders:
            found["prefixes"] = page.folders
        if page.token:
            found["nextPageToken"] = page.token
        return Reply.of(_selected(found, request.query.get("fields", "")))

    def _of_object(self, request: Request, bucket: str, rest: str) -> Reply:
        if match := COPY.fullmatch(rest):
            return self._copy(request, bucket, [unquote(part) for part in match.groups()])
        if match := MOVE.fullmatch(rest):
            source, target = map(unquote, match.groups())
            made = self._copied(request, bucket, source, bucket, target)
            self._buckets[bucket].drop(source, {})
            return Reply.of(made.facts)
        if request.method == "POST" and (match := COMPOSE.fullmatch(rest)):
            return self._compose(request, bucket, unquote(match[1]))
        return self._single(request, bucket, unquote(rest))

    def _single(self, request: Request, bucket: str, name: str) -> Reply:
        if request.method == "DELETE":
            self._buckets[bucket].drop(name, request.query)
            return Reply(204)
        stored = self._buckets[bucket].get(name, request.query)
        if request.method in ("PATCH", "PUT"):
            return self._patch(request, bucket, stored)
        if request.query.get("alt") == "media" or request.path.startswith("/download"):
            return media_of(request, stored)
        return Reply.of(_selected(stored.facts, request.query.get("fields", "")))

    def _patch(self, request: Request, bucket: str, stored: Stored) -> Reply:
        changes = str(int(stored.facts["metageneration"]) + 1)
        own = {"metageneration": changes, "updated": now()}
        facts = {**stored.facts, **json.loads(request.body), **own}
        self._buckets[bucket].keep(facts["name"], replace(stored, facts=facts))
        return Reply.of(facts)

    def _copy(self, request: Request, bucket: str, names: list[str]) -> Reply:
        source, into, target = names
        made = self._copied(request, bucket, source, into, target).facts
        if "/copyTo/" in request.path:
            return Reply.of(made)
        size = made["size"]
        answer = {"kind": "storage#rewriteResponse", "done": True, "resource": made}
        return Reply.of({**answer, "objectSize": size, "totalBytesRewritten": size})

    def _copied(self, request: Request, bucket: str, source: str, into: str, name: str) -> Stored:
        generation = {"generation": request.query.get("sourceGeneration", "")}
        stored = self._buckets[bucket].get(source, {k: v for k, v in generation.items() if v})
        given = {**metadata_of(stored), **(json.loads(request.body) if request.body else {})}
        return self._buckets.put(into, name, stored.content, given, request.query)

    def _compose(self, request: Request, bucket: str, name: str) -> Reply:
        asked = json.loads(request.body)
        parts = [self._buckets[bucket].get(each["name"], {}) for each in asked["sourceObjects"]]
        content = b"".join(part.content for part in parts)
        given = asked.get("destination", {})
        return Reply.of(self._buckets.put(bucket, name, content, given, request.query).facts)


def _selected(found: dict[str, Any], fields: str) -> dict[str, Any]:
    """Return the fields asked for: ``a,b(c,d)`` or ``b/c``, no deeper.

    >>> _selected({"items": [{"name": "n", "size": "1"}], "kind": "k"}, "items(name)")
    {'items': [{'name': 'n'}]}
    """
    if not fields:
        return found
    wanted = {m[1]: m[2] or m[3] for m in re.finditer(r"(\w+)(?:\(([^)]*)\)|/(\w+))?", fields)}
    chosen = {name: found[name] for name in wanted if name in found}
    for name, inner in wanted.items():
        if inner and isinstance(chosen.get(name), list):
            keep = inner.split(",")
            chosen[name] = [{k: each[k] for k in keep if k in each} for each in chosen[name]]
    return chosen
