"""A cluster of processes that know nothing of a run: frozen, killed and joined by name."""

import json
import signal
from contextlib import contextmanager
from functools import partial

import clusters
import psutil
import scenes

QUIET = {"DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
PATHS = f"{scenes.ROOT / 'tests'}:{scenes.ROOT}"


class Cluster:
    """A scheduler, and workers of one thread each, with nannies where they are to come back."""

    def __init__(self, started, *options, nannies=False, **variables):
        self._started = started
        self._nannies = nannies
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

    def join(self, *names, options=(), **variables):
        """Start workers, and wait until they are there."""
        nanny = [] if self._nannies else ["--no-nanny"]
        for name in names:
            self._processes[name] = clusters.start_worker(
                self._started, self.file, "--host", "127.0.0.1", "--memory-limit", "2GiB",
                "--local-directory", self._started.folder / name, *nanny, *options,
                name=name, **{**self._variables, **variables},
            )  # fmt: skip
        for name in names:
            said = partial(self._started.said, name)
            clusters.wait_until(lambda said=said: "Registered to:" in said(), said)

    def freeze(self, name):
        """Stop a worker, and not its nanny if it has one; or the scheduler."""
        self._send(name, signal.SIGSTOP)

    def thaw(self, name):
        """Let go on what was frozen."""
        self._send(name, signal.SIGCONT)

    def _send(self, name, number):
        own = psutil.Process(self._processes[name].pid)
        for process in own.children(recursive=True) or [own]:
            process.send_signal(number)

    def kill(self, name):
        clusters.kill_group(self._processes[name])


@contextmanager
def running(folder, *names, options=(), nannies=False, **variables):
    """A scheduler with workers of these names."""
    folder.mkdir(exist_ok=True)
    with clusters.processes(folder) as started:
        cluster = Cluster(started, *options, nannies=nannies, **variables)
        cluster.join(*names, options=options)
        yield cluster
