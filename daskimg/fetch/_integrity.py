"""Is what arrived what was sent: lengths and hashes that servers give."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from daskimg.checksums import crc32c
from daskimg.fetch._retries import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_MD5 = re.compile(r'"([0-9a-f]{32})"')


class Promise(NamedTuple):
    """What a server says of the bytes that it sends.

    Attributes
    ----------
    length
        In bytes; ``None`` if it is not said, or is that of compressed bytes.
    crc32c, md5
        In base64; ``None`` if not given, or given of other bytes than these.
    """

    length: int | None
    crc32c: str | None = None
    md5: str | None = None

    @property
    def has_hash(self) -> bool:
        """Whether it says more than the length."""
        return self.crc32c is not None or self.md5 is not None


def crc32c_of(content: bytes | bytearray | memoryview) -> str:
    """Return the CRC32C (RFC 3720) as Google writes it: big-endian, in base64.

    >>> crc32c_of(b"123456789")
    '4waSgw=='
    """
    return base64.b64encode(crc32c(content).to_bytes(4, "big")).decode()


def md5_of(content: bytes | bytearray | memoryview) -> str:
    """Return the MD5 in base64, as ``Content-MD5`` has it."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def promise_of(status: int, headers: Any) -> Promise:
    """Return what the headers of an answer promise of its body, as far as it can be held."""
    if _is_encoded(headers):
        return Promise(None)  # lengths and hashes are of the compressed bytes
    length, whole = _length(status, headers)
    if not whole:
        return Promise(length)  # hashes are of the whole object
    hashes = _hashes(headers)
    md5 = hashes.get("md5") or headers.get("Content-MD5") or _md5_tag(headers)
    return Promise(length, hashes.get("crc32c"), md5)


def check_length(size: int, promise: Promise) -> None:
    """Raise a ``Fault`` if these are not as many bytes as were promised."""
    if promise.length is not None and size != promise.length:
        raise Fault("truncated", f"{size:,} bytes of {promise.length:,} arrived")


def check(content: bytes | memoryview, promise: Promise) -> None:
    """Raise a ``Fault`` if these are not the bytes that were promised."""
    check_length(len(content), promise)
    if promise.crc32c is not None:
        if crc32c_of(content) != promise.crc32c:
            raise Fault("corrupt", "the crc32c of what arrived is not the server's")
    elif promise.md5 is not None and md5_of(content) != promise.md5:
        raise Fault("corrupt", "the MD5 of what arrived is not the server's")


def _is_encoded(headers: Mapping[str, str]) -> bool:
    # Google unpacks objects stored with gzip for who cannot; the hash is of the stored bytes.
    names = ("Content-Encoding", "X-Goog-Stored-Content-Encoding")
    return any(headers.get(name, "identity").lower() not in ("", "identity") for name in names)


def _length(status: int, headers: Mapping[str, str]) -> tuple[int | None, bool]:
    """Return how many bytes the body has, and whether they are the whole object."""
    found = _RANGE.match(headers.get("Content-Range", "")) if status == 206 else None
    if found:
        first, last, total = int(found[1]), int(found[2]), found[3]
        length = last - first + 1
        return length, total == str(length)
    if status != 200:
        return None, False
    length_text = headers.get("X-Goog-Stored-Content-Length") or headers.get("Content-Length", "")
    return (int(length_text) if length_text.isdigit() else None), True


def _hashes(headers: Any) -> dict[str, str]:
    """Return Google's hashes by name; they come in one header or in several."""
    pairs = ",".join(headers.getall("X-Goog-Hash", ())).split(",")
    return dict(pair.strip().split("=", 1) for pair in pairs if "=" in pair)


def _md5_tag(headers: Mapping[str, str]) -> str | None:
    """Return Amazon's ETag where it is an MD5: not encrypted by its key service, in one part."""
    odd = ("x-amz-server-side-encryption-customer-algorithm",)
    if headers.get("Server") != "AmazonS3" or any(name in headers for name in odd):
        return None
    if headers.get("x-amz-server-side-encryption", "AES256") != "AES256":
        return None
    found = _MD5.fullmatch(headers.get("ETag", ""))
    return base64.b64encode(bytes.fromhex(found[1])).decode() if found else None
