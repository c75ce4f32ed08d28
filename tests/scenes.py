"""What several tests set up: pictures, tables, builds. No assertions here."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import daskimg
from daskimg import recipes

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
PICTURES = ROOT / "notebooks" / "pictures"


def picture(number, height=40, width=50):
    """A smooth colour picture that is unlike any other number's."""
    y, x = np.mgrid[:height, :width]
    red = (x * (number % 7 + 1) + number * 13) % 256
    green = (y * (number % 5 + 1) + number * 29) % 256
    blue = (x + y + number * 3) % 256
    return Image.fromarray(np.stack([red, green, blue], 2).astype(np.uint8))


def make_pictures(folder, count, broken=()):
    """Save `count` pictures of several sizes and formats; return their names in order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for i in range(count):
        name = f"p{i:04d}.{('jpg', 'png')[i % 2]}"
        if i in broken:
            (folder / name).write_bytes(b"this is no picture")
        else:
            picture(i, 30 + i % 11, 60 - i % 13).save(folder / name, quality=92)
        names.append(name)
    return names


def table_of(folder, names):
    """A manifest with a text label and a number."""
    return pd.DataFrame(
        {
            "path": [str(folder / name) for name in names],
            "label": [("cat", "dog", "emu")[i % 3] for i in range(len(names))],
            "price": [i / 2 for i in range(len(names))],
        }
    )


def repeated(manifest, path, times):
    """Write a table whose rows are those of a manifest, several times; return its path."""
    rows = pd.read_csv(manifest)
    rows["path"] = [str(Path(manifest).parent / name) for name in rows["path"]]
    pd.concat([rows] * times).to_csv(path, index=False)
    return path


def plan(table, url, *, size=16, shard=None, chunk=None, codec="none", recipe=None, **options):
    """A plan with small shards."""
    manifest = daskimg.read_manifest(table) if not hasattr(table, "scan") else table
    packing = daskimg.StoreOptions(shard_samples=shard, chunk_samples=chunk, codec=codec)
    return daskimg.plan_store(
        manifest,
        str(url),
        recipe or recipes.resize(size),
        store=packing,
        options=daskimg.RunOptions(**options),
    )


def build(table, url, client, **settings):
    """Build a store, and return its samples."""
    report = daskimg.build_store(plan(table, url, **settings), client=client)
    assert report.outcome == "committed", report
    return daskimg.open_store(str(url))


def sample_hashes(url):
    """The sha256 of each sample of a store, in order."""
    images = daskimg.open_store(str(url)).image[:]
    return [hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in images]


def objects(url, prefix=""):
    """Every file below a store by name, with its bytes; the log of runs is of other things."""
    root = Path(url)
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted((root / prefix).rglob("*"))
        if path.is_file() and "daskimg/records/runs" not in path.as_posix()
    }


def daskimg_run(*arguments, **options):
    """Run the main job as a person does; return the finished process."""
    return subprocess.run(
        [sys.executable, "-m", "daskimg.run", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, **options,
    )  # fmt: skip


def start(script, *arguments, **variables):
    """Run a Python script as a process group of its own, which can be killed whole."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}", **variables}
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def kill_when(process, condition):
    """Kill a process group as soon as something has come true."""
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
