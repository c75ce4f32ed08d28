"""How much memory a listing takes: a bucket of a million objects that nobody stored.

``python tests/benchmarks/listing.py`` lists buckets of rising size on the tests' own server,
scans each as a manifest, reads all rows, and prints the peak memory of the process that did it.
The server makes a page at a time and shares the machine's cores: rates are a lower bound.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gcs_server import serving

_READ = """
import resource, sys, time
import daskimg
began = time.perf_counter()
manifest = daskimg.read_manifest(sys.argv[1])
listed = time.perf_counter()
facts = manifest.scan()
rows = sum(len(piece) for piece in manifest.pieces(facts))
ended = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(rows, round(listed - began, 1), round(ended - listed, 1), round(peak))
"""


def main():
    """List buckets of several sizes, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    counts = parser.parse_args().objects
    _say("objects", "listed in s", "read twice in s", "peak MiB")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        for count in counts:
            bucket = server.numbered(count, "in/class/{:08d}.jpg")
            found = subprocess.run(
                [sys.executable, "-c", _READ, f"gs://{bucket}/in/**/*.jpg"],
                env={**os.environ, **server.environment}, capture_output=True, text=True,
                check=True,
            ).stdout.split()  # fmt: skip
            rows, listed, read, peak = found
            assert int(rows) == count
            _say(f"{count:,}", listed, read, peak)


def _say(*cells):
    sys.stdout.write("".join(f"{cell:>17}" for cell in cells) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
