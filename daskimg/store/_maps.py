"""Files as memory, without a descriptor for each.

Large stores have more shards than a process may have open files, and ``mmap.mmap`` keeps one
for each map (until Python 3.13's ``trackfd``).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def mapped_file(path: Path) -> NDArray[np.uint8]:
    """Return (byte,) uint8: a file's content, mapped read-only until the array is let go.

    Raises
    ------
    OSError
        If it cannot be opened or mapped.
    """
    with path.open("rb") as file:
        return _mapped(file.fileno())


def _mapped(descriptor: int) -> NDArray[np.uint8]:
    size = os.fstat(descriptor).st_size
    if not size:
        return np.empty(0, np.uint8)
    libc = _libc()
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == _FAILED:
        raise OSError(ctypes.get_errno(), f"cannot map a file: {os.strerror(ctypes.get_errno())}")
    memory = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(memory, libc.munmap, address, size).atexit = False
    content = np.frombuffer(memoryview(memory), np.uint8)
    content.flags.writeable = False
    return content


_FAILED = ctypes.c_void_p(-1).value


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    size, number = ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = [ctypes.c_void_p, size, number, number, number, ctypes.c_int64]
    libc.mmap.restype = ctypes.c_void_p
    libc.munmap.argtypes = [ctypes.c_void_p, size]
    return libc
