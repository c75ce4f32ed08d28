"""An object's bytes, whole or a range, with the headers that let a client check them."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

from gcs_server.messages import Refusal, Reply

if TYPE_CHECKING:
    from gcs_server.buckets import Stored
    from gcs_server.messages import Request

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def media_of(request: Request, stored: Stored) -> Reply:
    """Return an object's bytes, as far as they are asked for.

    The hashes are those of the whole object, also beside a range: as the service does it.
    """
    headers = _headers(stored)
    span = span_of(request, len(stored.content))
    if span is None:
        return Reply(200, stored.content, headers)
    first, stop = span
    headers["Content-Range"] = f"bytes {first}-{stop - 1}/{len(stored.content)}"
    return Reply(206, stored.content[first:stop], headers)


def span_of(request: Request, size: int) -> tuple[int, int] | None:
    """Return the first byte asked for and where to stop, or ``None`` for all of them.

    A range of which nothing is there is refused with 416.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1 if last else size, size)
    else:
        start, stop = max(0, size - int(last)), size
    if start >= stop:
        raise Refusal(416, "The requested range cannot be satisfied. InvalidRange")
    return start, stop


def _headers(stored: Stored) -> dict[str, str]:
    facts = stored.facts
    own = {f"x-goog-meta-{k}": v for k, v in (facts.get("metadata") or {}).items()}
    return {
        "Content-Type": facts["contentType"],
        "ETag": f'"{facts["etag"]}"',
        "Last-Modified": format_datetime(datetime.fromisoformat(facts["updated"]), usegmt=True),
        "Accept-Ranges": "bytes",
        "x-goog-generation": stored.generation,
        "x-goog-metageneration": facts["metageneration"],
        "x-goog-hash": f"crc32c={facts['crc32c']},md5={facts['md5Hash']}",
        "x-goog-stored-content-length": facts["size"],
        "x-goog-storage-class": facts["storageClass"],
        **own,
    }
