"""What samples are exported to."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from daskimg.errors import OptionError
from daskimg.options import given, one_of, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

Format = Literal["png", "jpeg", "tfrecord", "webdataset", "npy", "parquet"]
Layout = Literal["example", "one-hot", "pose"]
Encoding = Literal["png", "jpeg"]
FORMATS: tuple[Format, ...] = get_args(Format)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

_CHOOSE = ("tfrecord", "webdataset", "parquet")  # these hold pictures as either encoding
_SHARD_BYTES = 128 << 20
_SHARD_SAMPLES = 1 << 14
_MAX_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """A format, and what there is to choose about it.

    Attributes
    ----------
    format
        ``png``, ``jpeg``: files in class folders. ``tfrecord``: ``tf.train.Example``.
        ``webdataset``: tars. ``npy``: NumPy. ``parquet``: as Hugging Face datasets read it.
    encoding
        Of the pictures in records, tars and tables: ``png`` keeps every pixel, and is the
        default but for ``pose``.
    quality
        Of ``jpeg``, 1 to 100.
    layout
        Of a TFRecord: ``example`` (``image/encoded``, ``image/class/label``, ...), ``one-hot``
        (raw pixels and a one-hot label; a sizes file beside it) or ``pose`` (a crop as JPEG, its
        joints in pixels of the crop).
    shard_samples
        Samples a file; by default what is 128 MB of pixels, at most 16,384.
    limit
        Only so many first samples.
    threads
        That encode; by default one a core, up to 8.
    """

    format: Format
    encoding: Encoding | None = None
    quality: int = 95
    layout: Layout | None = None
    shard_samples: int | None = None
    limit: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no format, and what a format has no use for."""
        one_of("format", self.format, FORMATS)
        if self.layout is not None:
            one_of("layout", self.layout, LAYOUTS)
            self._only_for("layout", ("tfrecord",))
        if self.encoding is not None:
            one_of("encoding", self.encoding, get_args(Encoding))
            self._only_for("encoding", _CHOOSE)
            if self.layout == "one-hot":
                raise OptionError("layout one-hot holds raw pixels; leave encoding out")
        whole("quality", self.quality, "try 95")
        if self.quality > 100:
            raise OptionError(f"quality must be 1 to 100, got {self.quality}; try 95")
        for name in ("shard_samples", "limit", "threads"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), "or leave it out")

    def _only_for(self, name: str, formats: tuple[str, ...]) -> None:
        if self.format not in formats:
            raise OptionError(
                f"{name} is for {', '.join(formats)}, and the format is {self.format}; "
                f"leave {name} out"
            )

    @property
    def pictures(self) -> Encoding:
        """How pictures are encoded."""
        if self.format in ("png", "jpeg"):
            return "jpeg" if self.format == "jpeg" else "png"
        return self.encoding or ("jpeg" if self.layout == "pose" else "png")

    @property
    def suffix(self) -> str:
        """What a picture's file ends in."""
        return "jpg" if self.pictures == "jpeg" else "png"

    @property
    def workers(self) -> int:
        """Threads: as many as wished, or as this process has cores."""
        return self.threads or min(_MAX_THREADS, os.cpu_count() or 1)

    def shard(self, sample_bytes: int) -> int:
        """Return the samples of a file: a function of a sample's bytes, never of the machine."""
        if self.shard_samples is not None:
            return self.shard_samples
        fitting = max(1, _SHARD_BYTES // max(1, sample_bytes))
        return min(_SHARD_SAMPLES, 1 << (fitting.bit_length() - 1))


def chosen_options(options: ExportOptions | None, settings: Mapping[str, Any]) -> ExportOptions:
    """Return options with settings in their place; refuse what is none."""
    if options is not None and not isinstance(options, ExportOptions):
        raise OptionError(f"options cannot be {given(options)}; try format='png'")
    known = [each.name for each in fields(ExportOptions)]
    for name in settings:
        if name not in known:
            raise OptionError(f"there is no option {name!r}; there are {', '.join(known)}")
    if options is None and "format" not in settings:
        raise OptionError(f"an export needs a format, one of {', '.join(FORMATS)}")
    return replace(options, **settings) if options else ExportOptions(**settings)
