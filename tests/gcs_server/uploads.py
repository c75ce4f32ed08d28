"""Writing through the JSON API: in one request, in two parts, or in chunks."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from gcs_server.buckets import Conditions
from gcs_server.messages import Refusal, Reply

if TYPE_CHECKING:
    from gcs_server.buckets import Buckets
    from gcs_server.messages import Request

_STEP = 256 * 1024  # a chunk that is not the last holds whole multiples of it
_CHUNK = re.compile(r"bytes (?:(\d+)-(\d+|\*)|\*)/(\d+|\*)")
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_TYPE = re.compile(rb"(?im)^content-type:\s*(.+?)\s*$")


class Sent(NamedTuple):
    """What one request writes: a name, metadata, the content."""

    name: str
    given: dict[str, Any]
    content: bytes


@dataclass(slots=True)
class _Session:
    """An upload in chunks: what has come so far, and what it became."""

    bucket: str
    name: str
    given: dict[str, Any]
    wanted: dict[str, str]
    content: bytearray = field(default_factory=bytearray)
    done: dict[str, Any] | None = None


class Uploads:
    """Uploads of the JSON API."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._sessions: dict[str, _Session] = {}

    def reply(self, request: Request, bucket: str) -> Reply:
        """Write an object, or a part of one."""
        if "upload_id" in request.query:
            return self._resumed(request)
        kind = request.query.get("uploadType")
        if kind == "resumable":
            return self._begun(request, bucket)
        if kind not in ("media", "multipart"):
            raise Refusal(400, f"uploadType {kind!r} is none of media, multipart and resumable")
        sent = sent_by(request)
        stored = self._buckets.put(bucket, sent.name, sent.content, sent.given, request.query)
        return Reply.of(stored.facts)

    def place_of(self, identity: str) -> tuple[str, str]:
        """Return the bucket and the name that an upload in chunks is for."""
        session = self._sessions.get(identity)
        return (session.bucket, session.name) if session else ("", "")

    def _begun(self, request: Request, bucket: str) -> Reply:
        given = json.loads(request.body) if request.body else {}
        name = request.query.get("name") or given["name"]
        given.setdefault("contentType", request.headers.get("X-Upload-Content-Type"))
        Conditions(request.query).check(self._buckets[bucket].find(name))
        identity = uuid.uuid4().hex
        self._sessions[identity] = _Session(bucket, name, given, request.query)
        query = urlencode({"uploadType": "resumable", "upload_id": identity})
        place = f"http://{request.host}/upload/storage/v1/b/{bucket}/o?{query}"
        return Reply(headers={"Location": place, "X-GUploader-UploadID": identity})

    def _resumed(self, request: Request) -> Reply:
        identity = request.query["upload_id"]
        session = self._sessions.get(identity)
        if session is None:
            raise Refusal(404 if request.method == "DELETE" else 410, "this upload is over")
        if request.method == "DELETE":
            del self._sessions[identity]
            return Reply(499)
        if session.done is None:
            self._add(request, session)
        if session.done is not None:
            return Reply.of(session.done)
        size = len(session.content)
        return Reply(308, headers={"Range": f"bytes=0-{size - 1}"} if size else {})

    def _add(self, request: Request, session: _Session) -> None:
        match = _CHUNK.fullmatch(request.headers.get("Content-Range", ""))
        first, _, whole = match.groups() if match else ("0", "", str(len(request.body)))
        if first is not None:
            self._append(session, int(first), request.body, last=whole != "*")
        if whole != "*" and len(session.content) >= int(whole):
            content, session.content = bytes(session.content), bytearray()
            given = {**session.given, **_told_hashes(request)}
            stored = self._buckets.put(
                session.bucket, session.name, content, given, session.wanted
            )
            session.done = stored.facts

    def _append(self, session: _Session, first: int, body: bytes, *, last: bool) -> None:
        have = len(session.content)
        if first > have:
            raise Refusal(503, f"a chunk begins at {first}, and {have} bytes are here")
        new = body[have - first :]
        if not last and len(body) % _STEP:
            new = new[: len(new) // _STEP * _STEP]
        session.content += new


def sent_by(request: Request) -> Sent:
    """Return what a request of one piece or of two parts writes."""
    name = request.query.get("name", "")
    if request.query.get("uploadType") == "multipart":
        given, kind, content = parts_of(request.headers["Content-Type"], request.body)
        return Sent(name or given["name"], {"contentType": kind, **given}, content)
    kind = request.headers.get("Content-Type", "application/octet-stream")
    return Sent(name, {"contentType": kind, **_told_hashes(request)}, request.body)


def parts_of(content_type: str, body: bytes) -> tuple[dict[str, Any], str, bytes]:
    r"""Return the metadata, the content's type and the content of a body of two parts.

    Lines end in CR LF (RFC 2387: Google's clients) or in LF (gcsfs). The content's own last
    bytes may look like the end of a line, and are kept.

    >>> parts_of("x; boundary=b", b'--b\n\n{"name": "n"}\n--b\nContent-Type: t\n\n\r\n--b--')
    ({'name': 'n'}, 't', b'\r')
    """
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise Refusal(400, "a body of two parts needs a boundary")
    mark = b"--" + match[1].encode()
    start = body.index(mark) + len(mark)
    line = b"\r\n" if body[start : start + 2] == b"\r\n" else b"\n"
    middle = body.index(line + mark, start)
    end = body.rindex(line + mark + b"--")
    _, _, metadata = body[start:middle].partition(line * 2)
    head, _, content = body[middle + len(line + mark + line) : end].partition(line * 2)
    kind = _TYPE.search(head)
    return json.loads(metadata), kind[1].decode() if kind else "", content


def _told_hashes(request: Request) -> dict[str, str]:
    return hashes_told(request.headers.get("x-goog-hash", ""))


def hashes_told(header: str) -> dict[str, str]:
    """Return the hashes in an ``x-goog-hash`` header, by the names of the JSON API.

    >>> hashes_told("crc32c=AAAAAA==,md5=1B2M2Y8AsgTpgAmY7PhCfg==")
    {'crc32c': 'AAAAAA==', 'md5Hash': '1B2M2Y8AsgTpgAmY7PhCfg=='}
    """
    pairs = (part.strip().partition("=") for part in header.split(",") if part.strip())
    return {{"md5": "md5Hash"}.get(name, name): value for name, _, value in pairs}
