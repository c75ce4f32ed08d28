"""A few rows before anything is written: a table where none works is refused."""

from __future__ import annotations

import threading
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed import Future

from daskimg import fetch
from daskimg.build._jobs import Jobs
from daskimg.build._shards import mapped, told, try_given
from daskimg.errors import PlanError
from daskimg.task import rows_to_try, try_rows

if TYPE_CHECKING:
    from daskimg.build._crew import Crew
    from daskimg.plan import Plan, ShardRows
    from daskimg.task import Trial


def check_trial(plan: Plan) -> Trial:
    """Fetch and decode some rows here, and refuse a table where none works.

    Raises
    ------
    PlanError
        If no row works: the first resolved path, and what to check.
    """
    check_sources(plan)
    trial = try_rows(plan, thorough=True)
    _refuse(plan, trial)
    return trial


def check_sources(plan: Plan) -> None:
    """Ask each bucket of the rows to be tried whether it may be read.

    Raises
    ------
    AccessError
        If one refuses that, or is not there.
    """
    places = map(plan.manifest.resolve, plan.facts.sample["path"].dropna())
    for place in {fetch.bucket_of(place): place for place in places}.values():
        fetch.check_access(place, fetch.READING)


class Tried(NamedTuple):
    """Rows that were read for a trial, and its future, which lies where what was read is kept."""

    rows: frozenset[int]
    future: Future[Any]

    def any_of(self, span: ShardRows) -> bool:
        """Tell whether rows of a shard are among them."""
        return any(span.first <= row < span.stop for row in self.rows)


def try_on(crew: Crew, plan: Plan) -> Tried | None:
    """Decode rows on a worker until one works, before anything is written.

    Not in this process: a row may kill the one that tries it. Which one did is found out later:
    then ``None`` is returned.

    Raises
    ------
    PlanError
        If no row works: the first resolved path, and what to check.
    """
    # The first tasks need it: it is imported while the worker is busy.
    threading.Thread(target=import_module, args=("dask.dataframe",)).start()
    with told(crew, plan.brief(run="", call=crew.fresh())) as run:
        handed_out: list[Future[Any]] = []

        def submit(*job: Any) -> list[Future[Any]]:
            futures = mapped(crew.client, try_given, run, *job)
            handed_out.extend(Future(each.key, crew.client) for each in futures)
            return futures

        jobs = Jobs(crew, submit, on_killed=lambda _: None)
        with closing(jobs.results([rows_to_try(plan)])) as results:
            for rows, trial in results:
                _refuse(plan, trial)
                done = next(each for each in handed_out if each.status == "finished")
                return Tried(frozenset(rows["row"].tolist()[: trial.tried]), done)
    return None


def _refuse(plan: Plan, trial: Trial) -> None:
    if not trial.tried or trial.failed < trial.tried or plan.options.max_failed >= 1:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in trial.reasons.items())
    elsewhere = {"missing", "unreadable"} >= set(trial.reasons)
    advice = "check --root and --path-column" if elsewhere else trial.message
    raise PlanError(
        f"none of {trial.tried} rows tried gives a picture ({reasons}); the first is "
        f"{trial.first}: {advice}"
    )
