"""Augmented, normalised batches, beside a plain loop of NumPy and Pillow over a memory map.

Both make 224x224x3 float32, channels first, from random parts of 256x256x3 pictures, mirrored,
their colours changed, in a true shuffle, with the same threads, in turn within one run:

    python tests/benchmarks/augmenting.py [--samples N] [--threads N] [--rounds N]
"""

import argparse
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

import daskimg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import shelves

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

STORED, SIZE, BATCH = 256, 224, 128
PARTS = {"crop": (SIZE, SIZE), "scale": (0.3, 1.0), "mirror": 0.5}
COLOURS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
FORM = {"dtype": "float32", "layout": "chw", "mean": MEAN, "std": STD}


def say(text):
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_both(folder, count):
    """Write smooth pictures as a plain file and as a store; return the open file."""
    rng = np.random.default_rng(0)
    pictures = np.memmap(folder / "plain", np.uint8, "w+", shape=(count, STORED, STORED, 3))
    for i in range(count):
        small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
        pictures[i] = small.resize((STORED, STORED), Image.Resampling.BICUBIC)
    pictures.flush()
    shelves.write_store(folder / "store", pictures, shard=64, chunk=16)
    return np.memmap(folder / "plain", np.uint8, "r", shape=pictures.shape)


def plain(pictures, threads, *, colours):
    """Read an epoch as a training script would by hand, in threads."""
    rng = np.random.default_rng(1)
    order = rng.permutation(len(pictures))
    mean, std = (np.array(each, np.float32).reshape(3, 1, 1) for each in (MEAN, STD))

    def make(line, slot, out):
        own = np.random.default_rng((2, slot))
        area = STORED * STORED * own.uniform(0.3, 1.0)
        ratio = np.exp(own.uniform(np.log(3 / 4), np.log(4 / 3)))
        tall = min(STORED, round(np.sqrt(area / ratio)))
        wide = min(STORED, round(np.sqrt(area * ratio)))
        top, left = own.integers(STORED - tall + 1), own.integers(STORED - wide + 1)
        part = Image.fromarray(pictures[slot][top : top + tall, left : left + wide])
        image = part.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        if own.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if colours:
            for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                image = change(image).enhance(own.uniform(0.6, 1.4))
        out[line] = (np.asarray(image).transpose(2, 0, 1) / np.float32(255) - mean) / std

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(order), BATCH):
            slots = order[start : start + BATCH]
            out = np.empty((len(slots), 3, SIZE, SIZE), np.float32)
            list(pool.map(make, range(len(slots)), slots, [out] * len(slots)))


def ours(samples, threads, *, colours):
    """Read an epoch of the store."""
    augment = daskimg.Augment(**PARTS, **(COLOURS if colours else {}))
    for _ in samples.batches(BATCH, shuffle=True, augment=augment, threads=threads, **FORM):
        pass


def timed(call):
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = write_both(folder, given.samples)
        samples = daskimg.open_store(folder / "store")
        for colours in (False, True):
            calls = [
                lambda c=colours: plain(pictures, given.threads, colours=c),
                lambda c=colours: ours(samples, given.threads, colours=c),
            ]
            calls[1]()  # the kernels are compiled
            pairs = [[given.samples / timed(call) for call in calls] for _ in range(given.rounds)]
            ratio = statistics.median(own / other for other, own in pairs)
            best = [max(each) for each in zip(*pairs, strict=True)]
            what = "parts, mirrored, colours" if colours else "parts, mirrored"
            say(
                f"{what:26} NumPy and Pillow {best[0]:7,.0f}/s  daskimg {best[1]:7,.0f}/s  "
                f"ratio {ratio:.2f}"
            )


if __name__ == "__main__":
    main()
