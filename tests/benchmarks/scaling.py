"""Strong scaling: the same photographs by one worker and by two, beside a bare loop's own.

    python tests/benchmarks/scaling.py [--count 4000] [--rounds 3] [--only scaled|exact] [--write]

A second worker cannot gain more than a second process gains a loop that does nothing but open,
decode, resize and store: two cores share caches, memory and clock. So what counts is the main
job's ratio over the loop's, each taken in turn in every round. The job's start-up, of
the same command on a single picture, is taken off, and the medians are compared.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from throughput import PHOTOGRAPHS, SIZE, bare_loop, link_pictures, machine, main_job, write_table

WAYS = {
    "1 worker x 1 thread": ("--workers", "1", "--threads", "1"),
    "2 workers x 1 thread": ("--workers", "2", "--threads", "1"),
    "1 worker x 2 threads": ("--workers", "1", "--threads", "2"),
}


def compare(sources, count, rounds, exact):
    """Return the median images/s of the bare loop, by processes, and of the job, by its way."""
    bare, ours = {1: [], 2: []}, {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        many, single = Path(place) / "many", Path(place) / "one"
        many.mkdir()
        single.mkdir()
        table, one = link_pictures(many, sources, count), link_pictures(single, sources, 1)
        for _ in range(rounds):
            for processes, rates in bare.items():
                rates.append(count / bare_loop(table, many / "bare.npy", exact, processes))
            for way, rates in ours.items():
                startup, _ = main_job(one, single / "out.zarr", exact, *WAYS[way])
                seconds, _ = main_job(table, many / "out.zarr", exact, *WAYS[way])
                rates.append((count - 1) / (seconds - startup))
    medians = [{name: statistics.median(r) for name, r in all_.items()} for all_ in (bare, ours)]
    return tuple(medians)


def lines(name, bare, ours, count, rounds):
    """Yield a table: images/s of each way, what it gains over one worker, and the loop's own."""
    yield f"{count:,} photographs to {SIZE}x{SIZE}, {name}, median of {rounds} rounds in turn,"
    yield f"{machine()}:"
    yield ""
    head = ["daskimg", "images/s", "gain", "bare loop's images/s", "its gain", "gain of its gain"]
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    one, *more = ours
    yield f"| {one} | {ours[one]:,.0f} | | {bare[1]:,.0f} | | |"
    for way in more:
        gain, bound = ours[way] / ours[one], bare[2] / bare[1]
        yield (
            f"| {way} | {ours[way]:,.0f} | {gain:.2f} | {bare[2]:,.0f} | {bound:.2f} | "
            f"{gain / bound:.2f} |"
        )


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=4000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", choices=["scaled", "exact"], help="one decoding of the two")
    options.add_argument("--write", action="store_true", help="put it into cluster/README.md")
    given = options.parse_args()
    sources = sorted(PHOTOGRAPHS.iterdir())
    for decoding in [given.only] if given.only else ["scaled", "exact"]:
        bare, ours = compare(sources, given.count, given.rounds, decoding == "exact")
        name = f"{decoding} decoding"
        text = "\n".join(lines(name, bare, ours, given.count, given.rounds))
        sys.stdout.write(f"{text}\n\n")
        if given.write:
            write_table(f"scaling-{decoding}", text, "cluster/README.md")


if __name__ == "__main__":
    main()
