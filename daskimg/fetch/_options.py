"""How patient reading and writing is, how far it reads ahead, and with what credentials."""

from __future__ import annotations

import json
import os
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NoReturn, cast

from daskimg.errors import OptionError
from daskimg.fetch import _owners
from daskimg.fetch._owners import OWN
from daskimg.options import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Storage = dict[str, dict[str, Any]]

_ALIASES = {"gcs": "gs", "https": "http", "s3a": "s3", "abfs": "az", "abfss": "az", "adl": "az"}
_ENVIRONMENT = "DASKIMG_"
_SECRET = re.compile("token|secret|password|key|credential|signature|sas|auth", re.IGNORECASE)
_WHOLE = (
    "attempts", "objects_ahead", "bytes_ahead",
    "requests_per_second", "reads_per_second", "writes_per_second",
)  # fmt: skip
_SHORTEST_SECRET = 8  # "anon" and "cloud" are no secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What reading and writing puts up with; small, and safe to send to workers.

    Its text never shows ``storage``: keys and tokens are there.

    Attributes
    ----------
    connect_seconds
        Until a connection must stand.
    read_seconds
        For which a server may send nothing, once it is asked.
    attempts
        Times that a request is sent before its fault is reported.
    total_seconds
        After which no third attempt begins. An endpoint of which a process has heard nothing
        for so long is down: its other requests give up, too, and a run of which all workers
        say so ends, within two minutes.
    objects_ahead, bytes_ahead
        The most that one process, all its tasks together, has under way or waiting to be used.
    requests_per_second
        The most that all processes of a run send together; ``None`` for no such limit.
    reads_per_second, writes_per_second
        What a run begins with; it doubles every 20 minutes, as Google's buckets do.
    storage
        What the file systems of fsspec take, by scheme: ``{"gs": {"token": "anon"}}``. ``http``
        is for ``https``, too; ``gs`` for ``gcs``, ``s3`` for ``s3a``, ``az`` for ``abfs``.
    """

    connect_seconds: float = 10.0
    read_seconds: float = 15.0
    attempts: int = 20
    total_seconds: float = 50.0
    objects_ahead: int = 256
    bytes_ahead: int = 1 << 28
    requests_per_second: int | None = None
    reads_per_second: int = 4000
    writes_per_second: int = 800
    storage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        """Refuse what nothing could be read with."""
        for name in ("connect_seconds", "read_seconds", "total_seconds"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
                raise OptionError(f"{name} must be over 0 seconds, got {value!r}; try 30")
        for name in _WHOLE:
            if getattr(self, name) is not None or name != "requests_per_second":
                whole(name, getattr(self, name), "or leave it out")
        object.__setattr__(self, "storage", _checked(self.storage))

    def storage_of(self, scheme: str) -> dict[str, Any]:
        """Return the storage options of a scheme, as ``gs``; none if there are none."""
        return dict(self.storage.get(_ALIASES.get(scheme, scheme), {}))

    def given(self) -> dict[str, Any]:
        """Return what differs from the defaults, as ``changed`` takes it: secrets, too.

        >>> Options(attempts=3).given()
        {'attempts': 3}
        """
        plain, names = Options(), [each.name for each in fields(self)]
        return {n: getattr(self, n) for n in names if getattr(self, n) != getattr(plain, n)}

    def changed(self, given: Mapping[str, Any]) -> Options:
        """Return the options with some changed; those of ``storage`` one by one."""
        storage = {scheme: dict(options) for scheme, options in self.storage.items()}
        for scheme, options in _checked(given.get("storage", {})).items():
            storage.setdefault(scheme, {}).update(options)
        return replace(self, **{**given, "storage": storage})

    def secrets(self) -> list[str]:
        """Return every text in ``storage`` that must not be shown, the longest first."""
        found = {text for given in self.storage.values() for text in _secrets(given)}
        return sorted(found, key=len, reverse=True)


def read_environment(environment: Mapping[str, str]) -> Options:
    """Return the options that variables give: ``DASKIMG_READ_SECONDS=5``, by their names.

    ``DASKIMG_STORAGE`` is JSON: ``{"gs": {"token": "anon"}}``.

    Raises
    ------
    OptionError
        If one cannot be read. What ``DASKIMG_STORAGE`` holds is not repeated.
    """
    given: dict[str, Any] = {}
    for each in fields(Options):
        name = _ENVIRONMENT + each.name.upper()
        if environment.get(name):
            given[each.name] = _READERS.get(each.type, _whole)(name, environment[name])
    return Options(**given)


def parse_storage(words: Iterable[str]) -> Storage:
    """Return storage options written as ``scheme.name=value``, as on a command line.

    A value that is JSON is taken as such, any other as text.

    >>> parse_storage(["gs.token=anon", "gs.requester_pays=true"])
    {'gs': {'token': 'anon', 'requester_pays': True}}

    Raises
    ------
    OptionError
        If one is not written so. Its value is not repeated.
    """
    found: Storage = {}
    for word in words:
        name, equals, value = word.partition("=")
        scheme, dot, option = name.partition(".")
        if not (scheme and dot and option and equals):
            raise OptionError(
                "a storage option is written scheme.name=value, got another form; "
                "try gs.token=anon"
            )
        found.setdefault(scheme, {})[option] = _value(value)
    return found


def configured() -> Options:
    """Return the options that hold in this process: those set, else the environment's.

    Where it acts for somebody who has lent it some, those stand above them.
    """
    owner = _owners.owner()
    found = _STATE.in_force.get(owner)
    if found is None:
        with _STATE.lock:  # else what was changed meanwhile would be forgotten
            found = _STATE.options or read_environment(os.environ)
            found = found.changed(_STATE.lent.get(owner, {}))
            _STATE.in_force[owner] = found
            _STATE.secrets.update(found.secrets())
    return found


def known_secrets() -> list[str]:
    """Return every secret that held in this process, the longest first.

    Also those that hold no more: an error is told after what it broke off.
    """
    configured()
    return sorted(_STATE.secrets, key=len, reverse=True)


def configure(options: Options | None) -> None:
    """Set the options of this process; ``None`` goes back to the environment's.

    A run takes its client's options to all of its workers.
    """
    with _changing(OWN):
        _STATE.options = options
        if options is not None:
            _STATE.secrets.update(options.secrets())


def lend(owner: str, given: Mapping[str, Any]) -> None:
    """Put options above this process's own until ``take_back``, where it acts for their owner.

    From then on the owner has connections, limits and counts of its own, too.
    """
    with _changing(owner):
        _STATE.lent[owner] = given
        _owners.admit(owner)


def take_back(owner: str) -> None:
    """End what ``lend`` of the same owner began; silent where it did not."""
    if owner in _STATE.lent:
        with _changing(owner):
            _owners.forget(owner)
            _STATE.lent.pop(owner, None)


def lenders() -> list[str]:
    """Return whose options this process has."""
    return sorted(_STATE.lent)


@contextmanager
def using(options: Options) -> Iterator[None]:
    """Set the options for a while, as in a test."""
    before = _STATE.options
    configure(options)
    try:
        yield
    finally:
        configure(before)


def when_configured(forget: Callable[[str], object]) -> None:
    """Have ``forget`` called with whose options change: open connections have the old ones.

    ``OWN`` are the process's, on which everybody's rest.
    """
    _STATE.listeners.append(forget)


class _State:
    """What holds in this process."""

    def __init__(self) -> None:
        self.options: Options | None = None
        self.lent: dict[str, Mapping[str, Any]] = {}
        self.in_force: dict[str, Options] = {}
        self.secrets: set[str] = set()
        self.listeners: list[Callable[[str], object]] = []
        self.lock = threading.Lock()


_STATE = _State()


@contextmanager
def _changing(owner: str) -> Iterator[None]:
    """Change what holds, alone; whoever has to forget something is told then."""
    with _STATE.lock:
        yield
        _STATE.in_force.clear()
    for forget in _STATE.listeners:
        forget(owner)


def _checked(storage: Any) -> Storage:
    """Return a copy under the schemes' first names."""
    found: Storage = {}
    try:
        for scheme, given in storage.items():
            found.setdefault(_ALIASES.get(scheme, scheme), {}).update(dict(given))
    except (AttributeError, TypeError, ValueError):
        raise OptionError(
            'storage must hold options by scheme, as {"gs": {"token": "anon"}}, got another form'
        ) from None
    return found


def _secrets(given: Any, *, secret: bool = False) -> Iterator[str]:
    """Yield the texts under names that sound like keys, at any depth."""
    if isinstance(given, dict):
        for name, value in given.items():
            yield from _secrets(value, secret=secret or bool(_SECRET.search(str(name))))
    elif isinstance(given, list | tuple):
        for value in given:
            yield from _secrets(value, secret=secret)
    elif secret and isinstance(given, str) and len(given) >= _SHORTEST_SECRET:
        yield given


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _seconds(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        _refuse(name, text, "a number of seconds", "30")


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        _refuse(name, text, "a whole number", "8")


def _refuse(name: str, text: str, rule: str, advice: str) -> NoReturn:
    raise OptionError(f"{name} must be {rule}, got {text!r}; try {advice}")


def _storage(name: str, text: str) -> Storage:
    try:
        return cast("Storage", json.loads(text))
    except ValueError:
        raise OptionError(f'{name} is not JSON; try {{"gs": {{"token": "anon"}}}}') from None


_READERS: dict[Any, Callable[[str, str], Any]] = {
    "float": _seconds,
    "int": _whole,
    "Mapping[str, Mapping[str, Any]]": _storage,
}
