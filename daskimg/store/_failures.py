"""Examples of what failed, from the ledger of a run that is not committed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from daskimg.store._layout import FAILED
from daskimg.store._ledger import ledger_name, read_entry
from daskimg.store._records import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from daskimg.fetch import Folder

_EACH = 3  # examples of a reason


class Failure(NamedTuple):
    """A row that failed: its number and path in the table, the reason, and what was found."""

    row: int
    path: str
    reason: str
    message: str


def first_failures(folder: Folder, shards: Mapping[str, Iterable[int]]) -> tuple[Failure, ...]:
    """Return up to three failures of each reason, in table order.

    Parameters
    ----------
    folder
        The store; its rows are staged.
    shards
        By reason, the first shards that have such a failure: no other entry is read.
    """
    failed = cache(lambda shard: _failed(folder, shard))
    found: list[Failure] = []
    for reason, numbers in shards.items():
        lines = (line for number in numbers for line in failed(number) if line[1] == reason)
        messages: dict[int, str] = {}  # by row: the parts of one row fail together
        for row, _, message in lines:
            messages.setdefault(row, message)
            if len(messages) == _EACH:
                break
        found += [Failure(row, _path(folder, row), reason, text) for row, text in messages.items()]
    return tuple(found)


def _failed(folder: Folder, shard: int) -> list[tuple[int, str, str]]:
    """Return row, reason and message of the failed samples of a shard."""
    _, lines = read_entry(folder.read(ledger_name(shard)))
    columns = [lines[name].to_pylist() for name in ("status", "row", "reason", "message")]
    return [tuple(line) for status, *line in zip(*columns, strict=True) if status == FAILED]


def _path(folder: Folder, row: int) -> str:
    return read_rows(folder.open, row, row + 1, ["path"])["path"][0].as_py() or ""
