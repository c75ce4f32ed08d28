"""The scheduler's own view of a run: a page among Dask's dashboard's, and metrics.

Workers and the client tell it of each shard in a few bytes, through Dask's log of events. Law 5
holds: besides, a worker sends at most one thumbnail of a few KB every so many seconds as there
were workers when the run began, so that about one a second reaches the scheduler.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from distributed import Client, SchedulerPlugin, Worker

from daskimg.build._board import Board

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distributed import Scheduler

    from daskimg.build._board import Thumbnail
    from daskimg.plan import Plan
    from daskimg.store import Entry

TOPIC = "daskimg"
_PAGE: list[Any] = ["daskimg", "page"]  # where the scheduler says that there is one
_RUNS = 4  # boards that are kept


@dataclass(frozen=True, slots=True)
class Channel:
    """How a run's tasks tell the scheduler what they do.

    Attributes
    ----------
    run
        Which run it is.
    every
        Seconds between two thumbnails of one worker.
    """

    run: str
    every: float

    def running(self, worker: Worker, shard: int) -> None:
        """Say that a shard is begun."""
        self._say(worker, state="running", shard=shard)

    def failed(self, worker: Worker, shard: int) -> None:
        """Say that a task has failed; it may be tried again."""
        self._say(worker, state="failed", shard=shard)

    def done(self, worker: Worker, report: dict[str, Any], picture: Thumbnail | None) -> None:
        """Say what a shard's report says."""
        self._say(worker, state="done", **report, picture=tuple(picture) if picture else None)

    def resumed(self, client: Client, entries: Sequence[Entry]) -> None:
        """Say which shards were finished before, and what their samples are: many at once."""
        reasons: Counter[str] = Counter()
        for entry in entries:
            reasons.update(entry.reasons)
        message = {
            "shards": [entry.shard for entry in entries],
            "samples": sum(entry.samples for entry in entries),
            "failed": sum(entry.failed for entry in entries),
            "reasons": dict(reasons),
        }
        client.log_event(TOPIC, {"run": self.run, "state": "resumed", **message})

    def _say(self, worker: Worker, **message: Any) -> None:
        worker.log_event(TOPIC, {"run": self.run, "worker": worker.address, **message})


class Watch(SchedulerPlugin):
    """Keeps a board of each run, and shows them."""

    name = "daskimg"
    idempotent = True

    def __init__(self) -> None:
        self.boards: dict[str, Board] = {}

    @property
    def board(self) -> Board | None:
        """The board of the run that began last."""
        return next(reversed(self.boards.values()), None)

    def start(self, scheduler: Scheduler) -> None:  # type: ignore[override]  # it may wait
        """Open the page and the metrics, as far as the scheduler has what they need."""
        if find_spec("bokeh"):
            from daskimg.build._page import open_page

            if open_page(self, scheduler):
                scheduler.set_metadata(_PAGE, True)
        if find_spec("prometheus_client"):
            from daskimg.build._metrics import export

            export(self)

    def log_event(self, topic: str, msg: Any) -> None:
        """Take a message; what Dask keeps of it is emptied, or pictures would pile up."""
        if topic != TOPIC or "run" not in msg:
            return
        message = dict(msg)
        msg.clear()
        run = message["run"]
        if message["state"] == "begun":
            self.boards[run] = Board(message["url"], message["shards"], message["samples"])
            for old in list(self.boards)[:-_RUNS]:
                del self.boards[old]
        elif run in self.boards:
            self.boards[run].take(message)

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:  # noqa: ARG002
        """Take back what ran on a worker that is gone."""
        for board in self.boards.values():
            board.lose(worker)


def begin_watch(client: Client, plan: Plan) -> Channel | None:
    """Have the scheduler watch a run; ``None`` where it cannot: daskimg is not installed there.

    A run is not to fail for what only shows it.
    """
    run = uuid.uuid4().hex
    try:
        client.register_plugin(Watch())
        client.log_event(
            TOPIC,
            {"run": run, "state": "begun", "url": plan.url, "shards": plan.shards,
             "samples": plan.samples},
        )  # fmt: skip
    except Exception:  # whatever unpickling a plugin elsewhere may raise
        return None
    return Channel(run, float(max(1, len(client.nthreads()))))


@contextlib.contextmanager
def outcome_told(client: Client, channel: Channel | None) -> Iterator[Callable[[str], None]]:
    """Yield what is to be called with a run's outcome; without a call it was stopped.

    A scheduler that is gone hears nothing.
    """
    outcomes = ["stopped"]
    try:
        yield outcomes.append
    finally:
        if channel is not None and client.status == "running":
            message = {"run": channel.run, "state": "ended", "outcome": outcomes[-1]}
            with contextlib.suppress(Exception):
                client.log_event(TOPIC, message)


def page_of(client: Client) -> str | None:
    """Return the address of daskimg's page on a client's dashboard, if there is one."""
    try:
        there = client.get_metadata(_PAGE, default=False)
    except Exception:  # a scheduler of another version
        return None
    link = client.dashboard_link
    return f"{link.removesuffix('/status')}/daskimg" if there and link else None


class _Turns:
    """Lets a thumbnail through every so many seconds, of all threads of a process."""

    def __init__(self) -> None:
        self._next = 0.0

    def mine(self, every: float) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + every
        return True


TURNS = _Turns()
