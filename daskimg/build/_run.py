"""The run: check, try, begin, build shard by shard, commit."""

from __future__ import annotations

import logging
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distributed import Client, get_client
from distributed.deploy.cluster import Cluster

from daskimg import fetch, store
from daskimg.build._cluster import ClusterOptions, starting
from daskimg.build._course import Course
from daskimg.build._crew import Crew, Patience
from daskimg.build._fitness import check_memory, check_versions, fit
from daskimg.build._leaving import cleared
from daskimg.build._live import Live, in_notebook
from daskimg.build._log import logged
from daskimg.build._performance import recorded
from daskimg.build._report import Report, Tally
from daskimg.build._standing import standing_of
from daskimg.build._trial import check_sources, try_on
from daskimg.build._watch import begin_watch, outcome_told
from daskimg.build._workers import set_up
from daskimg.errors import (
    ManifestError,
    OptionError,
    StoppedError,
    StoreError,
    TransportError,
)
from daskimg.options import given
from daskimg.plan import Plan
from daskimg.statistics import COMPILE_PAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from daskimg.build._standing import Standing, Step
    from daskimg.build._trial import Tried
    from daskimg.build._watch import Channel

_LOG = logging.getLogger("daskimg")
_OUTCOMES = {"begin": "committed", "resume": "committed", "relabel": "relabelled"}


