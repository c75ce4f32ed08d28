"""What a request is: its kind, in one word, and the object that it is about."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from gcs_server import json_api
from gcs_server.messages import Refusal
from gcs_server.uploads import sent_by
from gcs_server.xml_api import place_of

if TYPE_CHECKING:
    from gcs_server.buckets import Buckets
    from gcs_server.messages import Request
    from gcs_server.uploads import Uploads

KINDS = (
    "media",  # an object's bytes, all of them
    "part",  # some of its bytes
    "info",  # its metadata
    "list",  # a page of a listing: the object is the prefix
    "put",  # a write, whatever was there
    "create",  # a write that must find nothing there
    "begin", "chunk", "finish",  # a write in several requests
    "copy", "compose", "patch", "delete",
    "bucket",  # anything about a bucket itself
)  # fmt: skip
"""Kinds of requests, the same for both APIs."""


class Call(NamedTuple):
    """A request as it is counted, and as rules of faults see it."""

    method: str
    kind: str
    bucket: str
    name: str


def call_of(request: Request, buckets: Buckets, uploads: Uploads) -> Call:
    """Return what a request is; nothing is carried out."""
    try:
        kind, bucket, name = _json_call(request, uploads) or _xml_call(request)
    except (LookupError, ValueError, Refusal):  # it will be refused: what it was does not count
        kind, bucket, name = "bucket", "", ""
    if kind == "media" and _is_part(request, buckets, bucket, name):
        kind = "part"
    return Call(request.method, kind, bucket, name)


def _json_call(request: Request, uploads: Uploads) -> tuple[str, str, str] | None:
    path = request.path
    if match := json_api.UPLOAD.fullmatch(path):
        return _upload(request, unquote(match[1]), uploads)
    if match := json_api.BUCKETS.fullmatch(path) or json_api.PERMISSIONS.fullmatch(path):
        return "bucket", unquote(match[1] or ""), ""
    if match := json_api.OBJECTS.fullmatch(path):
        return "list", unquote(match[1]), request.query.get("prefix", "")
    if match := json_api.OBJECT.fullmatch(path):
        return _object(request, unquote(match[1]), match[2])
    return None


def _upload(request: Request, bucket: str, uploads: Uploads) -> tuple[str, str, str]:
    if "upload_id" in request.query:
        return "chunk", *uploads.place_of(request.query["upload_id"])
    if request.query.get("uploadType") == "resumable":
        name = request.query.get("name") or json.loads(request.body)["name"]
        return "begin", bucket, name
    created = request.query.get("ifGenerationMatch") == "0"
    return "create" if created else "put", bucket, sent_by(request).name


def _object(request: Request, bucket: str, rest: str) -> tuple[str, str, str]:
    for pattern, kind in (
        (json_api.COPY, "copy"), (json_api.MOVE, "copy"), (json_api.COMPOSE, "compose")
    ):  # fmt: skip
        if request.method == "POST" and (match := pattern.fullmatch(rest)):
            return kind, bucket, unquote(match[1])
    other = {"DELETE": "delete", "PATCH": "patch", "PUT": "patch"}
    whole = request.query.get("alt") == "media" or request.path.startswith("/download")
    return other.get(request.method, "media" if whole else "info"), bucket, unquote(rest)


def _xml_call(request: Request) -> tuple[str, str, str]:
    bucket, name = place_of(request)
    if not name:
        return "list", bucket, request.query.get("prefix", "")
    if request.method in ("GET", "HEAD"):
        return "media" if request.method == "GET" else "info", bucket, name
    if "partNumber" in request.query:
        return "chunk", bucket, name
    if request.method == "POST":
        return "begin" if "uploads" in request.query else "finish", bucket, name
    if request.method == "DELETE":
        return "delete", bucket, name
    if "x-goog-copy-source" in request.headers:
        return "copy", bucket, name
    created = request.headers.get("x-goog-if-generation-match") == "0"
    return "create" if created else "put", bucket, name


def _is_part(request: Request, buckets: Buckets, bucket: str, name: str) -> bool:
    """Tell whether a read leaves bytes out: a range that covers the object is a whole read."""
    from gcs_server.media import span_of

    try:
        stored = buckets[bucket].find(name)
        span = span_of(request, len(stored.content)) if stored else None
    except Refusal:
        return False
    return span is not None and stored is not None and span != (0, len(stored.content))
