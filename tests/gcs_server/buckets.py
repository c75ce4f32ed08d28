"""Buckets and their objects, in memory; what an API may change of them, and when not."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import google_crc32c

from gcs_server.messages import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_GIVEN = (
    "metadata", "contentEncoding", "cacheControl", "contentDisposition", "contentLanguage",
    "customTime",
)  # fmt: skip
_HASHES = ("md5Hash", "crc32c")


@dataclass(frozen=True, slots=True)
class Stored:
    """An object: its bytes, and its resource as the JSON API shows it."""

    content: bytes
    facts: dict[str, Any]

    @property
    def generation(self) -> str:
        """Which writing of this name it is; rises with every write to the server."""
        return str(self.facts["generation"])


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold of the object that is there, for a request to be carried out."""

    wanted: Mapping[str, str] = field(default_factory=dict)

    def check(self, found: Stored | None) -> None:
        """Refuse with 412, or 304, what does not hold; generation 0 means no object."""
        generation = found.generation if found else "0"
        changes = str(found.facts["metageneration"]) if found else "0"
        if self._differs("ifGenerationMatch", generation):
            raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")
        if self._differs("ifMetagenerationMatch", changes):
            raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")
        if self.wanted.get("ifGenerationNotMatch") == generation:
            raise Refusal(304 if found else 412, "not modified")

    def _differs(self, name: str, value: str) -> bool:
        return self.wanted.get(name, value) != value


@dataclass(frozen=True)
class Numbered(Sequence[str]):
    """Objects that nobody stored: names are made from numbers, contents from names.

    Attributes
    ----------
    pattern
        With one number, padded with zeros so that names sort as numbers do.
    number_of
        How many there are.

    >>> list(Numbered("in/{:02d}.jpg", 3))
    ['in/00.jpg', 'in/01.jpg', 'in/02.jpg']
    """

    pattern: str
    number_of: int

    def __len__(self) -> int:
        return self.number_of

    def __getitem__(self, number: int) -> str:  # type: ignore[override]  # no slices
        if not 0 <= number < self.number_of:
            raise IndexError(number)
        return self.pattern.format(number)

    def find(self, name: str) -> int | None:
        """Return the number of a name, or ``None``; a bisection would take ten times as long."""
        before, _, rest = self.pattern.partition("{")
        digits = name[len(before) : len(name) - len(rest.partition("}")[2])]
        number = int(digits) if digits.isdecimal() else -1
        return number if 0 <= number < len(self) and self[number] == name else None


