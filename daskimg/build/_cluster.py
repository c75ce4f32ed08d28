"""Where tasks run: a local cluster, or a scheduler that is there already."""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import current_process, resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

import dask
from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT

from daskimg.build import _forking as forking
from daskimg.build._connection import client_of
from daskimg.errors import OptionError, StoppedError
from daskimg.options import given, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

_LEAST_MEMORY = 2 << 30  # bytes of a machine for each process: a picture may need most of that
_DASHBOARD = 8787
_ENVIRON = "distributed.nanny.pre-spawn-environ"

_PROFILE = "distributed.worker.profile.enabled"
_QUIET = {
    # Sampling every thread's stack each 10 ms takes the GIL from the decoding threads, and
    # every process that wakes each 20 ms to time its event loop takes a core from them.
    _PROFILE: False,
    "distributed.admin.tick.interval": "500ms",
    # Nobody takes these workers away: whatever shard has lost two of them is looked at.
    "distributed.scheduler.allowed-failures": 1,
    # Dask lets a nanny go whose worker is down at the end of this time after any loss of it,
    # also if it has just been lost again: one that is lost now and then would be gone for good.
    "distributed.deploy.lost-worker-timeout": "365 days",
}
_TTL = "distributed.scheduler.worker-ttl"
_USUAL_TTL = "5 minutes"  # Dask's default: a frozen worker is missed after 5 to 10 minutes
_OWN_TTL = "60s"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Where tasks run.

    Attributes
    ----------
    scheduler
        Address of a scheduler, or a scheduler file; ``None`` starts a local cluster.
    workers, threads
        Worker processes of the local cluster, and threads of each; by default a process a
        core, or for each 2 GiB of memory. Pillow and the kernels release the GIL, but two
        threads wait for each other a dozen times a picture: they make a seventh less.
    memory_limit
        Of each worker, as Dask writes it (``2GB``); ``auto`` shares the machine's memory.
    processes
        ``False`` runs the workers in this process: for debuggers and small tests.
    dashboard
        Whether the local cluster has a dashboard.
    adaptive
        The least and the most worker processes of the local cluster: it grows with the tasks.
    tls_ca, tls_cert, tls_key
        Files for a ``tls://`` scheduler: whom to trust, and who this client is. Without them
        Dask's configuration has its say.
    wait
        Seconds for which a cluster without workers is waited for.
    performance
        File that Dask's own performance report of the run is written to, if any.
    """

    scheduler: str | None = None
    workers: int | None = None
    threads: int | None = None
    memory_limit: str = "auto"
    processes: bool = True
    dashboard: bool = True
    adaptive: tuple[int, int] | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    wait: float = 300.0
    performance: str | None = None

    def __post_init__(self) -> None:
        """Refuse counts below one, and limits that are none."""
        if self.scheduler is not None and not isinstance(self.scheduler, str):
            raise OptionError(
                f"--scheduler must be an address or a file, got {given(self.scheduler)}; "
                f"try tcp://host:8786"
            )
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None:
                whole(f"--{name}", value, "or leave it out")
        if self.memory_limit != "auto":
            try:
                parse_bytes(self.memory_limit)
            except (ValueError, TypeError, AttributeError):  # Dask's own, of None
                raise OptionError(
                    f"--memory-limit must be a size, got {self.memory_limit!r}; try 2GB"
                ) from None
        if self.adaptive is not None:
            self._check_adaptive(*self.adaptive)
        self._check_certificates()
        if not self.wait >= 0:
            raise OptionError(f"--wait-workers must be at least 0 seconds, got {self.wait}")

    def _check_adaptive(self, least: int, most: int) -> None:
        if self.scheduler is not None:
            raise OptionError(
                "--adaptive is for a local cluster; another is scaled where it is started"
            )
        if self.workers is not None:
            raise OptionError("give --workers or --adaptive, not both")
        whole("--adaptive", least, "try 1:4")
        if most < least:
            raise OptionError(
                f"--adaptive must rise from the least to the most, got {least}:{most}; "
                f"try {least}:{2 * least}"
            )

    def _check_certificates(self) -> None:
        files = {name: getattr(self, name) for name in ("tls_ca", "tls_cert", "tls_key")}
        given_files = {name: path for name, path in files.items() if path is not None}
        for name, path in given_files.items():
            option = f"--{name.replace('_', '-')}"
            if self.scheduler is None:
                raise OptionError(f"{option} is for --scheduler tls://...")
            if not Path(path).is_file():
                raise OptionError(f"{option} {path} is no file")
        if given_files and len(given_files) < len(files):
            raise OptionError("--tls-ca, --tls-cert and --tls-key go together; give all three")

    def shape(self) -> tuple[int, int]:
        """Return worker processes and threads of each.

        >>> ClusterOptions(workers=3, threads=2).shape()
        (3, 2)
        """
        cores = int(CPU_COUNT)  # affinity and containers' limits are reckoned in
        workers = self.workers or (self.adaptive or [0])[0]
        most = max(1, MEMORY_LIMIT // _LEAST_MEMORY)
        if not self.processes:
            workers = workers or 1  # they share one GIL, however many they are
        workers = workers or min(most, math.ceil(cores / (self.threads or 1)))
        return workers, self.threads or max(1, cores // workers)


@contextmanager
def connect(options: ClusterOptions) -> Iterator[Client]:
    """Yield a client of a scheduler; a local cluster lives as long as the context.

    Raises
    ------
    OptionError
        If the scheduler does not answer.
    StoppedError
        If the processes of the local cluster do not start.
    """
    with starting(options) as connected:
        yield connected()


@contextmanager
def starting(options: ClusterOptions) -> Iterator[Callable[[], Client]]:
    """Yield a function that returns the client: a local cluster starts in the meantime."""
    if options.scheduler is not None:
        with client_of(options) as client:
            yield lambda: client
        return
    if options.processes and _is_being_imported():
        # The process that imports this script says so, once, when this one has ended.
        raise SystemExit(1)
    with (
        dask.config.set(
            {**_quiet(options), **forking.method(), _TTL: _ttl(), _ENVIRON: _environment()}
        ),
        ExitStack() as last,
        ThreadPoolExecutor(1) as starter,
        ExitStack() as stack,
    ):
        cluster = starter.submit(_local_cluster, options, last)
        # A client belongs to the context that made it: not to the starter's thread.
        stack.callback(_close, cluster)
        yield lambda: stack.enter_context(_warm_client(_started(cluster), options))


def _quiet(options: ClusterOptions) -> dict[str, object]:
    """Return what keeps Dask from taking time from tasks; a performance report has profiles."""
    return {**_QUIET, _PROFILE: options.performance is not None}


def _is_being_imported() -> bool:
    """Tell whether this is a worker process that imports the main script, unguarded as it is."""
    return bool(getattr(current_process(), "_inheriting", False))


def _started(cluster: Future[LocalCluster]) -> LocalCluster:
    """Wait for a cluster; its processes end at once where they run the script that starts them.

    Raises
    ------
    StoppedError
        If they did.
    """
    try:
        return cluster.result()
    except RuntimeError as error:  # Dask's, of a process that ended while it started
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise StoppedError(
            f"the local cluster's processes did not start ({cause}); a script calls build_store "
            f'below `if __name__ == "__main__":`, since each process imports it, or with '
            f"cluster=ClusterOptions(processes=False)"
        ) from None


def _close(cluster: Future[LocalCluster]) -> None:
    if cluster.exception() is None:
        cluster.result().close()


def _warm_client(cluster: LocalCluster, options: ClusterOptions) -> Client:
    client = Client(cluster)
    if options.processes:
        client.run(_warm_up, wait=False)
    return client


async def _warm_up() -> None:  # a coroutine: the client does not wait for those
    """Import in a worker what tasks need, while the client draws up its graph.

    What is there by then lives as long as the worker: frozen, it is no more looked through
    by each full garbage collection, which stops all threads. One that is forked has it all.
    """
    if not forking.is_forked():
        for name in ("dask.dataframe", "daskimg.task"):
            import_module(name)
        gc.collect()
        gc.freeze()


def _environment() -> dict[str, str]:
    """Return what worker processes are started with: their allocator is to keep its pages.

    Dask has glibc give back whatever is free, which for pictures means a page fault for
    each 4 KiB of each one: a tenth of all time. Kept is what an ordinary picture needs, and
    in two places: a place for each thread that there ever was kept 50 MB more a process.
    """
    kept = {
        "MALLOC_ARENA_MAX": 2,
        "MALLOC_MMAP_THRESHOLD_": 32 << 20,
        "MALLOC_TRIM_THRESHOLD_": 16 << 20,
    }
    return {name: str(value) for name, value in {**dask.config.get(_ENVIRON, {}), **kept}.items()}


def _ttl() -> str:
    """Return after how long a silent worker is given up: within one to two of these."""
    given: str = dask.config.get(_TTL)
    return _OWN_TTL if given == _USUAL_TTL else given


def _local_cluster(options: ClusterOptions, last: ExitStack) -> LocalCluster:
    workers, threads = options.shape()
    _shield_from_interrupts()
    if options.processes:
        last.enter_context(forking.server(_environment()))
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        processes=options.processes,
        memory_limit=options.memory_limit,
        dashboard_address=_dashboard_address() if options.dashboard else None,
        # Without a dashboard there still is an HTTP server, on 8787 unless told otherwise.
        scheduler_kwargs={} if options.dashboard else {"dashboard_address": "127.0.0.1:0"},
        silence_logs=logging.CRITICAL,
        # What is set by now is not in the environment of a process that was started before.
        **({"env": dict(os.environ)} if options.processes else {}),
    )
    if options.adaptive is not None:
        least, most = options.adaptive
        cluster.adapt(minimum=least, maximum=most)
    return cluster


def _shield_from_interrupts() -> None:
    """Block Ctrl-C in this thread, and so in the threads and processes that it starts.

    A terminal sends Ctrl-C to the workers too: they would end with a traceback in the middle
    of the client's own message. Python handles signals in the main thread all the same.
    """
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()  # its start would unblock the signal again
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _dashboard_address() -> str:
    """Return Dask's usual port on this host, or any free one: Dask would warn."""
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", _DASHBOARD)) == 0
    return f"127.0.0.1:{0 if taken else _DASHBOARD}"
