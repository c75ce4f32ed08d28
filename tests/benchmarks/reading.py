"""Reading 224x224x3 pictures in a shuffle, beside others that do it as well as can be.

Both sides with the same threads, in turn within one run: on a shared machine the ratios tell
more than the rates. Run it with

    python tests/benchmarks/reading.py [--samples N] [--threads N] [--rounds N] [--write]

and, for FFCV, ``--ffcv PYTHON``: an interpreter that has it.
"""

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rivals
from PIL import Image
from throughput import machine, write_table

import daskimg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import gcs_server
import shelves

SIDE, EPOCHS = 224, 3
LATENCY, CONNECTIONS = 0.05, 16
ANEW = """
import sys, time
import daskimg.read, reading
began, spent = time.perf_counter(), time.process_time()
url, threads, epochs = sys.argv[1:]
reading.read_store(daskimg.open_store(url), int(epochs), int(threads))
print(time.perf_counter() - began, time.process_time() - spent)
"""
PATIENCE = 8  # seconds, after which three rounds must do
FORM = {"dtype": "float32", "layout": "chw", "mean": rivals.MEAN, "std": rivals.STD}
PICTURES = Path(__file__).resolve().parents[2] / "notebooks" / "pictures"


def crops(count):
    """Return (count, 224, 224, 3) uint8: crops of the shipped photographs, all different."""
    side = SIDE + 96
    opened = [Image.open(path) for path in sorted(PICTURES.rglob("*.jpg"))]
    whole = [np.asarray(each.convert("RGB").resize((side, side))) for each in opened]
    chance, found = np.random.default_rng(0), np.empty((count, SIDE, SIDE, 3), np.uint8)
    for i, (top, left) in enumerate(chance.integers(0, 97, (count, 2)).tolist()):
        found[i] = whole[i % len(whole)][top : top + SIDE, left : left + SIDE]
    return found


def write_store(url, pictures, codec="none"):
    """Write pictures as a store of the default layout; return its chunk's samples."""
    options = daskimg.StoreOptions(codec=codec)
    layout = daskimg.plan._layout.choose_layout(len(pictures), pictures[0].nbytes, options)
    shelves.write_store(url, pictures, shard=layout.shard, chunk=layout.chunk, codec=codec)
    return layout.chunk


def read_store(samples, epochs, threads, shuffle=True, **settings):
    """Read shuffled epochs of a store."""
    settings |= {"threads": threads, "prefetch": rivals.AHEAD, "reuse": True}
    for epoch in range(epochs):
        for _ in samples.batches(rivals.BATCH, shuffle=shuffle, epoch=epoch, **settings):
            pass


def timed(call, count):
    """Return samples a second, and microseconds of all cores a sample.

    The second tells the truth on a machine that others use, too. What another process does
    tells its seconds, and its seconds of CPU, itself.
    """
    began, spent = time.perf_counter(), time.process_time()
    took = call()
    if took is None:
        took = time.perf_counter() - began, time.process_time() - spent
    return count / took[0], 1e6 * took[1] / count


def in_turn(rival, ours, count, rounds, before=lambda: None):
    """Return the medians of both, and of the ratios of neighbours' rates."""
    pairs, began = [], time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - began > PATIENCE:
            break
        found = {}
        for call in (rival, ours) if number % 2 == 0 else (ours, rival):
            before()
            found[call] = timed(call, count)
        pairs.append((*found[rival], *found[ours]))
    medians = [statistics.median(each) for each in zip(*pairs, strict=True)]
    return [*medians, statistics.median(ours / theirs for theirs, _, ours, _ in pairs)]


