"""A mask's values are those of its file: what is kept, what is refused, and how safely."""

import struct
import zlib
from io import BytesIO

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from daskimg.decode import decode_mask
from daskimg.errors import SampleError

quick = settings(max_examples=25, deadline=None)
ORIENTATION = 0x0112
INDICES = np.array([[0, 1, 2], [3, 2, 1]], np.uint8)


def saved(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def palette(indices=INDICES):
    image = Image.fromarray(indices).convert("P")
    assert np.array_equal(image, indices)
    image.putpalette([250, 10, 20] * 2 + [0, 0, 0] * 2 + [9, 9, 9] * 252)  # colours repeat
    return image


@quick
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_grey_levels_come_back_as_they_were(array):
    got = decode_mask(saved(Image.fromarray(array)))

    npt.assert_array_equal(got[:, :, 0], array)
    assert got.dtype == np.uint8


@quick
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_palettes_indices_come_back_and_not_its_colours(array):
    got = decode_mask(saved(palette(array)))

    npt.assert_array_equal(got[:, :, 0], array)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {"bits": 2}),
        ("PNG", {"transparency": 1}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
    ids=str,
)
def test_indices_survive_every_format(kind, options):
    got = decode_mask(saved(palette(), kind, **options))

    npt.assert_array_equal(got[:, :, 0], INDICES)


@quick
@given(
    array=hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    kind=st.sampled_from(["PNG", "TIFF"]),
)
def test_16_bit_values_come_back_as_they_were(array, kind):
    got = decode_mask(saved(Image.fromarray(array), kind), dtype="uint16")

    npt.assert_array_equal(got[:, :, 0], array)
    assert got.dtype == np.uint16


def test_8_bit_values_are_not_scaled_to_16():
    got = decode_mask(saved(Image.fromarray(INDICES)), dtype="uint16")

    npt.assert_array_equal(got[:, :, 0], INDICES)


def test_16_bit_values_that_fit_are_kept_in_8():
    got = decode_mask(saved(Image.fromarray(INDICES.astype(np.uint16))))

    npt.assert_array_equal(got[:, :, 0], INDICES)
    assert got.dtype == np.uint8


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_is_0_or_1(kind):
    got = decode_mask(saved(Image.fromarray(INDICES > 1), kind))

    npt.assert_array_equal(got[:, :, 0], INDICES > 1)


def shallow(bits):
    """A PNG of grey levels of few bits, which Pillow itself does not write."""
    indexed = bytearray(saved(palette(), bits=bits))
    indexed[25] = 0  # grey, where a palette was
    indexed[29:33] = struct.pack(">I", zlib.crc32(indexed[12:29]))
    start, stop = indexed.index(b"PLTE") - 4, indexed.index(b"IDAT") - 4
    return bytes(indexed[:start] + indexed[stop:])


@pytest.mark.parametrize("bits", [2, 4])
def test_levels_of_few_bits_are_not_spread(bits):
    content = shallow(bits)

    got = decode_mask(content)

    npt.assert_array_equal(got[:, :, 0], INDICES)
    spread = np.asarray(Image.open(BytesIO(content)))
    npt.assert_array_equal(spread, INDICES * (255 // (2**bits - 1)))  # what Pillow gives


def test_a_mask_in_colours_has_three_channels():
    colours = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)

    got = decode_mask(saved(Image.fromarray(colours)), channels=3)

    npt.assert_array_equal(got, colours)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_set_upright_by_its_own_orientation(kind, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = saved(palette(), kind, exif=exif.tobytes())

    got = decode_mask(content)[:, :, 0]

    expected = {
        1: INDICES,
        2: INDICES[:, ::-1],
        3: INDICES[::-1, ::-1],
        4: INDICES[::-1],
        5: INDICES.T,
        6: INDICES[::-1].T,
        7: INDICES[::-1, ::-1].T,
        8: INDICES.T[::-1],
    }[orientation]
    npt.assert_array_equal(got, expected)
    npt.assert_array_equal(decode_mask(content, size=expected.shape)[:, :, 0], expected)
    if orientation >= 5:
        with pytest.raises(SampleError, match="size: a mask of 2 x 3 for a picture of 3 x 2"):
            decode_mask(content, size=INDICES.shape)


# -- refusals -----------------------------------------------------------------------------

GREY = Image.fromarray(INDICES)
DEEP = Image.fromarray(INDICES.astype(np.uint16) * 100)
REFUSED = {
    "colours for grey": (GREY.convert("RGB"), "PNG", {}, "mode RGB has 3 channels, not 1"),
    "grey for colours": (GREY, "PNG", {"channels": 3}, "mode L has 1 channels, not 3"),
    "transparency": (GREY.convert("RGBA"), "PNG", {}, "mode RGBA; save it as palette, grey or"),
    "floats": (Image.fromarray(INDICES.astype(np.float32)), "TIFF", {}, "mode F; save it as"),
    "over 8 bits": (DEEP, "PNG", {}, "values 0 to 300, over uint8; say dtype = 'uint16'"),
    "below zero": (
        Image.fromarray(INDICES.astype(np.int32) - 9),
        "TIFF",
        {"dtype": "uint16"},
        "values -9 to -6, over uint16$",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_as_it_is_is_refused(name):
    image, kind, options, words = REFUSED[name]

    with pytest.raises(SampleError, match=f"mode: a mask of {words}"):
        decode_mask(saved(image, kind), **options)


def test_colours_of_16_bits_are_refused_since_pillow_keeps_8():
    def chunk(name, content):
        code = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + code

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    content += chunk(b"IDAT", zlib.compress(b"\0" + bytes(range(6)))) + chunk(b"IEND", b"")

    with pytest.raises(SampleError, match="mode: a mask of 16 bits a channel, of which Pillow"):
        decode_mask(content, channels=3)


def test_a_mask_over_the_limit_is_refused_from_its_header(monkeypatch):
    content = saved(GREY)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load_prepare", None)

    with pytest.raises(SampleError, match="pixels: 3 x 2 pixels, over the limit of 5"):
        decode_mask(content, max_pixels=5)


@quick
@given(
    kind=st.sampled_from(["PNG", "GIF", "BMP", "TIFF"]),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
)
def test_broken_bytes_give_a_mask_or_a_reason(kind, cut, changes):
    whole = saved(palette(), kind)
    content = bytearray(whole[: round(len(whole) * cut)])
    for where, value in changes if content else []:
        content[int(where * len(content))] = value

    try:
        got = decode_mask(bytes(content), max_pixels=10_000)
    except SampleError as error:
        got = error.args

    assert isinstance(got, tuple) or (got.ndim == 3 and got.dtype == np.uint8)
