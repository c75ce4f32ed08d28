"""Rows that killed their workers: found once, kept, so that a resume does not begin again."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from daskimg.store._layout import VERDICTS

_NAME = re.compile(rf"{VERDICTS}/\d+\.json")

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskimg.fetch import Folder


def write_verdict(folder: Folder, shard: int, rows: Mapping[int, Mapping[str, Any]]) -> None:
    """Keep which rows of a shard killed their worker, beside those found before.

    Parameters
    ----------
    folder
        The store.
    shard
        The shard in which they did: a row may give samples to several.
    rows
        By number, what was found: for people; only the number counts.
    """
    known = _rows(folder, _name(shard)) | {str(row): dict(facts) for row, facts in rows.items()}
    content = {"shard": shard, "rows": dict(sorted(known.items(), key=lambda each: int(each[0])))}
    folder.put(_name(shard), json.dumps(content, indent=1).encode())


def read_verdicts(folder: Folder) -> tuple[tuple[int, int], ...]:
    """Return (shard, row) of every row that killed its worker."""
    return tuple(
        (int(name.rpartition("/")[2].partition(".")[0]), int(row))
        for name in folder.sizes(VERDICTS)
        if _NAME.fullmatch(name)
        for row in _rows(folder, name)
    )


def _rows(folder: Folder, name: str) -> dict[str, Any]:
    try:
        found = json.loads(folder.read(name))["rows"]
        return {str(int(row)): facts for row, facts in found.items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # a damaged one, or none of ours, proves nothing: the row is found again


def _name(shard: int) -> str:
    return f"{VERDICTS}/{shard:08d}.json"
