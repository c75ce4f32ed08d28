"""Windows of a TIFF: the same bits as of the whole, from no more than the tiles they touch."""

from io import BytesIO

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin
from tiffs import assembled, saved, tiled

from daskimg.decode import decode, open_windows
from daskimg.errors import SampleError
from daskimg.options import DecodeOptions

quick = settings(max_examples=25, deadline=None)
HEIGHT, WIDTH = 90, 110


def photograph(mode, height=HEIGHT, width=WIDTH):
    """Different everywhere, so that a shift by a pixel shows."""
    y, x = np.mgrid[:height, :width]
    if mode == "I;16":
        return Image.fromarray(((x * 97 + y * 1031) % 65536).astype(np.uint16))
    bands = [(x * 3 + y) % 256, (x + y * 5) % 256, (x * y) % 256]
    return Image.fromarray(np.stack(bands, 2).astype(np.uint8)).convert(mode)


class Counting(BytesIO):
    """A file that knows how many bytes were read from it."""

    read_bytes = 0

    def read(self, size=-1):
        found = super().read(size)
        self.read_bytes += len(found)
        return found


# -- bits ---------------------------------------------------------------------------------

COMPRESSIONS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd"]
MODES = ["L", "P", "RGB", "RGBA", "I;16"]
FILES = {
    (mode, compression, layout): (
        tiled(photograph(mode), *layout, compression)
        if layout
        else saved(photograph(mode), compression=compression, tiffinfo={278: 16})
    )
    for mode in MODES
    for compression in COMPRESSIONS
    for layout in (None, (32, 32), (16, 48), (128, 128))
    if compression != "jpeg" or mode not in ("P", "I;16")
}


def options_of(mode):
    deep = mode == "I;16"
    return DecodeOptions(channels=1 if deep else 3, dtype="uint16" if deep else "uint8")


@st.composite
def window(draw):
    top, left = draw(st.integers(0, HEIGHT - 1)), draw(st.integers(0, WIDTH - 1))
    return top, left, draw(st.integers(1, HEIGHT - top)), draw(st.integers(1, WIDTH - left))


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(list(FILES)), where=window())
def test_a_window_has_the_bits_of_the_whole(kind, where):
    content, options = FILES[kind], options_of(kind[0])
    top, left, height, width = where

    windows = open_windows(content, options)
    got = windows.read(*where)

    whole = decode(content, options)[0].array()
    assert (windows.height, windows.width) == (HEIGHT, WIDTH)
    npt.assert_array_equal(got, whole[top : top + height, left : left + width])
    assert got.dtype == whole.dtype


@pytest.mark.parametrize("kind", FILES, ids=str)
def test_every_layout_is_offered_and_right_at_its_edges(kind):
    content, options = FILES[kind], options_of(kind[0])

    windows = open_windows(content, options)

    whole = decode(content, options)[0].array()
    npt.assert_array_equal(windows.read(0, 0, HEIGHT, WIDTH), whole)
    npt.assert_array_equal(windows.read(HEIGHT - 1, WIDTH - 1, 1, 1), whole[-1:, -1:])
    npt.assert_array_equal(windows.read(30, 40, 20, 30), whole[30:50, 40:70])


def test_tiles_written_here_are_what_pillow_reads():
    for layout in ((32, 32), (16, 48)):
        content = FILES["RGB", "tiff_lzw", layout]

        image = Image.open(BytesIO(content))

        assert (image.tag_v2[323], image.tag_v2[322]) == layout
        npt.assert_array_equal(np.asarray(image), np.asarray(photograph("RGB")))


@pytest.mark.parametrize("options", [{}, {"channels": 1}, {"dtype": "float32"}], ids=str)
def test_windows_are_what_the_options_say(options):
    chosen = DecodeOptions(**options, background=(9, 99, 199))
    content = FILES["RGBA", "packbits", (32, 32)]

    got = open_windows(content, chosen).read(20, 30, 40, 50)

    npt.assert_array_equal(got, decode(content, chosen)[0].array()[20:60, 30:80])


def test_planes_that_are_stored_apart_come_together():
    planes = [np.asarray(band) for band in photograph("RGB").split()]
    tiles = [
        np.pad(plane, ((0, 6), (0, 18)))[top : top + 32, left : left + 64].tobytes()
        for plane in planes
        for top in (0, 32, 64)
        for left in (0, 64)
    ]
    tags = {258: (8, 8, 8), 259: 1, 262: 2, 277: 3, 284: 2}
    content = assembled(HEIGHT, WIDTH, 32, 64, tags, tiles)

    got = open_windows(content, DecodeOptions()).read(20, 50, 50, 40)

    npt.assert_array_equal(got, np.asarray(photograph("RGB"))[20:70, 50:90])


def test_a_window_is_the_callers_own():
    windows = open_windows(FILES["RGB", "raw", (32, 32)], DecodeOptions())

    first = windows.read(0, 0, 8, 8)
    first[:] = 0

    assert windows.read(0, 0, 8, 8).any()


# -- thrift -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "most"),
    [
        pytest.param((32, 32), 2 * 32 * 32 * 3, id="two tiles of twelve"),
        pytest.param(None, 10 * 10 * 3, id="parts of ten rows"),
    ],
)
def test_no_more_is_read_than_the_window_touches(layout, most):
    file = Counting(FILES["RGB", "raw", layout])
    windows = open_windows(file, DecodeOptions())
    header = file.read_bytes

    windows.read(5, 28, 10, 10)

    assert header < 3000
    assert file.read_bytes - header == most


