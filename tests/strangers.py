"""A cluster of processes that know nothing of a run: frozen, killed and joined by name."""

import json
import signal
from contextlib import contextmanager

import clusters
import psutil
import scenes

QUIET = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
PATHS = f"{scenes.ROOT / 'tests'}:{scenes.ROOT}"


class Cluster:
    """A scheduler, and workers of one thread each."""

    def __init__(self, started, *options, **variables):
        self._started = started
        self._variables = {**QUIET, "PYTHONPATH": PATHS, **variables}
        self.file = started.folder / "scheduler.json"
        self._processes = {
            "scheduler": clusters.start_scheduler(
                started, self.file, "--host", "127.0.0.1", *options, **self._variables
            )
        }

    @property
    def address(self):
        return json.loads(self.file.read_text())["address"]

    def join(self, name, *options, **variables):
        """Start a worker, and wait until it is there."""
        self._processes[name] = clusters.start_worker(
            self._started, self.file, "--host", "127.0.0.1", "--memory-limit", "2GiB",
            "--local-directory", self._started.folder / name, *options,
            name=name, **{**self._variables, **variables},
        )  # fmt: skip
        said = lambda: self._started.said(name)  # noqa: E731
        clusters.wait_until(lambda: "Registered to:" in said(), said)

    def freeze(self, name):
        """Stop a worker, and not its nanny; or the scheduler."""
        own = psutil.Process(self._processes[name].pid)
        for process in own.children(recursive=True) or [own]:
            process.send_signal(signal.SIGSTOP)

    def kill(self, name):
        clusters.kill_group(self._processes[name])


@contextmanager
def running(folder, *names, options=(), **variables):
    """A scheduler with workers of these names."""
    folder.mkdir(exist_ok=True)
    with clusters.processes(folder) as started:
        cluster = Cluster(started, *options, **variables)
        for name in names:
            cluster.join(name, *options)
        yield cluster
