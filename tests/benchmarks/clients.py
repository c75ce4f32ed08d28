"""Our door to a bucket beside obstore's client, in turn, on the tests' own server.

    python tests/benchmarks/clients.py [--rounds 3]

Photographs as they are read ahead, a shard as it is put: images or MB a second, and the seconds
of this process's processors for each, with hashes checked by ours. The server has a
process of its own, whose time is not counted, but it shares the machine.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

import gcs_server  # noqa: E402
import obstore  # noqa: E402
from obstore.store import GCSStore  # noqa: E402
from throughput import PHOTOGRAPHS, machine  # noqa: E402

from daskimg import fetch  # noqa: E402

AT_ONCE = 64
SHARD = bytes(16 << 20)
PUTS = 4


def timed(work):
    """Return the seconds of a clock and of processors that work takes."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu


class Bench:
    """A bucket with photographs, and both clients of it."""

    def __init__(self, server, count):
        self.bucket = server.bucket()
        names = sorted(path.name for path in PHOTOGRAPHS.iterdir())[:300]
        server.upload(PHOTOGRAPHS, self.bucket, names)
        self.names = [names[i % len(names)] for i in range(count)]
        self.store = GCSStore(
            self.bucket,
            base_url=server.url,
            bearer_token="test",
            client_options={"allow_http": True},
        )
        self.folder = fetch.open_folder(f"gs://{self.bucket}")

    def read_ours(self):
        places = (f"gs://{self.bucket}/{name}" for name in self.names)
        with fetch.using(fetch.Options(objects_ahead=AT_ONCE)):
            for found in fetch.find_ahead(places, whole=True):
                assert isinstance(found.content, bytes)

    def read_obstore(self):
        async def all_of_them():
            at_once = asyncio.Semaphore(AT_ONCE)

            async def one(name):
                async with at_once:
                    found = await obstore.get_async(self.store, name)
                    return len(await found.bytes_async())

            await asyncio.gather(*map(one, self.names))

        asyncio.run(all_of_them())

    def put_ours(self):
        for number in range(PUTS):
            self.folder.put(f"out/{number}", SHARD)

    def put_obstore(self):
        for number in range(PUTS):
            obstore.put(self.store, f"out/{number}", SHARD, use_multipart=False)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=1500)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--latencies", type=float, nargs="*", default=[0.0, 0.05])
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place, gcs_server.serving(Path(place)) as server:
        os.environ.update(server.environment)
        bench = Bench(server, given.count)
        out = [machine(), "", "| | wall, ours / obstore | processors: ours | obstore |"]
        out.append("| --- | --- | --- | --- |")
        for latency in given.latencies:
            server.latency(latency)
            for what in ("read", "put"):
                pairs = []
                for _ in range(given.rounds):
                    ours, other = (
                        timed(getattr(bench, f"{what}_{client}")) for client in ("ours", "obstore")
                    )
                    pairs.append((ours[0] / other[0], ours[1], other[1]))
                wall, mine, its = map(statistics.median, zip(*pairs, strict=True))
                each = 1000 / (given.count if what == "read" else PUTS)
                title = f"{what}, {1000 * latency:.0f} ms a request"
                line = f"{title} | {wall:.2f} | {mine * each:.2f} ms each | {its * each:.2f} ms"
                out.append(f"| {line} |")
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
