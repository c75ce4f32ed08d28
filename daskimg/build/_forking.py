"""Local workers forked from one process that has imported what they need.

Two threads of one process keep each other waiting for Python's lock, a dozen times a picture.
Two processes do not, but each that is spawned imports the same for a second, into memory of its
own. Forked from a third one they start at once and share its pages.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from typing import TYPE_CHECKING

import dask
from distributed.utils import get_mp_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_METHOD = "distributed.worker.multiprocessing-method"
_USUAL = "spawn"  # Dask's default: who has set another one has a reason

_PRELOADED = "daskimg.build._preloaded"
_SEED = "6640"  # the nanny's

_ALONE = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Arrow's allocator has a thread, and a process that has several is not safe to fork."""


def method() -> dict[str, str]:
    """Return Dask's setting of how worker processes begin, where it is not as it should be.

    Elsewhere than on Linux, libraries of the system do not bear being forked.
    """
    forked = sys.platform == "linux" and dask.config.get(_METHOD) == _USUAL
    return {_METHOD: "forkserver"} if forked else {}


@contextmanager
def server(environment: Mapping[str, str]) -> Iterator[None]:
    """Have the process that workers are forked from begin its imports, and end with the context.

    Where this process has forked others by such a server of its own, that one stays as it is:
    workers import what they need themselves.

    Parameters
    ----------
    environment
        What it is started with besides this process's: what libraries read once, when they
        are loaded.
    """
    if dask.config.get(_METHOD) != "forkserver":
        yield
        return
    _SERVER.enter(environment)
    try:
        yield
    finally:
        _SERVER.leave()


class _Server:
    """The server that was started here, if one was, for as many clusters as stand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clusters = 0
        self._pid: int | None = None

    def enter(self, environment: Mapping[str, str]) -> None:
        with self._lock:
            if self._clusters == 0 and _pid() is None:
                self._start(environment)
            self._clusters += 1

    def leave(self) -> None:
        with self._lock:
            self._clusters -= 1
            if self._clusters == 0 and self._pid is not None:
                self._stop(self._pid)

    def _start(self, environment: Mapping[str, str]) -> None:
        get_mp_context().set_forkserver_preload([_PRELOADED])
        with _environment({**environment, **_ALONE}, _seed(environment)):
            forkserver.ensure_running()
        forkserver.set_forkserver_preload([])  # another that this process starts is not ours
        self._pid = _pid()

    def _stop(self, pid: int) -> None:
        """End it: 170 MB, and settings that are not for other children of this process."""
        self._pid = None
        if pid != _pid():  # it has ended, and another has taken its place
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # its children have ended; it has nothing to put away
        with suppress(Exception):
            forkserver._forkserver._stop()  # type: ignore[attr-defined]  # forgets it


_SERVER = _Server()


def _pid() -> int | None:
    """Return the process id of the server that this process has, if it has one."""
    pid: int | None = getattr(forkserver._forkserver, "_forkserver_pid", None)
    return pid


def _seed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what Dask starts workers with, so that all hash texts alike, in every run."""
    given = environment.get("PYTHONHASHSEED")
    return {"PYTHONHASHSEED": _SEED if given in (None, "0") else str(given)}


def is_forked() -> bool:
    """Tell whether this process was forked from one that had all imports."""
    return _PRELOADED in sys.modules


@contextmanager
def _environment(added: Mapping[str, str], forced: Mapping[str, str]) -> Iterator[None]:
    """Have variables while the context lasts; of ``added``, those that are set stand."""
    before = dict(os.environ)
    os.environ.update({**added, **before, **forced})
    try:
        yield
    finally:
        for name in {*added, *forced}:
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)