def warm(folder, shape, given):
    """Yield rows: true shuffles, all in the page cache, all chunks checked before."""
    samples, threads = daskimg.open_store(folder / "none"), given.threads
    count = shape[0] * EPOCHS
    for title, rival, kernel, form in (
        ("uint8", "numpy.memmap", None, {}),
        ("the same", "memmap, daskimg's copying", "copying", {}),
        ("float32 CHW, normalised", "memmap, fused kernel", "plain", FORM),
        ("the same", "memmap, daskimg's kernel", "past", FORM),
    ):
        plain = rivals.Memmap(folder / "plain.raw", shape, threads, kernel)
        plain.open()

        def ours(form=form):
            read_store(samples, EPOCHS, threads, **form)

        plain.read(1), ours()  # the page cache, the kernels, the checks
        yield title, rival, *in_turn(lambda p=plain: p.read(EPOCHS), ours, count, given.rounds)


def beside_ffcv(folder, shape, given):
    """Yield rows: FFCV's loader on the same pictures, raw, in the page cache."""
    samples, count = daskimg.open_store(folder / "none"), shape[0] * EPOCHS
    arguments = folder / "a.beton", folder / "plain.raw", shape, given.threads, EPOCHS

    def ours():
        read_store(samples, EPOCHS, given.threads)

    def theirs_anew():
        with rivals.ffcv(given.ffcv, *arguments) as read:
            return read()

    def ours_anew():
        command = [sys.executable, "-c", ANEW, folder / "none", given.threads, EPOCHS]
        place = Path(__file__).parent
        return rivals.seconds(subprocess.check_output([*map(str, command)], cwd=place))

    with rivals.ffcv(given.ffcv, *arguments) as theirs:
        theirs(), ours()
        yield "uint8", "FFCV, raw", *in_turn(theirs, ours, count, given.rounds)
    read = in_turn(theirs_anew, ours_anew, count, given.rounds)
    yield f"uint8, the first {EPOCHS} epochs of a process", "FFCV, raw", *read


def cold(folder, shape, given):
    """Yield rows: opened anew, so that maps are empty and each chunk is checked.

    Both write into buffers that were there before, and what they leave is gone before the clock
    runs.
    """
    plain = rivals.Memmap(folder / "plain.raw", shape, given.threads)
    opened, ring = [], rivals.Ring()

    def anew():
        opened.clear()
        plain.close()
        gc.collect()
        opened.append(daskimg.open_store(folder / "none"))
        opened[0].labels, opened[0].status
        plain.open()

    def dropped():
        opened.clear()
        plain.close()
        gc.collect()
        rivals.forget_pages(folder)
        anew()

    def ours(epochs):
        ring.begin()
        read_store(opened[0], epochs, given.threads, allocate=ring)

    for title, epochs, before in (
        ("opened anew, 1 epoch with checks", 1, anew),
        ("opened anew, 3 epochs with checks", 3, anew),
        ("page cache dropped, 1 epoch with checks", 1, dropped),
    ):
        count, calls = (
            shape[0] * epochs,
            (lambda e=epochs: plain.read(e), lambda e=epochs: ours(e)),
        )
        yield title, "numpy.memmap", *in_turn(*calls, count, given.rounds, before)


def compressed(folder, chunk, count, given):
    """Yield rows: compressed chunks, decoded once an epoch, shuffled in windows."""
    for codec in ("lz4", "zstd"):
        url = folder / codec
        theirs = rivals.tensorstore_chunks(url, chunk, given.threads)
        samples = daskimg.open_store(url)

        def ours(epochs, samples=samples):
            read_store(samples, epochs, given.threads)

        theirs(1), ours(1)
        read = in_turn(lambda t=theirs: t(EPOCHS), lambda o=ours: o(EPOCHS), count, given.rounds)
        yield f"{codec}, shuffled in windows", "TensorStore, whole chunks", *read


