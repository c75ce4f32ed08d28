"""Local workers forked from one process that has imported what they need.

Two threads of one process keep each other waiting for Python's lock, a dozen times a picture.
Two processes do not, but each that is spawned imports the same for a second, into memory of its
own. Forked from a third one they start at once and share its pages.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import TYPE_CHECKING

import dask
from distributed.utils import get_mp_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_METHOD = "distributed.worker.multiprocessing-method"
_USUAL = "spawn"  # Dask's default: who has set another one has a reason

_PRELOADED = "daskimg.build._preloaded"

_ALONE = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Arrow's allocator has a thread, and a process that has several is not safe to fork."""


def method() -> dict[str, str]:
    """Return Dask's setting of how worker processes begin, where it is not as it should be.

    Elsewhere than on Linux, libraries of the system do not bear being forked.
    """
    forked = sys.platform == "linux" and dask.config.get(_METHOD) == _USUAL
    return {_METHOD: "forkserver"} if forked else {}


def start_server(environment: Mapping[str, str]) -> None:
    """Have the process that workers are forked from begin its imports, if it is not there yet.

    Parameters
    ----------
    environment
        What it is started with besides this process's: what libraries read once, when they
        are loaded.
    """
    if dask.config.get(_METHOD) != "forkserver":
        return
    get_mp_context().set_forkserver_preload([_PRELOADED])
    with _environment({**environment, **_ALONE}):
        forkserver.ensure_running()


def is_forked() -> bool:
    """Tell whether this process was forked from one that had all imports."""
    return _PRELOADED in sys.modules


@contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    """Have variables of the environment while the context lasts; those that are set stand."""
    new = {name: value for name, value in added.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]
