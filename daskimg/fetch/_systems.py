"""File systems, one of each kind a process, and the loop on which their requests run."""

from __future__ import annotations

import asyncio
import os
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import fsspec
import fsspec.asyn

from daskimg.errors import OptionError
from daskimg.fetch import _owners
from daskimg.fetch._bodies import once_each, patience, refuse_large, timeouts
from daskimg.fetch._options import configured, when_configured
from daskimg.fetch._retries import ABSENT, retried, status_of
from daskimg.fetch._shown import scrubbed, shown
from daskimg.fetch._traffic import meter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from concurrent.futures import Future

    from daskimg.fetch._bodies import Room
    from daskimg.fetch._permissions import RefusedError
    from daskimg.fetch._traffic import Kind

Outcome = TypeVar("Outcome")
Content = bytes | bytearray | memoryview

_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
_PACKAGES |= {"adl": "adlfs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_KINDS: dict[str, Kind] = {
    "cat_file": "read", "pipe_file": "write", "rm": "delete",
    "ls": "list", "find": "list", "glob": "list",
}  # fmt: skip
_WEB = ("http", "https")
_CLOUD = ("gs", "gcs")
_OTHERS = dict.fromkeys(("s3", "s3a"), ("daskimg.fetch._s3", "S3"))
_OTHERS |= dict.fromkeys(("az", "abfs", "abfss"), ("daskimg.fetch._azure", "Azure"))


class BeyondError(FileNotFoundError):
    """Nothing of the range asked for is there: the object ends before."""


class Listed(NamedTuple):
    """What a listing tells of an object.

    Attributes
    ----------
    location
        Where it is: a path or a URL.
    size
        Its bytes; ``None`` where that is not said.
    generation
        Which writing of this name it is, in the words of the storage; ``None`` where it has none.
    crc32c, md5
        In base64, where the storage tells them.
    """

    location: str
    size: int | None
    generation: str | None
    crc32c: str | None = None
    md5: str | None = None


class Page(NamedTuple):
    """A part of a listing.

    Attributes
    ----------
    objects
        By rising name; their locations are names below the folder that was asked for.
    token
        Where the next part begins; ``None`` if there is none.
    folders
        The names of folders, without what is in them, where that was left out.
    """

    objects: list[Listed]
    token: str | None
    folders: Sequence[str] = ()


class System(Protocol):
    """Where objects are: every request is repeated, and its time limited, in here.

    All raise ``FileNotFoundError``, ``PermissionError`` and ``TransportError`` alike.
    """

    async def read(
        self,
        path: str,
        start: int | None,
        stop: int | None,
        limit: int | None,
        generation: str | None = None,
    ) -> bytes:
        """Return an object, or a part of it; a negative ``start`` counts from the end.

        With a ``generation`` it is that writing of the object, or none.
        """

    async def read_into(self, path: str, room: Room, *, checked: bool) -> memoryview:
        """Return an object, in memory that is given for it where that can be.

        Unless it is ``checked``, whoever asks finds out whether its bytes have arrived sound.
        """

    async def write(self, path: str, content: Content, *, create: bool) -> None:
        """Write an object whole; ``FileExistsError`` if it is there and was to be created."""

    async def find(self, path: str) -> Listed:
        """Return what a listing would tell of an object."""

    async def replace(self, path: str, content: Content, generation: str | None) -> None:
        """Write an object whole in the place of one writing of it, where that can be asked for.

        ``FileExistsError`` if another is there, or none.
        """

    async def copy(self, path: str, other: str, content: Content) -> None:
        """Write the object at ``path``, which holds ``content``, to another path, too."""

    async def size(self, path: str) -> int | None:
        """Return an object's bytes, or ``None`` if that cannot be said."""

    async def is_folder(self, path: str) -> bool:
        """Tell whether there is anything below a path."""

    async def page(self, folder: str, beginning: str, *, flat: bool, token: str | None) -> Page:
        """Return a part of a listing.

        Parameters
        ----------
        folder
            What the objects are below.
        beginning
            What their names begin with there.
        flat
            Leave out what is in folders within.
        token
            Where it begins; ``None`` for the first part.
        """

    async def facts(self, bucket: str) -> dict[str, Any]:
        """Return what a bucket says of itself."""

    async def refused(self, path: str, wanted: Sequence[str]) -> list[RefusedError]:
        """Return the refusals of those of some permissions that are not granted at a path."""

    async def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Return what a method of fsspec's file systems returns."""

    async def remove(self, path: str) -> None:
        """Delete an object, or all that is below a prefix; silent where there is nothing."""

    def address(self, path: str) -> str:
        """Return the URL of a path."""


