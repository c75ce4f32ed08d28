"""The plan and the rows as the store keeps them, and what stands at an address."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from daskimg import fetch
from daskimg.errors import StoreError
from daskimg.plan import SCHEMA, fingerprint
from daskimg.store._layout import COMMITS, INPUT, PLAN, ROWS, refuse_newer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from daskimg.fetch import Folder
    from daskimg.plan import Plan

ROWS_PER_FILE = 1 << 16
"""Manifest rows per Parquet file: a fixed grid, so that any range of rows is found by division."""

_ROWS_PER_GROUP = 1 << 10

Opener = Callable[[str], IO[bytes]]

State = Literal["empty", "unfinished", "committed", "foreign"]


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """The plan as it stands in a store: what it was made from, to compare and to resume."""

    run: str
    rows: int
    samples: int
    digest: str
    root: str
    pixels: dict[str, Any]
    labels: dict[str, Any]
    recipe: dict[str, Any]
    bytes_column: str | None
    extensions: list[str]
    columns: list[list[str]]
    measured: bool
    groups: list[dict[str, Any]]
    generation: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain data, with its two fingerprints."""
        prints = {"pixels": fingerprint(self.pixels), "labels": fingerprint(self.labels)}
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {"schema": SCHEMA, "fingerprints": prints, **fields}


def stored_plan(plan: Plan, run: str) -> StoredPlan:
    """Return a plan as it is stored."""
    brief = plan.brief(run)
    return StoredPlan(
        run=run,
        rows=plan.facts.rows,
        samples=plan.samples,
        digest=plan.facts.digest,
        root=fetch.public(plan.root),
        pixels=plan.pixels(),
        labels=plan.labels(),
        recipe=plan.recipe.to_dict(),
        bytes_column=plan.manifest.bytes_column,
        extensions=list(plan.manifest.extensions),
        columns=[list(pair) for pair in brief.columns],
        measured=brief.measured,
        groups=[{"name": group.name, **asdict(group.layout)} for group in plan.groups],
        generation=plan.manifest.generation,
    )


def state_of(folder: Folder) -> State:
    """Tell what stands at an address: nothing, a store of ours, or somebody else's files."""
    names = folder.names()
    if "daskimg" in names and folder.sizes(COMMITS):
        return "committed"
    if folder.size(PLAN) is not None:
        return "unfinished"
    # Folders without an object in them are what a kill within a put leaves.
    held = any(folder.sizes(name) or folder.size(name) is not None for name in names)
    return "foreign" if held else "empty"


def read_plan(folder: Folder) -> StoredPlan:
    """Return the stored plan.

    Raises
    ------
    StoreError
        If there is none, or a newer daskimg wrote it.
    """
    try:
        given = json.loads(folder.read(PLAN))
        refuse_newer(given["schema"])
        known = {name: given[name] for name in StoredPlan.__slots__ if name in given}
        return StoredPlan(**known)
    except FileNotFoundError:
        raise StoreError(f"{folder.url}: {PLAN} is missing; build anew with --overwrite") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{folder.url}: {PLAN} is damaged ({error}); build anew with --overwrite"
        ) from None


def create_plan(folder: Folder, plan: Plan) -> StoredPlan:
    """Begin a store: write its plan, with a new run's id; only one client can.

    Raises
    ------
    StoreError
        If another run began at the same moment.
    """
    stored = stored_plan(plan, uuid.uuid4().hex)
    if not folder.create(PLAN, plan_content(stored)):
        raise StoreError(f"another run has just begun at {folder.url}; run again to join it")
    return stored


def refuse_other_run(folder: Folder, run: str) -> None:
    """Keep a straggler of an overwritten run from writing into the new one's store.

    Raises
    ------
    StoreError
        If the plan that is stored now is another run's.
    """
    if read_plan(folder).run != run:
        raise StoreError(f"another run has taken over {folder.url}; this one writes no more")


def take_up(stored: StoredPlan, plan: Plan) -> StoredPlan:
    """Return the plan of a run that goes on: its own id, the table's labels as they are now.

    It is written by the commit: until then a finished store keeps the plan it was made from.
    """
    return stored_plan(plan, stored.run)


def plan_content(stored: StoredPlan) -> bytes:
    """Return a stored plan as an object."""
    return json.dumps(stored.to_json(), indent=1).encode()