class Bucket:
    """Objects by name."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.name = str(facts["name"])
        self.numbered: Numbered | None = None
        self._objects: dict[str, Stored] = {}
        self._sorted: list[str] | None = []

    def find(self, name: str) -> Stored | None:
        """Return an object, or ``None``."""
        if self.numbered is not None:
            number = self.numbered.find(name)
            time_made = str(self.facts["timeCreated"])
            return (
                None
                if number is None
                else _stored(self.name, name, name.encode(), {}, number + 1, time_made)
            )
        return self._objects.get(name)

    def get(self, name: str, wanted: Mapping[str, str]) -> Stored:
        """Return an object; ``wanted`` may name its generation, and conditions."""
        found = self.find(name)
        if found is None or wanted.get("generation", found.generation) != found.generation:
            raise Refusal(404, f"No such object: {self.name}/{name}")
        Conditions(wanted).check(found)
        return found

    def keep(self, name: str, stored: Stored) -> None:
        """Put an object in the place of what was there."""
        if self.numbered is not None:
            raise Refusal(403, f"{self.name} is a simulation: nothing can be written to it")
        if name not in self._objects:
            self._sorted = None
        self._objects[name] = stored

    def drop(self, name: str, wanted: Mapping[str, str]) -> None:
        """Delete an object."""
        self.get(name, wanted)
        del self._objects[name]
        self._sorted = None

    def names(self) -> Sequence[str]:
        """Return all names, sorted as the service sorts them: by their UTF-8 bytes."""
        if self.numbered is not None:
            return self.numbered
        if self._sorted is None:
            self._sorted = sorted(self._objects)  # code points sort as UTF-8 does
        return self._sorted


class Buckets:
    """All buckets of the server."""

    def __init__(self) -> None:
        self.hasty: dict[str, int] = {}
        self._buckets: dict[str, Bucket] = {}
        self._generation = time.time_ns() // 1000
        self._written: dict[str, float] = {}

    def __iter__(self) -> Iterator[Bucket]:
        return iter(self._buckets.values())

    def __getitem__(self, name: str) -> Bucket:
        try:
            return self._buckets[name]
        except KeyError:
            raise Refusal(404, "The specified bucket does not exist.") from None

    def create(self, given: Mapping[str, Any]) -> Bucket:
        """Make a bucket; its location and its storage class are as given."""
        name = str(given["name"])
        if name in self._buckets:
            raise Refusal(409, "Your previous request to create the named bucket succeeded.")
        facts = {
            "kind": "storage#bucket", "id": name, "name": name, "timeCreated": now(),
            "updated": now(), "metageneration": "1", "projectNumber": "0",
            "location": str(given.get("location", "US")).upper(),
            "locationType": "multi-region",
            "storageClass": str(given.get("storageClass", "STANDARD")).upper(),
        }  # fmt: skip
        self._buckets[name] = Bucket(facts)
        return self._buckets[name]

    def delete(self, name: str, *, full: bool = False) -> None:
        """Delete a bucket; one with objects only if told so."""
        if len(self[name].names()) and not full:
            raise Refusal(409, "The bucket you tried to delete is not empty.")
        del self._buckets[name]

    def put(
        self,
        bucket: str,
        name: str,
        content: bytes,
        given: Mapping[str, Any],
        wanted: Mapping[str, str],
    ) -> Stored:
        """Write an object.

        Parameters
        ----------
        bucket, name, content
            What is written, and where.
        given
            Its metadata. A hash among them that is not the content's is refused with 400.
        wanted
            Conditions.
        """
        Conditions(wanted).check(self[bucket].find(name))
        self._generation += 1
        stored = _stored(bucket, name, content, given, self._generation, now())
        self[bucket].keep(name, stored)
        self._note_haste(f"{bucket}/{name}")
        return stored

    def _note_haste(self, place: str) -> None:
        """Count names written twice within a second: the service throttles those with 429."""
        before, self._written[place] = self._written.get(place), time.monotonic()
        if before is not None and self._written[place] - before < 1:
            self.hasty[place] = self.hasty.get(place, 0) + 1


def _stored(
    bucket: str,
    name: str,
    content: bytes,
    given: Mapping[str, Any],
    generation: int,
    time_made: str,
) -> Stored:
    facts = {
        "kind": "storage#object", "id": f"{bucket}/{name}/{generation}", "name": name,
        "bucket": bucket, "generation": str(generation), "metageneration": "1",
        "contentType": given.get("contentType", "application/octet-stream"),
        "storageClass": "STANDARD", "size": str(len(content)), "etag": f"C{generation}",
        "timeCreated": time_made, "updated": time_made, "timeStorageClassUpdated": time_made,
        **hashes(content),
    }  # fmt: skip
    for name_of_hash in _HASHES:
        if given.get(name_of_hash, facts[name_of_hash]) != facts[name_of_hash]:
            told, found = given[name_of_hash], facts[name_of_hash]
            raise Refusal(400, f"Provided {name_of_hash} {told!r} doesn't match {found!r}.")
    facts |= {key: given[key] for key in _GIVEN if given.get(key) is not None}
    return Stored(content, facts)


def hashes(content: bytes) -> dict[str, str]:
    """Return the two hashes of a content, as the service writes them.

    >>> hashes(b"")
    {'md5Hash': '1B2M2Y8AsgTpgAmY7PhCfg==', 'crc32c': 'AAAAAA=='}
    """
    md5 = hashlib.md5(content).digest()
    crc = google_crc32c.value(content).to_bytes(4, "big")
    return {"md5Hash": base64.b64encode(md5).decode(), "crc32c": base64.b64encode(crc).decode()}


def metadata_of(stored: Stored) -> dict[str, Any]:
    """Return what a copy of an object takes over."""
    own = ("contentType", *_GIVEN)
    return {name: stored.facts[name] for name in own if name in stored.facts}


def now() -> str:
    """Return the time as the JSON API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
