"""Is a finished store whole? Every object against the last commit."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from daskimg.store._commit import all_commits
from daskimg.store._layout import INPUT, LEDGER
from daskimg.store._records import is_array
from daskimg.store._shard import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daskimg.fetch import Folder
    from daskimg.plan import Group
    from daskimg.store._commit import Commit

_THREADS = min(4, os.cpu_count() or 1)  # each holds an object; hashing frees the GIL


def damaged_objects(folder: Folder, commit: Commit) -> list[str]:
    """Return the names of objects that are missing or not what a commit lists."""
    return [name for name, _ in findings(folder, commit)]


def findings(folder: Folder, commit: Commit) -> Iterator[tuple[str, str]]:
    """Yield (name, what is wrong) for each object that differs from a commit."""
    with ThreadPoolExecutor(_THREADS) as pool:
        names = sorted(commit.objects)
        checked = pool.map(lambda name: _fault(folder, name, *commit.objects[name]), names)
        yield from ((name, fault) for name, fault in zip(names, checked, strict=True) if fault)


def _fault(folder: Folder, name: str, size: int, digest: str) -> str:
    try:
        content = folder.read(name)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if len(content) != size:
        return f"has {len(content):,} bytes, and the commit lists {size:,}"
    return "" if content_hash(content) == digest else "is not what was written: its hash differs"


def shards_of(
    commit: Commit, groups: Iterable[Group], names: Iterable[str]
) -> tuple[tuple[int, ...], dict[str, str]]:
    """Return the shards that damaged objects belong to, which are to be built again.

    Small arrays, tables and metadata belong to none: the commit writes them anew. What the
    ledger says of a shard stays until its new entry takes its place: a repair that fails
    leaves a store that opens as before.

    Parameters
    ----------
    commit
        The store's last commit.
    groups
        The store's groups of arrays.
    names
        The damaged objects.

    Returns
    -------
    tuple
        Their numbers, rising; and sha256 by name of the objects that must come out as they
        were committed.
    """
    firsts = {LEDGER: 0}
    firsts |= {f"{g.path(array.name)}/c": g.first_shard for g in groups for array in g.sharded}
    numbered = re.compile(rf"({'|'.join(map(re.escape, firsts))})/(\d+)\b")
    matches = {name: numbered.match(name) for name in {*names, *commit.objects}}
    shard_of = {name: firsts[m[1]] + int(m[2]) for name, m in matches.items() if m}
    shards = {shard_of[name] for name in names if name in shard_of}
    return tuple(sorted(shards)), {
        name: digest
        for name, (_, digest) in commit.objects.items()
        if shard_of.get(name) in shards and not name.startswith(LEDGER)
    }


def tidy(folder: Folder, commit: Commit) -> None:
    """Delete what the commit made needless: staged rows, arrays of labels that are no more.

    An array that was never committed is somebody else's, unless a kill left it unfinished.
    """
    folder.remove(INPUT)
    folder.sweep()
    listed = _arrays_of(commit)
    before = set[str]().union(*map(_arrays_of, all_commits(folder)))
    for group in ("", *(name for name in listed if f"{name}/image" in listed)):
        below = (name.removeprefix(f"{group}/").partition("/") for name in folder.sizes(group))
        within = {name for name, slash, _ in below if slash}
        for name in sorted(within - {"daskimg"}):
            path = f"{group}/{name}" if group else name
            ours = path in before or folder.size(f"{path}/zarr.json") is None
            if path not in listed and ours and is_array(folder, path):
                folder.remove(path)


def _arrays_of(commit: Commit) -> set[str]:
    """Return the arrays and groups that a commit lists."""
    return {name.rpartition("/zarr.json")[0] for name in commit.objects}