def owned_sizes(folder: Folder) -> dict[str, int]:
    """Return the bytes of every object that ``erase`` would delete, by name."""
    tops = {name for name in folder.names() if name == "daskimg" or is_array(folder, name)}
    return {
        name: size
        for name, size in folder.sizes().items()
        if name == "zarr.json" or name.partition("/")[0] in tops
    }


def erase(folder: Folder) -> None:
    """Delete a store of ours: first what readers find, last what says that it is ours.

    Files of other people that lie beside its arrays stay.
    """
    folder.remove("zarr.json")
    folder.remove(COMMITS)
    for name in folder.names():
        if name != "daskimg" and is_array(folder, name):
            folder.remove(name)
    for name in folder.sizes("daskimg"):
        if name != PLAN:
            folder.remove(name)
    folder.remove("daskimg")


def is_array(folder: Folder, name: str) -> bool:
    """Tell whether a name is an array or a group of arrays, finished or begun."""
    if name.endswith(".json"):  # what is below an object need not be asked
        return False
    if folder.size(f"{name}/zarr.json") is not None:
        return True
    return any(folder.sizes(f"{name}/{below}") for below in ("c", "image/c"))


def stage_rows(folder: Folder, pieces: Iterable[pa.Table], keep: Sequence[str] = ()) -> None:
    """Write the numbered rows as Parquet files of ``ROWS_PER_FILE``, for tasks to read.

    Parameters
    ----------
    folder
        The store.
    pieces
        The rows, cut anyhow.
    keep
        Columns that stay as they are in rows that the store has already.
    """
    for number, table in enumerate(_files(pieces)):
        kept = _with_kept(folder, number, table, keep)
        folder.put(_input_name(number), table_content(kept))


def _files(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the same rows, ``ROWS_PER_FILE`` at a time."""
    waiting: list[pa.Table] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        while count >= ROWS_PER_FILE:
            table = pa.concat_tables(waiting)
            yield table.slice(0, ROWS_PER_FILE)
            waiting, count = [table.slice(ROWS_PER_FILE)], count - ROWS_PER_FILE
    if count:
        yield pa.concat_tables(waiting)


def _with_kept(folder: Folder, number: int, table: pa.Table, keep: Sequence[str]) -> pa.Table:
    """Return rows with some columns as the store has them, if it has these rows."""
    for name in (_input_name(number), rows_name(number)) if keep else ():
        try:
            stored = pq.read_table(io.BytesIO(folder.read(name)), columns=list(keep))
        except (FileNotFoundError, pa.ArrowException):  # none there, or damaged, or without them
            continue
        if len(stored) == len(table):
            for column in keep:
                place = table.schema.get_field_index(column)
                table = table.set_column(place, table.schema.field(column), stored[column])
            break
    return table


def table_content(table: pa.Table) -> bytes:
    """Return a table as an object: Parquet."""
    sink = io.BytesIO()
    plain = table.replace_schema_metadata(None)
    pq.write_table(plain, sink, compression="zstd", row_group_size=_ROWS_PER_GROUP)
    return sink.getvalue()


def read_rows(
    opened: Opener, start: int, stop: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the staged rows ``start`` to ``stop``; only the row groups needed are parsed.

    ``opened`` opens a file by its name in the store, as ``Folder.open`` does.
    """
    parts = []
    for number in range(start // ROWS_PER_FILE, -(-stop // ROWS_PER_FILE)):
        first = number * ROWS_PER_FILE
        low = max(start - first, 0)
        high = min(stop - first, ROWS_PER_FILE)
        groups = range(low // _ROWS_PER_GROUP, -(-high // _ROWS_PER_GROUP))
        with opened(_input_name(number)) as file:
            table = pq.ParquetFile(file).read_row_groups(list(groups), columns=columns)
        parts.append(table.slice(low - groups.start * _ROWS_PER_GROUP, high - low))
    return pa.concat_tables(parts)


def _input_name(number: int) -> str:
    return f"{INPUT}/{number:08d}.parquet"


def row_files(rows: int) -> range:
    """Return the numbers of the rows table's files."""
    return range(-(-rows // ROWS_PER_FILE))


def rows_name(number: int) -> str:
    """Return the name of a file of the finished rows table."""
    return f"{ROWS}/{number:08d}.parquet"
