"""The commit: metadata last, then one object that lists every other with its hash."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from daskimg.errors import StoreError
from daskimg.plan import SCHEMA, fingerprint
from daskimg.store._claim import Claim
from daskimg.store._layout import COMMITS, FAILURES, PLAN, refuse_newer
from daskimg.store._ledger import is_as_written, no_failures
from daskimg.store._records import plan_content, table_content
from daskimg.store._shard import content_hash, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.fetch import Folder
    from daskimg.plan import Brief, Group
    from daskimg.store._assembly import Assembled
    from daskimg.store._records import StoredPlan

_NAME = re.compile(r".*/(\d+)\.json$")


@dataclass(frozen=True, slots=True)
class Commit:
    """A finished state of a store.

    Attributes
    ----------
    number, previous
        Its number, from 1; the sha256 of the commit before it.
    run, samples, failed
        The run that wrote it; samples in all; how many failed.
    fingerprints
        sha256 of what pixels, and of what labels, depend on.
    objects
        Bytes and sha256 of every object, by name.
    """

    number: int
    previous: str | None
    run: str
    samples: int
    failed: int
    fingerprints: dict[str, str]
    objects: dict[str, tuple[int, str]]

    def to_json(self) -> dict[str, Any]:
        """Return the commit as plain data."""
        return {"schema": SCHEMA, **{name: getattr(self, name) for name in self.__slots__}}


def last_commit(folder: Folder) -> Commit | None:
    """Return the valid commit of the highest number, or ``None``."""
    found = _commits(folder)
    for number in sorted(found, reverse=True):
        commit = _valid(folder.read(found[number]), number)
        if commit is not None:
            return commit
    return None


def all_commits(folder: Folder) -> Iterator[Commit]:
    """Yield the valid commits, in no order."""
    for number, name in _commits(folder).items():
        commit = _valid(folder.read(name), number)
        if commit is not None:
            yield commit


def _commits(folder: Folder) -> dict[int, str]:
    matched = ((_NAME.match(name), name) for name in folder.sizes(COMMITS))
    return {int(match[1]): name for match, name in matched if match}


def _valid(content: bytes, number: int) -> Commit | None:
    try:
        given = json.loads(content)
        refuse_newer(given.pop("schema"))
        objects = {name: (size, digest) for name, (size, digest) in given["objects"].items()}
        commit = Commit(**{**given, "objects": objects})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return commit if commit.number == number else None


def commit_store(folder: Folder, brief: Brief, stored: StoredPlan, assembled: Assembled) -> Commit:
    """Write failures, plan, metadata and the commit; after this, not before, it is a store.

    Raises
    ------
    StoreError
        If an object that the ledger lists is missing, of another size or another checksum.
    """
    from daskimg.store._metadata import metadata  # brings zarr, which no worker needs

    claim = Claim(folder, stored.run)
    claim.check()
    before = last_commit(folder)
    number = max(_commits(folder), default=0) + 1  # above a damaged one, too
    failures = table_content(_failures(assembled, brief))
    claim.put(FAILURES, failures)
    assembled.note(FAILURES, failures)
    plan = plan_content(stored)
    _put_changed(folder, PLAN, plan)
    assembled.note(PLAN, plan)
    _check_objects(folder, assembled)
    objects = dict(assembled.objects)
    attributes = _attributes(brief, stored, assembled, number)
    for name, content in metadata(brief.groups, attributes).items():
        claim.put(name, content)
        objects[name] = stamp(content)
    commit = Commit(
        number=number,
        previous=content_hash(folder.read(_commit_name(before.number))) if before else None,
        run=stored.run,
        samples=brief.samples,
        failed=sum(assembled.failed.values()),
        fingerprints=_fingerprints(stored),
        objects=dict(sorted(objects.items())),
    )
    if not folder.create(_commit_name(number), json.dumps(commit.to_json()).encode()):
        raise StoreError(f"another run has just committed at {folder.url}; run again to check it")
    return commit


def _commit_name(number: int) -> str:
    return f"{COMMITS}/{number:06d}.json"


def _put_changed(folder: Folder, name: str, content: bytes) -> None:
    """Put an object unless it is there as it is: a bucket takes one write a second of a name."""
    if folder.read(name) != content:
        folder.put(name, content)


def _fingerprints(stored: StoredPlan) -> dict[str, str]:
    return {"pixels": fingerprint(stored.pixels), "labels": fingerprint(stored.labels)}


def _failures(assembled: Assembled, brief: Brief) -> pa.Table:
    found = pa.concat_tables([no_failures(), *assembled.failures])
    if len(brief.groups) == 1:
        return found.drop_columns("split").sort_by("sample")
    return found.sort_by([("split", "ascending"), ("sample", "ascending")])


def _check_objects(folder: Folder, assembled: Assembled) -> None:
    """Compare every object with what was written, in one listing: sizes, and what it tells more.

    Raises
    ------
    StoreError
        If one differs.
    """
    listed = folder.listed()
    advice = f"something else writes to {folder.url}"
    for name, (size, _) in assembled.objects.items():
        found, crc32c = listed.get(name), assembled.crc32c.get(name)
        if found is None or found.size != size:
            there = "no" if found is None else found.size
            raise StoreError(f"{name} has {there} bytes and not {size}: {advice}")
        if not is_as_written(found, size, crc32c):
            raise StoreError(f"{name} has the crc32c {found.crc32c} and not {crc32c}: {advice}")


def _attributes(
    brief: Brief, stored: StoredPlan, assembled: Assembled, number: int
) -> dict[str, Any]:
    several = len(brief.groups) > 1
    found = {
        "schema": SCHEMA,
        "fingerprints": _fingerprints(stored),
        "recipe": stored.recipe,
        "seed": stored.recipe["seed"],
        "columns": {label.array: [label.column, label.kind] for label in brief.labels},
        "classes": {label.column: list(label.classes) for label in brief.labels if label.classes},
        "samples": brief.samples,
        "failed": sum(assembled.failed.values()),
        "versions": _versions(brief),
        "commit": number,
    }
    if stored.labels["class words"]:
        found["class_words"] = stored.labels["class words"]
    if several:
        return {**found, "splits": {g.name: _facts(g, assembled) for g in brief.groups}}
    return {**found, **_facts(brief.groups[0], assembled)}


def _facts(group: Group, assembled: Assembled) -> dict[str, Any]:
    """Return what a group has of its own: its samples, and their statistics."""
    sums = assembled.sums.get(group.name)
    usable = sums if sums is not None and sums.count else None
    return {
        "samples": group.layout.samples,
        "failed": assembled.failed.get(group.name, 0),
        "mean": list(usable.mean()) if usable else None,
        "std": list(usable.std()) if usable else None,
    }


def _versions(brief: Brief) -> dict[str, str]:
    """Return the versions of what made the bytes."""
    packages = ("daskimg", "numba", "zarr", "pillow")
    own = brief.groups[0].recipe.versions()  # the decoder is the same for all splits
    return {**{name: version(name) for name in packages}, **own}
