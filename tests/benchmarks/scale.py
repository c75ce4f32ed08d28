"""Fifty thousand shards through the client and the scheduler, with tasks that do nothing.

    python tests/benchmarks/scale.py [--shards 50000] [--workers 2] [--figures FILE] [--write]

A scheduler and workers are started as processes of their own. Four things are measured: the
plan; the handing out of one task a shard by the code of a real run, until all reports are back;
a resume that finds all shards finished; and the commit. Memory is the resident set at its
highest, less what the client had before the plan, and the scheduler before the first task. The
tasks do nothing, so a task's time is what it costs client and scheduler.

It is done for a tenth of the shards first: what that says of all of them is held against what
they take. From the figures follows the table of a million to a billion images; ``--write`` puts
both into cluster/README.md. Every figure but images/s a core is one that other work on the machine
bears: ``--figures`` takes them from the lines that an earlier run said, and measures that one.
"""

import argparse
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import pandas as pd
import psutil
from distributed import Client
from throughput import PHOTOGRAPHS, write_table

import daskimg
from daskimg import store
from daskimg.build import _course
from daskimg.build._course import Course
from daskimg.build._crew import Crew, Patience
from daskimg.build._shards import told
from daskimg.fetch import Traffic, open_folder
from daskimg.plan._layout import choose_layout
from daskimg.recipe import Row
from daskimg.statistics import ChannelSums
from daskimg.task import REPORT

HERE = Path(__file__).resolve().parent
GCS_READS = 5000  # a second that a bucket takes at first


@cache
def _frames():
    """The rows and the report of a shard: made once a worker, as they are no part of it."""
    rows = pd.DataFrame({"row": [0], "path": ["a.jpg"], "shard": [0]})
    facts = {
        "shard": 0, "samples": 1, "failed": 0, "reduced": 0, "completed": 0, "source_bytes": 0,
        "stored_bytes": 0, "resumed": False, "reasons": "{}", "worker": "a",
        "traffic": json.dumps(Traffic().to_json()),
    }  # fmt: skip
    others = dict.fromkeys(set(REPORT.columns) - set(facts), 0)
    report = pd.DataFrame([{**facts, **others}])[list(REPORT.columns)]
    return rows, report.astype(REPORT.dtypes)


def no_rows(span, run):
    """The rows of a shard, as a task that reads nothing has them."""
    return _frames()[0].assign(shard=span.shard)


def no_shard(rows, run, convicted):
    """A report on a shard that nobody built."""
    return _frames()[1].assign(shard=rows["shard"].iloc[0])


@contextmanager
def cluster(folder, workers):
    """Start a scheduler and workers; yield the scheduler's process and a client."""
    file = folder / "scheduler.json"
    path = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parents[1])])
    environment = {**os.environ, "PYTHONPATH": path}
    started = []

    def start(name, *words):
        command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *words]
        with (folder / f"{name}.log").open("ab") as log:
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    local = ["--host", "127.0.0.1", "--scheduler-file", str(file)]
    start("scheduler", *local, "--port", "0", "--dashboard-address", "127.0.0.1:0")
    for _ in range(workers):
        start("worker", *local, "--nthreads", "1", "--no-dashboard", "--no-nanny")
    try:
        while not file.exists():
            time.sleep(0.1)
        with Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(workers)
            yield psutil.Process(started[0].pid), client
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


class Watched:
    """The most memory of processes, in MB, their processor time, and how long a context lasts."""

    def __init__(self, **processes):
        self._processes = processes
        self._over = threading.Event()
        self.most = dict.fromkeys(processes, 0.0)

    def __enter__(self):
        self._cpu = {name: sum(p.cpu_times()[:2]) for name, p in self._processes.items()}
        self._began = time.perf_counter()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def _watch(self):
        while not self._over.wait(0.2):
            self._look()

    def _look(self):
        for name, process in self._processes.items():
            self.most[name] = max(self.most[name], resident(process))

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._began
        self._over.set()
        self._watcher.join()
        self._look()
        self.cpu = {
            name: sum(p.cpu_times()[:2]) - self._cpu[name] for name, p in self._processes.items()
        }


def resident(process):
    """Return the megabytes that a process holds."""
    return process.memory_info().rss / 1e6


