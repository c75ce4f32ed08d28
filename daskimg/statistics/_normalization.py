"""Pictures as floating-point numbers, by a fixed mean and deviation or each by its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from daskimg.compiling import Rent
from daskimg.errors import OptionError
from daskimg.options import one_of
from daskimg.statistics._sums import check_images, run_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Affine = tuple[NDArray[np.float64], NDArray[np.float64]]
    """Centre and spread, (sample or 1, channel) each, in the pictures' own values."""

Mode = Literal["mean-std", "signed", "per-image"]
Layout = Literal["hwc", "chw"]
Floating = Literal["float32", "float16"]

_WHITE = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
_BLOCK = 1 << 19  # values: with their results, they stay in cache between sums and look-ups
_LEVELS = np.arange(256, dtype=np.float64)


def normalize(
    images: NDArray[Any],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    mode: Mode = "mean-std",
    layout: Layout = "hwc",
    dtype: Floating = "float32",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return pictures as floating-point numbers for training.

    Every value is ``(value - centre) / spread`` in float64, rounded once to ``dtype``: the
    same bits on every machine, compiled or not. (The centre and spread of float32 pictures
    in mode ``per-image`` are NumPy's sums, which another NumPy may round otherwise.)

    Parameters
    ----------
    images : (sample, height, width, channel) uint8, uint16 or float32
    mean, std
        For ``mean-std``: one number per channel on the 0..1 scale, as ``ChannelSums`` and
        a store's attributes give them.
    mode
        ``mean-std``: subtract ``mean``, divide by ``std``. ``signed``: 0..1 becomes -1..1.
        ``per-image``: each picture by the mean and population standard deviation of each of
        its channels; a channel of a single level becomes zeros.
    layout
        ``hwc``: (sample, height, width, channel). ``chw``: (sample, channel, height, width).
    dtype
        ``float32`` or ``float16``.
    out
        Overwritten and returned, if given; of the shape and dtype of the result.

    Raises
    ------
    OptionError
        If a setting does not fit the pictures.

    Examples
    --------
    >>> images = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1)
    >>> normalize(images, mode="signed").ravel()
    array([-1. , -0.6,  1. ], dtype=float32)
    """
    check_images(images)
    one_of("mode", mode, get_args(Mode))
    one_of("layout", layout, get_args(Layout))
    one_of("dtype", dtype, get_args(Floating))
    fixed = _fixed(images, mode, mean, std)
    _check_range(images, fixed, dtype)
    out = _target(images, layout, dtype, out)
    compiled = images.dtype == np.uint8 and _LOOK_UPS.worth(images.size)
    step = max(1, _BLOCK // math.prod(images.shape[1:]))
    for start in range(0, len(images), step):
        block = np.ascontiguousarray(images[start : start + step])
        affine = fixed or _own(block, compiled=compiled)
        _fill(block, affine, out[start : start + step], layout, compiled=compiled)
    return out


# As measured: 0.9 s to import numba and compile; NumPy's look-up costs 1.6 ns a value more.
_LOOK_UPS = Rent(600_000_000)


def _fixed(
    images: NDArray[Any], mode: Mode, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Affine | None:
    """Return what all pictures are normalised by, or none if each is by its own."""
    white = _WHITE[images.dtype.name]
    if mode == "mean-std":
        channels, whole = images.shape[3], images.dtype != np.float32
        centre = _per_channel("mean", mean, channels, 0.5, whole=whole)
        spread = _per_channel("std", std, channels, 0.25, whole=whole)
        if not (spread > 0).all():
            raise OptionError(f"std must be above 0 in every channel, got {std}; try 1")
        return centre * white, spread * white
    if mean is not None or std is not None:
        raise OptionError(f"mode {mode} takes no mean and std; leave them out, or try mean-std")
    half = np.full((1, images.shape[3]), white / 2)
    return (half, half) if mode == "signed" else None


def _per_channel(
    name: str, given: Sequence[float] | None, channels: int, example: float, *, whole: bool
) -> NDArray[np.float64]:
    """Return (1, channel) numbers, or refuse what was given for them."""
    numbers = np.asarray(() if given is None else given, np.float64)
    if numbers.shape != (channels,) or not np.isfinite(numbers).all():
        raise OptionError(
            f"{name} must be {channels} finite numbers, one per channel, got {given}; "
            f"try {(example,) * channels}"
        )
    if whole and ((numbers < 0) | (numbers > 1)).any():
        raise OptionError(
            f"{name} must lie on the 0..1 scale, got {given}; if it is on the 0..255 scale, "
            f"try {tuple((numbers / 255).round(6).tolist())}"
        )
    return numbers[None]


def _check_range(images: NDArray[Any], fixed: Affine | None, dtype: Floating) -> None:
    """Refuse a spread so small that black or white would become infinite."""
    if fixed is None or images.dtype == np.float32:
        return
    centre, spread = fixed
    limit = float(np.finfo(dtype).max)
    farthest = np.maximum(centre, _WHITE[images.dtype.name] - centre)
    if (farthest > limit * spread).any():
        raise OptionError(
            f"{dtype} holds numbers up to {limit:g}, and a std of "
            f"{spread.min() / _WHITE[images.dtype.name]:g} leads beyond; try a larger std"
        )


def _target(
    images: NDArray[Any], layout: Layout, dtype: Floating, out: NDArray[Any] | None
) -> NDArray[Any]:
    """Return the array to fill: ``out`` if it fits, or a new one."""
    samples, height, width, channels = images.shape
    hwc = (samples, height, width, channels)
    shape = hwc if layout == "hwc" else (samples, channels, height, width)
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        lock = "" if out.flags.writeable else "read-only "
        raise OptionError(
            f"out must be a writable {shape} array of {dtype}, got {lock}{out.shape} of "
            f"{out.dtype}; try out=None"
        )
    return out


def _own(images: NDArray[Any], *, compiled: bool) -> Affine:
    """Return each picture's own mean and deviation, (sample, channel); a deviation of 0 as 1."""
    samples, height, width, channels = images.shape
    if images.dtype == np.float32:
        with np.errstate(invalid="ignore"):  # a picture with an infinite value becomes nan
            pixels = images.reshape(samples, -1, channels).astype(np.float64)
            centre, spread = pixels.mean(axis=1), pixels.std(axis=1)
    else:
        count = height * width
        sums, squares = _image_sums(images, compiled=compiled)
        centre = (sums / count).astype(np.float64)
        spread = np.sqrt((count * squares - sums * sums).astype(np.float64)) / count
    return centre, np.where(spread == 0, 1.0, spread)


def _image_sums(
    images: NDArray[Any], *, compiled: bool
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Return each picture's sums and squares, (sample, channel): Python integers, which fit."""
    channels = images.shape[3]
    if compiled:
        from daskimg import kernels

        sums, squares = np.zeros((2, len(images), channels), np.uint64)
        kernels.image_sums(images, sums, squares)
        return sums.astype(object), squares.astype(object)
    pairs = [run_sums(image.reshape(-1), channels, compiled=False) for image in images]
    both = np.array(pairs, object)
    return both[:, 0], both[:, 1]


def _fill(
    images: NDArray[Any], affine: Affine, out: NDArray[Any], layout: Layout, *, compiled: bool
) -> None:
    """Normalise one block into ``out``."""
    planar = layout == "chw"
    view = out.transpose(0, 2, 3, 1) if planar else out
    if images.dtype != np.uint8:
        _compute(images, affine, view)
        return
    centre, spread = affine
    tables = ((_LEVELS - centre[..., None]) / spread[..., None]).astype(out.dtype)
    if compiled and out.flags.c_contiguous:
        from daskimg import kernels

        bits = np.dtype(f"u{out.itemsize}")  # numba has no float16, and needs no meaning here
        kernels.look_up(images, tables.view(bits), out.view(bits), planar)
    else:
        _look_up(images, tables, view)


def _compute(images: NDArray[Any], affine: Affine, out: NDArray[Any]) -> None:
    """Normalise pictures of too many levels for a table."""
    centre, spread = (numbers[:, None, None, :] for numbers in affine)
    # A float32 picture may hold what it likes: infinite stays so, too large becomes so.
    with np.errstate(invalid="ignore", over="ignore"):
        out[...] = (images - centre) / spread


def _look_up(images: NDArray[Any], tables: NDArray[Any], out: NDArray[Any]) -> None:
    """Do what ``kernels.look_up`` does, in NumPy; ``out`` is (sample, height, width, channel)."""
    for channel in range(images.shape[3]):
        levels = images[..., channel]
        if len(tables) == 1:
            out[..., channel] = tables[0, channel][levels]
        else:
            for sample, table in enumerate(tables[:, channel]):
                out[sample, ..., channel] = table[levels[sample]]
