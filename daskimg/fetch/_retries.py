"""Trying again: the one place where faults of the line and of servers are told and borne."""

from __future__ import annotations

import asyncio
import random
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from daskimg.errors import DaskimgError, TransportError
from daskimg.fetch._options import configured
from daskimg.fetch._outages import OUTAGES
from daskimg.fetch._rate import limiter
from daskimg.fetch._shown import scrubbed, shown
from daskimg.fetch._traffic import meter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from daskimg.fetch._traffic import Kind

Outcome = TypeVar("Outcome")

ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)

_ANSWERS = (DaskimgError, FileExistsError, PermissionError, *ABSENT)  # no fault of the line
_HOPELESS = (TypeError, AttributeError, NotImplementedError, ImportError)  # of the program
_ANSWERED = ("refused", "conflict")  # kinds of faults of which no endpoint is down
_FIRST_WAIT = 0.25
_LONGEST_WAIT = 8.0

_KINDS = {
    # By name: each file system has its own tree of network errors, and few are installed.
    "ClientPayloadError": "truncated",
    "IncompleteRead": "truncated",
    "IncompleteReadError": "truncated",
    "ChunkedEncodingError": "truncated",
    "ClientConnectorDNSError": "dns",
    "gaierror": "dns",
    "TimeoutError": "timeout",
    "FSTimeoutError": "timeout",
    "Timeout": "timeout",
    "ConnectTimeoutError": "timeout",
    "ReadTimeoutError": "timeout",
    "ServerDisconnectedError": "reset",
    "ConnectionResetError": "reset",
    "ConnectionAbortedError": "reset",
    "BrokenPipeError": "reset",
    "ConnectionClosedError": "reset",
    "ClientConnectorError": "connect",
    "ConnectionRefusedError": "connect",
    "EndpointConnectionError": "connect",
    "ClientOSError": "reset",
    "GoogleAuthError": "credentials",
    "InvalidURL": "refused",
    "TooManyRedirects": "refused",
}


class Fault(Exception):
    """A fault of the line or of a server, told by its kind.

    Parameters
    ----------
    kind
        ``throttled``, ``server``, ``timeout``, ``reset``, ``truncated``, ``corrupt``, ``dns``,
        ``connect``, ``credentials``, ``conflict``, ``other``; or ``refused``,
        which no other try will mend.
    message
        What was seen.
    wait
        Seconds for which the server asked to be left alone.
    throttles
        Whether the server asked for fewer requests: 429 and 503.
    """

    def __init__(
        self, kind: str, message: str, wait: float | None = None, *, throttles: bool = False
    ) -> None:
        super().__init__(kind, message, wait)
        self.kind = kind
        self.message = message
        self.wait = wait
        self.throttles = throttles

    def __str__(self) -> str:
        return self.message


def status_fault(status: int, message: str, retry_after: str | None = None) -> Fault:
    """Return the fault that a status of HTTP tells of."""
    kind = "refused" if status < 500 else "server"
    kind = {408: "timeout", 429: "throttled"}.get(status, kind)
    told, wait = f"{status} {message}".rstrip(), seconds_of(retry_after)
    return Fault(kind, told, wait, throttles=status in (429, 503))


def fault_of(error: Exception) -> Fault:
    """Return what an error of any file system means."""
    if isinstance(error, Fault):
        return error
    told = f"{type(error).__name__}: {error}".rstrip(": ")
    for each in type(error).__mro__:
        if each.__name__ in _KINDS:
            return Fault(_KINDS[each.__name__], told)
    status = status_of(error)
    if status is not None:
        return status_fault(status, told)
    return Fault("refused" if isinstance(error, _HOPELESS) else "other", told)


