"""Memory that no cache holds, copied and checked at the speed at which it can be read.

A core waits for memory: it has so many lines on their way at once, and the hardware fetches
ahead along a few pages only. So each loop here walks through several parts of what it is given
side by side, and what it writes goes past the caches, which ordinary stores would first read
it into. As measured, of pictures of 224x224x3 and a core: copied in 12 us, where ``memmove``
takes 21; checked at 17 GB/s, where the ``crc32c`` package, faster in the caches, does 12.

The loops are written in LLVM's language, not in Python for numba: numba is 0.6 s away from its
first kernel, and this 40 ms.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskimg.checksums import crc32c
from daskimg.compiling import Rent

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_SMALL = 1 << 18  # bytes that caches may well hold
_PRICE = 1_000_000_000  # bytes; as measured: 40 ms, and 0.045 ns a byte less by two threads
_RENT = Rent(_PRICE)

_COPIED, _CHECKED = 4, 6  # parts read side by side; more were no faster
_LINE = 64  # bytes
_WORD, _CRC = 8, 4
_GRAIN = 1 << 12  # of a checked part: lengths that come again, as each has a factor to be found
_ALIGNED = 16  # bytes, of a line's store: 64 are no faster, and not every machine has them
_ONES = 0xFFFFFFFF
_CASTAGNOLI = 0x82F63B78  # CRC32C's polynomial, the lowest power in the highest bit
_CRC32C = "llvm.x86.sse42.crc32"


def pays(size: int) -> bool:
    """Count so many bytes to be copied or checked, and tell whether the loops are for them.

    That is once compiling them pays, where it is possible.
    """
    return _RENT.worth(size) and _loops() is not None


def foresee(size: int) -> None:
    """Take note that so many bytes are to be copied or checked: if they pay, they all are here."""
    _RENT.foresee(size)


def gather(addresses: NDArray[np.int64], lines: NDArray[np.int64], out: NDArray[Any]) -> None:
    """Copy samples that lie anywhere in memory, past the caches, without the GIL.

    Only ``pays`` tells whether this can be done.

    Parameters
    ----------
    addresses, lines : (sample,) int64
        Where a sample's bytes begin; its line of ``out``.
    out : (line, ...)
        C-contiguous; a line has a sample's bytes. Lines named are overwritten.
    """
    addresses, lines = np.ascontiguousarray(addresses), np.ascontiguousarray(lines)
    loops = _loops()
    assert loops is not None
    loops.gather(
        addresses.ctypes.data, lines.ctypes.data, len(addresses), out.ctypes.data, out[0].nbytes
    )


def find_damaged(addresses: NDArray[np.int64], size: int) -> int:
    """Return which block does not end in the CRC32C of the bytes before; -1 if all do.

    Where several do not, it is any of them. Small blocks, the first gigabyte of short epochs and
    machines that are no x86 have the ``crc32c`` package. All others are checked in one go
    without the GIL: after each block a thread would wait for it.

    Parameters
    ----------
    addresses : (block,) int64
        Where a block's bytes begin.
    size
        A block's bytes, of which the last four are the checksum, little-endian.
    """
    if size >= _SMALL and pays(size * len(addresses)):
        loops = _loops()
        if loops is not None and loops.check is not None:
            addresses = np.ascontiguousarray(addresses)
            part = (size - _CRC) // (_CHECKED * _GRAIN) * _GRAIN
            return loops.check(
                addresses.ctypes.data, len(addresses), size - _CRC, part, _power(8 * part)
            )
    for number, address in enumerate(addresses.tolist()):
        block = np.asarray(_Block(address, size))
        if crc32c(block[:-_CRC]) != int.from_bytes(block[-_CRC:].tobytes(), "little"):
            return number
    return -1


class _Block:
    """Memory for numpy to look at: by ctypes each length would be a type of its own."""

    def __init__(self, address: int, size: int) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (address, True),  # read-only
            "shape": (size,),
            "typestr": "|u1",
        }


class _Loops(NamedTuple):
    """Machine code, and what keeps it; ``check`` is none where the processor has no CRC32C."""

    gather: Callable[[int, int, int, int, int], None]
    check: Callable[[int, int, int, int, int], int] | None
    engine: Any


_LOCK = Lock()
_made: list[_Loops | None] = []


def _loops() -> _Loops | None:
    """Return the loops, made once; none where LLVM knows not the processor, or may make none."""
    if _made:  # without the lock, which a forked process may find held for ever
        return _made[0]
    with _LOCK:
        if not _made:
            try:
                _made.append(_compiled())
            except RuntimeError:  # LLVM's only one: all it is asked for can be done without
                _made.append(None)
    return _made[0]


def _compiled() -> _Loops:
    """Let LLVM make the loops, for the very processor this is."""
    from llvmlite import binding, ir  # here: who reads little does without

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features()
    module = ir.Module("daskimg")
    _write_gather(module)
    checks = features.get("sse4.2", False)
    if checks:
        _write_check(module)
    target = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features.flatten(), opt=3
    )
    engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), target)
    engine.finalize_object()
    long, word = ctypes.c_int64, ctypes.c_uint32
    gather = ctypes.CFUNCTYPE(None, long, long, long, long, long)
    check = ctypes.CFUNCTYPE(long, long, long, long, long, word)
    return _Loops(
        gather(engine.get_function_address("gather")),
        check(engine.get_function_address("check")) if checks else None,
        engine,
    )


class _Body:
    """A function that is being written: counted loops, and memory by its address."""

    def __init__(self, module: Any, name: str, result: Any, arguments: list[Any]) -> None:
        from llvmlite import ir

        self.ir = ir
        self.function = ir.Function(module, ir.FunctionType(result, arguments), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block())

    def number(self, value: int, bits: int = 64) -> Any:
        """Return a constant."""
        return self.ir.Constant(self.ir.IntType(bits), value)

    def sum(self, *terms: Any) -> Any:
        """Return the sum of addresses and offsets."""
        total, *others = terms
        for term in others:
            total = self.builder.add(total, term)
        return total

    def loop(
        self,
        start: Any,
        stop: Any,
        step: int,
        body: Callable[..., list[Any]],
        carried: list[Any] | None = None,
    ) -> list[Any]:
        """Write a loop: ``carried = body(index, *carried)`` for each index; return the last."""
        builder, before = self.builder, self.builder.block
        head, inside, behind = (self.function.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        values = [start, *(carried or [])]
        turning = [builder.phi(value.type) for value in values]
        builder.cbranch(builder.icmp_unsigned("<", turning[0], stop), inside, behind)
        builder.position_at_end(inside)
        found = body(*turning)
        following = [builder.add(turning[0], self.number(step)), *found]
        for phi, first, next_one in zip(turning, values, following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(next_one, builder.block)
        builder.branch(head)
        builder.position_at_end(behind)
        return turning[1:]

    def load(self, address: Any, kind: Any) -> Any:
        """Read from any address."""
        loaded = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        loaded.align = 1
        return loaded

    def store(self, value: Any, address: Any, *, past: bool) -> None:
        """Write to any address; if past the caches, to one that is aligned."""
        stored = self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer()))
        stored.align = _ALIGNED if past else 1
        if past:
            stored.set_metadata(
                "nontemporal", self.builder.module.add_metadata([self.number(1, 32)])
            )


def _write_gather(module: Any) -> None:
    """Write ``gather(addresses, lines, samples, out, size)``."""
    from llvmlite import ir

    long, byte = ir.IntType(64), ir.IntType(8)
    line = ir.VectorType(byte, _LINE)
    write = _Body(module, "gather", ir.VoidType(), [long] * 5)
    builder, number = write.builder, write.number
    addresses, lines, samples, out, size = write.function.args

    def copied(start: Any, stop: Any, source: Any, goal: Any) -> None:
        """Copy byte by byte what is before the first line of ``out``, or behind the last part."""

        def body(place: Any) -> list[Any]:
            value = write.load(write.sum(source, place), byte)
            write.store(value, write.sum(goal, place), past=False)
            return []

        write.loop(start, stop, 1, body)

    def sample(place: Any) -> list[Any]:
        offset = builder.mul(place, number(8))
        source = write.load(write.sum(addresses, offset), long)
        goal = write.sum(out, builder.mul(write.load(write.sum(lines, offset), long), size))
        beyond = builder.and_(builder.neg(goal), number(_LINE - 1))
        head = builder.select(builder.icmp_unsigned("<", beyond, size), beyond, size)
        every = builder.udiv(builder.sub(size, head), number(_COPIED * _LINE))
        part = builder.mul(every, number(_LINE))
        parts = [write.sum(head, builder.mul(part, number(k))) for k in range(_COPIED + 1)]

        def body(step: Any) -> list[Any]:
            for begin in parts[:-1]:
                value = write.load(write.sum(source, begin, step), line)
                write.store(value, write.sum(goal, begin, step), past=True)
            return []

        copied(number(0), head, source, goal)
        write.loop(number(0), part, _LINE, body)
        copied(parts[-1], size, source, goal)
        return []

    write.loop(number(0), samples, 1, sample)
    builder.fence("seq_cst")  # all that was written be seen by other threads
    builder.ret_void()


def _write_check(module: Any) -> None:
    """Write ``check(addresses, blocks, size, part, factor)``, which returns a damaged block.

    Of each block so many equal parts are read side by side, and what is left behind them. Parts
    have states of their own, as CRC is linear: a part's length of zeros behind a state is a
    factor, which is the same for all.
    """
    from llvmlite import ir

    long, word, byte = ir.IntType(64), ir.IntType(32), ir.IntType(8)
    write = _Body(module, "check", long, [long, long, long, long, word])
    builder, number = write.builder, write.number
    addresses, blocks, size, part, factor = write.function.args
    by_word = ir.Function(module, ir.FunctionType(long, [long, long]), f"{_CRC32C}.64.64")
    by_byte = ir.Function(module, ir.FunctionType(word, [word, byte]), f"{_CRC32C}.32.8")
    behind = builder.mul(part, number(_CHECKED))
    words = builder.sub(size, builder.urem(builder.sub(size, behind), number(_WORD)))

    def state_of(address: Any) -> Any:
        """Write how a block's state is found."""
        begins = [write.sum(address, builder.mul(part, number(k))) for k in range(_CHECKED)]

        def side_by_side(step: Any, *states: Any) -> list[Any]:
            return [
                builder.call(by_word, [state, write.load(write.sum(begin, step), long)])
                for state, begin in zip(states, begins, strict=True)
            ]

        def by_words(place: Any, state: Any) -> list[Any]:
            return [builder.call(by_word, [state, write.load(write.sum(address, place), long)])]

        def by_bytes(place: Any, state: Any) -> list[Any]:
            return [builder.call(by_byte, [state, write.load(write.sum(address, place), byte)])]

        states = [number(_ONES), *[number(0)] * (_CHECKED - 1)]
        total, *others = write.loop(number(0), part, _WORD, side_by_side, states)
        total = builder.trunc(total, word)
        for state in others:
            total = builder.xor(_write_product(write, total, factor), builder.trunc(state, word))
        [whole] = write.loop(behind, words, _WORD, by_words, [builder.zext(total, long)])
        [state] = write.loop(words, size, 1, by_bytes, [builder.trunc(whole, word)])
        return builder.not_(state)

    def body(block: Any, found: Any) -> list[Any]:
        address = write.load(write.sum(addresses, builder.mul(block, number(_WORD))), long)
        stored = write.load(write.sum(address, size), word)
        differs = builder.icmp_unsigned("!=", state_of(address), stored)
        return [builder.select(differs, block, found)]

    [found] = write.loop(number(0), blocks, 1, body, [number(-1)])
    builder.ret(found)


