"""What the reader is measured beside: each as well as it can be done, with the same threads."""

import asyncio
import contextlib
import os
import subprocess
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np

from daskimg import kernels, streams

BATCH, AHEAD = 256, 2
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE, SHIFT = 1 / (255 * np.array(STD)), -np.array(MEAN) / np.array(STD)


class Memmap:
    """A plain file of pictures: batches ahead, reused buffers, a part of each for each thread."""

    def __init__(self, path, shape, threads, kernel=None):
        self._path, self._shape, self._threads = path, shape, threads
        self._kernel = kernel
        self._pictures = None
        dtype = np.float32 if kernel in ("plain", "past") else np.uint8
        one = (BATCH, int(np.prod(shape[1:])))
        self._ring = deque(np.zeros(one, dtype) for _ in range(AHEAD + 1))

    def open(self):
        """Map the file anew."""
        self._pictures = np.memmap(self._path, np.uint8, "r").reshape(len(self), -1)

    def close(self):
        """Let the map go."""
        self._pictures = None

    def __len__(self):
        return self._shape[0]

    def _copy(self, slots, out):
        if self._kernel is None:
            for line, slot in enumerate(slots.tolist()):
                out[line] = self._pictures[slot]
            return
        addresses, lines = self._pictures.ctypes.data + slots * out.shape[1], np.arange(len(slots))
        if self._kernel == "copying":
            streams.gather(addresses, lines, out)
        else:
            kernels.gather_scaled(
                addresses, lines, SCALE, SHIFT, out, True, self._kernel == "past"
            )

    def read(self, epochs):
        """Read shuffled epochs."""
        with ThreadPoolExecutor(self._threads) as pool:
            for epoch in range(epochs):
                order = np.random.default_rng(epoch).permutation(len(self))
                waiting = deque()
                for start in range(0, len(self), BATCH):
                    slots = order[start : start + BATCH]
                    self._ring.rotate(-1)
                    parts = zip(
                        np.array_split(slots, self._threads),
                        np.array_split(self._ring[-1][: len(slots)], self._threads),
                        strict=True,
                    )
                    waiting.append([pool.submit(self._copy, *part) for part in parts])
                    if len(waiting) > AHEAD:
                        [task.result() for task in waiting.popleft()]
                for tasks in waiting:
                    [task.result() for task in tasks]


class Ring:
    """Memory that is given out again, in the order in which it was asked for at first."""

    def __init__(self):
        self._arrays, self._given = [], 0

    def begin(self):
        """Give it out from the first on."""
        self._given = 0

    def __call__(self, shape, dtype):
        """Return memory of a shape."""
        if self._given == len(self._arrays):
            self._arrays.append(np.zeros(shape, dtype))
        self._given += 1
        return self._arrays[self._given - 1]


def tensorstore_chunks(url, chunk, threads):
    """Return what reads a store's chunks in a shuffled order, by TensorStore, and no more.

    Whole chunks as it likes them best: no batches, no gathering, no samples shuffled.
    """
    import tensorstore

    limit = {"limit": threads}
    array = tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": f"{url}/image"},
            "context": {"data_copy_concurrency": limit, "file_io_concurrency": limit},
        },
        read=True,
    ).result()

    def read(epochs):
        for epoch in range(epochs):
            starts = np.arange(0, array.shape[0], chunk)
            np.random.default_rng(epoch).shuffle(starts)
            waiting = deque()
            for start in starts.tolist():
                stop = min(start + chunk, array.shape[0])
                waiting.append(array[start:stop].read())
                if len(waiting) > 2 * threads:
                    waiting.popleft().result()
            for each in waiting:
                each.result()

    return read


def raw_gets(server, names, connections):
    """Get whole objects, plainly, and do nothing with them."""
    import aiohttp

    async def one(session, name):
        bucket, _, key = name.partition("/")
        url = f"{server.url}/download/storage/v1/b/{bucket}/o/{quote(key, safe='')}?alt=media"
        async with session.get(url) as answer:
            assert answer.status == 200
            return len(await answer.read())

    async def everything():
        connector = aiohttp.TCPConnector(limit=connections)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(one(session, name) for name in names))

    asyncio.run(everything())


@contextlib.contextmanager
def ffcv(python, place, plain, shape, threads, epochs):
    """Provide what reads epochs of the same pictures by FFCV, in an interpreter that has it.

    It returns the seconds that they took, and the seconds of CPU.
    """
    script = Path(__file__).with_name("ffcv_loader.py")
    command = [python, script, place, plain, *shape[:2], threads, epochs, BATCH]
    with subprocess.Popen(
        [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, bufsize=1,
    ) as process:  # fmt: skip

        def read():
            process.stdin.write("read\n")
            return seconds(process.stdout.readline())

        yield read
        process.stdin.close()


def seconds(told):
    """Return what another process told: the seconds it took, and the seconds of CPU."""
    took, spent = map(float, told.split())
    return took, spent


def forget_pages(folder):
    """Have the system drop the pages of all files below a folder; maps must be gone."""
    for path in Path(folder).rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
