"""What there is below a location: folders and files that a name or a pattern stands for."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import TYPE_CHECKING

from daskimg.fetch._access import access_error
from daskimg.fetch._paths import is_url, local_path, place_of
from daskimg.fetch._retries import ABSENT
from daskimg.fetch._shown import shown
from daskimg.fetch._systems import remote, run

if TYPE_CHECKING:
    from daskimg.fetch._system import System

_MAGIC = re.compile(r"[*?\[]")


def is_folder(location: str) -> bool:
    """Tell whether a location is a folder (or a bucket's prefix) that exists.

    Raises
    ------
    AccessError
        If a bucket may not be listed.
    """
    if not is_url(location):
        return Path(local_path(location)).is_dir()
    if place_of(location):
        return False
    system, path = remote(location)
    try:
        return run(system.is_folder(path))
    except PermissionError as error:
        raise access_error(location, error) from None
    except ABSENT:
        return False


def expand(pattern: str) -> list[str]:
    """Return the files that ``pattern`` names, sorted by name; a name that exists is itself.

    ``**`` crosses folders. A file whose own name holds ``*``, ``?`` or ``[`` is found as it is.
    A member of an archive is itself, whether it is there or not.
    """
    if place_of(pattern):
        return [pattern]
    if is_url(pattern):
        return _expand_remote(pattern)
    path = local_path(pattern)
    if Path(path).exists():
        return [path]
    found = glob.glob(path, recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
    return sorted(name for name in found if Path(name).is_file())


def _expand_remote(pattern: str) -> list[str]:
    system, path = remote(pattern)
    if not _MAGIC.search(shown(path)):  # the query of a signed URL begins with a ?
        return [pattern] * _exists(system, path)
    return sorted(system.address(name) for name in run(system.ask("glob", path)))


def _exists(system: System, path: str) -> bool:
    try:
        run(system.size(path))
    except ABSENT:
        return False
    return True