def test_a_strip_is_read_once_for_the_windows_of_a_row():
    file = Counting(FILES["RGB", "tiff_lzw", None])
    windows = open_windows(file, DecodeOptions())
    whole = np.asarray(photograph("RGB"))

    first = windows.read(0, 0, 16, 16)
    before = file.read_bytes
    second = windows.read(0, 16, 16, 16)
    after = file.read_bytes

    assert before == after
    npt.assert_array_equal(first, whole[:16, :16])
    npt.assert_array_equal(second, whole[:16, 16:32])
    npt.assert_array_equal(windows.read(16, 16, 16, 16), whole[16:32, 16:32])
    assert file.read_bytes > after


def test_the_limit_is_of_a_window_and_not_of_the_picture():
    options = DecodeOptions(max_pixels=2 * 32 * 32)
    windows = open_windows(FILES["RGB", "tiff_lzw", (32, 32)], options)

    assert windows.read(0, 0, 32, 64).shape == (32, 64, 3)
    with pytest.raises(SampleError, match="pixels: a window of 96 x 32 pixels, over the limit of"):
        windows.read(0, 0, 32, 65)


def test_a_window_of_a_picture_of_a_gigabyte_takes_none(tmp_path):
    side, tile = 20_000, 250
    one = np.full((tile, tile, 3), 7, np.uint8).tobytes()
    tags = {258: (8, 8, 8), 259: 1, 262: 2, 277: 3, 284: 1}
    content = assembled(side, side, tile, tile, tags, [b""] * (side // tile) ** 2)
    path = tmp_path / "large.tif"
    with path.open("wb") as file:  # the directory in front, and then a hole
        shifted = 1 << 20
        offsets = shifted + np.arange((side // tile) ** 2, dtype="<u4") * len(one)
        counts = np.full(len(offsets), len(one), "<u4")
        tail = len(offsets) * 4
        file.write(content[: -2 * tail] + offsets.tobytes() + counts.tobytes())
        file.seek(int(offsets[-1]))
        file.write(one)

    with path.open("rb") as file:
        windows = open_windows(file, DecodeOptions(max_pixels=4 * tile * tile))
        last = windows.read(side - 300, side - 300, 300, 300)

    assert (windows.height, windows.width) == (side, side)
    assert last.shape == (300, 300, 3)
    assert (last[50:, 50:] == 7).all()
    assert not last[:50].any()


# -- refusals -----------------------------------------------------------------------------


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def turned_by_xmp():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700] = b'<r tiff:Orientation="8"/>'
    tags.tagtype[700] = 1
    return tags


def with_an_empty_tile():
    tags = {258: (8, 8, 8), 259: 1, 262: 2, 277: 3, 284: 1}
    return assembled(8, 16, 8, 8, tags, [bytes(192), b""])


def as_png():
    file = BytesIO()
    photograph("RGB").save(file, "PNG")
    return file.getvalue()


NOT_OFFERED = {
    "no bytes": b"",
    "a PNG": as_png(),
    "on its side": saved(photograph("RGB"), exif=oriented(6)),
    "upside down": saved(photograph("RGB"), exif=oriented(3)),
    "turned by XMP": saved(photograph("RGB"), tiffinfo=turned_by_xmp()),
    "one bit": saved(photograph("1")),
    "a fax": saved(photograph("1"), compression="group4"),
    "floating point": saved(photograph("F")),
    "CMYK": saved(photograph("CMYK")),
    "a tile left out": with_an_empty_tile(),
    "cut off": FILES["RGB", "raw", None][:-5000],
    "half a header": FILES["RGB", "raw", None][:20],
}


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_anything_else_is_left_to_the_ordinary_decoder(name):
    assert open_windows(NOT_OFFERED[name], DecodeOptions()) is None


@pytest.mark.parametrize("where", [(-1, 0, 5, 5), (0, 0, 0, 5), (86, 0, 5, 5), (0, 106, 5, 5)])
def test_what_is_no_window_of_the_picture_is_the_callers_fault(where):
    windows = open_windows(FILES["RGB", "raw", (32, 32)], DecodeOptions())

    with pytest.raises(ValueError, match=r"no window|is not in 90 x 110"):
        windows.read(*where)


def test_a_broken_tile_costs_the_windows_that_touch_it():
    content = bytearray(FILES["L", "tiff_adobe_deflate", (32, 32)])
    second = Image.open(BytesIO(bytes(content))).tag_v2[324][1]
    content[second : second + 40] = bytes(40)
    windows = open_windows(bytes(content), DecodeOptions(channels=1))

    assert windows.read(0, 0, 32, 32).shape == (32, 32, 1)
    with pytest.raises(SampleError, match="corrupt"):
        windows.read(0, 30, 10, 10)


def test_a_file_that_shrinks_is_truncated():
    file = BytesIO(FILES["RGB", "raw", (32, 32)])
    windows = open_windows(file, DecodeOptions())
    file.truncate(20_000)

    with pytest.raises(SampleError, match="truncated: the file ends within a tile"):
        windows.read(80, 80, 5, 5)


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from([kind for kind in FILES if kind[1] in ("raw", "tiff_adobe_deflate")]),
    changes=st.lists(st.tuples(st.floats(0, 0.06), st.integers(0, 255)), max_size=4),
    cut=st.floats(0.9, 1),
)
def test_broken_bytes_give_windows_or_a_reason_and_nothing_else(kind, changes, cut):
    content = bytearray(FILES[kind])
    for where, value in changes:
        content[-1 - int(where * len(content))] = value  # the directory is behind the tiles
    options = DecodeOptions(max_pixels=100_000)

    try:
        windows = open_windows(bytes(content[: round(cut * len(content))]), options)
        got = windows and windows.read(0, 0, 1, 1).shape
    except SampleError as error:
        got = error.reason

    assert got in (None, (1, 1, 3), "corrupt", "truncated", "mode", "pixels", "codec", "format")
