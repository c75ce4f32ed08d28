"""The run: check, try, begin, build shard by shard, commit."""

from __future__ import annotations

import time
import uuid
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, as_completed, futures_of, get_client

from daskimg import store
from daskimg.build._cluster import ClusterOptions, starting
from daskimg.build._report import Report, Tally
from daskimg.build._shards import build_shard
from daskimg.build._standing import standing_of
from daskimg.build._workers import set_up
from daskimg.errors import (
    DaskimgError,
    ManifestError,
    OptionError,
    PlanError,
    StoppedError,
    StoreError,
    TransportError,
)
from daskimg.fetch import open_folder
from daskimg.options import given
from daskimg.plan import Plan
from daskimg.statistics import COMPILE_PAYS
from daskimg.task import REPORT, ROWS, read_shard_rows, try_rows
from daskimg.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from distributed import Future

    from daskimg.build._standing import Standing
    from daskimg.fetch import Folder
    from daskimg.plan import Brief
    from daskimg.task import Trial

_RETRIES = 2  # of a task, on other workers; storage has its own retries below that
_OUTCOMES = {"begin": "committed", "resume": "committed", "relabel": "relabelled"}
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
    _check_types(plan, client, cluster)
    standing = standing_of(plan.url, overwrite=plan.options.overwrite)
    step = standing.step(plan)
    damaged: list[str] = []
    if step == "check":
        assert standing.commit is not None
        damaged = store.damaged_objects(standing.folder, standing.commit)
        if not damaged:
            return _unchanged(plan, standing)
    with _connecting(client, cluster) as connected:  # a cluster starts while this goes on
        if step == "begin" or damaged:
            check_trial(plan)
        stored, expected = _begin(plan, standing, damaged)
        client = connected()
        if on_client:
            on_client(client)
        moved = standing.stored is not None and standing.stored.root != plan.root
        brief = plan.brief(
            stored.run,
            expected=expected,
            compiled=plan.values >= COMPILE_PAYS,
            retry=moved and standing.commit is None,
            spare=_spare_memory(client),
            call=uuid.uuid4().hex,
        )
        run = _Run(plan, brief, standing.folder, client, on_tally or _silent)
        with set_up(client):
            return run.build(stored, "repaired" if damaged else _OUTCOMES[step])


def _check_types(plan: object, client: object, cluster: object) -> None:
    if not isinstance(plan, Plan):
        raise OptionError(
            f"plan must come from daskimg.plan_store, got {given(plan)}; "
            f"try plan_store(manifest, 'out.zarr', recipe)"
        )
    if client is not None and not isinstance(client, Client):
        raise OptionError(
            f"client must be a dask.distributed.Client, got {given(client)}; an address goes "
            f"into cluster=ClusterOptions(scheduler='tcp://host:8786')"
        )
    if cluster is not None and not isinstance(cluster, ClusterOptions):
        raise OptionError(
            f"cluster must be ClusterOptions, got {given(cluster)}; "
            f"try cluster=ClusterOptions(workers=4)"
        )


