"""The run: check, try, begin, build shard by shard, commit."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, as_completed, futures_of, get_client

from daskimg import store
from daskimg.build._cluster import ClusterOptions, starting
from daskimg.build._report import Report, Tally
from daskimg.build._standing import standing_of
from daskimg.errors import DaskimgError, PlanError, StoppedError, StoreError
from daskimg.fetch import open_folder
from daskimg.statistics import COMPILE_PAYS
from daskimg.task import REPORT, ROWS, read_shard_rows, run_task, try_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from distributed import Future

    from daskimg.build._standing import Standing
    from daskimg.fetch import Folder
    from daskimg.plan import Brief, Plan
    from daskimg.task import Trial

_RETRIES = 2  # of a task, on other workers; storage has its own retries below that
_EARLY = 1000  # samples after which a run that mostly fails is stopped


def build_store(
    plan: Plan,
    *,
    client: Client | None = None,
    cluster: ClusterOptions | None = None,
    on_tally: Callable[[Tally], None] | None = None,
    on_client: Callable[[Client], None] | None = None,
) -> Report:
    """Build a store, or finish, repair or relabel the one that stands at its address.

    Parameters
    ----------
    plan
        What ``plan_store`` returned.
    client
        A Dask client. By default the current one, else a local cluster for this run.
    cluster
        What that local cluster is like.
    on_tally
        Called with the counts whenever a shard is finished.
    on_client
        Called with the client before the first task is handed out.

    Returns
    -------
    Report
        Its ``committed`` is false if more than ``plan.options.max_failed`` failed.

    Raises
    ------
    StoreError, PlanError
        Refused; nothing was written.
    StoppedError
        Stopped by a fault, resumable: run again.
    """
    standing = standing_of(plan.url, overwrite=plan.options.overwrite)
    step = standing.step(plan)
    if step == "check":
        damaged = store.damaged_objects(standing.folder)
        if not damaged:
            return _unchanged(standing)
        store.forget_shards(standing.folder, damaged)
    with _connecting(client, cluster) as connected:  # a cluster starts while this goes on
        if step == "begin":
            check_trial(plan)
        stored = _begin(plan, standing)
        client = connected()
        if on_client:
            on_client(client)
        report = _Run(plan, stored, standing.folder, client, on_tally or _silent).build()
    return replace(report, outcome="relabelled") if step == "relabel" else report


def _begin(plan: Plan, standing: Standing) -> store.StoredPlan:
    """Write plan and rows, or take up those that are there; the stored run's id stays."""
    folder = standing.folder
    try:
        if standing.stored is None:
            if standing.state != "empty":
                store.erase(folder)
            stored = store.create_plan(folder, plan)
        else:
            stored = store.label_plan(folder, plan, standing.stored.run)
        store.stage_rows(folder, plan.manifest.pieces(plan.facts), plan.facts.schema)
    except OSError as error:
        raise StoreError(f"cannot write to {folder.url}: {error}") from error
    return stored


def check_trial(plan: Plan, *, thorough: bool = False) -> Trial:
    """Decode a few rows before anything is written, and refuse a table where none works.

    Raises
    ------
    PlanError
        If no row works: the first resolved path, and what to check.
    """
    trial = try_rows(plan, thorough=thorough)
    if trial.failed < trial.tried or plan.options.max_failed >= 1:
        return trial
    reasons = ", ".join(f"{count} {reason}" for reason, count in trial.reasons.items())
    raise PlanError(
        f"none of {trial.tried} rows tried gives a picture ({reasons}); the first is "
        f"{trial.first}: check --root and --path-column"
    )


def _silent(tally: Tally) -> None:
    """Watch nothing."""


def _connecting(
    client: Client | None, cluster: ClusterOptions | None
) -> AbstractContextManager[Callable[[], Client]]:
    """Return a context of a function that returns the client, once there is one."""
    if client is None and cluster is None:
        client = _current_client()
    if client is not None:
        return nullcontext(lambda: client)
    return starting(cluster or ClusterOptions())


