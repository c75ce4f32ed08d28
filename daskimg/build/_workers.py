"""What the workers of a run are given before its first task: options and the environment.

A worker of a foreign cluster was started without them, and one that joins later, too.
"""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin

from daskimg import fetch
from daskimg.build._pacer import Pacer, home
from daskimg.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distributed import Client, Worker

_PARTING = 5.0  # seconds that are waited for workers to forget a run

_VARIABLES = {
    # Read by gcsfs at its import: see daskimg/__init__.py.
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    # Read by zarr at its import: ten requests at once are too few for a bucket.
    "ZARR_ASYNC__CONCURRENCY": "64",
}


class WorkerSetUp(WorkerPlugin):
    """Sets a worker up for a run, and clears away behind it.

    It travels as a pickle from client to scheduler to workers, joins no task and no log: keys
    and tokens are in ``options``. Workers that are threads of the client's process have the
    client's options already.

    Parameters
    ----------
    name
        Of the run: two runs on one cluster keep apart.
    options
        What the client was given of ``fetch.Options``.
    variables
        Of the environment, for whoever reads them later; what a worker has stands.
    part
        The requests a second that a worker begins with.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        variables: Mapping[str, str],
        part: fetch.Part,
    ) -> None:
        self.name = name
        self._options = options
        self._variables = variables
        self._part = part
        self._home = home()

    def __repr__(self) -> str:
        return f"WorkerSetUp({self.name!r})"

    def setup(self, worker: Worker) -> None:
        """Give this process what the run's client has."""
        if self._home == home():
            return
        for name, value in self._variables.items():
            os.environ.setdefault(name, value)
        fetch.lend(self.name, self._options)
        fetch.traffic(reset=True)  # of whoever was here before
        fetch.LIMITER.follow(self._part)
        fetch.LIMITER.tell(lambda answers: worker.log_event(self.name, {"answers": answers}))

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002  Dask's name
        """Forget it: a cluster outlives a run, and is not to keep its keys."""
        if self._home != home():
            fetch.LIMITER.tell(None)
            fetch.take_back(self.name)


@contextmanager
def set_up(client: Client) -> Iterator[None]:
    """Have all workers set up while the context lasts, also those that join.

    Raises
    ------
    StoppedError
        If one cannot be, with what it says.
    """
    name = f"daskimg-{uuid.uuid4().hex[:12]}"
    variables = {name: os.environ.get(name, value) for name, value in _VARIABLES.items()}
    pacer = Pacer(client, name)
    plugin = WorkerSetUp(name, fetch.configured().given(), variables, pacer.begin())
    try:
        client.register_plugin(plugin, name=name)
    except Exception as error:  # whatever unpickling or setting up raises on a worker
        raise StoppedError(
            f"a worker cannot be set up ({type(error).__name__}: {fetch.scrubbed(str(error))}); "
            f"all need the same daskimg: install it there, and run the same command again"
        ) from None
    try:
        with pacer.watching():
            yield
    finally:
        # The cluster may be gone, or a worker frozen; and the run is over.
        with suppress(Exception):
            client.sync(client._unregister_worker_plugin, name, callback_timeout=_PARTING)
