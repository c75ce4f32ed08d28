"""The workers of a run, as its scheduler sees them: who is there, who is lost, who answers."""

from __future__ import annotations

import asyncio
import time
import uuid
from concurrent.futures import TimeoutError as Unanswered
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributed import LocalCluster
from distributed.protocol.pickle import dumps, loads

from daskimg import fetch
from daskimg.errors import StoppedError
from daskimg.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distributed import Client, WorkerPlugin

_NEWS = 3.0  # seconds that workers have to listen
_PARTING = 5.0  # seconds that are waited for workers to forget a run
_NO_PARTING = 0.2  # once one of them has not answered for so long
_LOOK = 5.0  # seconds between looks at the scheduler
_BLINK = 3.0  # seconds in which a nanny starts a worker anew: not worth a line
_GO_ON = "run the same command again to go on"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things are waited for, in seconds.

    Attributes
    ----------
    workers
        For a first worker, and for another when all are gone.
    scheduler
        For an answer of the scheduler: one that is frozen, or cut off, ends the run.
    straggler
        For the last tasks, at least, before they are given to idle workers, too.
    result
        For the few bytes of a result: its worker may be frozen by now, and all others are
        waiting. What does not come is made again elsewhere.
    """

    workers: float = 300.0
    scheduler: float = 60.0
    straggler: float = 10.0
    result: float = 10.0


@dataclass(slots=True)
class Crew:
    """Looks at a cluster now and then, and stops the run when nothing can come of it.

    Attributes
    ----------
    client, patience
        The client; how long things are waited for.
    tell
        Takes a line for people.
    name
        Of the run, as the cluster knows it.
    threads, memory
        Of each worker that is there and may be used, by address.
    seen, lost
        Workers that were there at some time; those that are not any more.
    unfit
        Workers that are not used. They may be somebody else's, and stay.
    retried, doubled
        Jobs that were tried again; those that were given to a second worker while the first
        had not answered.
    """

    client: Client
    patience: Patience
    tell: Callable[[str], None]
    name: str = field(default_factory=lambda: f"daskimg-{uuid.uuid4().hex[:12]}")
    threads: dict[str, int] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    unfit: set[str] = field(default_factory=set)
    retried: int = 0
    doubled: int = 0
    _looked: float = 0.0
    _alone_since: float | None = None
    _told: bool = False
    _parts: int = 0
    _parting: float = _PARTING
    _unreached: dict[str, set[str]] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Whether the workers are of a cluster that this process has started on its machine."""
        return isinstance(self.client.cluster, LocalCluster)

    def wait(self) -> None:
        """Wait until there is a worker.

        Raises
        ------
        StoppedError
            If none comes within the stated time.
        """
        while not self.look(at_once=True):
            time.sleep(0.1)

    def look(self, *, at_once: bool = False) -> bool:
        """Ask who is there, if it is time to, and tell whether anybody is.

        Raises
        ------
        StoppedError
            If the scheduler does not answer, or no worker has been there for long.
        """
        now = time.monotonic()
        if not at_once and now - self._looked < _LOOK:
            return bool(self.threads)
        there = self.ask("identity", n_workers=-1)["workers"]
        self._looked = time.monotonic()
        workers = {each: facts for each, facts in there.items() if each not in self.unfit}
        self.threads = {address: int(facts["nthreads"]) for address, facts in workers.items()}
        self.memory = {each: int(facts["memory_limit"] or 0) for each, facts in workers.items()}
        self.lost |= self.seen - set(there)
        self.seen |= set(there)
        self._mind_the_gap(now)
        return bool(self.threads)

    def _mind_the_gap(self, now: float) -> None:
        if self.threads:
            self._alone_since, self._told = None, False
            return
        if self._alone_since is None:
            self._alone_since = now
        if not self._told and now - self._alone_since >= _BLINK:
            self._told = True
            gone = "all workers are gone" if self.seen else "the cluster has no workers"
            self.tell(f"{gone}: waiting {self.patience.workers:g} seconds for one")
        if now - self._alone_since >= self.patience.workers:
            raise StoppedError(
                f"the cluster has had no worker for {self.patience.workers:g} seconds; start "
                f"some, and {_GO_ON}"
            )

    def ask(self, question: str, **words: Any) -> Any:
        """Return the scheduler's answer to one of its remote calls.

        Raises
        ------
        StoppedError
            If it gives none within the stated time, or is not there.
        """
        if self.client.status not in ("running", "newly-created"):
            raise StoppedError(f"the connection to the scheduler is lost; {_GO_ON}")
        loop: Any = self.client.loop
        asked = _asked(getattr(self.client.scheduler, question), words)
        answer = asyncio.run_coroutine_threadsafe(asked, loop.asyncio_loop)
        try:
            return answer.result(self.patience.scheduler)
        except Unanswered:
            answer.cancel()
            leaving = asyncio.run_coroutine_threadsafe(_left(self.client), loop.asyncio_loop)
            with suppress(Exception):
                leaving.result(_PARTING)
            raise StoppedError(
                f"the scheduler has not answered for {self.patience.scheduler:g} seconds; {_GO_ON}"
            ) from None
        except OSError as error:
            who = "a worker" if self.client.status == "running" else "the scheduler"
            raise StoppedError(f"the connection to {who} is lost; {_GO_ON}") from error

    def everywhere(self, call: Callable[..., Any], *words: Any) -> dict[str, Any]:
        """Return what a call gives on each worker, by address: its result, or its exception.

        Raises
        ------
        StoppedError
            If a worker says nothing within the stated time.
        """
        client, seconds = self.client, self.patience.scheduler
        try:
            found: dict[str, Any] = client.sync(
                client._run, call, *words, on_error="return", callback_timeout=seconds
            )
        except TimeoutError:
            raise StoppedError(
                f"{self._silent()} has not answered for {seconds:g} seconds; take it away, or "
                f"wait until the scheduler does, and {_GO_ON}"
            ) from None
        return found

    def _silent(self) -> str:
        """Name the worker that the scheduler has not heard of for the longest time."""
        workers = self.ask("identity", n_workers=-1)["workers"]
        if not workers:
            return "a worker"
        return f"worker {min(workers, key=lambda each: workers[each]['last_seen'])}"

    def fresh(self) -> str:
        """Return a name for a part of the run: whose it is tells ``run_of``."""
        self._parts += 1
        return f"{self.name}.{self._parts}"

    def register(self, plugin: WorkerPlugin, name: str) -> None:
        """Have all workers set up by a plugin, also those that join later.

        Raises
        ------
        Exception
            What the first of them says that cannot be.
        """
        words = {"plugin": dumps(plugin), "name": name, "idempotent": False}
        try:
            answers = self.ask("register_worker_plugin", **words)
        except StoppedError:
            self.look(at_once=True)  # raises that if it is the scheduler
            # A worker has gone in this moment, as they do where machines are taken away.
            answers = self.ask("register_worker_plugin", **words)
        for answer in answers.values():
            if answer["status"] == "error":
                raise loads(answer["exception"])

    def unregister(self, name: str) -> None:
        """Have workers forget a plugin; the scheduler may be gone, or a worker be frozen."""
        if self.client.status != "running":
            return
        call = self.client._unregister_worker_plugin
        parting, self._parting = self._parting, _NO_PARTING
        with suppress(Exception):
            self.client.sync(call, name, callback_timeout=parting)
            self._parting = parting

    def others(self, avoided: str) -> list[str]:
        """Return the workers that are there, but for one."""
        return sorted(set(self.threads) - {avoided})

    def placed(self, workers: Iterable[str] = ()) -> dict[str, Any]:
        """Return where tasks go, as Dask takes it: rather to these workers than to others.

        Once there are some that are not used, tasks are bound to those that are. Before they
        are not: the scheduler then holds back what no thread is free for, and what it has not
        given away is not blamed for the loss of a worker.
        """
        chosen = list(workers)
        if self.unfit:
            return {"workers": chosen or sorted(self.threads), "allow_other_workers": False}
        return {"workers": chosen, "allow_other_workers": True} if chosen else {}

    def leave_out(self, address: str, fault: str) -> None:
        """Use a worker no more."""
        if address in self.unfit:  # by another of its tasks
            return
        self.unfit.add(address)
        self.seen.add(address)
        self.threads.pop(address, None)
        self.tell(f"{fault}: it is not used")

    def reached(self) -> None:
        """Note that a job was done: storage is in reach of somebody."""
        self._unreached.clear()

    def is_cut_off(self, address: str, outage: str) -> bool:
        """Note that a worker hears nothing of an endpoint; tell whether none does any more.

        The others learn of it from the first, and try once: none has a deadline of its own.
        """
        if not outage:
            return False
        first = outage not in self._unreached
        unreached = self._unreached.setdefault(outage, set())
        unreached.add(address)
        if set(self.threads) <= unreached:
            fetch.note_outage(outage)  # this process, too, has no time for it
            return True
        if first:
            with suppress(Exception):  # a worker that is frozen is not waited for
                note = self.client._run(fetch.note_outage, outage, on_error="ignore")
                self.client.sync(asyncio.wait_for, note, _NEWS)
        return False

    def summary(self) -> dict[str, int]:
        """Return the counts, for the run's log."""
        return {
            "workers": len(self.seen),
            "threads": sum(self.threads.values()),
            "lost": len(self.lost),
            "retried": self.retried,
            "doubled": self.doubled,
        }

    def __str__(self) -> str:
        return counted(len(self.threads), "worker")


def run_of(part: str) -> str:
    """Return the name of the run to which a part belongs."""
    return part.partition(".")[0]


async def _left(client: Any) -> None:
    """Close a client whose scheduler says nothing: whoever asks it now is refused at once."""
    client.status = "closing"  # else it would connect again
    if client.scheduler_comm is not None:
        client.scheduler_comm.comm.abort()
    await client._close(fast=True)


async def _asked(question: Callable[..., Any], words: dict[str, Any]) -> Any:
    return await question(**words)
