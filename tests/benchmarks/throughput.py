"""The main job beside a bare Pillow loop, in turn, on the same pictures and the same machine.

    python tests/benchmarks/throughput.py [--count 4000] [--rounds 3] [--write]

The bare loop is two processes that open, decode, resize and store into a memmap; its start-up
is not counted. The main job is the command line as people type it; what the same command
takes on a single picture (interpreter, imports, cluster, trial, commit) is taken off. Memory is
the peak of the sum over all its processes, watched in a run of its own, since watching takes time
from two busy cores: of proportional sets (PSS), in which a page that several share is counted
once, and of resident sets (RSS), in which each counts it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "imagenet" / "images"
SIZE = 64


def link_pictures(folder, sources, count):
    """Make a table of `count` pictures by linking the sources again and again."""
    pictures = folder / "pictures"
    pictures.mkdir()
    names = []
    for i in range(count):
        source = sources[i % len(sources)]
        name = f"{i:05d}{source.suffix}"
        (pictures / name).symlink_to(source)
        names.append(f"pictures/{name}")
    table = folder / "labels.csv"
    pd.DataFrame({"path": names, "label": [i % 10 for i in range(count)]}).to_csv(
        table, index=False
    )
    return table


def bare_picture(path, exact):
    """One picture, as a careful hand-written loop makes it."""
    image = Image.open(path)
    drafted = None if exact else image.draft("RGB", (2 * SIZE, 2 * SIZE))
    box = drafted[1] if drafted else None
    return ImageOps.exif_transpose(image).convert("RGB").resize((SIZE, SIZE), box=box)


def bare_part(paths, start, target, exact):
    """Decode some of the pictures into their places."""
    array = np.load(target, mmap_mode="r+")
    for i, path in enumerate(paths, start):
        array[i] = bare_picture(path, exact)


def bare_loop(table, target, exact, processes=2):
    """Return the seconds that some processes take, once they are up."""
    paths = [table.parent / path for path in pd.read_csv(table)["path"]]
    np.lib.format.open_memmap(target, "w+", np.uint8, (len(paths), SIZE, SIZE, 3))
    starts = [len(paths) * part // processes for part in range(processes)]
    parts = [paths[a:b] for a, b in pairwise([*starts, len(paths)])]
    same = [target] * processes, [exact] * processes
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(bare_part, [paths[:1]] * processes, [0] * processes, *same))
        began = time.perf_counter()
        list(pool.map(bare_part, parts, starts, *same))
        return time.perf_counter() - began


def main_job(table, store, exact, *words, watch=False):
    """Return the seconds of the command, and its peaks of memory in MB if it was watched."""
    command = [sys.executable, "-m", "daskimg.run", table, store, "--size", SIZE, "--json"]
    command += ["--overwrite", *words] + ["--exact-decode"] * exact
    began = time.perf_counter()
    with subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        peak = _watch(psutil.Process(process.pid), process) if watch else None
        report = json.loads(process.stdout.read())
        process.wait()
        seconds = time.perf_counter() - began
    assert report["failed"] == 0, report
    return seconds, peak


def _watch(top, process):
    """Return the peaks of PSS and RSS in MB."""
    peak = np.zeros(2)
    while process.poll() is None:
        peak = np.maximum(peak, sum(map(_sizes, [top, *_children(top)]), np.zeros(2)))
        time.sleep(0.05)
    return peak / 1e6


def _sizes(one):
    """Return PSS and RSS in bytes; nothing of a process that has just ended."""
    try:
        rollup = Path(f"/proc/{one.pid}/smaps_rollup").read_text()
    except OSError:
        return np.zeros(2)
    kilobytes = {line.split(":")[0]: int(line.split()[-2]) for line in rollup.splitlines()[1:]}
    return 1024 * np.array([kilobytes.get("Pss", 0), kilobytes.get("Rss", 0)])


def _children(top):
    try:
        return top.children(recursive=True)
    except psutil.Error:
        return []


def compare(sources, count, rounds, exact):
    """Return medians: bare images/s, the main job's, its start-up; and its peaks of memory."""
    bare, ours, first = [], [], []
    with tempfile.TemporaryDirectory() as place:
        (folder, single) = Path(place) / "many", Path(place) / "one"
        folder.mkdir()
        single.mkdir()
        table, one = link_pictures(folder, sources, count), link_pictures(single, sources, 1)
        for _ in range(rounds):
            bare.append(count / bare_loop(table, folder / "bare.npy", exact))
            startup, _ = main_job(one, single / "out.zarr", exact)
            seconds, _ = main_job(table, folder / "out.zarr", exact)
            first.append(startup)
            ours.append((count - 1) / (seconds - startup))
        _, peak = main_job(table, folder / "out.zarr", exact, watch=True)
    return [*map(statistics.median, (bare, ours, first)), peak]


def lines(results, count, rounds):
    """Yield the README's table."""
    yield f"{count:,} photographs to {SIZE}x{SIZE}, median of {rounds} rounds in turn,"
    yield f"{machine()}:"
    yield ""
    head = ["decoding", "bare Pillow loop, 2 processes", "daskimg", "ratio"]
    head += ["one picture, start to end", "peak PSS, RSS"]
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for name, (bare, ours, first, memory) in results.items():
        yield (
            f"| {name} | {bare:,.0f} images/s | {ours:,.0f} images/s | {ours / bare:.2f} | "
            f"{first:.1f} s | {memory[0]:,.0f}, {memory[1]:,.0f} MB |"
        )


def machine():
    """Return what the figures were taken on."""
    cores = len(os.sched_getaffinity(0))
    packages = ", ".join(f"{p} {version(p)}" for p in ("pillow", "dask", "zarr", "numpy"))
    python = platform.python_version()
    machine = f"{cores} cores ({platform.machine()})"
    return f"{machine}, Python {python}, {packages}, {date.today()}"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=4000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--write", action="store_true", help="put the table into the README")
    given = options.parse_args()
    sources = sorted(PHOTOGRAPHS.iterdir())
    results = {
        name: compare(sources, given.count, given.rounds, exact)
        for name, exact in (("scaled (default)", False), ("exact", True))
    }
    text = "\n".join(lines(results, given.count, given.rounds))
    sys.stdout.write(f"{text}\n")
    if given.write:
        write_table("throughput", text)


def write_table(name, text, page="README.md"):
    """Put a table between its marks in the README, or on another page."""
    readme = ROOT / page
    before, rest = readme.read_text().split(f"<!-- {name}:", 1)
    marker, after = rest.split("-->", 1)[0], rest.split(f"<!-- /{name} -->", 1)[1]
    readme.write_text(f"{before}<!-- {name}:{marker}-->\n{text}\n<!-- /{name} -->{after}")


if __name__ == "__main__":
    main()
