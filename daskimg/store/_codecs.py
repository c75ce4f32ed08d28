"""How the bytes of a chunk are compressed; zarr-python's metadata of it stands beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskimg.options import Codec

ZSTD_LEVEL = 3
BLOSC_LEVEL = 5

# numcodecs is imported when something is compressed: most stores are not.


def encoder(codec: Codec) -> Callable[[Any], bytes]:
    """Return a function that compresses a contiguous buffer, the same from run to run."""
    if codec == "zstd":
        from numcodecs.zstd import Zstd

        return Zstd(level=ZSTD_LEVEL).encode  # type: ignore[no-any-return]
    return _blosc


def decoder(codec: Codec) -> Callable[[Any], bytes]:
    """Return a function that undoes what ``encoder`` of the same codec does."""
    if codec == "zstd":
        from numcodecs.zstd import Zstd

        return Zstd().decode  # type: ignore[no-any-return]
    from numcodecs.blosc import Blosc

    return Blosc().decode  # type: ignore[no-any-return]


def _blosc(chunk: Any) -> bytes:
    from numcodecs import blosc

    # Blosc's own threads may order blocks as they finish: other bytes from run to run.
    before, blosc.use_threads = blosc.use_threads, False
    try:
        return bytes(blosc.Blosc("lz4", BLOSC_LEVEL, blosc.BITSHUFFLE).encode(chunk))
    finally:
        blosc.use_threads = before
