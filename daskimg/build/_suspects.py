"""Shards that kill their workers: which of their rows does, and what becomes of it."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from daskimg import store
from daskimg.build._jobs import Jobs
from daskimg.build._shards import mapped, try_alone
from daskimg.errors import StoppedError
from daskimg.words import named

if TYPE_CHECKING:
    from daskimg.build._crew import Crew
    from daskimg.fetch import Folder
    from daskimg.plan import ShardRows
    from daskimg.task import Verdict

_GO_ON = "then run the same command again to go on"


def described(span: ShardRows) -> str:
    """Name a shard by its number and its rows."""
    return f"shard {span.shard} (rows {span.first:,} to {span.stop - 1:,})"


def convict(crew: Crew, folder: Folder, run: str, suspects: list[ShardRows]) -> None:
    """Try the rows of shards alone, and keep in the store which are convicted.

    A row is convicted if it ended two processes in which nothing else went on. Lack of memory,
    a wait and signals that others send convict none: they stop the run, when all shards have
    been looked at.

    Raises
    ------
    StoppedError
        If a row cannot be made, and is not to blame; or the suspects cannot be looked at.
    """
    for span in suspects:
        crew.tell(f"{described(span)} killed its worker: its rows are tried alone")
    known = store.read_verdicts(folder)
    jobs = Jobs(crew, partial(mapped, crew.client, partial(try_alone, known=known), run))
    innocent: list[Verdict] = []
    with closing(jobs.results(suspects)) as results:
        for span, found in results:
            _keep(crew, folder, span, found)
            innocent += [verdict for verdict in found if not verdict.guilty]
    if innocent:
        raise StoppedError(_advice(innocent[0]))


def _keep(crew: Crew, folder: Folder, span: ShardRows, verdicts: list[Verdict]) -> None:
    guilty = {
        each.row: {"path": each.path, "causes": each.causes} for each in verdicts if each.guilty
    }
    if guilty:
        store.write_verdict(folder, span.shard, guilty)
    for row, facts in guilty.items():
        crew.tell(
            f"row {row} ({named(str(facts['path']))}) killed a process of its own twice "
            f"({', '.join(facts['causes'])}): it is left out"
        )


def _advice(verdict: Verdict) -> str:
    who = f"row {verdict.row} ({named(verdict.path)})"
    if "memory" in verdict.causes:
        return (
            f"{who} alone needs more memory than a worker has; give workers more "
            f"(--memory-limit), or refuse such pictures (--max-pixels), {_GO_ON}"
        )
    if "silence" in verdict.causes:
        return f"{who} alone is not finished in two minutes; look at its file or recipe, {_GO_ON}"
    return f"{who} is ended from outside whenever it is tried ({verdict.causes[0]}); {_GO_ON}"
