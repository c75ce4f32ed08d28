"""The rows of a shard, and where their samples lie."""

from __future__ import annotations

import io
from functools import lru_cache, partial
from typing import IO, TYPE_CHECKING, NamedTuple

import pyarrow as pa

from daskimg import fetch, store
from daskimg.manifest import SEALED
from daskimg.plan import STAGED
from daskimg.recipe import Row

if TYPE_CHECKING:
    import pandas as pd

    from daskimg.plan import Brief, ShardRows


def read_shard_rows(span: ShardRows, brief: Brief) -> pd.DataFrame:
    """Return the manifest rows whose samples lie in a shard.

    Columns: ``row``, ``path``, ``shard``; where their samples lie, as ``daskimg.plan.STAGED``;
    where picture bytes are, or which generation was listed; and the cells that the recipe reads.
    """
    number, group = brief.group_of(span.shard)
    columns = ["row", "path", *STAGED, *(stored for _, stored in brief.columns)]
    if brief.bytes_column is not None:
        columns += ["bytes_file", "bytes_group", "bytes_index"]
    if brief.key:
        columns.append(SEALED)
    if brief.generation is not None:
        columns.append(brief.generation)
    table = store.read_rows(_staged(brief), span.first, span.stop, columns)
    first, samples = (table[name].to_numpy() for name in STAGED[1:3])
    start, stop = group.span(span.shard)
    mine = (table[STAGED[0]].to_numpy() == number) & (samples > 0)
    mine &= (first < stop) & (first + samples > start)
    rows: pd.DataFrame = table.filter(pa.array(mine)).to_pandas()
    rows["shard"] = span.shard
    return rows


def _staged(brief: Brief) -> store.Opener:
    """Return what opens the files of staged rows: parts of one on a disk, all of a bucket's.

    Shards that are neighbours lie in one file: a process asks for it once a run.
    """
    if fetch.is_url(brief.url):
        return partial(_kept, brief.url, brief.call)
    return fetch.open_folder(brief.url).open


def _kept(url: str, call: str, name: str) -> IO[bytes]:
    return io.BytesIO(_content(url, call, name))


@lru_cache(maxsize=2)
def _content(url: str, call: str, name: str) -> bytes:  # noqa: ARG001  each run stages anew
    return fetch.open_folder(url).read(name)


class Planned(NamedTuple):
    """A row, and what was planned of it: where its samples lie, and its picture's size."""

    row: Row
    first: int
    samples: int
    height: int
    width: int

    @property
    def places(self) -> range:
        """The row's samples, in its group."""
        return range(self.first, self.first + self.samples)


def planned_rows(rows: pd.DataFrame, brief: Brief) -> list[Planned]:
    """Return rows as ``read_shard_rows`` gives them, one by one."""
    names = [column for column, _ in brief.columns]
    columns = (rows[stored].tolist() for _, stored in brief.columns)
    cells = zip(*columns, strict=True) if names else iter([()] * len(rows))
    facts = zip(*(rows[name].tolist() for name in STAGED[1:]), strict=True)
    found = zip(rows["row"].tolist(), rows["path"].tolist(), cells, facts, strict=True)
    return [
        Planned(Row(number, path, dict(zip(names, own, strict=True))), *fact)
        for number, path, own, fact in found
    ]
