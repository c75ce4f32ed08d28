"""What the workers of a run are given before its first task: options and the environment.

A worker of a foreign cluster was started without them, and one that joins later, too.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin

from daskimg import fetch
from daskimg.build._pacer import Pacer, home
from daskimg.errors import StoppedError
from daskimg.task import TRIED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distributed import Worker

    from daskimg.build._crew import Crew

_LEAST_OBJECTS, _LEAST_BYTES = 32, 32 << 20  # ahead of a worker, however many there are

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
    run
        Its name: two runs on one cluster keep apart, also in one worker.
    options
        What the client was given of ``fetch.Options``.
    variables
        Of the environment, for whoever reads them later; what a worker has stands.
    part
        The requests a second that a worker begins with.
    """

    def __init__(
        self,
        run: str,
        options: Mapping[str, Any],
        variables: Mapping[str, str],
        part: fetch.Part,
    ) -> None:
        self.name = f"{run}.options"
        self._run = run
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
        fetch.lend(self._run, self._options)
        with fetch.acting_for(self._run):
            fetch.limiter().follow(self._part)
            fetch.limiter().tell(lambda seen: worker.log_event(self._run, {"answers": seen}))

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002  Dask's name
        """Forget it: a cluster outlives a run, and is not to keep its keys and pictures."""
        TRIED.clear(self._run)  # here: a trial may be all that there was of the run
        if self._home != home():
            fetch.take_back(self._run)


def _parts(crew: Crew) -> dict[str, int]:
    """Return what each worker may have under way, if nothing is given: together, one machine's."""
    if not crew.local:
        return {}
    usual, workers = fetch.Options(), max(1, len(crew.threads))
    return {
        "objects_ahead": max(_LEAST_OBJECTS, usual.objects_ahead // workers),
        "bytes_ahead": max(_LEAST_BYTES, usual.bytes_ahead // workers),
    }


@contextmanager
def set_up(crew: Crew) -> Iterator[None]:
    """Have all workers set up for a run while the context lasts, also those that join.

    Raises
    ------
    StoppedError
        If one cannot be, with what it says.
    """
    variables = {name: os.environ.get(name, value) for name, value in _VARIABLES.items()}
    pacer = Pacer(crew.client, crew.name)
    options = {**_parts(crew), **fetch.configured().given()}
    plugin = WorkerSetUp(crew.name, options, variables, pacer.begin())
    try:
        crew.register(plugin, plugin.name)
    except StoppedError:
        raise
    except Exception as error:  # whatever unpickling or setting up raises on a worker
        raise StoppedError(
            f"a worker cannot be set up ({type(error).__name__}: {fetch.scrubbed(str(error))}); "
            f"all need the same daskimg: install it there, and run the same command again"
        ) from None
    try:
        with pacer.watching():
            yield
    finally:
        crew.unregister(plugin.name)
