"""Pillow's exceptions become a reason and a sentence; its warnings reach nobody."""

from __future__ import annotations

import re
import struct
import threading
import warnings
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from daskimg.errors import SampleError

if TYPE_CHECKING:
    from types import TracebackType

_LONGEST = 200  # characters of Pillow's own words that are worth keeping in a ledger
_OBJECT = re.compile(r"<[^<>]*\bat 0x[0-9a-fA-F]+>")
_PIXELS = re.compile(r"\((\d+) pixels\)")
_ENDS_EARLY = ("truncated", "not enough image data", "end of file", "buffer is not large enough")
_NOT_BUILT = ("not available", "not installed", "cannot handle")
_CLEARER = {
    "not identified by this driver": "the header declares no picture",
    "cannot load this image": "there are no pixels behind the header",
}


class _Contained:
    """While a picture is read: no warning, and no exception but ``SampleError``.

    ``MemoryError`` and what is no ``Exception`` pass through: no fault of the file.
    """

    def __enter__(self) -> None:
        _hush()
        _READING.on = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _READING.on = False
        if isinstance(error, Exception) and not isinstance(error, (SampleError, MemoryError)):
            raise sample_error(error) from error


contained = _Contained()


def sample_error(error: Exception) -> SampleError:
    """Return what Pillow's exception says of the file, in words that never differ."""
    text = said(error)
    if isinstance(error, Image.DecompressionBombError):
        found = _PIXELS.search(text)
        return SampleError("pixels", f"{found[1]} pixels, over the limit" if found else text)
    if _ends_early(error):
        return SampleError("truncated", text)
    if isinstance(error, ImportError) or any(words in text for words in _NOT_BUILT):
        return SampleError("codec", text)
    return SampleError("corrupt", text)


def said(error: Exception) -> str:
    """Return an exception's words without addresses, in one short line of valid UTF-8."""
    text = " ".join(_OBJECT.sub("the file", str(error)).split())
    text = text.encode("utf-8", "backslashreplace").decode()[:_LONGEST]
    return _CLEARER.get(text, text) or type(error).__name__


def _ends_early(error: Exception) -> bool:
    """Tell whether an exception means that the file stops before its picture does."""
    early = (EOFError, IndexError, struct.error)
    if isinstance(error, early) or isinstance(error.__cause__, early):
        return True
    return any(words in str(error).lower() for words in _ENDS_EARLY)


class _Reading(threading.local):
    """Whether this thread is reading a picture; stands for the module in a warning filter."""

    on = False

    def match(self, module: str) -> bool:
        return self.on and module.startswith("PIL.")


_READING = _Reading()
_FILTER = ("ignore", None, Warning, _READING, 0)
_LOCK = threading.Lock()


def _hush() -> None:
    """Put our filter first: it ignores Pillow's warnings, in the threads that are reading.

    ``warnings.catch_warnings`` swaps a list that all threads share, and two that overlap
    leave the wrong one behind. A filter that asks which thread it is in needs no swapping.
    It must be first: ``-W error`` or pytest may have put theirs in front since.
    """
    filters = cast("list[Any]", warnings.filters)
    if filters and filters[0] is _FILTER:
        return
    with _LOCK:
        filters[:] = [_FILTER, *(other for other in filters if other is not _FILTER)]
