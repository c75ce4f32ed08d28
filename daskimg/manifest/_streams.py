"""Tables as streams of bytes: opened, decompressed by name, and refused in one line."""

from __future__ import annotations

from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pyarrow as pa

from daskimg import fetch
from daskimg.errors import DaskimgError, ManifestError, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}

NOT_UTF8 = "is not UTF-8; save it as UTF-8 (iconv -f latin1 -t utf-8)"


@contextmanager
def opened(location: str) -> Iterator[IO[bytes]]:
    """Open a table's file; what goes wrong with it inside is told in one line.

    Raises
    ------
    ManifestError
        If there is no such file, or it may not be read, or it is damaged.
    TransportError
        If it is remote and could not be reached.
    """
    try:
        with fetch.open_input(location) as file:
            yield file
    except (DaskimgError, pa.ArrowInvalid):
        raise
    except FileNotFoundError as error:
        answer = f": {error}" if location.startswith(("http://", "https://")) else ""
        raise ManifestError(f"there is no file {location}{answer}") from None
    except PermissionError as error:
        if fetch.is_url(location):
            raise fetch.access_error(location, error) from None
        raise ManifestError(f"{location} may not be read: permission denied") from None
    except (OSError, ImportError) as error:
        if fetch.is_url(location):
            raise TransportError(fetch.shown(location), fetch.scrubbed(str(error))) from None
        raise ManifestError(f"cannot read {location}: {error}") from error


@contextmanager
def decompressed(location: str) -> Iterator[pa.NativeFile]:
    """Open a text table's file, decompressed if its name says so."""
    with opened(location) as file:
        stream = pa.PythonFile(file, mode="r")
        compression = COMPRESSIONS.get(f".{location.rpartition('.')[2].lower()}")
        if compression:
            stream = pa.CompressedInputStream(stream, compression)
        yield stream
