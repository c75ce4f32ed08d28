"""A run whose workers are SLURM jobs of their own, as many as there is work for.

    python cluster/slurm/jobs.py --cores 8 --memory 16GB --walltime 02:00:00 --jobs 1:20 -- \
        labels.csv out.zarr --size 224

The scheduler and the run are here, on the login node or in a small job. What follows ``--`` is
handed to ``python -m daskimg.run``. Needs ``pip install dask-jobqueue``.
"""

import argparse
import subprocess
import sys

from dask_jobqueue import SLURMCluster


def main() -> int:
    """Start the cluster, run on it, and return the run's exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=4, help="of each job (4)")
    parser.add_argument("--memory", default="8GB", help="of each job (8GB)")
    parser.add_argument("--walltime", default="02:00:00", help="of each job (02:00:00)")
    parser.add_argument("--queue", help="the partition")
    parser.add_argument("--jobs", default="1:10", help="at least and at most (1:10)")
    parser.add_argument("run", nargs="+", help="arguments of daskimg.run, behind --")
    given = parser.parse_args()
    least, most = map(int, given.jobs.split(":"))
    with SLURMCluster(
        cores=given.cores,
        processes=given.cores,  # threads of one would wait for each other's GIL
        memory=given.memory,
        walltime=given.walltime,
        queue=given.queue,
        # Workers end by themselves shortly before SLURM would end them, not all at once.
        worker_extra_args=["--lifetime", _lifetime(given.walltime), "--lifetime-stagger", "2m"],
    ) as cluster:
        cluster.adapt(minimum_jobs=least, maximum_jobs=most)
        command = [sys.executable, "-m", "daskimg.run", *given.run]
        return subprocess.call([*command, "--scheduler", cluster.scheduler_address])


def _lifetime(walltime: str) -> str:
    """Return nine tenths of a time like 02:00:00."""
    hours, minutes, seconds = map(int, walltime.split(":"))
    return f"{round(0.9 * (3600 * hours + 60 * minutes + seconds))}s"


if __name__ == "__main__":
    sys.exit(main())
