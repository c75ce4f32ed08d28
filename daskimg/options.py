"""Settings as frozen dataclasses that check themselves: rule, value given, what would work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from daskimg.errors import OptionError

DType = Literal["uint8", "uint16", "float32"]
Codec = Literal["none", "lz4", "zstd"]
Resampling = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "area"]

MAX_PIXELS = 178_956_970
"""Pixels above which Pillow refuses a picture by default: 2 * 1 GiB / 4 / 3."""

MAX_BYTES = 1 << 30
"""Bytes above which a source is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """What a decoded picture is to be.

    Attributes
    ----------
    channels
        1 (grey) or 3 (RGB).
    dtype
        ``uint8``: 0..255. ``uint16``: 0..65535, an 8-bit value ``v`` becomes ``257 v``.
        ``float32``: 0..1, or a floating-point source's own values.
    background
        Colour under transparent pixels, R, G, B of 0..255.
    window
        Values of a 16- or 32-bit grey source that become the least and the greatest output;
        what lies outside is clipped. Without it 16 bits keep their whole range.
    exact
        Decode every pixel, so that the bits are those of ``Image.open().convert().resize()``.
        Otherwise a JPEG may be decoded at a reduced scale, at least twice the size needed.
    max_pixels
        A picture whose header declares more is refused before memory is taken.
    max_bytes
        A source with more bytes is refused before it is read.
    """

    channels: int = 3
    dtype: DType = "uint8"
    background: tuple[int, int, int] = (255, 255, 255)
    window: tuple[float, float] | None = None
    exact: bool = False
    max_pixels: int = MAX_PIXELS
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        """Refuse what cannot be decoded to."""
        if self.channels not in (1, 3):
            raise OptionError(f"channels must be 1 (grey) or 3 (RGB), got {self.channels}")
        one_of("dtype", self.dtype, get_args(DType))
        colour("background", self.background)
        if self.window is not None and not self.window[0] < self.window[1]:
            raise OptionError(
                f"window must rise from low to high, got {self.window}; try (0, 4095)"
            )
        whole("max_pixels", self.max_pixels, f"try {MAX_PIXELS}")
        whole("max_bytes", self.max_bytes, f"try {MAX_BYTES}")
        if not isinstance(self.exact, bool):
            raise OptionError(f"exact must be true or false, got {self.exact!r}")


def given(value: object) -> str:
    """Return what was given instead, for a message: its type, and a short value.

    >>> given("resize"), given(5), given([1, 2]), given(None)
    ("str 'resize'", 'int 5', 'list', 'None')
    """
    if value is None:
        return "None"
    shown = isinstance(value, int | float | str) and len(repr(value)) < 60
    return type(value).__name__ + (f" {value!r}" if shown else "")


def texts(name: str, value: object, advice: str) -> tuple[str, ...]:
    """Return one text, or several, as a tuple; refuse anything else."""
    several = (value,) if isinstance(value, str) else value
    if not isinstance(several, Iterable):
        raise OptionError(f"{name} must be text, got {given(value)}; {advice}")
    found = tuple(several)
    odd = [each for each in found if not isinstance(each, str)]
    if odd:
        raise OptionError(f"{name} must be text, got {given(odd[0])} among them; {advice}")
    return found


def whole(name: str, value: object, advice: str) -> None:
    """Refuse what is no whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise OptionError(f"{name} must be a whole number of at least 1, got {value!r}; {advice}")


def colour(name: str, levels: tuple[int, ...]) -> None:
    """Refuse what is not three levels of 0 to 255."""
    if len(levels) != 3 or not all(_is_level(level) for level in levels):
        raise OptionError(
            f"{name} must be three levels of 0 to 255, got {list(levels)}; try [255, 255, 255]"
        )


def _is_level(level: object) -> bool:
    return isinstance(level, int) and 0 <= level <= 255


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not in a closed list, naming the list."""
    if value not in allowed:
        raise OptionError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How samples are packed into Zarr chunks and shards.

    Attributes
    ----------
    shard_samples
        Samples per shard, the object that one task writes: a multiple of ``chunk_samples``.
        ``None``: a 64th of all bytes, within 4 and 48 MB.
    chunk_samples
        Samples per chunk, the least that a reader fetches. ``None``: 1 to 4 MB.
    codec
        ``none``: photographs shrink by 6 to 20 % and read 3 to 10 times slower compressed.
        ``lz4`` (Blosc, bit shuffle) or ``zstd`` pay where the network is the bound.
    """

    shard_samples: int | None = None
    chunk_samples: int | None = None
    codec: Codec = "none"

    def __post_init__(self) -> None:
        """Refuse sizes that no shard can have."""
        one_of("codec", self.codec, get_args(Codec))
        for name in ("shard_samples", "chunk_samples"):
            value = getattr(self, name)
            if value is not None:
                whole(name, value, "or leave it out")
        shard, chunk = self.shard_samples, self.chunk_samples
        if shard and chunk and shard % chunk:
            nearest = max(1, round(shard / chunk)) * chunk
            raise OptionError(
                f"shard_samples must be a multiple of chunk_samples={chunk}, got {shard}; "
                f"try {nearest}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How far a run goes, and what it puts up with.

    Attributes
    ----------
    max_failed
        Fraction of samples that may fail before the store is refused its commit.
    overwrite
        Delete the daskimg store that stands at the address first.
    """

    max_failed: float = 0.01
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse a fraction that is none."""
        number = isinstance(self.max_failed, Real)
        if not number or not 0 <= self.max_failed <= 1:
            raise OptionError(
                f"max_failed is a fraction of 0 to 1, got {self.max_failed!r}; try 0.05 for 5 %"
            )
        if not isinstance(self.overwrite, bool):  # "no" would delete a store
            raise OptionError(f"overwrite must be True or False, got {given(self.overwrite)}")
