"""Reading 224x224x3 pictures in a true shuffle, beside numpy.memmap read as well as it can be.

Both sides copy with the same threads into reused buffers, in turn within one run: on a shared
machine the ratios tell more than the rates. Run it with

    python tests/benchmarks/reading.py [--samples N] [--side N] [--threads N] [--rounds N]
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import daskimg
from daskimg import kernels

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import shelves

BATCH, EPOCHS, AHEAD = 256, 3, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def say(text):
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_both(folder, samples, side):
    """Write the same pictures as a plain file and as a store; return the open file."""
    path = folder / "plain.raw"
    pictures = np.memmap(path, np.uint8, "w+", shape=(samples, side, side, 3))
    chance = np.random.default_rng(0)
    for i in range(0, samples, 100):
        size = pictures[i : i + 100].shape
        pictures[i : i + 100] = chance.integers(0, 256, size, np.uint8)
    pictures.flush()
    layout = daskimg.plan._layout.choose_layout(samples, side * side * 3, daskimg.StoreOptions())
    shelves.write_store(folder / "store", pictures, shard=layout.shard, chunk=layout.chunk)
    return np.memmap(path, np.uint8, "r", shape=(samples, side, side, 3))


def copier(pictures):
    """Return a function that copies pictures of the plain file, and memory for them."""

    def copy(slots, out):
        for line, slot in enumerate(slots.tolist()):
            out[line] = pictures[slot]

    return copy, ring_of(pictures.shape[1:], np.uint8)


def normaliser(pictures):
    """Return a function that copies and normalises pictures, and memory for them."""
    flat, size = np.asarray(pictures).reshape(-1), pictures[0].size
    scale = 1 / (255 * np.array(STD))
    shift = -np.array(MEAN) / np.array(STD)

    def copy(slots, out):
        # daskimg's own kernel: a plainer one in float32 is slower, and would flatter the store.
        lines, starts = np.arange(len(slots)), slots * size
        kernels.gather_scaled(flat, starts, lines, scale, shift, out.reshape(len(out), -1), True)

    return copy, ring_of((3, *pictures.shape[1:3]), np.float32)


def ring_of(shape, dtype):
    """Return memory for the batch in hand and those ahead."""
    return deque(np.empty((BATCH, *shape), dtype) for _ in range(AHEAD + 1))


def read_plain(copy, ring, count, threads):
    """Read shuffled epochs of the plain file: batches ahead, reused buffers, halves by threads."""
    with ThreadPoolExecutor(threads) as pool:
        for epoch in range(EPOCHS):
            order = np.random.default_rng(epoch).permutation(count)
            waiting = deque()
            for start in range(0, count, BATCH):
                slots = order[start : start + BATCH]
                ring.rotate(-1)
                parts = zip(
                    np.array_split(slots, threads),
                    np.array_split(ring[-1][: len(slots)], threads),
                    strict=True,
                )
                waiting.append([pool.submit(copy, *part) for part in parts])
                if len(waiting) > AHEAD:
                    [task.result() for task in waiting.popleft()]
            for tasks in waiting:
                [task.result() for task in tasks]


def read_store(samples, threads, **form):
    """Read shuffled epochs of the store."""
    for epoch in range(EPOCHS):
        settings = {"threads": threads, "prefetch": AHEAD, "reuse": True}
        for _ in samples.batches(BATCH, shuffle=True, epoch=epoch, **settings, **form):
            pass


def timed(call, count):
    """Return samples a second."""
    start = time.perf_counter()
    call()
    return count * EPOCHS / (time.perf_counter() - start)


def compare(name, plain, ours, count, rounds):
    """Time both in turn, and print the median of the ratios of neighbours."""
    plain(), ours()  # the page cache, the kernels, the checks
    pairs = []
    for number in range(rounds):
        turn = (plain, ours) if number % 2 == 0 else (ours, plain)
        rates = {call: timed(call, count) for call in turn}
        pairs.append((rates[plain], rates[ours]))
    ratios = [b / a for a, b in pairs]
    best = [max(each) for each in zip(*pairs, strict=True)]
    say(
        f"{name:24} memmap {best[0]:9,.0f}/s  store {best[1]:9,.0f}/s  "
        f"ratio median {statistics.median(ratios):.2f}, "
        f"{min(ratios):.2f} to {max(ratios):.2f}, of the best {best[1] / best[0]:.2f}"
    )
    return statistics.median(ratios)


def cold_checks(url, rounds, count, threads):
    """Print what checking every chunk once adds to three epochs."""
    found = {}
    for _ in range(rounds):
        for check in ("never", "first"):
            samples = daskimg.open_store(url)
            rate = timed(lambda s=samples, c=check: read_store(s, threads, check=c), count)
            found.setdefault(check, []).append(rate)
    ratio = statistics.median(b / a for a, b in zip(found["never"], found["first"], strict=True))
    say(f"{'freshly opened, checks':24} three epochs with checks at {ratio:.2f} of those without")


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    say(f"{platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = write_both(folder, given.samples, given.side)
        samples = daskimg.open_store(folder / "store")
        count, threads = given.samples, given.threads
        for title, make, form in (
            ("uint8", copier, {}),
            (
                "float32 CHW normalised",
                normaliser,
                {"dtype": "float32", "layout": "chw", "mean": MEAN, "std": STD},
            ),
        ):
            plain = make(pictures)
            compare(
                title,
                lambda p=plain: read_plain(*p, count, threads),
                lambda f=form: read_store(samples, threads, **f),
                count,
                given.rounds,
            )
        cold_checks(folder / "store", given.rounds, count, threads)


if __name__ == "__main__":
    main()
