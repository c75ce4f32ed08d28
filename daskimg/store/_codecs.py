"""How the bytes of a chunk are compressed; zarr-python's metadata of it stands beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

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


def decode_into(codec: Codec, content: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Undo what ``encoder`` of the same codec does, into (byte,) memory that is filled exactly.

    Raises
    ------
    ValueError, RuntimeError
        If the content is damaged, or is of another number of bytes.
    """
    from numcodecs.blosc import Blosc
    from numcodecs.zstd import Zstd

    declared = _zstd_bytes(content) if codec == "zstd" else _blosc_bytes(content)
    if declared != len(out):  # numcodecs would leave the rest of it as it was
        raise ValueError(f"{declared} bytes, not {len(out)}")
    (Zstd() if codec == "zstd" else Blosc()).decode(content, out)


def _blosc_bytes(content: NDArray[np.uint8]) -> int:
    return int.from_bytes(content[4:8].tobytes(), "little")


def _zstd_bytes(content: NDArray[np.uint8]) -> int:
    """Return the bytes that a frame of zstd says it holds: RFC 8878, 3.1.1.1."""
    if len(content) < 18:  # its header, at most
        return -1
    descriptor = int(content[4])
    flag, single = descriptor >> 6, descriptor >> 5 & 1
    start = 6 - single + (0, 1, 2, 4)[descriptor & 3]
    size = (single, 2, 4, 8)[flag]
    return int.from_bytes(content[start : start + size].tobytes(), "little") + 256 * (size == 2)


def _blosc(chunk: Any) -> bytes:
    from numcodecs import blosc

    # Blosc's own threads may order blocks as they finish: other bytes from run to run.
    before, blosc.use_threads = blosc.use_threads, False
    try:
        return bytes(blosc.Blosc("lz4", BLOSC_LEVEL, blosc.BITSHUFFLE).encode(chunk))
    finally:
        blosc.use_threads = before
