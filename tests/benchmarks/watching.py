"""What watching a run costs: the same store built with the scheduler's watch and without, in turn.

    python tests/benchmarks/watching.py [--count 3000] [--rounds 7]

Both on one local cluster with a dashboard, which is up beforehand. What is compared is the time
that all of its processes have had a core, which other work on the machine disturbs less than it
does the clock. "Looked at" has the page open, too, in a client that takes once a second what a
browser is sent; its own work counts against the run.
"""

import argparse
import statistics
import sys
import tempfile
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
import throughput
from bokeh.client import pull_session

import daskimg
from daskimg.build import ClusterOptions, _run, connect, page_of


def busy():
    """Return the seconds that this process and its workers have had a core."""
    top = psutil.Process()
    times = [each.cpu_times() for each in (top, *top.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def build(manifest, folder, client, watched):
    """Return the seconds of cores that a build takes."""
    begin = _run.begin_watch
    if not watched:
        _run.begin_watch = lambda *_: None
    try:
        plan = daskimg.plan_store(
            manifest,
            folder / "out.zarr",
            daskimg.recipes.resize(throughput.SIZE),
            options=daskimg.RunOptions(overwrite=True),
        )
        before = busy()
        daskimg.build_store(plan, client=client)
        return busy() - before
    finally:
        _run.begin_watch = begin


@contextmanager
def onlooker(client):
    """Keep the page open, as a browser does."""
    ended = threading.Event()

    def look():
        with pull_session(url=page_of(client)) as session:
            while not ended.wait(1.0):
                session.force_roundtrip()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=3000)
    options.add_argument("--rounds", type=int, default=7)
    given = options.parse_args()
    sources = sorted(throughput.PHOTOGRAPHS.iterdir())
    found = {"without": [], "watched": [], "looked at": []}
    with tempfile.TemporaryDirectory() as place, connect(ClusterOptions()) as client:
        folder = Path(place)
        manifest = daskimg.read_manifest(throughput.link_pictures(folder, sources, given.count))
        build(manifest, folder, client, watched=True)  # warm: imports, page cache, the page
        for _ in range(given.rounds):
            for name, taken in found.items():
                with onlooker(client) if name == "looked at" else nullcontext():
                    taken.append(build(manifest, folder, client, name != "without"))
    base = statistics.median(found["without"])
    for name, taken in found.items():
        least, middle, most = min(taken), statistics.median(taken), max(taken)
        sys.stdout.write(
            f"{name:>10}: {middle / base - 1:+.2%} of cores' time (median of {given.rounds} in "
            f"turn; {least:.2f} to {most:.2f} s for {given.count:,} images)\n"
        )
    sys.stdout.write(f"{throughput.machine()}\n")


if __name__ == "__main__":
    main()