def finish(plan, folder):
    """Write the ledger and the objects of shards of one sample, as if they had been built."""
    sums = ChannelSums.none(3, 255).to_json()
    (group,) = plan.groups
    schema = store.ledger_schema(group.targets)
    lines = schema.empty_table()
    for shard in group.shards:
        name = store.chunk_name("image", shard, 4)
        one = {field.name: [_value(field)] for field in schema} | {
            "sample": [shard], "row": [shard], "status": [1],
        }  # fmt: skip
        table = lines.from_pydict(one, schema=schema)
        entry = store.Entry(shard, 1, 0, 0, 0, 1, {}, {name: (2, "0" * 64)}, sums)
        folder.put(name, b"ab")
        store.write_entry(folder, entry, table)


def _value(field):
    kind = str(field.type)
    if kind.startswith("fixed_size_list"):
        return [0] * field.type.list_size
    return "" if kind == "string" else 0


def measure(shards, workers, folder, before):
    """Return the figures; ``before`` is what the client held when nothing had been done."""
    client_process = psutil.Process()
    table = pd.DataFrame({"path": [f"p{i:07d}.jpg" for i in range(shards)], "label": "a"})
    found = {"shards": shards, "workers": workers}
    with Watched(client=client_process) as planned:
        plan = daskimg.plan_store(
            daskimg.read_manifest(table), str(folder / "a.zarr"), daskimg.recipes.resize(8),
            store=daskimg.StoreOptions(shard_samples=1, chunk_samples=1),
        )  # fmt: skip
    found["plan_seconds"] = planned.seconds
    assert plan.shards == shards
    with cluster(folder, workers) as (scheduler, client):
        crew = Crew(client, Patience(), print)
        crew.wait()
        target = open_folder(plan.url)
        stored = store.create_plan(target, plan)
        brief = plan.brief(stored.run, call=crew.fresh())
        course = Course(plan, brief, target, crew, lambda tally: None, resuming=False)
        _course.read_rows, _course.build_shard = no_rows, no_shard
        with told(crew, brief) as run:
            some = itertools.islice(plan.shard_rows(), 4 * workers)
            course._build_some(run, some)  # imports are no part of it
            idle = resident(scheduler)
            with Watched(client=client_process, scheduler=scheduler) as built:
                course._build_shards(run)
        found |= {
            "build_seconds": built.seconds,
            "tasks_per_second": shards / built.seconds,
            "milliseconds_per_shard": 1e3 * built.seconds / shards,
            "scheduler_ms_per_shard": 1e3 * built.cpu["scheduler"] / shards,
            "client_ms_per_shard": 1e3 * built.cpu["client"] / shards,
            "scheduler_mb": built.most["scheduler"] - idle,
        }
        with mock.patch("os.fsync"):  # a hundred thousand objects, for a moment
            finish(plan, target)
        brief = plan.brief(stored.run, call=crew.fresh())
        course = Course(plan, brief, target, crew, lambda tally: None, resuming=True)
        with told(crew, brief) as run, Watched(client=client_process) as resumed:
            left = sum(1 for _ in course._unfinished(run))
        assert left == 0
        found["resume_seconds"] = resumed.seconds
        store.stage_rows(target, plan.staged())
        with told(crew, brief) as run, Watched(client=client_process) as committed:
            course._commit(run, stored, None)
        found["commit_seconds"] = committed.seconds
        for part, watched in (("build", built), ("resume", resumed), ("commit", committed)):
            found[f"{part}_client_mb"] = watched.most["client"] - before
    return {name: round(value, 3) for name, value in found.items()}


def pace(size):
    """Return the photographs a second that one thread makes samples of, from disk to array."""
    names = sorted(PHOTOGRAPHS.glob("*"))[:300]
    recipe = daskimg.recipes.resize(size)
    began = time.perf_counter()
    for number, name in enumerate(names):
        row = Row(number, str(name), {})
        picture, source = recipe.decoded(name.read_bytes(), row)
        (sample,) = recipe.samples(recipe.started(picture, source, row), row, range(1))
        sample.image.array()
    return len(names) / (time.perf_counter() - began)


