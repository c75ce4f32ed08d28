"""Tiny-ImageNet in its own layout, 120,000 files, projected from a measured run of some of them.

    python tests/benchmarks/tiny_imagenet.py [--count 12000] [--rounds 3] [--write]

The pictures are those of ../shared/data/tiny-imagenet-mini, linked again and again into as many
files. A run's time is that of the command as people type it; what the same command takes for
twelve files is its start-up, and the rest is taken to grow with the number of files.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import throughput

MINI = throughput.ROOT.parent / "shared" / "data" / "tiny-imagenet-mini"
ALL = 120_000
PER_CLASS = 500


def lay_out(folder, count):
    """Link pictures into train, val and test as Tiny-ImageNet has them: 10 to 1 to 1."""
    wnids = (MINI / "wnids.txt").read_text().split()
    sources = {wnid: sorted((MINI / "train" / wnid / "images").iterdir()) for wnid in wnids}
    train = count * 10 // 12
    names = [f"n{i:08d}" for i in range(-(-train // PER_CLASS))]
    for i in range(train):
        wnid = names[i // PER_CLASS]
        own = sources[wnids[i // PER_CLASS % len(wnids)]]
        place = folder / "train" / wnid / "images"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{wnid}_{i % PER_CLASS}.JPEG").symlink_to(own[i % len(own)])
    rest = count - train
    for split, number in (("val", rest // 2), ("test", rest - rest // 2)):
        place = folder / split / "images"
        place.mkdir(parents=True)
        own = sorted((MINI / split / "images").iterdir())
        for i in range(number):
            (place / f"{split}_{i}.JPEG").symlink_to(own[i % len(own)])
    lines = (f"val_{i}.JPEG\t{names[i % len(names)]}\t0\t0\t9\t9" for i in range(rest // 2))
    (folder / "val" / "val_annotations.txt").write_text("\n".join([*lines, ""]))
    (folder / "wnids.txt").write_text("\n".join([*names, ""]))
    return folder


def measure(count, rounds):
    """Return medians of the seconds for a dozen files and for ``count``."""
    few, many = [], []
    with tempfile.TemporaryDirectory() as place:
        small, large = lay_out(Path(place) / "few", 12), lay_out(Path(place) / "many", count)
        for _ in range(rounds):
            few.append(throughput.main_job(small, Path(place) / "few.zarr", exact=False)[0])
            many.append(throughput.main_job(large, Path(place) / "many.zarr", exact=False)[0])
    return statistics.median(few), statistics.median(many)


def lines(count, rounds, few, many):
    """Yield the README's table."""
    rate = (count - 12) / (many - few)
    yield f"Tiny-ImageNet, 64x64, train, val and test in one run; median of {rounds} rounds,"
    yield f"{throughput.machine()}:"
    yield ""
    yield "| files | time | images/s behind the start-up |"
    yield "| --- | --- | --- |"
    yield f"| 12 | {few:.1f} s | |"
    yield f"| {count:,} | {many:.1f} s | {rate:,.0f} |"
    yield f"| {ALL:,}, projected | {(few + ALL / rate) / 60:.1f} min | |"
    yield "| 120,000, the pipeline this replaces, one machine | 20 min | |"
    yield "| 120,000, the same on eight machines with Spark | 4.5 min | |"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=12_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--write", action="store_true", help="put the table into the README")
    given = options.parse_args()
    few, many = measure(given.count, given.rounds)
    text = "\n".join(lines(given.count, given.rounds, few, many))
    sys.stdout.write(f"{text}\n")
    if given.write:
        throughput.write_table("tiny-imagenet", text)


if __name__ == "__main__":
    main()
