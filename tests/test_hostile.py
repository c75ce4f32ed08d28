"""Awkward, damaged and malicious files: a picture or a reason, never a crash."""

import csv
import subprocess
import sys
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from daskimg.decode import decode, read_header
from daskimg.decode._jpeg import read_frame
from daskimg.errors import SampleError
from daskimg.options import DecodeOptions

HOSTILE = Path(__file__).resolve().parents[2] / "shared" / "data" / "hostile"
EXACT = DecodeOptions(exact=True)

# What a person would say is wrong with each file that must fail.
FAULTS = {
    "oss-fuzz-36829.jpeg": {"corrupt"},
    "5145e95a-02a8-11e7-8372-4787a7307ab8.jpg": {"format", "corrupt", "truncated"},
    "513f29d0-02a8-11e7-9756-6035edb96e79.jpg": {"truncated"},
    "broken-bogus-segment-length.jpg": {"corrupt"},
    "broken.png": {"corrupt"},
    "xs1n0g01.png": {"format"},
    "xcrn0g04.png": {"format"},
    "xhdn0g08.png": {"corrupt"},
    "xdtn0g01.png": {"corrupt"},
    "zero_width.gif": {"corrupt"},
    "crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif": {"corrupt", "truncated"},
    "65536-uint32-limit.png": {"pixels"},
    "decompression_bomb.gif": {"pixels"},
    "Bad_width.bmp": {"pixels"},
    "zero_bytes.jpg": {"empty"},
    "html_page.jpg": {"format"},
}


def rows(*expected):
    """The manifest's rows of these kinds; one that skips where there is no manifest."""
    path = HOSTILE / "manifest.csv"
    if not path.is_file():
        skip = pytest.mark.skip(reason="no shared/data beside the repository")
        return [pytest.param(None, marks=skip, id="none")]
    with path.open(encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["expected"] in expected]
    return [pytest.param(row, id=Path(row["path"]).name) for row in found]


def content_of(row):
    return (HOSTILE / row["path"]).read_bytes()


def reference(row, content):
    """The mean the manifest gives, or of our own composite where the manifest drops alpha."""
    with warnings.catch_warnings(action="ignore"):  # of a malformed MPO
        image = Image.open(BytesIO(content))
    if not image.has_transparency_data:
        return [float(word) for word in (row["ref_rgb_mean"].split(" (")[0].split() * 3)[:3]]
    if image.mode == "I;16":
        values = np.asarray(image)
        grey = np.where(values == image.info["transparency"], 255, values / 257)
        return [grey.mean()] * 3
    rgba = np.asarray(image.convert("RGBA")).astype(float)
    alpha = rgba[:, :, 3:] / 255
    return (rgba[:, :, :3] * alpha + 255 * (1 - alpha)).mean((0, 1))


@pytest.mark.parametrize("row", rows("decode"))
def test_a_file_that_should_decode_does_to_the_right_colours(row):
    content = content_of(row)

    picture, source = decode(content, EXACT)

    npt.assert_allclose(picture.array().mean((0, 1)), reference(row, content), atol=2)
    sizes = {int(row["width"]), int(row["height"])}
    assert {source.width, source.height} == sizes
    assert source.mode == row["mode"]
    assert source == read_header(content, EXACT)


@pytest.mark.parametrize("row", rows("decode"))
def test_reduced_decoding_has_the_bits_of_pillows_own_or_is_as_near(row):
    content = content_of(row)
    image = JpegImageFile(BytesIO(content)) if row["format"] in ("JPEG", "MPO") else None
    if image is None:
        expected = decode(content, EXACT)[0].resized(32, 32).array()
    else:
        turned = int(row["exif_orientation"] or 1) > 1
        _, box = image.draft(None, (64, 64))
        upright = ImageOps.exif_transpose(image).convert("RGB") if turned else image.convert("RGB")
        expected = np.asarray(upright.resize((32, 32), box=None if turned else box))

    reduced, _ = decode(content, DecodeOptions(), lambda _h, _w: (32, 32))

    got = reduced.resized(32, 32).array()
    if read_frame(content) is None:
        npt.assert_array_equal(got, expected)
    else:  # at any eighth of its size, not only a half or a quarter
        exact = decode(content, EXACT)[0].resized(32, 32).array().astype(int)
        assert abs(got - exact).mean() < max(2, 1.1 * abs(expected - exact).mean())


@pytest.mark.parametrize("row", rows("error"))
def test_a_broken_file_is_refused_with_the_reason(row):
    with pytest.raises(SampleError) as caught:
        decode(content_of(row), EXACT)

    assert caught.value.reason in FAULTS[Path(row["path"]).name]
    assert " at 0x" not in caught.value.message
    assert len(caught.value.message) > 10


@pytest.mark.parametrize("row", rows("choice"))
def test_a_doubtful_file_decodes_or_is_refused(row):
    shape, reason = outcome(content_of(row))

    if row["category"] == "truncated":
        assert reason == "truncated"
    elif reason is None:
        assert shape == (int(row["height"]), int(row["width"]), 3)
    else:
        assert reason in {"codec", "corrupt"}


def outcome(content):
    """The picture's shape, or the reason why there is none."""
    try:
        picture, _ = decode(content, DecodeOptions(), lambda _h, _w: (64, 64))
    except SampleError as error:
        return None, error.reason
    return (picture.height, picture.width, picture.channels), None


@pytest.mark.parametrize("row", rows("decode", "error", "choice"))
def test_no_file_makes_pillow_warn(row):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcome(content_of(row))

    assert not caught


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux counts it")
@pytest.mark.skipif(not HOSTILE.is_dir(), reason="no shared/data beside the repository")
def test_bombs_take_no_memory():
    code = """
import sys
from pathlib import Path
from daskimg.decode import decode
from daskimg.errors import SampleError
from daskimg.options import DecodeOptions

for path in sys.argv[1:]:
    try:
        decode(Path(path).read_bytes(), DecodeOptions())
    except SampleError:
        pass
# ru_maxrss would begin with the size of the process that started this one
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)
"""
    rows_of_all = [param.values[0] for param in rows("decode", "error", "choice")]
    bombs = [str(HOSTILE / row["path"]) for row in rows_of_all]

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *bombs],
        capture_output=True,
        check=True,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )

    assert int(done.stdout) < 400  # MB


def test_a_truncated_picture_is_never_filled_up_in_silence():
    file = BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG")

    with pytest.raises(SampleError, match="truncated"):
        decode(file.getvalue()[:-300], DecodeOptions(), lambda _h, _w: (8, 8))
