"""Where a bucket is and what class it has, where this machine is, and whether that is far."""

from __future__ import annotations

import os
import re
import urllib.request
from pathlib import Path
from typing import NamedTuple

from daskimg.fetch._access import bucket_of
from daskimg.fetch._systems import remote, run

_DMI = Path("/sys/class/dmi/id/product_name")
_METADATA = "GCE_METADATA_HOST"
_SECONDS = 0.3  # the metadata server is on the machine itself
_MULTI = {"US": "us", "EU": "europe", "ASIA": "asia"}


class Bucket(NamedTuple):
    """What a bucket says of itself.

    Attributes
    ----------
    name
        Of the bucket.
    location, storage_class
        As Google writes them, as ``EUROPE-WEST4`` and ``STANDARD``; ``None`` where it does not
        say so to these credentials.
    """

    name: str
    location: str | None
    storage_class: str | None

    def __str__(self) -> str:
        if self.location is None:
            return f"{self.name}: location unknown"
        return f"{self.name}: {self.location}, {self.storage_class}"

    def is_far_from(self, zone: str | None) -> bool:
        """Tell whether a zone is surely outside of where the bucket is.

        >>> Bucket("b", "EUROPE-WEST4", "STANDARD").is_far_from("europe-west4-a")
        False
        >>> Bucket("b", "EU", "STANDARD").is_far_from("us-east1-b")
        True
        """
        if zone is None or self.location is None:
            return False
        if self.location in _MULTI:
            return not zone.startswith(_MULTI[self.location])
        if not re.fullmatch(r"[A-Z]+-[A-Z]+\d+", self.location):
            return False  # of two regions: which ones, its name does not say
        return zone.rpartition("-")[0] != self.location.lower()


def find_bucket(location: str) -> Bucket | None:
    """Ask the bucket of a location where it is; ``None`` if it is in no bucket of Google's."""
    name = bucket_of(location)
    if name is None:
        return None
    system, _ = remote(location)
    try:
        found = run(system.facts(name))
    except Exception:  # not permitted, as to most who may read: nothing depends on it
        found = {}
    return Bucket(name, found.get("location"), found.get("storageClass"))


def own_zone() -> str | None:
    """Return the zone of this machine; ``None`` for all but Google's, which alone are asked."""
    host = os.environ.get(_METADATA)
    if host is None and not _is_googles():
        return None
    address = f"http://{host or '169.254.169.254'}/computeMetadata/v1/instance/zone"
    request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return str(answer.read(200).decode()).rpartition("/")[2]
    except (OSError, ValueError):
        return None


def _is_googles() -> bool:
    try:
        return _DMI.read_text().startswith("Google")
    except OSError:
        return False