def _write_product(write: _Body, one: Any, other: Any) -> Any:
    """Write what ``_product`` does."""
    builder, number = write.builder, write.number

    def body(step: Any, total: Any, power: Any) -> list[Any]:
        place = builder.trunc(builder.sub(number(31), step), one.type)
        wanted = builder.neg(builder.and_(builder.lshr(one, place), number(1, 32)))
        over = builder.neg(builder.and_(power, number(1, 32)))
        halved = builder.lshr(power, number(1, 32))
        return [
            builder.xor(total, builder.and_(power, wanted)),
            builder.xor(halved, builder.and_(over, number(_CASTAGNOLI, 32))),
        ]

    return write.loop(number(0), number(32), 1, body, [number(0, 32), other])[0]


def _product(one: int, other: int) -> int:
    """Return the product of two polynomials over GF(2), modulo CRC32C's; x**0 is bit 31."""
    total = 0
    for place in reversed(range(32)):
        total ^= other if one >> place & 1 else 0
        other = other >> 1 ^ (_CASTAGNOLI if other & 1 else 0)
    return total


@lru_cache(maxsize=512)
def _power(exponent: int) -> int:
    """Return ``x ** exponent`` modulo CRC32C's polynomial."""
    found, square = 1 << 31, 1 << 30
    while exponent:
        found = _product(square, found) if exponent & 1 else found
        square, exponent = _product(square, square), exponent >> 1
    return found