class Plain:
    """Any file system of fsspec, taken as it is."""

    def __init__(self, system: Any) -> None:
        self.system = system

    async def read(
        self,
        path: str,
        start: int | None,
        stop: int | None,
        limit: int | None,
        generation: str | None = None,
    ) -> bytes:
        """Return an object, or a part of it."""
        if limit is not None:
            start, stop = 0, limit + 1
        if start is not None and start < 0:  # not all know what that means: adlfs does not
            start = max(0, (await self.size(path) or 0) + start)
        try:
            if generation is None:
                content = bytes(await self.ask("cat_file", path, start=start, end=stop))
            else:
                content = await self.read_pinned(path, start, stop, generation)
        except FileExistsError:  # not this writing of it: another one
            raise FileNotFoundError(path) from None
        except BeyondError:  # an object without a byte has no range that could be sent
            return b""
        meter().moved(received=len(content))
        if limit is not None:
            refuse_large(len(content), limit)
        return content

    async def read_into(self, path: str, room: Room, *, checked: bool) -> memoryview:  # noqa: ARG002  fsspec makes its own
        """Return an object."""
        return memoryview(await self.read(path, None, None, None))

    async def read_pinned(
        self, path: str, start: int | None, stop: int | None, generation: str
    ) -> bytes:
        """Return one writing of an object, or a part of it; such systems' listings tell none.

        ``FileExistsError`` if another is there.
        """
        raise NotImplementedError(f"{path} as {generation}, from {start} to {stop}")

    async def write(self, path: str, content: Content, *, create: bool) -> None:
        """Write an object whole."""
        mode = {"mode": "create"} if create else {}
        try:
            await self.ask("pipe_file", path, bytes(content), **mode)
            meter().moved(sent=len(content))
        except FileExistsError:
            # A lost answer to our own write comes back as "exists": equal bytes are ours.
            if await self.read(path, None, None, None) != content:
                raise

    async def find(self, path: str) -> Listed:
        """Return an object's size."""
        return Listed(path, await self.size(path), None)

    async def replace(self, path: str, content: Content, generation: str | None) -> None:  # noqa: ARG002  fsspec has no such condition
        """Write an object whole."""
        await self.write(path, content, create=False)

    async def copy(self, path: str, other: str, content: Content) -> None:  # noqa: ARG002  a system may have no copy that can be checked
        """Write an object's content once more."""
        await self.write(other, content, create=False)

    async def size(self, path: str) -> int | None:
        """Return an object's bytes."""
        found = (await self.ask("info", path))["size"]
        return None if found is None else int(found)

    async def is_folder(self, path: str) -> bool:
        """Tell whether a path is a folder."""
        return bool(await self.ask("isdir", path))

    async def page(self, folder: str, beginning: str, *, flat: bool, token: str | None) -> Page:  # noqa: ARG002  fsspec's listings come whole
        """Return the whole listing."""
        depth = {"maxdepth": 1, "withdirs": True} if flat else {}
        found = await self.ask("find", folder, detail=True, **depth)
        skip = len(folder.rstrip("/")) + 1
        named = {path.rstrip("/")[skip:]: facts for path, facts in sorted(found.items())}
        fit = {name: facts for name, facts in named.items() if name and name.startswith(beginning)}
        folders = [name for name, facts in fit.items() if facts["type"] == "directory"]
        objects = [
            Listed(name, facts.get("size"), None)
            for name, facts in fit.items()
            if facts["type"] != "directory"
        ]
        return Page(objects, None, folders)

    async def facts(self, bucket: str) -> dict[str, Any]:  # noqa: ARG002  not to be known
        """Return nothing: such systems have no buckets, or say nothing of them."""
        return {}

    async def refused(self, path: str, wanted: Sequence[str]) -> list[RefusedError]:  # noqa: ARG002  not to be known
        """Return nothing: such systems say it when they are asked for something."""
        return []

    async def ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Return what a method of the file system returns."""
        size = len(arguments[1]) if name == "pipe_file" else 0

        async def once() -> Any:
            return await self._called(name, *arguments, **options)

        return await self.repeated(once, arguments[0], _KINDS.get(name, "meta"), size)

    async def repeated(
        self, call: Callable[[], Awaitable[Any]], path: str, kind: Kind, size: int = 0
    ) -> Any:
        """Return what a call returns, which sends about one request, with so many bytes."""

        async def once() -> Any:
            self.system.invalidate_cache()
            try:
                async with asyncio.timeout(10 * patience(size)):  # its own come first
                    return await call()
            except ABSENT:
                raise
            except Exception as error:
                status = status_of(error)
                if status == 416:
                    raise BeyondError from None
                if status == 404:  # Azure's clients have an error of their own for it
                    raise FileNotFoundError(f"no such object or container: {path}") from None
                if status == 412:  # of a condition: which writing of the object it must be
                    raise FileExistsError(path) from None
                raise

        return await retried(once, self.address(path), kind)

    async def remove(self, path: str) -> None:
        """Delete an object, or all that is below a prefix."""
        try:
            await self.ask("rm", path, recursive=True)
        except FileNotFoundError:
            return

    def address(self, path: str) -> str:
        """Return the URL of a path."""
        return str(self.system.unstrip_protocol(path))

    async def _called(self, name: str, *arguments: Any, **options: Any) -> Any:
        if self.system.async_impl:
            return await getattr(self.system, f"_{name}")(*arguments, **options)
        return await asyncio.to_thread(getattr(self.system, name), *arguments, **options)


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
