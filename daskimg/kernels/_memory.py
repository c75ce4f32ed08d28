"""Memory by its address, and stores that pass the caches by.

What is written once and is larger than a cache need not be read into it first, as ordinary
stores do: a third of what goes over the memory's bus. Both are plain Python where there is no
compiler, with the same bits.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

PIXELS = 16
"""``stream_scaled`` takes multiples of so many."""
ALIGNED = 16
"""Bytes: what it writes to begins at a multiple; NumPy's memory does. 64 was not faster."""

_SCALING = types.void(types.int64, types.int64, types.int64, types.UniTuple(types.float64, 6))


def bytes_at(address: int, size: int) -> NDArray[np.uint8]:
    """Return (size,) uint8: a view of memory that somebody else keeps alive."""
    return np.frombuffer(memoryview((ctypes.c_ubyte * size).from_address(int(address))), np.uint8)


@overload(bytes_at)
def _bytes_at(address: Any, size: Any) -> Callable[..., Any]:
    def compiled(address: Any, size: Any) -> Any:  # numba wants the same annotations
        return carray(_pointer(address), size)

    return compiled


def stream_scaled(
    values: NDArray[np.uint8],
    scale: NDArray[np.float64],
    shift: NDArray[np.float64],
    out: NDArray[np.float32],
    planar: bool,
) -> None:
    """Write ``level * scale + shift`` of pixels of three levels, past the caches.

    Parameters
    ----------
    values : (value,) uint8
        (pixel, channel) levels, a multiple of ``PIXELS`` pixels.
    scale, shift : (3,) float64
    out : (value,) float32
        At a multiple of ``ALIGNED`` bytes.
    planar : bool
        Whether ``out`` is (channel, pixel).
    """
    levels = values.reshape(-1, 3) * scale + shift
    out[:] = (levels.T if planar else levels).reshape(-1)


@overload(stream_scaled)
def _stream_scaled(
    values: Any, scale: Any, shift: Any, out: Any, planar: Any
) -> Callable[..., Any]:
    def compiled(values: Any, scale: Any, shift: Any, out: Any, planar: Any) -> None:
        numbers = (scale[0], scale[1], scale[2], shift[0], shift[1], shift[2])
        start, goal = values.ctypes.data, out.ctypes.data
        pixels = values.size // 3
        if planar:
            for pixel in range(0, pixels, PIXELS):
                _scale_planes(start + 3 * pixel, goal + 4 * pixel, 4 * pixels, numbers)
        else:
            for pixel in range(0, pixels, PIXELS):
                _scale_pixels(start + 3 * pixel, goal + 12 * pixel, 4 * PIXELS, numbers)

    return compiled


def fence() -> None:
    """Let all that was streamed be seen by other threads."""


@overload(fence)
def _fence() -> Callable[[], None]:
    def compiled() -> None:
        _fenced()

    return compiled


@intrinsic
def _pointer(_typing: Any, _address: Any) -> tuple[Any, Any]:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.CPointer(types.uint8)(types.int64), generate


@intrinsic
def _scale_planes(
    _typing: Any, _source: Any, _goal: Any, _step: Any, _numbers: Any
) -> tuple[Any, Any]:
    """Scale ``PIXELS`` pixels into three planes, so many bytes apart."""
    return _SCALING, _scaling([range(channel, 3 * PIXELS, 3) for channel in range(3)])


@intrinsic
def _scale_pixels(
    _typing: Any, _source: Any, _goal: Any, _step: Any, _numbers: Any
) -> tuple[Any, Any]:
    """Scale ``PIXELS`` pixels as they lie, in three parts, so many bytes apart."""
    lanes = range(3 * PIXELS)
    return _SCALING, _scaling([lanes[k * PIXELS : (k + 1) * PIXELS] for k in range(3)])


@intrinsic
def _fenced(_typing: Any) -> tuple[Any, Any]:
    def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


def _scaling(parts: list[range]) -> Callable[..., Any]:
    """Return what generates the scaling of pixels: which levels go into each of three parts.

    By hand: of stores past the caches LLVM makes no vectors, and a block in between costs more.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        source, goal, step, packed = arguments
        numbers = [builder.extract_value(packed, i) for i in range(6)]
        levels = _load(builder, source, 3 * PIXELS)
        for part, lanes in enumerate(parts):
            some = builder.shuffle_vector(levels, levels, _lanes(lanes))
            wide = builder.uitofp(some, ir.VectorType(ir.DoubleType(), PIXELS))
            channels = [lane % 3 for lane in lanes]
            scaled = builder.fmul(wide, _spread(builder, numbers[:3], channels))
            shifted = builder.fadd(scaled, _spread(builder, numbers[3:], channels))
            found = builder.fptrunc(shifted, ir.VectorType(ir.FloatType(), PIXELS))
            place = builder.mul(step, ir.Constant(ir.IntType(64), part))
            _store(builder, found, builder.add(goal, place))
        return context.get_dummy_value()

    return generate


def _lanes(numbers: Iterable[int]) -> ir.Constant:
    each = [ir.Constant(ir.IntType(32), number) for number in numbers]
    return ir.Constant(ir.VectorType(ir.IntType(32), len(each)), each)


def _spread(builder: Any, numbers: list[Any], channels: list[int]) -> Any:
    """Return a vector that has in each lane the number of its channel."""
    kind = ir.VectorType(ir.DoubleType(), len(channels))
    vector = ir.Constant(kind, ir.Undefined)
    for channel, number in enumerate(numbers):
        vector = builder.insert_element(vector, number, ir.Constant(ir.IntType(32), channel))
    return builder.shuffle_vector(vector, vector, _lanes(channels))


def _load(builder: Any, address: Any, size: int) -> Any:
    vector = ir.VectorType(ir.IntType(8), size)
    loaded = builder.load(builder.inttoptr(address, vector.as_pointer()))
    loaded.align = 1
    return loaded


def _store(builder: Any, value: Any, address: Any) -> None:
    stored = builder.store(value, builder.inttoptr(address, value.type.as_pointer()))
    stored.align = ALIGNED
    once = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
    stored.set_metadata("nontemporal", once)