def model(images, size, rate, small, found):
    """Return one line of the table: how many cores keep the scheduler busy, and what follows.

    A shard costs the busier of client and scheduler its processor time, whatever is in it, and
    each of them has one thread; so they allow so many images a second, and that many cores are
    of use. (Here client, scheduler and workers share the cores: tasks a second are fewer.)
    """
    layout = choose_layout(images, 3 * size * size, daskimg.StoreOptions())
    each = max(found["scheduler_ms_per_shard"], found["client_ms_per_shard"]) / 1e3
    most = layout.shard / each  # images a second
    cores = most / rate
    wanted = min(cores, images / rate / 3600)  # so many that it takes an hour
    reads = wanted * rate
    more = found["commit_client_mb"] - small["commit_client_mb"]
    held = found["commit_client_mb"] + more / (found["shards"] - small["shards"]) * (
        layout.shards - found["shards"]
    )
    ramp = max(0.0, 20 * math.log2(reads / GCS_READS))  # minutes: it doubles every twenty
    return {
        "images": f"{images:,}",
        "size": f"{size} x {size}",
        "shards": f"{layout.shards:,}",
        "images/s a core": f"{rate:,.0f}",
        "cores for an hour": f"{images / rate / 3600:,.1f}",
        "hours on 64 cores": f"{images / rate / 64 / 3600:,.1f}",
        "most cores of one scheduler": f"{cores:,.0f}",
        "hours on those": f"{images / most / 3600:,.3f}",
        "reads/s for the hour": f"{reads:,.0f}",
        "minutes of GCS's ramp": f"{ramp:,.0f}",
        "client grows by": f"{max(small['commit_client_mb'], held):,.0f} MB",
    }


def table(lines):
    """Return lines of named cells as a table in Markdown."""
    names = list(lines[0])
    rows = [names, ["---"] * len(names), *([line[name] for name in names] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def report(small, large, paces):
    """Return what was found, as a page says it."""
    said = small["scheduler_ms_per_shard"] * large["shards"] / 1e3
    took = large["scheduler_ms_per_shard"] * large["shards"] / 1e3
    figures = [
        {
            "shards": f"{each['shards']:,}",
            "plan": f"{each['plan_seconds']:.1f} s",
            "handed out and back": f"{each['build_seconds']:.0f} s",
            "tasks/s": f"{each['tasks_per_second']:,.0f}",
            "scheduler a shard": f"{each['scheduler_ms_per_shard']:.2f} ms",
            "client a shard": f"{each['client_ms_per_shard']:.2f} ms",
            "resumed, all finished": f"{each['resume_seconds']:.1f} s",
            "committed": f"{each['commit_seconds']:.1f} s",
            "scheduler grows by": f"{each['scheduler_mb']:.0f} MB",
            "client grows by, when all are back": f"{each['build_client_mb']:.0f} MB",
            "by the commit": f"{each['commit_client_mb']:.0f} MB",
        }
        for each in (small, large)
    ]
    lines = [
        model(images, size, paces[size], small, large)
        for size in paces
        for images in (10**6, 10**8, 10**9)
    ]
    most = max(large["scheduler_ms_per_shard"], large["client_ms_per_shard"])
    about = f"Python {platform.python_version()}, distributed {version('distributed')}"
    return (
        f"Tasks that do nothing, {large['workers']} workers, {os.cpu_count()} cores in all, "
        f"{about}, {date.today()}:\n\n{table(figures)}\n\n"
        f"The first line foretells {said:.0f} s of the scheduler's processor for the second, "
        f"which took {took:.0f}.\n\n"
        f"What follows at {most:.2f} ms a shard, with default shards, from photographs on a "
        f"disk:\n\n"
        f"{table(lines)}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--figures", type=Path, help="what an earlier run said, a line a size")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    found = _read(arguments.figures) if arguments.figures else _measured(arguments)
    text = report(*found, {size: pace(size) for size in (64, 224)})
    sys.stdout.write(f"{text}\n")
    if arguments.write:
        write_table("scale", text, "cluster/README.md")


def _read(figures):
    lines = [line for line in figures.read_text().splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


def _measured(arguments):
    found = []
    before = resident(psutil.Process())
    for shards in (arguments.shards // 10, arguments.shards):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(shards, arguments.workers, Path(folder), before))
        sys.stderr.write(f"{json.dumps(found[-1])}\n")
    return found


if __name__ == "__main__":
    # Workers import the tasks by this module's name, not as the script that is run here.
    import scale

    scale.main()
