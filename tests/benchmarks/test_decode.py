"""Decoding beside its bound: the shortest loop that one would write with Pillow alone.

Timed by ``pytest tests/benchmarks/test_decode.py --benchmark-enable``.
"""

from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daskimg import fetch
from daskimg.decode import decode
from daskimg.options import DecodeOptions

IMAGES = Path(__file__).resolve().parents[3] / "shared" / "data" / "imagenet"
SIDE = 64


@pytest.fixture(scope="module")
def paths():
    found = [str(path) for path in sorted(IMAGES.rglob("*.JPEG"))[::10]]
    if not found:
        pytest.skip("no shared/data beside the repository")
    return found


def bare(path, out, exact):
    image = Image.open(path)
    if not exact:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
    out[...] = np.asarray(image.convert("RGB").resize((SIDE, SIDE)))


def ours(path, out, exact):
    options = DecodeOptions(exact=exact)
    picture, _ = decode(fetch.read(path), options, lambda _height, _width: (SIDE, SIDE))
    picture.resized(SIDE, SIDE).write(out)


@pytest.mark.parametrize("exact", [False, True], ids=["reduced", "exact"])
@pytest.mark.parametrize("way", [bare, ours], ids=["bare Pillow", "daskimg"])
def test_decode(benchmark, paths, way, exact):
    out = np.zeros((len(paths), SIDE, SIDE, 3), np.uint8)
    turn = cycle(range(len(paths)))

    def one_picture():
        i = next(turn)
        way(paths[i], out[i], exact)

    benchmark.pedantic(one_picture, rounds=20, iterations=len(paths), warmup_rounds=1)

    if benchmark.stats:
        benchmark.extra_info["pictures_per_second"] = round(1 / benchmark.stats.stats.median)
    assert out[0].any()