def _current_client() -> Client | None:
    try:
        return get_client()
    except ValueError:
        return None


def _unchanged(standing: Standing) -> Report:
    commit = store.last_commit(standing.folder)
    assert commit is not None
    tally = Tally(commit.samples, commit.samples, commit.failed, commit.samples)
    return Report.of(standing.folder.url, "unchanged", tally)


class _Run:
    """One run over one store."""

    def __init__(
        self,
        plan: Plan,
        stored: store.StoredPlan,
        folder: Folder,
        client: Client,
        on_tally: Callable[[Tally], None],
    ) -> None:
        self._plan = plan
        self._stored = stored
        self._folder = folder
        self._client = client
        self._on_tally = on_tally
        self._tally = Tally(plan.samples)

    def build(self) -> Report:
        brief = self._plan.brief(self._stored.run, COMPILE_PAYS)
        outcome = "committed"
        try:
            self._build_shards(brief)
            if self._tally.failed > self._plan.options.max_failed * self._tally.total:
                outcome = "refused"
            else:
                self._commit(brief)
        except OSError as error:
            raise StoppedError(f"{error}; run the same command again to go on") from error
        return Report.of(self._folder.url, outcome, self._tally)

    def _build_shards(self, brief: Brief) -> None:
        began = time.perf_counter()
        futures = self._submit(brief)
        try:
            for future in as_completed(futures, loop=self._client.loop):
                self._tally.add(_result(future))
                self._tally.seconds = time.perf_counter() - began
                future.release()
                self._on_tally(self._tally)
                self._stop_early()
        except BaseException:
            self._client.cancel(futures)
            raise

    def _submit(self, brief: Brief) -> list[Future[Any]]:
        """Hand out one partition a shard; never repartitioned: a shard has one writer."""
        import dask.dataframe as dd  # here: it takes longer than a cluster takes to start

        # Rows are as the store's Parquet has them; Dask is not to turn text into its own.
        with dask.config.set({"dataframe.convert-string": False}):
            shards = range(brief.layout.shards)
            rows = dd.from_map(
                read_shard_rows, shards, brief=brief, meta=ROWS, label="daskimg-rows"
            )
            reports = rows.map_partitions(
                run_task, brief, meta=REPORT, enforce_metadata=False, token="daskimg-shard"
            )
            return list(futures_of(self._client.persist(reports, retries=_RETRIES)))

    def _stop_early(self) -> None:
        tally = self._tally
        if tally.done < min(_EARLY, tally.total) or tally.done == tally.total:
            return
        share = tally.failed / tally.done
        if share > max(0.5, self._plan.options.max_failed):
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in tally.reasons.most_common(3))
            raise StoppedError(
                f"{tally.failed:,} of the first {tally.done:,} samples failed ({reasons}); "
                f"check --root and the table, or allow it with --max-failed {min(1, share):.2f}"
            )

    def _commit(self, brief: Brief) -> None:
        before = store.last_commit(self._folder)
        number = before.number + 1 if before else 1
        jobs = [
            *self._client.map(
                _assemble_samples, store.sample_spans(brief), brief=brief, pure=False
            ),
            *self._client.map(
                _assemble_rows, list(store.row_files(brief.rows)), brief=brief, pure=False
            ),
        ]
        total = store.Assembled()
        for future in as_completed(jobs, loop=self._client.loop):
            total.add(_result(future))
        store.commit_store(self._folder, brief, self._stored, total, number)
        store.tidy(self._folder)


def _assemble_samples(span: tuple[int, int], brief: Brief) -> store.Assembled:
    return store.assemble_samples(open_folder(brief.url), brief, *span)


def _assemble_rows(number: int, brief: Brief) -> store.Assembled:
    return store.assemble_rows(open_folder(brief.url), brief, number)


def _result(future: Future[Any]) -> Any:
    """Return a task's result, or stop the run with one line that says why."""
    try:
        return future.result()
    except DaskimgError:
        raise
    except Exception as error:
        raise StoppedError(f"{_last_line(error)}; run the same command again to go on") from error


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
