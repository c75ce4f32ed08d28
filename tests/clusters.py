"""Real schedulers and workers, each a process of its own, for tests to build on and to kill."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE = 60  # seconds that a process may take to be there, on a busy machine


class Processes:
    """What a test started; all of it is gone when the context is left."""

    def __init__(self, folder, environment=None, prefix=()):
        self.folder = folder
        self.environment = {**os.environ, **(environment or {})}
        self._prefix = tuple(prefix)
        self._started = []

    def start(self, name, *words, prefix=None, **variables):
        """Start a command, its output in NAME.log; return the process."""
        log = (self.folder / f"{name}.log").open("wb")
        with log:
            started = subprocess.Popen(
                [*(self._prefix if prefix is None else prefix), *map(str, words)],
                env={**self.environment, **variables},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(started)
        return started

    def said(self, name):
        """Return what a process has said so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self):
        """Kill all that was started, with what that started."""
        for process in reversed(self._started):
            kill_group(process)
            process.wait(10)


@contextmanager
def processes(folder, **options):
    """Yield ``Processes`` that end with the context."""
    started = Processes(Path(folder), **options)
    try:
        yield started
    finally:
        started.stop()


def kill_group(process, number=signal.SIGKILL):
    """Send a signal to a process and to all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def members(process):
    """Return what still runs of a process's group: its id, and the command lines."""
    found = subprocess.run(
        ["ps", "-o", "args=", "-g", str(process.pid)], capture_output=True, text=True
    )
    return found.stdout.strip().splitlines()


def start_scheduler(within, meeting, *words, name="scheduler", **options):
    """Start a scheduler on any free port; return the process once its file is there."""
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    given = ["--port", "0", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", meeting]
    scheduler = within.start(name, *command, *given, *words, **options)
    wait_until(lambda: meeting.exists() and meeting.stat().st_size, lambda: within.said(name))
    return scheduler


def start_worker(within, meeting, *words, name="worker", **options):
    """Start a worker of one thread that finds its scheduler by a file."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker"]
    given = ["--scheduler-file", meeting, "--nthreads", "1", "--no-dashboard", "--name", name]
    return within.start(name, *command, *given, *words, **options)


def run_command(manifest, store, *words):
    """Return the words of a run of the main job."""
    return [sys.executable, "-m", "daskimg.run", str(manifest), str(store), *map(str, words)]


def wait_until(true, said=lambda: "", patience=PATIENCE):
    """Wait until something is so, or fail with what has been said."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience} s:\n{said()}")
        time.sleep(0.05)


def pods_of(given):
    """Yield every pod spec in a Kubernetes object, wherever it is."""
    if isinstance(given, dict):
        if "containers" in given:
            yield given
        for value in given.values():
            yield from pods_of(value)
    elif isinstance(given, list):
        for value in given:
            yield from pods_of(value)
