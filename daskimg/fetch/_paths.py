"""Locations: a local path, a URL, or a member of an archive; told apart once and here."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from daskimg.errors import OptionError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SLIP = re.compile(r"(file|gcs|gs|s3a|s3|abfss|abfs|adl|az|hdfs|https?):/(?!/)", re.IGNORECASE)
_ARCHIVES = ("zip://", "tar://")
_JOINT = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)")


class Place(NamedTuple):
    """Where a member of an archive is.

    Attributes
    ----------
    kind
        ``zip`` or ``tar``.
    member
        Its name in the archive, as it stands there.
    archive
        The archive's own location: a path or a URL.
    """

    kind: str
    member: str
    archive: str

    def __str__(self) -> str:
        return f"{self.kind}://{self.member}::{self.archive}"


class Pinned(str):
    """A location of one writing of an object: what is written there later is another."""

    __slots__ = ("generation",)
    generation: str


def pinned(location: str, generation: str | None) -> str:
    """Return the location of one writing of a remote object; any other location as it is.

    >>> generation_of(pinned("gs://bucket/a.jpg", "17")), generation_of(pinned("/a.jpg", "17"))
    ('17', None)
    """
    if not generation or not is_remote(location):
        return location
    one = Pinned(location)
    one.generation = generation
    return one


def generation_of(location: str) -> str | None:
    """Return which writing of an object is meant; ``None`` for whichever is there."""
    return location.generation if isinstance(location, Pinned) else None


def is_url(location: str) -> bool:
    """Tell a URL from a local path.

    >>> is_url("gs://bucket/a.jpg"), is_url("C:/a.jpg"), is_url("a#1 100%.jpg")
    (True, False, False)
    """
    if "://" not in location:  # nearly always, and this is asked of every row
        return False
    return _URL.match(location) is not None and not location.startswith("file://")


def refuse_slip(location: str) -> None:
    """Refuse an address with a slash too few, which would be a local folder of that name.

    Raises
    ------
    OptionError
        With the address that is meant.
    """
    found = _SLIP.match(location)
    if found:
        slashes = ":///" if found[1].lower() == "file" else "://"
        raise OptionError(
            f"{location} has one slash behind {found[1]}:; did you mean "
            f"{found[1]}{slashes}{location[found.end() :]}?"
        )


def place_of(location: str) -> Place | None:
    """Return where a member of an archive is; ``None`` for any other location.

    >>> place_of("zip://a/b #1.jpg::gs://bucket/x.zip")
    Place(kind='zip', member='a/b #1.jpg', archive='gs://bucket/x.zip')
    >>> place_of("tar://a.jpg::x.tar").archive
    'x.tar'
    >>> place_of("a.zip") is None
    True
    """
    if not location.startswith(_ARCHIVES):
        return None
    kind, rest = location[:3], location[6:]
    found = _JOINT.search(rest)
    member, archive = (
        (rest[: found.start()], rest[found.end() :])
        if found
        else rest.rpartition("::")[::2]  # a member may have :: in its name; an archive hardly
    )
    return Place(kind, member, archive)


def is_remote(location: str) -> bool:
    """Tell what is worth reading ahead from what is on this machine, archives included."""
    if not is_url(location):
        return False
    place = place_of(location)
    return place is None or is_url(place.archive)


def local_path(location: str) -> str:
    """Return the path of a local location; ``file://`` is taken off, nothing is decoded.

    >>> local_path("file:///a/b%20c.jpg")
    '/a/b%20c.jpg'
    """
    return location.removeprefix("file://")


def join(root: str, path: str) -> str:
    """Resolve ``path``, as it stands in a table, against ``root``.

    >>> join("gs://bucket/in", "a/b.jpg"), join("/in", "/abs/b.jpg"), join("/in", "b.jpg")
    ('gs://bucket/in/a/b.jpg', '/abs/b.jpg', '/in/b.jpg')

    A root may be in an archive, and an archive be below a root.

    >>> join("zip://in::gs://bucket/x.zip", "b.jpg"), join("/in", "zip://b.jpg::x.zip")
    ('zip://in/b.jpg::gs://bucket/x.zip', 'zip://b.jpg::/in/x.zip')
    """
    if is_url(path) or path.startswith("file://") or not root:
        place = place_of(path)
        return str(place._replace(archive=join(root, place.archive))) if place else path
    if is_url(root):
        place = place_of(root)
        if place:
            return str(place._replace(member=_below(place.member, path)))
        return _below(root, path)
    return os.path.join(local_path(root), path)  # noqa: PTH118  a third of pathlib's cost, per row


def extended(location: str, extension: str) -> str:
    """Return the location with an extension behind its name.

    >>> extended("gs://bucket/a", ".jpg"), extended("zip://a::x.zip", ".jpg")
    ('gs://bucket/a.jpg', 'zip://a.jpg::x.zip')
    """
    if not extension:
        return location
    place = place_of(location)
    return str(place._replace(member=place.member + extension)) if place else location + extension


def name_of(location: str) -> str:
    """Return the last part of a location.

    >>> name_of("gs://bucket/in/a.jpg"), name_of("out.zarr/"), name_of("tar://in/a.csv::x.tar")
    ('a.jpg', 'out.zarr', 'a.csv')
    >>> name_of("https://host/a.csv?X-Goog-Signature=12/ab")
    'a.csv'
    """
    place = place_of(location)
    path = place.member if place else location
    if path.startswith(("http://", "https://")):
        path = path.partition("?")[0]
    return path.rstrip("/").rpartition("/")[2]


def _below(root: str, path: str) -> str:
    return f"{root.rstrip('/')}/{path.lstrip('/')}" if root else path.lstrip("/")
