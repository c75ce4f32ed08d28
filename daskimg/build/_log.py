"""What the log of runs is told: written once, when a run ends, however it ends."""

from __future__ import annotations

import getpass
import re
import socket
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from daskimg import fetch, store
from daskimg.build._fitness import versions
from daskimg.errors import DaskimgError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daskimg.build._crew import Crew
    from daskimg.build._report import Report

_ADDRESS = re.compile(
    r"\b(?:tcp|tls|ucx|ws|wss|inproc)://[^\s,;)]+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?"
)


@contextmanager
def logged(folder: fetch.Folder, run: str, crew: Crew) -> Iterator[Callable[[Report], None]]:
    """Log what goes on in the context; what it yields is to be called with the report.

    A run that is killed leaves no log; one that is stopped says why.
    """
    began = datetime.now(UTC)
    reports: list[Report] = []
    error: BaseException | None = None
    try:
        yield reports.append
    except BaseException as caught:
        error = caught
        raise
    finally:
        with suppress(DaskimgError):  # who was lost since the last look
            crew.look(at_once=True)
        facts = {
            "run": run,
            "call": crew.name,
            "began": began.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "user": _user(),
            "host": socket.gethostname(),
            **(_outcome(reports[0]) if reports else {"outcome": "stopped", "error": _said(error)}),
            "cluster": crew.summary(),
            "versions": {
                **versions(),
                **{name: version(name) for name in ("dask", "distributed")},
            },
        }
        # It is for people: what becomes of the run does not depend on it.
        with suppress(DaskimgError, OSError):
            store.log_run(folder, began.strftime("%Y%m%dT%H%M%SZ"), facts)


def _outcome(report: Report) -> dict[str, Any]:
    names = ("outcome", "samples", "failed", "resumed", "reasons", "seconds")
    return {name: getattr(report, name) for name in names}


def _said(error: BaseException | None) -> str:
    """Return what ended a run, without secrets and without addresses of machines."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return _ADDRESS.sub("(an address)", fetch.scrubbed(text))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return ""
