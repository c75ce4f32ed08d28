"""Every exception daskimg raises on purpose.

* DaskimgError
  + OptionError      a setting is out of range                   (also a ValueError)
  + ManifestError    the table of paths and labels is bad        (also a ValueError)
  + PlanError        inputs are fine but do not fit together
  + StoreError       the store is missing, foreign, unfinished, damaged, or of another run
  + SampleError      one picture is missing or broken; the build goes on without it
  + TransportError   a source could not be reached; worth another try, never a bad picture
    + AccessError    a storage refuses what is needed: the permission is named
  + TransformError   a transform or a decoder of the user raised: a bug, with its row named
  + StoppedError     a run ended before it was finished; the store can be resumed

Errors raised inside a Dask task are pickled on the worker and rebuilt on the client, so
every class keeps its constructor's arguments in ``args`` (dask/dask#3145).
"""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "missing",  # no such file, no path in the table, or not a regular file
    "changed",  # the object was written again after the listing that is the manifest
    "unreadable",  # the file is there, and the system does not let us read it
    "empty",  # zero bytes
    "bytes",  # more bytes than the limit on a source
    "format",  # not a picture of a known format
    "codec",  # a known format whose decoder is not built in
    "truncated",  # the picture ends too early
    "corrupt",  # the picture cannot be decoded
    "pixels",  # more pixels than the limit
    "mode",  # a colour mode that cannot become the output's
    "size",  # not of the size that its header, the table or its picture's mask declares
    "target",  # what goes with the picture, as a mask or joints, cannot be used
    "killed its worker",  # twice, alone in a process, decoding or transforming it ended that
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why a sample failed: a closed list, so that failures can be counted."""


class DaskimgError(Exception):
    """Base of all errors that daskimg raises on purpose."""


class OptionError(DaskimgError, ValueError):
    """A setting is out of range."""


class ManifestError(DaskimgError, ValueError):
    """The table of paths and labels is bad."""


class PlanError(DaskimgError):
    """The inputs are fine but do not fit together."""


class StoreError(DaskimgError):
    """The store is missing, foreign, unfinished, damaged, or belongs to another run."""


class SampleError(DaskimgError):
    """One picture is missing or cannot be decoded; its slot stays, with this reason.

    Parameters
    ----------
    reason
        One of ``REASONS``.
    message
        What was found, without addresses, times or paths of temporary files: it goes into
        the ledger, whose bytes must not differ from run to run.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)
        self.reason: Reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class TransportError(DaskimgError):
    """A source or the store could not be reached, after retries.

    Parameters
    ----------
    url, message
        What it was, and the last fault.
    outage
        The endpoint from which nothing at all came any more; "" where others were answered.
    """

    def __init__(self, url: str, message: str, outage: str = "") -> None:
        super().__init__(url, message, outage)
        self.url = url
        self.message = message
        self.outage = outage

    def __str__(self) -> str:
        return f"cannot reach {self.url}: {self.message}"


class AccessError(TransportError):
    """A storage refuses something to these credentials; the message names the permission."""

    def __str__(self) -> str:
        return f"{self.url}: {self.message}"


class TransformError(DaskimgError):
    """A transform or a custom decoder raised: a bug in it, not a broken picture."""

    def __init__(self, step: str, row: int, path: str, message: str) -> None:
        super().__init__(step, row, path, message)
        self.step = step
        self.row = row
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return f"{self.step} failed on row {self.row} ({self.path}): {self.message}"


class StoppedError(DaskimgError):
    """A run ended before it was finished; running the same command again goes on."""
