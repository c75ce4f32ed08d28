"""The run: check, try, begin, build shard by shard, commit."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, KilledWorker, futures_of, get_client

from daskimg import store
from daskimg.build._cluster import ClusterOptions, starting
from daskimg.build._crew import Crew, Patience
from daskimg.build._jobs import Jobs
from daskimg.build._report import Report, Tally
from daskimg.build._shards import (
    assemble_rows,
    assemble_samples,
    build_shard,
    mapped,
    read_rows,
    told,
)
from daskimg.build._standing import standing_of
from daskimg.build._suspects import convicted, described
from daskimg.errors import (
    ManifestError,
    OptionError,
    PlanError,
    StoppedError,
    StoreError,
    TransportError,
)
from daskimg.options import given
from daskimg.plan import Plan
from daskimg.statistics import COMPILE_PAYS
from daskimg.task import REPORT, ROWS, try_rows
from daskimg.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from distributed import Future

    from daskimg.build._standing import Standing
    from daskimg.fetch import Folder
    from daskimg.plan import Brief, ShardRows
    from daskimg.task import Trial

_LOG = logging.getLogger("daskimg")
_ROUNDS = 3  # of shards that kill their workers: each but the last ends with a look at their rows
_OUTCOMES = {"begin": "committed", "resume": "committed", "relabel": "relabelled"}
_EARLY = 1000  # samples after which a run that mostly fails is stopped


def build_store(
    plan: Plan,
    *,
    client: Client | None = None,
    cluster: ClusterOptions | None = None,
    on_tally: Callable[[Tally], None] | None = None,
    on_client: Callable[[Client], None] | None = None,
    on_note: Callable[[str], None] | None = None,
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
    on_note
        Called with a line when the cluster, or a row that kills workers, needs one; by default
        it goes to the log.

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
        crew = Crew(client, Patience(), on_note or _LOG.warning)
        crew.wait()
        if on_client:
            on_client(client)
        moved = standing.stored is not None and standing.stored.root != plan.root
        brief = plan.brief(
            stored.run,
            expected=expected,
            compiled=plan.values >= COMPILE_PAYS,
            retry=moved and standing.commit is None,
            spare=_spare_memory(client),
            call=_fresh("daskimg"),
            convicted=store.read_verdicts(standing.folder),
        )
        run = _Run(plan, brief, standing.folder, crew, on_tally or _silent)
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
        store.stage_rows(folder, plan.staged())
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
        crew: Crew,
        on_tally: Callable[[Tally], None],
    ) -> None:
        self._plan = plan
        self._brief = brief
        self._folder = folder
        self._crew = crew
        self._on_tally = on_tally
        self._began = time.perf_counter()
        threads = sum(crew.threads.values())
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
        """Build all shards; those that kill their workers at last, without the row that does."""
        spans = self._plan.shard_rows()
        for round_ in range(_ROUNDS):
            killed = self._build_some(spans)
            if not killed:
                return
            if round_ == _ROUNDS - 1:
                break
            self._brief = convicted(self._crew, self._folder, self._brief, killed)
            spans = killed
        raise StoppedError(
            f"{described(killed[0])} kills its worker, and none of its rows does so alone: the "
            f"workers may lack memory; give them more, or fewer threads, and run the same "
            f"command again to go on"
        )

    def _build_some(self, spans: list[ShardRows]) -> list[ShardRows]:
        """Build shards, and return those that killed their workers."""
        killed = []
        with told(self._crew.client, self._brief) as run:
            jobs = Jobs(self._crew, partial(self._submit, run))
            with closing(jobs.results(spans)) as results:
                for span, found in results:
                    if isinstance(found, KilledWorker):
                        killed.append(span)
                    else:
                        self._count(found)
        return killed

    def _count(self, report: Any) -> None:
        self._tally.add(report)
        self._tally.seconds = time.perf_counter() - self._began
        self._on_tally(self._tally)
        self._stop_early()

    def _submit(
        self, run: str, spans: Sequence[ShardRows], workers: list[str]
    ) -> list[Future[Any]]:
        """Hand out one partition a shard; never repartitioned: a shard has one writer."""
        import dask.dataframe as dd  # here: it takes longer than a cluster takes to start

        # Rows are as the store's Parquet has them; Dask is not to turn text into its own.
        with dask.config.set({"dataframe.convert-string": False}):
            rows = dd.from_map(read_rows, spans, run=run, meta=ROWS, label="daskimg-rows")
            reports = rows.map_partitions(
                build_shard,
                run,
                meta=REPORT,
                enforce_metadata=False,
                token=_fresh("daskimg-shard"),
            )
            placed = {"workers": workers, "allow_other_workers": True} if workers else {}
            futures = futures_of(self._crew.client.persist(reports, **placed))
            return sorted(futures, key=lambda future: future.key[1])  # by partition

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
        total = store.Assembled()
        with told(self._crew.client, brief) as run:
            for work, items in (
                (assemble_samples, store.sample_spans(brief)),
                (assemble_rows, list(store.row_files(brief.rows))),
            ):
                jobs = Jobs(self._crew, partial(mapped, self._crew.client, work, run))
                with closing(jobs.results(items)) as results:
                    for item, found in results:
                        if isinstance(found, KilledWorker):
                            raise StoppedError(f"the commit of part {item} kills its worker")
                        total.add(found)
        commit = store.commit_store(self._folder, brief, stored, total)
        store.tidy(self._folder, commit)


def _fresh(name: str) -> str:
    """Return a name for tasks that no earlier run on this cluster can have given its own.

    Equal graphs have equal keys: the scheduler might hand back what a cancelled run left.
    """
    return f"{name}-{uuid.uuid4().hex}"