def _spare_memory(client: Client) -> int:
    """Return the bytes that the poorest worker has for a picture that several tasks want."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return min((worker["memory_limit"] or 0 for worker in workers), default=0) // 4


def _begin(
    plan: Plan, standing: Standing, damaged: list[str]
) -> tuple[store.StoredPlan, dict[str, str]]:
    """Write plan and rows, or take up those that are there; the stored run's id stays.

    Returns the plan as it is to be stored, and the hashes of the objects to be repaired.
    """
    folder = standing.folder
    expected: dict[str, str] = {}
    try:
        stored = _taken(plan, standing)
    except (OSError, TransportError) as error:
        raise StoreError(f"cannot write to {folder.url}: {error}") from error
    try:
        if standing.commit is None:  # a kill may have left it, just before its commit
            folder.remove("zarr.json")
        same = standing.stored is not None and standing.stored.root == plan.root
        # What was listed when the store was begun is what it is made of.
        store.stage_rows(folder, plan.staged(), plan.manifest.observed if same else ())
        if damaged and standing.commit:
            expected = store.forget_shards(folder, standing.commit, plan.groups, damaged)
    except (OSError, TransportError, ManifestError) as error:
        raise StoppedError(f"{error}; run the same command again to go on") from error
    return stored, expected


def _taken(plan: Plan, standing: Standing) -> store.StoredPlan:
    """Return the plan of a store that is begun now, or was before."""
    if standing.stored is not None:
        return store.take_up(standing.stored, plan)
    if standing.state != "empty":
        store.erase(standing.folder)
    return store.create_plan(standing.folder, plan)


def check_trial(plan: Plan, *, thorough: bool = False) -> Trial:
    """Decode a few rows before anything is written, and refuse a table where none works.

    Raises
    ------
    PlanError
        If no row works: the first resolved path, and what to check.
    """
    trial = try_rows(plan, thorough=thorough)
    if not trial.tried or trial.failed < trial.tried or plan.options.max_failed >= 1:
        return trial
    reasons = ", ".join(f"{count} {reason}" for reason, count in trial.reasons.items())
    elsewhere = {"missing", "unreadable"} >= set(trial.reasons)
    advice = "check --root and --path-column" if elsewhere else trial.message
    raise PlanError(
        f"none of {trial.tried} rows tried gives a picture ({reasons}); the first is "
        f"{trial.first}: {advice}"
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


def _unchanged(plan: Plan, standing: Standing) -> Report:
    commit = standing.commit
    assert commit is not None
    tally = Tally(commit.samples, commit.samples, commit.failed, commit.samples)
    return Report.of(plan, "unchanged", tally)


class _Run:
    """One run over one store."""

    def __init__(
        self,
        plan: Plan,
        brief: Brief,
        folder: Folder,
        client: Client,
        on_tally: Callable[[Tally], None],
    ) -> None:
        self._plan = plan
        self._brief = brief
        self._folder = folder
        self._client = client
        self._on_tally = on_tally
        threads = sum(client.nthreads().values())
        self._tally = Tally(plan.samples, timeline=Timeline(threads))

    def build(self, stored: store.StoredPlan, outcome: str) -> Report:
        examples: tuple[store.Failure, ...] = ()
        try:
            self._build_shards()
            if self._tally.failed > self._plan.options.max_failed * self._tally.total:
                outcome = "refused"
                examples = store.first_failures(self._folder, self._tally.failed_in)
            else:
                self._commit(stored)
        except (OSError, StoreError, ManifestError) as error:  # work has been done by now
            if isinstance(error, FileNotFoundError) and store.last_commit(self._folder):
                raise StoppedError("another run has finished this store meanwhile") from error
            raise StoppedError(f"{error}; run the same command again to go on") from error
        return Report.of(self._plan, outcome, self._tally, examples)

    def _build_shards(self) -> None:
        began = time.perf_counter()
        futures = self._submit()
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

    def _submit(self) -> list[Future[Any]]:
        """Hand out one partition a shard; never repartitioned: a shard has one writer."""
        import dask.dataframe as dd  # here: it takes longer than a cluster takes to start

        # Rows are as the store's Parquet has them; Dask is not to turn text into its own.
        with dask.config.set({"dataframe.convert-string": False}):
            brief = self._brief
            spans = self._plan.shard_rows()
            rows = dd.from_map(
                read_shard_rows, spans, brief=brief, meta=ROWS, label="daskimg-rows"
            )
            reports = rows.map_partitions(
                build_shard,
                brief,
                meta=REPORT,
                enforce_metadata=False,
                token=_fresh("daskimg-shard"),
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
                f"check --root and the table, or allow it with --max-failed "
                f"{min(1.0, share + 0.01):.2f}"
            )

    def _commit(self, stored: store.StoredPlan) -> None:
        brief = self._brief
        # Labels are written in place: no reader is to meet new numbers and old names.
        self._folder.remove("zarr.json")
        spans, files = store.sample_spans(brief), list(store.row_files(brief.rows))
        jobs = [
            *self._client.map(_assemble_samples, spans, brief=brief, pure=False),
            *self._client.map(_assemble_rows, files, brief=brief, pure=False),
        ]
        total = store.Assembled()
        for future in as_completed(jobs, loop=self._client.loop):
            total.add(_result(future))
        commit = store.commit_store(self._folder, brief, stored, total)
        store.tidy(self._folder, commit)


def _assemble_samples(span: tuple[int, int, int], brief: Brief) -> store.Assembled:
    return store.assemble_samples(open_folder(brief.url), brief, span)


def _assemble_rows(number: int, brief: Brief) -> store.Assembled:
    return store.assemble_rows(open_folder(brief.url), brief, number)


def _fresh(name: str) -> str:
    """Return a name for tasks that no earlier run on this cluster can have given its own.

    Equal graphs have equal keys: the scheduler might hand back what a cancelled run left.
    """
    return f"{name}-{uuid.uuid4().hex}"


def _result(future: Future[Any]) -> Any:
    """Return a task's result, or stop the run with one line that says why."""
    try:
        return future.result()
    except (DaskimgError, FileNotFoundError):
        raise
    except Exception as error:
        raise StoppedError(f"{_last_line(error)}; run the same command again to go on") from error


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
