"""How a command ends: exit statuses, an error as one line, and signals.

Exit: 0 committed; 1 finished, but more than --max-failed failed; 2 refused, nothing written;
3 stopped by a fault, a bug or a signal, resumable.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
import traceback
import warnings
from _thread import interrupt_main
from typing import TYPE_CHECKING, Any, NoReturn

import click

from daskimg.errors import (
    AccessError,
    DaskimgError,
    StoppedError,
    TransformError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

COMMITTED, TOO_MANY_FAILED, REFUSED, STOPPED = 0, 1, 2, 3

STOPPED_LINE = "stopped by a signal; run the same command again to go on"
_GRACE = 3.0  # seconds that a stopped run takes to close its cluster before it just ends


class Interrupted(BaseException):
    """A signal asked the run to stop; no ``except Exception`` on its way may keep it."""


def exit_of(error: DaskimgError) -> int:
    """Return 3 for what another try may get over, 2 for what it will not."""
    resumable = isinstance(error, StoppedError | TransportError | TransformError)
    refused = isinstance(error, AccessError)
    return STOPPED if resumable and not refused else REFUSED


def line_of(error: BaseException) -> str:
    """Return what an error says, without what is secret in addresses."""
    from daskimg.fetch import scrubbed

    return scrubbed(str(error))


def print_traceback() -> None:
    """Print where the error that is being treated comes from, without what is secret."""
    from daskimg.fetch import scrubbed

    click.echo(scrubbed(traceback.format_exc()), err=True, nl=False)


def call(entry: click.Command, argv: Sequence[str] | None, name: str) -> int:
    """Call a click command: errors of usage are one line and exit 2, signals exit 3."""
    # What is left goes with the process, and need not be looked through for garbage: 0.3 s.
    atexit.register(gc.freeze)
    # Another run has the port of the dashboard: any other does, and its address is told.
    warnings.filterwarnings("ignore", r"Port \d+ is already in use", UserWarning)
    typed = [*name.split(), *(sys.argv[1:] if argv is None else argv)]
    with _Signals() as signals:
        try:
            code = entry.main(args=argv, prog_name=name, standalone_mode=False, obj=typed)
        except click.ClickException as error:
            line = " ".join(error.format_message().split())
            click.echo(f"daskimg: {line}", err=True)
            return REFUSED
        except DaskimgError as error:
            if "--debug" in (argv if argv is not None else sys.argv):
                print_traceback()
            click.echo(f"daskimg: {line_of(error)}", err=True)
            return exit_of(error)
        except SystemExit as error:  # click's own: nobody reads what we print any more
            return int(error.code or 0)
        except BaseException as error:  # also what a cluster says that was stopped in its tracks
            if "--debug" in (argv if argv is not None else sys.argv):
                print_traceback()
            unexpected = f"{type(error).__name__}: {line_of(error)} (--debug shows where)"
            click.echo(f"daskimg: {STOPPED_LINE if signals.stopped else unexpected}", err=True)
            return STOPPED
    return int(code or 0)


class _Signals:
    """Lets SIGINT and SIGTERM stop a run at shard grain, within seconds, without a traceback."""

    def __init__(self) -> None:
        self.stopped = False
        self._lost = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)
            self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            sys.unraisablehook = self._hook

    def _stop(self, number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG002
        if self.stopped and not self._lost:
            _end()  # asked twice
        if not self.stopped:
            # Closing a cluster may take longer than people wait. Workers die with this
            # process, and a shard that was being written is one temporary file.
            timer = threading.Timer(_GRACE, _end)
            timer.daemon = True
            timer.start()
        self.stopped, self._lost = True, False
        raise Interrupted

    def _unraisable(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Raise once more what came while a callback ran from which nothing can be raised."""
        if unraisable.exc_type is Interrupted:
            self._lost = True
            threading.Timer(0.01, lambda: interrupt_main(signal.SIGINT)).start()
        else:
            self._hook(unraisable)


def _end(*_: Any) -> NoReturn:
    os.write(2, f"daskimg: {STOPPED_LINE}\n".encode())
    os._exit(STOPPED)