def remote(folder, pictures, given):
    """Yield rows: a bucket whose server takes 50 ms longer for each request."""
    with gcs_server.serving(folder) as server:
        os.environ.update(server.environment)
        url = f"gs://{server.bucket()}/a"
        write_store(url, pictures)
        samples = daskimg.open_store(url)
        samples.labels, samples.status  # noqa: B018  small arrays are no part of an epoch
        sharded = samples._arrays.sharded("image")
        names = [
            f"{url[5:]}/{daskimg.store.chunk_name('image', i, 4)}"
            for i in range(len(sharded.stamps))
        ]
        server.latency(LATENCY)
        size, cache = len(pictures), folder / "cache"
        settings = {"connections": CONNECTIONS, "window_bytes": 128 << 20}

        def raw():
            rivals.raw_gets(server, names, CONNECTIONS)

        def emptied():
            for path in cache.glob("*"):
                if path.is_file():
                    path.unlink()

        def ours(**more):
            read_store(samples, 1, given.threads, **settings, **more)

        ours()
        for title, more, before in (
            ("bucket, one epoch", {}, lambda: None),
            ("bucket, one epoch into the cache", {"cache": cache}, emptied),
            ("bucket, one epoch from the cache", {"cache": cache}, lambda: None),
        ):
            read = in_turn(raw, lambda m=more: ours(**m), size, given.rounds, before)
            yield title, "bare GETs of the shards", *read


def scores():
    """Yield lines of a table: how well windows mix a million pictures that are sorted by class."""
    count, batch = 1_000_000, rivals.BATCH
    each, shard = SIDE * SIDE * 3, 318  # samples of a shard of 48 MB
    chunk = 21
    yield "| window | batch drawn from shards | score | drawn from chunks | score |"
    yield f"|{' --- |' * 5}"
    for megabytes in (64, 256, 1024, 4096):
        row = [f"{megabytes:,} MiB"]
        for unit in (shard, chunk):
            window = max(2, (megabytes << 20) // (unit * each))
            order = daskimg.read._order.Windowed(np.arange(count), unit, window, 0, 0)
            found = daskimg.shuffle_score(order.slots(0, count), batch)
            row += [f"{window}", f"{found:.2f}"]
        yield f"| {' | '.join(row)} |"
    true = daskimg.shuffle_score(daskimg.epoch_order(count), batch)
    yield f"| all (`full`) | | {true:.2f} | | {true:.2f} |"


def lines(rows, given):
    """Yield the README's table."""
    packages = ", ".join(f"{each} {version(each)}" for each in ("tensorstore", "numcodecs"))
    yield f"{given.samples:,} pictures of {SIDE}x{SIDE}x3, batches of {rivals.BATCH}, shuffled,"
    yield f"{given.threads} threads, medians of up to {given.rounds} rounds in turn,"
    yield f"{machine()}, {packages}:"
    yield ""
    yield "| read | beside | its images/s | daskimg's | ratio | CPU us an image: its | daskimg's |"
    yield f"|{' --- |' * 7}"
    for title, rival, theirs, its_cpu, ours, cpu, ratio in rows:
        yield (
            f"| {title} | {rival} | {theirs:,.0f} | {ours:,.0f} | {ratio:.2f} | "
            f"{its_cpu:,.0f} | {cpu:,.0f} |"
        )
    yield ""
    yield from scores()


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--ffcv", help="an interpreter that has ffcv")
    parser.add_argument("--only", default="warm,cold,compressed,remote")
    parser.add_argument("--write", action="store_true", help="put the table into the README")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder, pictures = Path(name), crops(given.samples)
        pictures.tofile(folder / "plain.raw")
        for codec in ("none", "lz4", "zstd"):
            chunk = write_store(folder / codec, pictures, codec)
        runs = {
            "warm": lambda: warm(folder, pictures.shape, given),
            "cold": lambda: cold(folder, pictures.shape, given),
            "compressed": lambda: compressed(folder, chunk, given.samples * EPOCHS, given),
            "remote": lambda: remote(folder, pictures, given),
            "ffcv": lambda: beside_ffcv(folder, pictures.shape, given),
        }
        # New processes first: how dear new pages are depends on what others have left.
        for part in dict.fromkeys(["ffcv"] * bool(given.ffcv) + given.only.split(",")):
            for row in runs[part]():
                sys.stderr.write(f"{row}\n")
                rows.append(row)
    text = "\n".join(lines(rows, given))
    sys.stdout.write(f"{text}\n")
    if given.write:
        write_table("reading", text)


if __name__ == "__main__":
    main()
