"""The main job from a bucket to a bucket behind a slow line, beside the same without latency.

    python tests/benchmarks/latency.py [--count 4000] [--rounds 2] [--latencies 0.05 0.2] [--write]

The bucket is the tests' own server, on loopback, which adds the latency to every request. It
shares the cores with the two workers, so that its time is measured, too: what a real bucket
would leave to them is the difference. In turn, and start-up taken off, as ``throughput.py``
does. The samples are compared with those of a run from disk to disk.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

import gcs_server  # noqa: E402
from throughput import PHOTOGRAPHS, SIZE, machine, write_table  # noqa: E402

import daskimg  # noqa: E402


def main_job(table, store, environment):
    """Return the seconds of the command, and its report."""
    command = [sys.executable, "-m", "daskimg.run", table, store, "--size", str(SIZE), "--json"]
    command += ["--overwrite", "--workers", "2", "--threads", "1"]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    return seconds, json.loads(done.stdout)


def hashes(store):
    """Return the hash of each sample."""
    images = daskimg.open_store(store).image[:]
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


class Bench:
    """A server with the photographs, tables of them, and a folder of the same on disk."""

    def __init__(self, server, folder, count):
        self.server, self.count = server, count
        self.environment = {**os.environ, **server.environment}
        self.process = psutil.Process(server.pid)
        sources = sorted(PHOTOGRAPHS.iterdir())[:300]
        self.bucket = server.bucket()
        server.upload(PHOTOGRAPHS, f"{self.bucket}/in", [source.name for source in sources])
        paths = [sources[i % len(sources)].name for i in range(count)]
        self.tables = {}
        for where, root in (("bucket", f"gs://{self.bucket}/in"), ("disk", str(PHOTOGRAPHS))):
            for rows in (1, count):
                table = folder / f"{where}-{rows}.csv"
                named = [f"{root}/{path}" for path in paths[:rows]]
                pd.DataFrame({"path": named, "label": 0}).to_csv(table, index=False)
                self.tables[where, rows] = str(table)
        self.disk = str(folder / "disk.zarr")

    def rate(self, where, store):
        """Return images/s behind the start-up, the server's share of a core, and the report."""
        startup, _ = main_job(self.tables[where, 1], f"{store}-one", self.environment)
        before = sum(self.process.cpu_times()[:2])
        seconds, report = main_job(self.tables[where, self.count], store, self.environment)
        busy = (sum(self.process.cpu_times()[:2]) - before) / seconds
        return (self.count - 1) / (seconds - startup), busy, report

    def run(self, latencies, rounds):
        """Return for each line its medians: images/s, and the server's share of a core."""
        found = {name: [] for name in ("disk", *latencies)}
        for _ in range(rounds):
            found["disk"].append(self.rate("disk", self.disk)[:2])
            for latency in latencies:
                self.server.latency(latency)
                *figures, report = self.rate("bucket", f"gs://{self.bucket}/{latency}.zarr")
                self.server.latency(0)
                assert report["failed"] == 0, report
                found[latency].append(figures)
        expected = hashes(self.disk)
        for latency in latencies:
            assert hashes(f"gs://{self.bucket}/{latency}.zarr") == expected
        return {
            name: [statistics.median(column) for column in zip(*rows, strict=True)]
            for name, rows in found.items()
        }


def lines(found, count, rounds):
    """Yield the README's table."""
    yield f"{count:,} photographs to {SIZE}x{SIZE}, 2 workers, median of {rounds} rounds in turn,"
    yield f"{machine()}:"
    yield ""
    yield "| from and to | images/s | of those without latency | the server's share of a core |"
    yield "| --- | --- | --- | --- |"
    for name, (rate, busy) in found.items():
        if name == "disk":
            yield f"| disk | {rate:,.0f} | | |"
        else:
            line = f"bucket, {1000 * name:.0f} ms a request"
            yield f"| {line} | {rate:,.0f} | {rate / found[0.0][0]:.2f} | {busy:.2f} |"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=4000)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--latencies", type=float, nargs="*", default=[0.05, 0.2])
    options.add_argument("--write", action="store_true", help="put the table into the README")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place, gcs_server.serving(Path(place)) as server:
        os.environ.update(server.environment)
        bench = Bench(server, Path(place), given.count)
        found = bench.run([0.0, *given.latencies], given.rounds)
    text = "\n".join(lines(found, given.count, given.rounds))
    sys.stdout.write(f"{text}\n")
    if given.write:
        write_table("latency", text)


if __name__ == "__main__":
    main()
