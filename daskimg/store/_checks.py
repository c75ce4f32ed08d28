"""Is a finished store whole? Every object against the last commit."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from daskimg.errors import StoreError
from daskimg.store._commit import last_commit
from daskimg.store._layout import INPUT, LEDGER
from daskimg.store._ledger import ledger_name
from daskimg.store._shard import content_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daskimg.fetch import Folder

_THREADS = min(16, 4 * (os.cpu_count() or 1))  # reading waits for the disk; hashing frees the GIL

_SHARD = re.compile(r"(?:[^/]+/c/(\d+)/.*|" + re.escape(LEDGER) + r"/(\d+)\.parquet)$")


def damaged_objects(folder: Folder) -> list[str]:
    """Return the names of objects that are missing or not what the last commit lists.

    Raises
    ------
    StoreError
        If there is no commit.
    """
    return [name for name, _ in findings(folder)]


def findings(folder: Folder) -> Iterator[tuple[str, str]]:
    """Yield (name, what is wrong) for each object that differs from the last commit."""
    commit = last_commit(folder)
    if commit is None:
        raise StoreError(f"no valid commit at {folder.url}: the store is not finished")
    with ThreadPoolExecutor(_THREADS) as pool:
        names = sorted(commit.objects)
        checked = pool.map(lambda name: _fault(folder, name, *commit.objects[name]), names)
        yield from ((name, fault) for name, fault in zip(names, checked, strict=True) if fault)


def _fault(folder: Folder, name: str, size: int, digest: str) -> str:
    try:
        content = folder.read(name)
    except FileNotFoundError:
        return "is missing"
    if len(content) != size:
        return f"has {len(content):,} bytes, and the commit lists {size:,}"
    return "" if content_hash(content) == digest else "is not what was written: its hash differs"


def forget_shards(folder: Folder, names: Iterable[str]) -> None:
    """Take the shards that damaged objects belong to out of the ledger, to be built again.

    Small arrays, tables and metadata need no forgetting: the commit writes them anew.
    """
    for name in names:
        matched = _SHARD.match(name)
        if matched:
            folder.remove(ledger_name(int(matched[1] or matched[2])))


def tidy(folder: Folder) -> None:
    """Delete what only a build needs: the staged rows stand in the rows table now."""
    folder.remove(INPUT)
