"""Reading sizes beside their bound: opening each file by Pillow, and looking at nothing else.

Timed by ``pytest tests/benchmarks/test_headers.py --benchmark-enable``.
"""

from pathlib import Path

import pytest
from PIL import Image

from daskimg.headers import read_headers
from daskimg.options import DecodeOptions

IMAGES = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet"


@pytest.fixture(scope="module")
def paths():
    found = [str(path) for path in sorted(IMAGES.rglob("*.JPEG"))]
    if not found:
        pytest.skip("no shared/data beside the repository")
    return found


def bare(paths):
    found = []
    for path in paths:
        with Image.open(path) as image:
            found.append(image.size)
    return found


def ours(paths):
    return [(header.width, header.height) for header in read_headers(paths, DecodeOptions())]


@pytest.mark.parametrize("way", [bare, ours], ids=["bare Pillow", "daskimg"])
def test_headers(benchmark, paths, way):
    sizes = benchmark.pedantic(way, (paths,), rounds=20, warmup_rounds=1)

    if benchmark.stats:
        rate = len(paths) / benchmark.stats.stats.median
        benchmark.extra_info["headers_per_second"] = round(rate)
    assert len(sizes) == len(paths)
    assert min(map(min, sizes)) > 0
