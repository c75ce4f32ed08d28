"""Names and metadata of schema 1 (DESIGN.md section 5): what lies where, in plain Zarr v3."""

from __future__ import annotations

from daskimg.errors import StoreError
from daskimg.plan import SCHEMA

PENDING, OK, FAILED = 0, 1, 2
"""Values of the ``status`` array; 3, redacted, is reserved."""

RECORDS = "daskimg/records"
PLAN = f"{RECORDS}/plan.json"
INPUT = f"{RECORDS}/input"
ROWS = f"{RECORDS}/rows"
LEDGER = f"{RECORDS}/ledger"
COMMITS = f"{RECORDS}/commits"
VERDICTS = f"{RECORDS}/verdicts"
RUNS = f"{RECORDS}/runs"
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
