"""Names and metadata of schema 1 (DESIGN.md section 5): what lies where, in plain Zarr v3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daskimg.errors import StoreError
from daskimg.plan import SCHEMA, SMALL_CHUNK, ArraySpec

if TYPE_CHECKING:
    from daskimg.manifest import Label

PENDING, OK, FAILED = 0, 1, 2
"""Values of the ``status`` array; 3, redacted, is reserved."""

RECORDS = "daskimg/records"
PLAN = f"{RECORDS}/plan.json"
INPUT = f"{RECORDS}/input"
ROWS = f"{RECORDS}/rows"
LEDGER = f"{RECORDS}/ledger"
COMMITS = f"{RECORDS}/commits"
FAILURES = f"{RECORDS}/failures.parquet"


def refuse_newer(schema: int) -> None:
    """Refuse a store that a newer daskimg wrote: this one might misread it."""
    if schema > SCHEMA:
        raise StoreError(
            f"the store has schema {schema}, and this daskimg reads up to {SCHEMA}; "
            f"install a newer daskimg"
        )


def chunk_name(array: str, index: int, axes: int) -> str:
    """Return the object that holds chunk (or shard) ``index`` along the first axis.

    >>> chunk_name("image", 12, 4)
    'image/c/12/0/0/0'
    """
    return f"{array}/c/{index}" + "/0" * (axes - 1)


def small_arrays(targets: tuple[ArraySpec, ...], labels: tuple[Label, ...]) -> list[ArraySpec]:
    """Return the arrays that the commit writes: facts of each sample, labels, small targets."""
    found = [
        ArraySpec("status", (), (), "uint8"),
        ArraySpec("row", (), (), "int64"),
        ArraySpec("part", (), (), "int32"),
    ]
    for label in labels:
        axes, shape = (), ()
        if label.kind == "multi":
            axes, shape = ((f"{label.array}_class",), (len(label.classes),))  # type: ignore[assignment]
        found.append(ArraySpec(label.array, axes, shape, label.dtype))
    if not labels:
        found.append(ArraySpec("label", (), (), "int32"))
    return [*found, *targets]


def small_chunk(samples: int) -> int:
    """Return the samples per chunk of a small array."""
    return min(samples, SMALL_CHUNK)
