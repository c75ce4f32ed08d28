"""How full a device is kept: batches on it a second, beside a loop that is fed from memory.

Images of 224x224x3, shuffled, as float16, channels first, normalised. The bound copies batches
that lie ready in (pinned) memory to the device; then ``samples.to_torch`` as it is, and through
a DataLoader's workers. ``--work`` runs a network on each batch, so that copies and reading hide
behind it; the part of the bound's rate that is reached is how full the device is kept. Run it with

    python tests/benchmarks/feeding.py [--device cuda] [--samples N] [--batch N] [--work]
"""

import argparse
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

import daskimg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import shelves

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

SIDE = 224
FORM = {"dtype": "float16", "layout": "chw", "mean": MEAN, "std": STD}


def say(text):
    """Print a line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_store(folder, count):
    """Write a store of random pictures."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    layout = daskimg.plan._layout.choose_layout(count, SIDE * SIDE * 3, daskimg.StoreOptions())
    shelves.write_store(folder / "a", pictures, shard=layout.shard, chunk=layout.chunk)
    return daskimg.open_store(folder / "a")


def network(device):
    """Return a small residual-free network: enough work that a GPU is not idle."""
    widths = (3, 64, 128, 256)
    layers = [
        layer
        for a, b in pairwise(widths)
        for layer in (torch.nn.Conv2d(a, b, 3, 2, 1), torch.nn.ReLU())
    ]
    head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(256, 1000)]
    return torch.nn.Sequential(*layers, *head).to(device, torch.float16)


def settled(device):
    """Wait until all that was queued is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(batches, use, device, warm=2):
    """Return images a second, the first batches left out."""
    count = start = 0
    for number, image in enumerate(batches):
        use(image)
        if number + 1 == warm:
            settled(device)
            count, start = 0, time.perf_counter()
        elif number >= warm:
            count += len(image)
    settled(device)
    return count / (time.perf_counter() - start)


def from_memory(samples, batch, device, count):
    """Yield batches that lay ready in memory, on the device."""
    ready = [
        torch.from_numpy(each.image)
        for each, _ in zip(samples.batches(batch, shuffle=True, **FORM), range(4), strict=False)
    ]
    if device.type == "cuda":
        ready = [each.pin_memory() for each in ready]
    for number in range(count):
        yield ready[number % len(ready)].to(device, non_blocking=True, copy=True)


def through_workers(samples, batch, device, workers):
    """Yield batches of a DataLoader's workers, on the device."""
    loader = torch.utils.data.DataLoader(
        samples.to_torch(batch, shuffle=True, **FORM), batch_size=None, num_workers=workers,
        pin_memory=device.type == "cuda", multiprocessing_context="spawn",
    )  # fmt: skip
    for each in loader:
        yield each.image.to(device, non_blocking=True)


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", action="store_true")
    given = parser.parse_args()
    device, batch = torch.device(given.device), given.batch
    net = network(device) if given.work else None
    use = net or (lambda image: image.view(torch.int16)[:, 0, 0, 0])  # touched, no more
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        samples = write_store(Path(name), given.samples)
        count = -(-given.samples // batch)
        loops = {
            "from memory": lambda: from_memory(samples, batch, device, count),
            "to_torch": lambda: (
                each.image for each in samples.to_torch(batch, shuffle=True, device=device, **FORM)
            ),
            f"{given.workers} workers": lambda: through_workers(
                samples, batch, device, given.workers
            ),
        }
        found = {name: [] for name in loops}
        for _ in range(given.rounds):
            for name, loop in loops.items():
                found[name].append(rate(loop(), use, device))
    bound = found["from memory"]
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    say(f"{given.samples:,} pictures of {SIDE}x{SIDE}, batches of {batch}, on {card}")
    for name, rates in found.items():
        ratio = statistics.median(own / most for own, most in zip(rates, bound, strict=True))
        say(f"{name:14} {statistics.median(rates):10,.0f} images/s  {ratio:.2f} of the bound")


if __name__ == "__main__":
    main()
