"""Listings: the objects below a folder, or that match a pattern, page by page, sorted by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from daskimg.errors import OptionError
from daskimg.fetch._access import access_error, bucket_of, no_bucket
from daskimg.fetch._found import expand
from daskimg.fetch._paths import is_url, local_path, place_of
from daskimg.fetch._shown import shown
from daskimg.fetch._system import Listed
from daskimg.fetch._systems import remote, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from daskimg.fetch._system import Page

_MAGIC = re.compile(r"[*?\[]")
_WEB = ("http://", "https://")


def list_below(folder: str) -> Iterator[list[Listed]]:
    """Yield pages of all objects below a remote folder."""
    yield from _pages(folder, "", flat=False)


def list_matches(pattern: str) -> Iterator[list[Listed]]:
    """Yield pages of what ``pattern`` names; ``**`` crosses folders.

    Of a bucket one page is held, and the next one is on its way.
    """
    if not is_url(pattern):
        yield [Listed(name, _size(name), None) for name in expand(pattern)]
        return
    magic = _MAGIC.search(pattern)
    if magic is None or place_of(pattern) or pattern.startswith(_WEB):
        yield [Listed(name, None, None) for name in expand(pattern)]
        return
    folder, _, beginning = pattern[: magic.start()].rpartition("/")
    if folder.endswith(":/"):
        raise OptionError(f"{shown(pattern)}: the name of a bucket is no pattern; name one bucket")
    fits = _matcher(pattern)
    deep = "/" in pattern[magic.start() :] or "**" in pattern
    for page in _pages(folder, beginning, flat=not deep):
        yield [each for each in page if fits.match(each.location)]


def _pages(folder: str, beginning: str, *, flat: bool) -> Iterator[list[Listed]]:
    system, path = remote(folder)
    page = start(system.page(path, beginning, flat=flat, token=None))
    try:
        while True:
            found = _result(page, folder)
            if found.token is not None:  # asked for while this one is looked at
                page = start(system.page(path, beginning, flat=flat, token=found.token))
            yield [each._replace(location=f"{folder}/{each.location}") for each in found.objects]
            if found.token is None:
                return
    finally:
        page.cancel()


def _result(page: Future[Page], folder: str) -> Page:
    try:
        return page.result()
    except PermissionError as error:
        raise access_error(folder, error) from None
    except FileNotFoundError:
        if bucket_of(folder) is None:
            raise
        raise no_bucket(folder) from None


def _matcher(pattern: str) -> re.Pattern[str]:
    from fsspec.utils import glob_translate

    scheme, _, path = pattern.partition("://")
    return re.compile(f"{re.escape(scheme)}://{glob_translate(path)}")


def _size(name: str) -> int:
    return Path(local_path(name)).stat().st_size
