"""The Zarr layout, the ledger and the commit: the only door to zarr.

A store under construction holds shards, a plan and a ledger, and no metadata: no Zarr reader
finds it. The commit writes the small arrays, then the metadata, then one object that lists
every other with its hash.
"""

from daskimg.store._assembly import Assembled, assemble_rows, assemble_samples, sample_spans
from daskimg.store._checks import damaged_objects, findings, shards_of, tidy
from daskimg.store._claim import Claim, forget_claim, note_claim
from daskimg.store._commit import Commit, commit_store, last_commit
from daskimg.store._failures import Failure, first_failures
from daskimg.store._layout import (
    COMMITS,
    FAILED,
    INPUT,
    OK,
    PENDING,
    PLAN,
    RECORDS,
    VERDICTS,
    chunk_name,
)
from daskimg.store._ledger import (
    Entry,
    find_entry,
    is_as_written,
    ledger_name,
    ledger_schema,
    listed_shards,
    parsed_entry,
    read_content,
    whole_entry,
    write_entry,
)
from daskimg.store._open import Committed, find_commit, open_committed
from daskimg.store._records import (
    ROWS_PER_FILE,
    Opener,
    State,
    StoredPlan,
    create_plan,
    erase,
    owned_sizes,
    read_plan,
    read_rows,
    refuse_other_run,
    row_files,
    stage_rows,
    state_of,
    take_up,
)
from daskimg.store._runs import log_run, read_runs
from daskimg.store._shard import ShardBuffer, checksum, content_hash, stamp
from daskimg.store._sharded import Sharded, open_sharded
from daskimg.store._shelf import SHELF
from daskimg.store._verdicts import read_verdicts, write_verdict

__all__ = [
    "COMMITS",
    "FAILED",
    "INPUT",
    "OK",
    "PENDING",
    "PLAN",
    "RECORDS",
    "ROWS_PER_FILE",
    "SHELF",
    "VERDICTS",
    "Assembled",
    "Claim",
    "Commit",
    "Committed",
    "Entry",
    "Failure",
    "Opener",
    "ShardBuffer",
    "Sharded",
    "State",
    "StoredPlan",
    "assemble_rows",
    "assemble_samples",
    "checksum",
    "chunk_name",
    "commit_store",
    "content_hash",
    "create_plan",
    "damaged_objects",
    "erase",
    "find_commit",
    "find_entry",
    "findings",
    "first_failures",
    "forget_claim",
    "is_as_written",
    "last_commit",
    "ledger_name",
    "ledger_schema",
    "listed_shards",
    "log_run",
    "note_claim",
    "open_committed",
    "open_sharded",
    "owned_sizes",
    "parsed_entry",
    "read_content",
    "read_plan",
    "read_rows",
    "read_runs",
    "read_verdicts",
    "refuse_other_run",
    "row_files",
    "sample_spans",
    "shards_of",
    "stage_rows",
    "stamp",
    "state_of",
    "take_up",
    "tidy",
    "whole_entry",
    "write_entry",
    "write_verdict",
]