def build_store(
    plan: Plan,
    *,
    client: Client | None = None,
    cluster: ClusterOptions | Cluster | None = None,
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
        What that local cluster is like, or a scheduler's address; or a cluster object of Dask's.
    on_tally
        Called with the counts whenever a shard is finished; by default a notebook shows a bar.
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
    StoreError, PlanError, AccessError
        Refused; nothing was written.
    StoppedError
        Stopped by a fault, resumable: run again.
    """
    _check_types(plan, client, cluster)
    fetch.traffic(reset=True)  # what was asked before is no part of the run
    work = _Work.at(plan, standing_of(plan.url, overwrite=plan.options.overwrite))
    if work.is_done:
        return work.unchanged()
    if work.decodes:
        check_sources(plan)
    given_options = cluster if isinstance(cluster, ClusterOptions) else ClusterOptions()
    note = on_note or _LOG.warning
    with _connecting(client, cluster) as connected:
        client = connected()
        crew = Crew(client, Patience(workers=given_options.wait), note)
        crew.wait()
        check_memory(crew, plan)
        with _prepared(crew, plan):
            tried = None
            if work.decodes:
                tried = try_on(crew, plan)
            stored = _begin(plan, work.standing)
            channel = begin_watch(client, plan)
            if on_client:
                on_client(client)
            course = work.course(crew, stored, on_tally or _shown(client), channel, tried)
            with (
                logged(work.standing.folder, stored.run, crew) as log,
                recorded(client, given_options.performance, note),
                outcome_told(client, channel) as tell,
            ):
                report = course.run(stored, work.outcome, work.standing.commit)
                tell(report.outcome)
                log(report)
            report.traffic.add(fetch.traffic(reset=True))  # the log's own, written last
            return report


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done at a store's address.

    ``damaged`` are objects of a committed store that are to be built again.
    """

    plan: Plan
    standing: Standing
    step: Step
    damaged: list[str]

    @classmethod
    def at(cls, plan: Plan, standing: Standing) -> _Work:
        """Look what is to be done, at each object of a store that is committed as planned."""
        step, commit = standing.step(plan), standing.commit
        damaged = []
        if step == "check" and commit is not None:
            damaged = store.damaged_objects(standing.folder, commit)
        return cls(plan, standing, step, damaged)

    @property
    def is_done(self) -> bool:
        """Whether the store is committed as planned, and whole."""
        return self.step == "check" and not self.damaged

    def unchanged(self) -> Report:
        """Report that there is nothing to do."""
        commit = self.standing.commit
        assert commit is not None
        tally = Tally(commit.samples, commit.samples, commit.failed, commit.samples)
        tally.traffic.add(fetch.traffic(reset=True))
        return Report.of(self.plan, "unchanged", tally)

    @property
    def decodes(self) -> bool:
        """Whether it begins with pictures: else only what is left of them, or labels."""
        return self.step == "begin" or bool(self.damaged)

    @property
    def outcome(self) -> str:
        """What the report says when it is done."""
        return "repaired" if self.damaged else _OUTCOMES[self.step]

    def course(
        self,
        crew: Crew,
        stored: store.StoredPlan,
        on_tally: Callable[[Tally], None],
        channel: Channel | None,
        tried: Tried | None,
    ) -> Course:
        """Return the course that does it."""
        plan, standing = self.plan, self.standing
        repaired, expected = _damaged_shards(plan, standing, self.damaged)
        moved = standing.stored is not None and standing.stored.root != fetch.public(plan.root)
        brief = plan.brief(
            stored.run,
            repaired=repaired,
            expected=expected,
            compiled=plan.values >= COMPILE_PAYS,
            retry=moved and standing.commit is None,
            spare=_spare_memory(crew.client),
            call=crew.fresh(),
        )
        return Course(
            plan, brief, standing.folder, crew, on_tally, channel,
            resuming=self.step != "begin", tried=tried,
        )  # fmt: skip


@contextmanager
def _prepared(crew: Crew, plan: Plan) -> Iterator[None]:
    """Have workers ready for a run; those of others are asked whether they are fit for it."""
    if crew.local:  # of this environment, and only this run's
        with set_up(crew):
            yield
    else:
        check_versions(crew)
        with cleared(crew), set_up(crew), fit(crew, plan):
            yield


def _shown(client: Client) -> Callable[[Tally], None]:
    """Return what shows the counts where nobody else does: a bar in a notebook."""
    if not in_notebook():
        return _silent
    live = Live()
    live.begin(client)
    return live


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
    if cluster is not None and not isinstance(cluster, ClusterOptions | Cluster):
        raise OptionError(
            f"cluster must be ClusterOptions, got {given(cluster)}; "
            f"try cluster=ClusterOptions(workers=4)"
        )


def _spare_memory(client: Client) -> int:
    """Return the bytes that the poorest worker has for a picture that several tasks want."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return min((worker["memory_limit"] or 0 for worker in workers), default=0) // 4


def _damaged_shards(
    plan: Plan, standing: Standing, damaged: list[str]
) -> tuple[tuple[int, ...], dict[str, str]]:
    if standing.commit is None:
        return (), {}
    return store.shards_of(standing.commit, plan.groups, damaged)


def _begin(plan: Plan, standing: Standing) -> store.StoredPlan:
    """Write plan and rows, or take up those that are there; the stored run's id stays.

    Returns the plan as it is to be stored.
    """
    folder = standing.folder
    try:
        stored = _taken(plan, standing)
    except OSError as error:
        raise StoreError(f"cannot write to {folder.url}: {error}") from error
    try:
        if standing.commit is None:  # a kill may have left it, just before its commit
            folder.remove("zarr.json")
        same = standing.stored is not None and standing.stored.root == fetch.public(plan.root)
        # What was listed when the store was begun is what it is made of.
        store.stage_rows(folder, plan.staged(), plan.manifest.observed if same else ())
    except (OSError, TransportError, ManifestError) as error:
        raise StoppedError(f"{error}; run the same command again to go on") from error
    return stored


def _taken(plan: Plan, standing: Standing) -> store.StoredPlan:
    """Return the plan of a store that is begun now, or was before."""
    if standing.stored is not None:
        return store.take_up(standing.stored, plan)
    if standing.state != "empty":
        store.erase(standing.folder)
    return store.create_plan(standing.folder, plan)


def _silent(tally: Tally) -> None:
    """Watch nothing."""


def _connecting(
    client: Client | None, cluster: ClusterOptions | Cluster | None
) -> AbstractContextManager[Callable[[], Client]]:
    """Return a context of a function that returns the client, once there is one."""
    if client is None and cluster is None:
        client = _current_client()
    if client is not None:
        return nullcontext(lambda: client)
    if isinstance(cluster, Cluster):
        return _joining(cluster)
    return starting(cluster or ClusterOptions())


@contextmanager
def _joining(cluster: Cluster) -> Iterator[Callable[[], Client]]:
    with Client(cluster) as client:
        yield lambda: client


def _current_client() -> Client | None:
    try:
        return get_client()
    except ValueError:
        return None
