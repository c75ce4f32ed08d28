"""File systems, one of each kind a process, and the loop on which their requests run."""

from __future__ import annotations

import asyncio
import os
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import fsspec
import fsspec.asyn

from daskimg.errors import OptionError
from daskimg.fetch import _owners
from daskimg.fetch._bodies import once_each, timeouts
from daskimg.fetch._options import configured, when_configured
from daskimg.fetch._plain import Plain
from daskimg.fetch._shown import scrubbed, shown

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    from daskimg.fetch._system import System

Outcome = TypeVar("Outcome")

_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
_PACKAGES |= {"adl": "adlfs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_WEB = ("http", "https")
_CLOUD = ("gs", "gcs")
_OTHERS = dict.fromkeys(("s3", "s3a"), ("daskimg.fetch._s3", "S3"))
_OTHERS |= dict.fromkeys(("az", "abfs", "abfss"), ("daskimg.fetch._azure", "Azure"))


class _Systems:
    """The file systems of this process: a connection is opened once, and forks have their own.

    So has everybody for whom it acts: credentials are part of a connection.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[object, ...], System] = {}

    def of(self, scheme: str, url: str) -> tuple[System, str]:
        kind = _kind(scheme)
        # Not Google's: a # or ? in an object's name is no generation.
        own = {} if scheme in _CLOUD else kind._get_kwargs_from_urls(url)
        parts = sorted((name, str(value)) for name, value in own.items())
        key = (_owners.owner(), os.getpid(), kind, *parts)
        found = self._open.get(key)
        if found is None:
            with self._lock:
                found = self._open.get(key) or _opened(scheme, kind, own)
                self._open[key] = found
        return found, str(kind._strip_protocol(url))

    def forget(self, owner: str) -> None:
        """Open anew what is asked for next for somebody, or for all."""
        with self._lock:
            for key in [key for key in self._open if owner in (_owners.OWN, key[0])]:
                del self._open[key]


SYSTEMS = _Systems()
when_configured(SYSTEMS.forget)


def remote(url: str) -> tuple[System, str]:
    """Return the file system of a URL, and the path on it.

    Raises
    ------
    OptionError
        If nothing installed knows the protocol, or its options are not right.
    """
    scheme = url.partition("://")[0].lower()
    try:
        return SYSTEMS.of(scheme, url)
    except ImportError as error:
        package = _PACKAGES.get(scheme)
        advice = f"pip install {package}" if package else scrubbed(str(error))
        raise OptionError(f"cannot open {shown(url)}: {scheme}:// needs {advice}") from None
    except (ValueError, TypeError) as error:
        raise OptionError(f"cannot open {shown(url)}: {scrubbed(str(error))}") from None


def storage_options(url: str) -> dict[str, Any]:
    """Return what fsspec is to be given for a URL, time-outs included: for other libraries."""
    scheme = url.partition("://")[0].lower()
    return {**_patience_of(scheme), **configured().storage_of(scheme)}


def run(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Return what work on the loop returns; called from any other thread."""
    future = start(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()  # interrupted: nobody waits for it any more
        raise


def start(work: Coroutine[Any, Any, Outcome]) -> Future[Outcome]:
    """Begin work on the one loop that all requests of this process share."""
    return asyncio.run_coroutine_threadsafe(work, fsspec.asyn.get_loop())


def in_loop(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether this is the thread of a loop."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _kind(scheme: str) -> Any:
    return fsspec.get_filesystem_class(scheme)


def _opened(scheme: str, kind: Any, own: dict[str, Any]) -> System:
    options = {**_patience_of(scheme), **own, **configured().storage_of(scheme)}
    options["skip_instance_cache"] = True  # kept here, and forgotten when options change
    if scheme in _CLOUD:
        _check_file(options.get("token"))
        files = _class("daskimg.fetch._cloud", "CloudFiles")(**options)
        return _system("daskimg.fetch._cloud", "Cloud", files)
    if scheme in _OTHERS:
        module, name = _OTHERS[scheme]
        return _system(module, name, kind(**options))
    if scheme in _WEB:
        options.setdefault("get_client", _client)
        return _system("daskimg.fetch._web", "Web", kind(**options))
    return Plain(kind(**options))


def _check_file(token: object) -> None:
    """Refuse the name of a file that is not there: gcsfs would send it as a token."""
    if not isinstance(token, str) or os.path.exists(token):  # noqa: PTH110  as gcsfs asks
        return
    if token.startswith(("/", "./", "../", "~")) or token.endswith(".json"):
        raise OptionError("the file that gs.token names is not there: no such file")


def _system(module: str, name: str, files: Any) -> System:
    found: System = _class(module, name)(files)
    return found


def _class(module: str, name: str) -> Any:
    return getattr(import_module(module), name)  # only now: who reads disks need not wait for it


def _patience_of(scheme: str) -> dict[str, Any]:
    """Return the time-outs as a kind of file system takes them: gcsfs has none of its own."""
    options = configured()
    if scheme in _CLOUD:
        return {"requests_timeout": timeouts(), "use_listings_cache": False}
    if scheme in ("s3", "s3a"):
        config = {"connect_timeout": options.connect_seconds, "read_timeout": options.read_seconds}
        return {"config_kwargs": {**config, "retries": {"max_attempts": 1}}}
    if scheme in ("az", "abfs", "abfss"):
        seconds = {"connection_timeout": options.connect_seconds}
        return {**seconds, "read_timeout": options.read_seconds}
    return {}


async def _client(**options: Any) -> Any:
    """Return a session without a limit of its own on connections: reading ahead has one."""
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), **options)
    return once_each(session)
