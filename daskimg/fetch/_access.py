"""Who may do what: refusals in one line, and a bucket asked before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskimg.errors import AccessError
from daskimg.fetch._options import configured
from daskimg.fetch._paths import is_url
from daskimg.fetch._permissions import CREATE, DELETE, GET, LIST, RefusedError
from daskimg.fetch._shown import scrubbed, shown
from daskimg.fetch._systems import remote, run

if TYPE_CHECKING:
    from collections.abc import Sequence

READING = (GET,)
STORE = (LIST, GET, CREATE, DELETE)

_CLOUD = ("gs://", "gcs://")
_WHO = {
    None: "the default credentials",
    "google_default": "the default credentials",
    "anon": "anonymous users",
    "cloud": "this machine's account",
}


def check_access(location: str, wanted: Sequence[str]) -> None:
    """Ask a bucket whether some things may be done there; nothing is changed.

    One request where the bucket says what these credentials may do. Where it does not, or
    says no (it knows nothing of conditions on prefixes), each is tried in a way that does
    nothing: a listing of one name, a write that must replace a generation that never was.

    Raises
    ------
    AccessError
        If one is refused, or if there is no such bucket.
    """
    if not location.startswith(_CLOUD):
        return  # others have no such question: they say it when they are asked for something
    system, path = remote(location)
    try:
        missing = run(system.refused(path, wanted))
    except FileNotFoundError:
        raise no_bucket(location) from None
    if missing:
        raise AccessError(shown(location), _told(location, missing))


def no_bucket(location: str) -> AccessError:
    """Return that the bucket of a location is not there."""
    told = f"there is no bucket {bucket_of(location)}; create it, or look at its name"
    return AccessError(shown(location), told)


def access_error(location: str, error: PermissionError) -> AccessError:
    """Return a refusal as one line."""
    if isinstance(error, RefusedError) and location.startswith(_CLOUD):
        return AccessError(shown(location), _told(location, [error]))
    return AccessError(shown(location), f"permission denied: {scrubbed(str(error))}")


def bucket_of(location: str) -> str | None:
    """Return the bucket of a location of Google's storage; ``None`` for any other.

    >>> bucket_of("gs://b/in/a.jpg"), bucket_of("/in/a.jpg")
    ('b', None)
    """
    if not is_url(location) or not location.startswith(_CLOUD):
        return None
    return location.partition("://")[2].partition("/")[0]


def _told(location: str, errors: Sequence[RefusedError]) -> str:
    missing = [error.permission for error in errors]
    who = scrubbed(errors[0].who or _ours())
    role = "Viewer" if set(missing) <= {LIST, GET} else "User"
    return (
        f"bucket {bucket_of(location)} refuses {' and '.join(missing)} to {who}; grant it, as "
        f"roles/storage.object{role} does, or give others: --storage-option gs.token=FILE"
    )


def _ours() -> str:
    token = configured().storage_of("gs").get("token")
    return _WHO.get(token if isinstance(token, str | None) else "", "the given credentials")
