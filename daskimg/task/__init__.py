"""One shard, from paths to written bytes. No Dask here: callable in a test or a debugger."""

from daskimg.task._alone import KILLED, Limits, Verdict, find_killers
from daskimg.task._contents import Content, read_contents
from daskimg.task._cores import Cores, OwnCores, SharedCores
from daskimg.task._reports import REPORT, ROWS
from daskimg.task._rows import Planned, planned_rows, read_shard_rows
from daskimg.task._samples import make_samples, write_entry_of
from daskimg.task._trial import Trial, rows_to_try, try_rows, try_some
from daskimg.task._tried import TRIED
from daskimg.task._work import must_retry, run_task

__all__ = [
    "KILLED",
    "REPORT",
    "ROWS",
    "TRIED",
    "Content",
    "Cores",
    "Limits",
    "OwnCores",
    "Planned",
    "SharedCores",
    "Trial",
    "Verdict",
    "find_killers",
    "make_samples",
    "must_retry",
    "planned_rows",
    "read_contents",
    "read_shard_rows",
    "rows_to_try",
    "run_task",
    "try_rows",
    "try_some",
    "write_entry_of",
]
