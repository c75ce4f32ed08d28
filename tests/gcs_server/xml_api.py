"""The part of the XML API that obstore uses: objects, listings, uploads in parts."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.sax.saxutils import escape

from gcs_server.buckets import metadata_of
from gcs_server.listing import page_of
from gcs_server.media import media_of
from gcs_server.messages import Refusal, Reply
from gcs_server.uploads import hashes_told

if TYPE_CHECKING:
    from typing import Any

    from gcs_server.buckets import Buckets
    from gcs_server.messages import Request

_IF_GENERATION = "x-goog-if-generation-match"


class XmlApi:
    """Objects at ``/bucket/name``."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._parts: dict[str, dict[int, bytes]] = {}

    def reply(self, request: Request) -> Reply:
        """Answer a request."""
        bucket, name = place_of(request)
        if not name:
            return self._listing(request, bucket)
        if request.method in ("PUT", "POST") and {"uploads", "uploadId"} & set(request.query):
            return self._upload(request, bucket, name)
        if request.method == "DELETE":
            return self._delete(request, bucket, name)
        if request.method == "PUT":
            return self._put(request, bucket, name)
        stored = self._buckets[bucket].get(name, _wanted(request))
        if request.headers.get("If-None-Match", "").strip('"') == stored.facts["etag"]:
            raise Refusal(304, "not modified")
        return media_of(request, stored)

    def _listing(self, request: Request, name: str) -> Reply:
        query = request.query
        asked = {"prefix": query.get("prefix", ""), "delimiter": query.get("delimiter", "")}
        asked["maxResults"] = query.get("max-keys", "")
        asked["pageToken"] = query.get("continuation-token", "")
        if query.get("start-after"):
            asked["startOffset"] = query["start-after"] + "\0"
        bucket = self._buckets[name]
        page = page_of(bucket.names(), asked)
        found = "".join(_line(bucket.get(each, {}).facts) for each in page.names)
        found += "".join(
            f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>"
            for each in page.folders
        )
        found += f"<IsTruncated>{'true' if page.token else 'false'}</IsTruncated>"
        if page.token:
            found += f"<NextContinuationToken>{page.token}</NextContinuationToken>"
        return Reply.xml(f"<ListBucketResult><Name>{name}</Name>{found}</ListBucketResult>")

    def _put(self, request: Request, bucket: str, name: str) -> Reply:
        kind = request.headers.get("Content-Type", "application/octet-stream")
        content, given = request.body, {"contentType": kind}
        if source := request.headers.get("x-goog-copy-source"):
            origin, _, key = source.lstrip("/").partition("/")
            stored = self._buckets[unquote(origin)].get(unquote(key), {})
            content, given = stored.content, metadata_of(stored)
        given |= hashes_told(request.headers.get("x-goog-hash", ""))
        if "Content-MD5" in request.headers:
            given["md5Hash"] = request.headers["Content-MD5"]
        return _written(self._buckets.put(bucket, name, content, given, _wanted(request)).facts)

    def _delete(self, request: Request, bucket: str, name: str) -> Reply:
        if "uploadId" in request.query:
            self._parts.pop(request.query["uploadId"], None)
        else:
            self._buckets[bucket].drop(name, _wanted(request))
        return Reply(204)

    def _upload(self, request: Request, bucket: str, name: str) -> Reply:
        if "uploads" in request.query:
            return self._begun(bucket, name)
        identity = request.query["uploadId"]
        if identity not in self._parts:
            raise Refusal(404, "The requested upload was not found.")
        if request.method == "PUT":
            self._parts[identity][int(request.query["partNumber"])] = request.body
            digest = hashlib.md5(request.body).hexdigest()
            return Reply(headers={"ETag": f'"{digest}"'})
        parts = self._parts[identity]
        content = b"".join(parts[number] for number in sorted(parts))
        facts = self._buckets.put(bucket, name, content, {}, _wanted(request)).facts
        del self._parts[identity]
        key, etag = escape(name), facts["etag"]
        return Reply.xml(
            f"<CompleteMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key>"
            f'<ETag>"{etag}"</ETag></CompleteMultipartUploadResult>'
        )

    def _begun(self, bucket: str, name: str) -> Reply:
        identity = uuid.uuid4().hex
        self._parts[identity] = {}
        return Reply.xml(
            f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(name)}</Key>"
            f"<UploadId>{identity}</UploadId></InitiateMultipartUploadResult>"
        )


def place_of(request: Request) -> tuple[str, str]:
    """Return the bucket and the name in a path of the XML API."""
    bucket, _, name = request.path[1:].partition("/")
    return unquote(bucket), unquote(name)


def _wanted(request: Request) -> dict[str, str]:
    if _IF_GENERATION not in request.headers:
        return {}
    return {"ifGenerationMatch": request.headers[_IF_GENERATION]}


def _line(facts: dict[str, Any]) -> str:
    return (
        f"<Contents><Key>{escape(facts['name'])}</Key><Generation>{facts['generation']}"
        f"</Generation><LastModified>{facts['updated'][:23]}Z</LastModified>"
        f'<ETag>"{facts["etag"]}"</ETag><Size>{facts["size"]}</Size></Contents>'
    )


def _written(facts: dict[str, Any]) -> Reply:
    headers = {
        "ETag": f'"{facts["etag"]}"',
        "x-goog-generation": facts["generation"],
        "x-goog-hash": f"crc32c={facts['crc32c']},md5={facts['md5Hash']}",
    }
    return Reply(headers=headers)