def status_of(error: Exception) -> int | None:
    """Return the status of HTTP in an error: aiohttp's, gcsfs's, Azure's or botocore's."""
    for name in ("status", "code", "status_code"):
        value = getattr(error, name, None)
        if isinstance(value, int | str) and str(value).isdigit():
            return int(value)
    answer: Any = getattr(error, "response", None)
    if isinstance(answer, dict):
        found = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return int(found) if found else None
    cause = error.__cause__  # s3fs puts an error of the system in the place of botocore's
    return status_of(cause) if isinstance(cause, Exception) else None


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for: a number, or a date of HTTP."""
    if not retry_after:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        then = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())


async def retried(
    once: Callable[[], Awaitable[Outcome]], location: str, kind: Kind, endpoint: str = ""
) -> Outcome:
    """Return ``await once()``, trying again on a fault of the line, as often as is allowed.

    Each attempt waits for its turn at the limiter, and is counted as a request of its kind.

    Waits grow exponentially, with full jitter (each is drawn from 0 to its bound), so that
    many workers do not come back at the same moment; a server's ``Retry-After`` comes on top.
    However long a first attempt took, there is a second; but where another request has found
    the endpoint to be down (see ``Outages``), there is none.

    Raises
    ------
    TransportError
        After the last attempt: what, where, and the last fault. Its cause is left out, since
        libraries write whole addresses into their messages.
    """
    place = _origin(endpoint or location)
    sent = began = time.monotonic()
    attempt = 0
    while True:
        attempt += 1
        began += await limiter().admit(kind)  # standing in line is no fault
        meter().asked(kind)
        try:
            found = await once()
        except _ANSWERS:
            OUTAGES.answered(place)
            raise
        except Exception as error:  # each file system has its own tree of network errors
            fault = fault_of(error)
        else:
            OUTAGES.answered(place)
            return found
        if fault.throttles:
            limiter().refused(kind)
        wait = _wait(attempt, fault)
        spent = time.monotonic() - began
        if _is_last(attempt, fault, wait, spent) or OUTAGES.is_down(place):
            told = _told(fault, attempt, spent, endpoint)
            silence = _silence(attempt, fault, wait, spent)
            down = fault.kind not in _ANSWERED and OUTAGES.gave_up(place, sent, silence)
            raise TransportError(shown(location), told, place if down else "") from None
        meter().repeated(fault.kind)
        await pause(wait)


def _is_last(attempt: int, fault: Fault, wait: float, spent: float) -> bool:
    options = configured()
    late = wait + (spent if attempt > 1 else 0.0) > options.total_seconds
    return fault.kind == "refused" or attempt >= options.attempts or late


def _silence(attempt: int, fault: Fault, wait: float, spent: float) -> float:
    """Return the seconds without any answer that make an outage of a request's giving up.

    One that would have gone on, had it not been told to come back so late, proves nothing alone.
    """
    went_on = not _is_last(attempt, fault, wait - (fault.wait or 0.0), spent)
    return configured().total_seconds if went_on else 0.0


def _origin(location: str) -> str:
    """Return whose a location is: the beginning of its URL, without a user's name.

    >>> _origin("https://me:secret@host:80/a/b.jpg?key=1"), _origin("s3://bucket/a")
    ('https://host:80', 's3://bucket')
    """
    scheme, _, rest = location.partition("://")
    host = re.split("[/?#]", rest, maxsplit=1)[0]
    return f"{scheme}://{host.rpartition('@')[2]}"


async def pause(seconds: float) -> None:
    """Wait between two attempts."""
    await asyncio.sleep(seconds)


def _wait(attempt: int, fault: Fault) -> float:
    most = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (attempt - 1))
    return (fault.wait or 0.0) + random.uniform(0, most)


def _told(fault: Fault, attempt: int, spent: float, endpoint: str) -> str:
    told = scrubbed(fault.message)
    if endpoint:
        told += f", from {shown(endpoint)}"
    if fault.wait:
        told += f", which asks to wait {fault.wait:.0f} s"
    if attempt == 1 and (fault.wait or fault.kind == "refused"):  # that says why it was the last
        return told
    return f"{told} (attempt {attempt}, after {spent:.0f} s)"
