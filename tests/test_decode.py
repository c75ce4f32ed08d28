"""What a file's bytes become: the bits, the sizes, the modes, and the reasons why not."""

import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin

from daskimg import decode as room
from daskimg.decode import Picture, Source, decode, decoder_versions, read_header
from daskimg.decode._faults import contained, sample_error
from daskimg.errors import SampleError
from daskimg.options import DecodeOptions

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not (SHARED / "imagenet").is_dir(), reason="no shared/data beside the repository"
)
EXACT = DecodeOptions(exact=True)
ORIENTATION = 0x0112
quick = settings(max_examples=25, deadline=None)


def saved(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def oriented(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif.tobytes()


def photograph(height, width, mode="RGB"):
    """Smooth and different everywhere, so that a turn or a shift shows."""
    down, across = np.mgrid[0:height, 0:width].astype(float)
    bands = [255 * across / width, 255 * down / height, 127 + 120 * np.sin(across / 9 + down / 7)]
    return Image.fromarray(np.stack(bands, axis=2).astype(np.uint8)).convert(mode)


def png(depth, kind, rows, *extra):
    """A PNG by hand: bit depth, colour type, packed rows of bytes, chunks before the pixels."""
    width = len(rows[0]) * 8 // (depth * {0: 1, 2: 3, 3: 1}[kind])
    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)


def chunk(name, content):
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def pixels(content, **options):
    return decode(content, DecodeOptions(**options))[0].array()


def with_pillow(content, size):
    image = ImageOps.exif_transpose(Image.open(BytesIO(content)))
    return np.asarray(image.convert("RGB").resize(size))


# -- bits ---------------------------------------------------------------------------------


@quick
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_a_png_comes_back_as_it_was(array):
    content = saved(Image.fromarray(array))

    got = pixels(content)

    npt.assert_array_equal(got, array)


@quick
@given(hnp.arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_16_bit_grey_png_comes_back_as_it_was(array):
    content = saved(Image.fromarray(array))

    got = pixels(content, channels=1, dtype="uint16")

    npt.assert_array_equal(got[:, :, 0], array)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exact_bits_are_those_of_pillow_in_every_orientation(kind, orientation):
    content = saved(photograph(101, 67), kind, exif=oriented(orientation))

    picture, source = decode(content, EXACT)

    expected = with_pillow(content, (24, 32))
    npt.assert_array_equal(picture.resized(32, 24).array(), expected)
    assert (source.height, source.width) == ((101, 67) if orientation < 5 else (67, 101))
    assert source == read_header(content, EXACT)


@quick
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    mode=st.sampled_from(["RGB", "L"]),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    quality=st.integers(1, 100),
    progressive=st.booleans(),
    damage=st.lists(st.tuples(st.integers(20, 4000), st.integers(0, 255)), max_size=2),
)
def test_exact_bits_of_any_jpeg_are_those_of_pillow(
    size, mode, subsampling, quality, progressive, damage
):
    options = {"quality": quality, "progressive": progressive, "restart_marker_blocks": 3}
    content = bytearray(saved(photograph(*size, mode), "JPEG", subsampling=subsampling, **options))
    for place, byte in damage:
        content[place % len(content)] = byte
    try:
        expected = np.asarray(Image.open(BytesIO(content)).convert("RGB"))
    except (OSError, SyntaxError):
        assume(False)

    npt.assert_array_equal(pixels(bytes(content), exact=True), expected)


def test_a_picture_of_many_pixels_is_left_to_pillow(monkeypatch):
    monkeypatch.setattr("daskimg.decode._sources._WHOLE", 40 * 30 - 1)
    content = saved(photograph(40, 30), "JPEG")

    picture, _ = decode(content, EXACT)

    assert isinstance(picture._pixels, Image.Image)
    npt.assert_array_equal(picture.array(), np.asarray(Image.open(BytesIO(content))))


@quick
@given(
    height=st.integers(40, 200),
    width=st.integers(40, 200),
    orientation=st.integers(1, 8),
    corner=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
)
def test_a_box_means_the_same_part_of_a_reduced_jpeg(height, width, orientation, corner):
    content = saved(photograph(height, width), "JPEG", quality=95, exif=oriented(orientation))
    whole, _ = decode(content, EXACT)
    reduced, _ = decode(content, DecodeOptions(), lambda _h, _w: (4, 4))
    top, left = corner[0] * whole.height, corner[1] * whole.width
    box = (left, top, left + 0.5 * whole.width, top + 0.5 * whole.height)

    expected = whole.resized(4, 4, box=box).array().astype(int)
    got = reduced.resized(4, 4, box=box).array()

    assert (reduced.height, reduced.width) == (whole.height, whole.width)
    # A shift by one reduced pixel of 8 would cost 8 * 255 / 200 levels or more.
    assert abs(got[:, :, :2] - expected[:, :, :2]).max() <= 4


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_decoded_to_at_least_twice_what_is_needed(orientation):
    content = saved(photograph(800, 400), "JPEG", exif=oriented(orientation))
    seen = []

    def least(height, width):
        seen.append((height, width))
        return height // 8, width // 32

    picture, _ = decode(content, DecodeOptions(), least)

    upright = (800, 400) if orientation == 1 else (400, 800)
    assert seen == [upright]
    assert (picture.height, picture.width) == upright
    assert picture.scale == 4


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("needed", range(5, 45, 4))
def test_a_jpeg_is_decoded_at_the_fewest_eighths_that_do(mode, needed):
    content = saved(photograph(80, 120).convert(mode), "JPEG")

    picture, _ = decode(content, DecodeOptions(), lambda _h, _w: (needed, needed))

    eighths = min(8, -(-2 * needed // 10))
    assert picture._pixels.shape[:2] == (10 * eighths, 15 * eighths)
    exact = pixels(content, exact=True) if eighths == 8 else None
    if exact is not None:
        npt.assert_array_equal(picture.array(), exact)


@quick
@given(data=st.data())
def test_a_damaged_jpeg_has_the_same_verdict_at_any_scale(data):
    content = bytearray(saved(photograph(40, 56), "JPEG", progressive=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(2, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(3, len(content)))])

    assert verdict(content, DecodeOptions()) == verdict(content, EXACT)


def verdict(content, options):
    try:
        picture, source = decode(content, options, lambda _h, _w: (4, 4))
    except SampleError as error:
        return error.reason
    return (picture.height, picture.width), source


def test_a_recipe_that_needs_every_pixel_gets_every_pixel():
    content = saved(photograph(60, 90), "JPEG")

    picture, _ = decode(content, DecodeOptions(), lambda height, width: (height, width))

    npt.assert_array_equal(picture.array(), pixels(content, exact=True))


def test_a_reduced_picture_has_no_array_of_its_own():
    content = saved(photograph(100, 100), "JPEG")
    picture, _ = decode(content, DecodeOptions(), lambda _h, _w: (9, 9))

    with pytest.raises(ValueError, match="decoded at 2/8> has no pixels of its own size"):
        picture.array()

    assert picture.resized(100, 100).array().shape == (100, 100, 3)


def test_an_error_of_the_callers_own_function_is_not_a_broken_picture():
    content = saved(photograph(9, 9), "JPEG")

    with pytest.raises(ZeroDivisionError):
        decode(content, DecodeOptions(), lambda height, _: (height // 0, 1))


def test_grey_of_a_jpeg_is_its_luma():
    content = saved(photograph(64, 48), "JPEG", quality=95)
    expected = np.asarray(Image.open(BytesIO(content)).convert("L"))

    exact = pixels(content, channels=1, exact=True)
    quick_one = pixels(content, channels=1)

    npt.assert_array_equal(exact[:, :, 0], expected)
    assert abs(quick_one[:, :, 0].astype(int) - expected).mean() < 1


def test_a_jpeg_that_stores_rgb_can_be_decoded_to_grey():
    content = saved(photograph(64, 48), "JPEG", quality=95, keep_rgb=True)

    got = pixels(content, channels=1)

    expected = np.asarray(photograph(64, 48).convert("L")).astype(int)
    assert abs(got[:, :, 0] - expected).mean() < 2


def test_threads_decode_to_the_same_bits():
    contents = [saved(photograph(90 + i, 120), "JPEG") for i in range(8)]
    alone = [pixels(content) for content in contents]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(pixels, contents * 4))

    for i, got in enumerate(together):
        npt.assert_array_equal(got, alone[i % 8])


@needs_shared
def test_photographs_have_the_bits_of_pillow():
    for path in sorted((SHARED / "imagenet").rglob("*.JPEG"))[::20]:
        content = path.read_bytes()

        picture, _ = decode(content, EXACT)

        expected = with_pillow(content, (64, 64))
        npt.assert_array_equal(picture.resized(64, 64).array(), expected, err_msg=path.name)


@needs_shared
def test_reduced_decoding_is_off_by_less_than_two_levels():
    for path in sorted((SHARED / "imagenet").rglob("*.JPEG"))[5::25]:
        content = path.read_bytes()

        picture, _ = decode(content, DecodeOptions(), lambda _h, _w: (64, 64))

        got = picture.resized(64, 64).array().astype(int)
        assert abs(got - with_pillow(content, (64, 64))).mean() < 2, path.name


@needs_shared
def test_turned_photographs_have_the_bits_of_pillow():
    for path in sorted((SHARED / "hostile" / "files").glob("Landscape_[56].jpg")):
        content = path.read_bytes()

        picture, source = decode(content, EXACT)

        assert (source.width, source.height) == (1800, 1200)
        npt.assert_array_equal(picture.resized(64, 64).array(), with_pillow(content, (64, 64)))


# -- orientation --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        oriented(6)[:20],
        oriented(6).replace(b"\x12\x01", b"\x13\x01").replace(b"\x01\x12", b"\x01\x13"),
        oriented(9),
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
    ],
)
def test_broken_exif_leaves_a_picture_as_it_is_stored(exif):
    content = saved(photograph(20, 30), "JPEG", exif=exif)

    picture, source = decode(content, EXACT)

    assert (source.height, source.width) == (picture.height, picture.width) == (20, 30)


def test_exif_in_either_byte_order_is_read():
    entry = ">HHI", (ORIENTATION, 3, 1)
    big = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(*[entry[0], *entry[1]])
    big += struct.pack(">HHI", 8, 0, 0)
    content = saved(photograph(20, 30), "JPEG", exif=big)

    source = read_header(content, EXACT)

    assert (source.height, source.width) == (30, 20)


def test_the_orientation_of_xmp_counts_where_exif_has_none():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    for kind in ("JPEG", "WEBP"):
        content = saved(photograph(20, 30), kind, xmp=xmp)

        picture, source = decode(content, EXACT)

        assert (source.height, source.width) == (picture.height, picture.width) == (30, 20)
        npt.assert_array_equal(picture.array(), with_pillow(content, (20, 30)))


def test_a_tiff_turned_by_xmp_alone_is_measured_as_it_is_decoded():
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700] = b'<r tiff:Orientation="8"/>'
    tags.tagtype[700] = 1
    content = saved(photograph(20, 30), "TIFF", tiffinfo=tags)

    picture, source = decode(content, EXACT)

    assert (source.height, source.width) == (picture.height, picture.width) == (30, 20)
    assert source == read_header(content, EXACT)


def test_exif_behind_the_pixels_of_a_png_is_found():
    content = saved(photograph(20, 30))
    end = content.index(b"IEND") - 4
    late = content[:end] + chunk(b"eXIf", oriented(6)[6:]) + content[end:]

    picture, source = decode(late, EXACT)

    assert (source.height, source.width) == (30, 20)
    npt.assert_array_equal(picture.array(), with_pillow(late, (20, 30)))


def test_exif_in_a_text_chunk_is_found():
    text = PngImagePlugin.PngInfo()
    exif = oriented(8)
    text.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{exif.hex()}\n", zip=True)
    content = saved(photograph(20, 30), pnginfo=text)

    picture, _ = decode(content, EXACT)

    npt.assert_array_equal(picture.array(), with_pillow(content, (20, 30)))


@pytest.mark.parametrize("key", ["exif", "Raw profile type exif", "xmp"])
def test_a_text_that_only_sounds_like_exif_does_no_harm(key):
    text = PngImagePlugin.PngInfo()
    text.add_text(key, "\n\n\nnot hexadecimal", zip=True)
    content = saved(photograph(20, 30), pnginfo=text)

    picture, _ = decode(content, EXACT)

    npt.assert_array_equal(picture.array(), np.asarray(photograph(20, 30)))


# -- modes --------------------------------------------------------------------------------

RED, BLUE = (250, 10, 20), (0, 0, 255)


def palette(transparency=None):
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((0, 0), 0)
    return saved(image) if transparency is None else saved(image, transparency=transparency)


def palette_alpha():
    image = Image.new("PA", (2, 1), (1, 128))
    image.putpalette([0, 0, 0, *RED])
    return saved(image, "TIFF")


def grey_alpha(mode):
    return Image.merge("LA", [Image.new("L", (2, 1), 100), Image.new("L", (2, 1), 128)]).convert(
        mode
    )


SEMI = [
    pytest.approx(round((v * 128 + w * 127) / 255), abs=1) for v, w in zip(RED, BLUE, strict=True)
]
GREY_SEMI = [pytest.approx(round((100 * 128 + w * 127) / 255), abs=1) for w in BLUE]
FILES = {
    "1": (saved(Image.new("1", (2, 1), 1)), (255, 255, 255)),
    "L": (saved(Image.new("L", (2, 1), 77)), (77, 77, 77)),
    "LA": (saved(grey_alpha("LA")), GREY_SEMI),
    "LA in TIFF": (saved(grey_alpha("LA"), "TIFF"), GREY_SEMI),
    "P": (palette(), RED),
    "P with an index": (palette(1), BLUE),
    "P with a table": (palette(bytes([255, 128])), SEMI),
    "RGBA": (saved(Image.new("RGBA", (2, 1), (*RED, 128))), SEMI),
    "RGBA opaque": (saved(Image.new("RGBA", (2, 1), (*RED, 255))), RED),
    "RGBA in WebP": (saved(Image.new("RGBA", (2, 1), (*RED, 128)), "WEBP", lossless=True), SEMI),
    "RGB with a colour": (saved(Image.new("RGB", (2, 1), RED), transparency=RED), BLUE),
    "RGB with another": (saved(Image.new("RGB", (2, 1), RED), transparency=(1, 2, 3)), RED),
    "L with a level": (saved(Image.new("L", (2, 1), 77), transparency=77), BLUE),
    "2-bit L with a level": (png(2, 0, [b"\x55"], (b"tRNS", b"\0\1")), BLUE),
    "4-bit L with another": (png(4, 0, [b"\x55"], (b"tRNS", b"\0\6")), (85, 85, 85)),
    "1 with a level": (png(1, 0, [b"\xff"], (b"tRNS", b"\0\1")), BLUE),
    "16-bit RGB": (png(16, 2, [b"\x12\x34\x56\x78\x9a\xbc"]), (0x12, 0x56, 0x9A)),
    "16-bit RGB with a colour": (
        png(16, 2, [b"\x12\x34\x56\x78\x9a\xbc"], (b"tRNS", b"\x12\x34\x56\x78\x9a\xbc")),
        BLUE,
    ),
    "CMYK": (saved(Image.new("CMYK", (2, 1), (5, 245, 235, 0)), "TIFF"), RED),
    "YCbCr": (
        saved(Image.new("RGB", (2, 1), RED).convert("YCbCr"), "TIFF", compression="tiff_lzw"),
        [pytest.approx(v, abs=2) for v in RED],
    ),
    "LAB": (
        saved(Image.new("LAB", (2, 1), (128, 128, 128)), "TIFF"),
        [pytest.approx(119, abs=2)] * 3,
    ),
    "PA": (palette_alpha(), SEMI),
    "I;16": (saved(Image.new("I;16", (2, 1), 1000)), (4, 4, 4)),
    "I;16 with a level": (saved(Image.new("I;16", (2, 1), 1000), transparency=1000), BLUE),
    "I;16B": (saved(Image.new("I;16B", (2, 1), 1000), "TIFF"), (4, 4, 4)),
    "I": (saved(Image.new("I", (2, 1), 1000), "TIFF"), (4, 4, 4)),
}


@pytest.mark.parametrize("name", FILES)
def test_every_mode_becomes_rgb_in_front_of_the_background(name):
    content, expected = FILES[name]

    got = pixels(content, background=BLUE)

    assert got.dtype == np.uint8
    assert got[0, -1].tolist() == list(expected)


@pytest.mark.parametrize("name", FILES)
def test_every_mode_becomes_grey_by_way_of_rgb(name):
    content, _ = FILES[name]
    flat = Image.fromarray(pixels(content, background=BLUE)).convert("L")

    got = pixels(content, background=BLUE, channels=1)

    npt.assert_array_equal(got[:, :, 0], np.asarray(flat))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("name", FILES)
def test_every_mode_becomes_a_deeper_dtype(name, dtype):
    content, _ = FILES[name]
    eight = pixels(content, background=BLUE).astype(float) / 255

    got = pixels(content, background=BLUE, dtype=dtype)

    top = 65535 if dtype == "uint16" else 1
    assert got.dtype == dtype
    assert got.shape == eight.shape
    assert abs(got.astype(float) / top - eight).max() <= 0.5 / 255 + 1e-6


def test_eight_bits_become_sixteen_times_257():
    content = saved(Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)))

    got = pixels(content, channels=1, dtype="uint16")

    assert got.reshape(-1).tolist() == [257 * v for v in range(256)]


def test_sixteen_bits_become_eight_by_rounding_and_are_never_clipped():
    values = np.array([[0, 128, 129, 300, 65406, 65407, 65535]], np.uint16)

    got = pixels(saved(Image.fromarray(values)), channels=1)

    assert got[0, :, 0].tolist() == [round(int(v) / 257) for v in values[0]]


def test_a_window_stretches_what_lies_inside_and_clips_the_rest():
    content = saved(Image.fromarray(np.array([[0, 1000, 2000, 3000, 9000]], np.uint16)))

    eight = pixels(content, channels=1, window=(1000, 3000))
    floats = pixels(content, channels=1, window=(1000, 3000), dtype="float32")

    assert eight[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert floats[0, :, 0].tolist() == [0, 0, 0.5, 1, 1]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_window_takes_32_bits_and_floats_too(dtype):
    values = [[-5.0, 0.0, 100.0, float("nan"), float("inf")]]
    top = 255 if dtype == "uint8" else 65535
    content = saved(Image.fromarray(np.array(values, np.float32)), "TIFF")

    got = pixels(content, channels=1, window=(0, 100), dtype=dtype)

    assert got[0, :, 0].tolist() == [0, 0, top, 0, top]


def test_floats_keep_their_values_in_float32():
    values = np.array([[-5.5, 0.25, 1e6]], np.float32)
    content = saved(Image.fromarray(values), "TIFF")

    got = pixels(content, channels=1, dtype="float32")

    npt.assert_array_equal(got[:, :, 0], values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([[-1, 5]], np.int32), "32-bit grey of -1 to 5; give a window"),
        (np.array([[0, 65536]], np.int32), "32-bit grey of 0 to 65536; give a window"),
        (np.array([[0.0, 0.5]], np.float32), "floating-point grey of 0.0 to 0.5; give a window"),
    ],
)
def test_values_without_a_known_range_are_refused(values, words):
    content = saved(Image.fromarray(values), "TIFF")

    with pytest.raises(SampleError, match=f"mode: {words}"):
        pixels(content)


@pytest.mark.parametrize(
    ("name", "dtype", "reduced"),
    [
        ("L", "uint8", False),
        ("I;16", "uint8", True),
        ("I;16", "uint16", False),
        ("I", "float32", False),
        ("16-bit RGB", "uint8", True),
        ("16-bit RGB", "uint16", True),
    ],
)
def test_the_ledger_says_where_bits_were_lost(name, dtype, reduced):
    source = read_header(FILES[name][0], DecodeOptions(dtype=dtype))

    assert source.reduced is reduced


def test_a_16_bit_ppm_is_known_to_be_deep():
    content = b"P6 1 1 65535\n" + bytes(6)

    assert read_header(content, DecodeOptions()).reduced
    assert not read_header(b"P6 1 1 255\n" + bytes(3), DecodeOptions()).reduced


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_only_the_first_frame_counts(kind):
    frames = [Image.new("RGB", (5, 4), colour) for colour in (RED, BLUE)]
    extra = {"lossless": True} if kind == "WEBP" else {}
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:], **extra)

    got = pixels(content)

    npt.assert_array_equal(got, np.full((4, 5, 3), RED, np.uint8))


# -- pictures -----------------------------------------------------------------------------


@quick
@given(
    channels=st.sampled_from([1, 2, 3, 4, 5]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    method=st.sampled_from(["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]),
)
def test_channels_are_resized_each_for_itself(channels, dtype, method):
    rng = np.random.default_rng(channels)
    array = (rng.random((12, 17, channels)) * (1 if dtype == "float32" else 250)).astype(dtype)

    together = Picture.from_array(array).resized(5, 7, method=method).array()

    alone = [
        Picture.from_array(array[:, :, i]).resized(5, 7, method=method).array()
        for i in range(channels)
    ]
    npt.assert_array_equal(together, np.concatenate(alone, axis=2))
    assert together.dtype == dtype


def test_resampling_of_16_bits_stays_in_range():
    edge = np.zeros((8, 8), np.uint16)
    edge[:, 4:] = 65535

    got = Picture.from_array(edge).resized(8, 32, method="lanczos").array()

    assert got.min() == 0
    assert got.max() == 65535
    assert (np.diff(got[0, 8:24, 0].astype(int)) >= -5000).all()  # would jump if it wrapped


def test_resampling_a_decoded_picture_and_its_array_agree():
    picture, _ = decode(saved(photograph(31, 45)), DecodeOptions())

    direct = picture.resized(16, 16, box=(3.5, 2, 40, 30), method="bilinear").array()

    array = Picture.from_array(picture.array())
    npt.assert_array_equal(
        direct, array.resized(16, 16, box=(3.5, 2, 40, 30), method="bilinear").array()
    )


def test_a_box_outside_by_a_rounding_error_is_the_whole():
    picture = Picture.from_array(np.arange(49, dtype=np.uint8).reshape(7, 7))

    got = picture.resized(3, 3, box=(-1e-12, 0, 7 + 1e-12, 7)).array()

    npt.assert_array_equal(got, picture.resized(3, 3).array())
    with pytest.raises(ValueError, match=r"(?i)box can't exceed"):
        picture.resized(3, 3, box=(0, 0, 8, 7))


def test_a_picture_writes_into_a_view_of_a_larger_buffer():
    buffer = np.zeros((3, 6, 5, 3), np.uint8)
    picture, _ = decode(saved(Image.new("L", (5, 6), 9)), DecodeOptions())

    picture.write(buffer[1])

    assert buffer[1].min() == buffer[1].max() == 9
    assert not buffer[0].any()
    assert not buffer[2].any()


@pytest.mark.parametrize(("shape", "dtype"), [((6, 5, 1), "uint8"), ((6, 5, 3), "float32")])
def test_a_picture_is_not_forced_into_what_does_not_fit(shape, dtype):
    picture, _ = decode(saved(Image.new("L", (5, 6), 9)), DecodeOptions())

    with pytest.raises(ValueError, match="<Picture 6 x 5 x 3 uint8> does not fit"):
        picture.write(np.zeros(shape, dtype))


def test_an_array_handed_out_is_the_callers_own():
    held = np.zeros((2, 2), np.float32)
    picture = Picture.from_array(held)

    out = picture.array()
    out += 1

    assert out.flags.c_contiguous
    assert not held.any()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 2), np.int64), "got int64"),
        (np.zeros(4, np.uint8), r"got shape \(4,\)"),
        (np.zeros((0, 4), np.uint8), r"got shape \(0, 4\)"),
    ],
)
def test_what_is_no_picture_is_refused(array, words):
    with pytest.raises(ValueError, match=words):
        Picture.from_array(array)


# -- faults -------------------------------------------------------------------------------

JPEG_FILE = saved(photograph(24, 40), "JPEG")
PNG_FILE = saved(photograph(24, 40))


BROKEN = {
    "no bytes": (b"", "empty: the file has no bytes"),
    "a web page": (
        b"<!DOCTYPE html><html>",
        "format: not a picture: begins with '<!DOCTYPE html><'",
    ),
    "HEIF": (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "codec: HEIF, for which this Pillow has no codec"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n", "codec: JPEG XL, for which"),
    "PostScript": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "codec: EPS: Pillow cannot draw",
    ),
    "JPEG without its end": (JPEG_FILE[:-20], "truncated: image file is truncated"),
    "JPEG without its pixels": (JPEG_FILE[:100], "truncated: Truncated File Read"),
    "12-bit JPEG": (
        JPEG_FILE.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "codec: JPEG: .*12-bit",
    ),
    "half a PNG": (PNG_FILE[: len(PNG_FILE) // 2], "truncated: image file is truncated"),
    "PNG without pixels": (
        PNG_FILE.replace(b"IDAT", b"IEND", 1),
        "corrupt: there are no pixels behind the header",
    ),
    "PNG with a wrong checksum": (
        PNG_FILE[:20] + b"\1" + PNG_FILE[21:],
        "corrupt: PNG: broken PNG file .*checksum",
    ),
    "GIF of no width": (
        saved(photograph(9, 9), "GIF").replace(b"\x09\0", b"\0\0"),
        "corrupt: GIF: the header declares no picture",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_named(name):
    content, words = BROKEN[name]

    with pytest.raises(SampleError, match=words):
        decode(content, DecodeOptions())


def test_a_message_holds_no_address():
    error = OSError("cannot identify image file <_io.BytesIO object at 0x7f00dead>\n\ud800")

    fault = sample_error(error)

    assert fault.reason == "corrupt"
    assert fault.message == "cannot identify image file the file \\ud800"


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
)
def test_broken_bytes_give_a_picture_or_a_reason_and_always_the_same(kind, cut, changes):
    whole = FUZZED[kind]
    content = bytearray(whole[: max(1, round(len(whole) * max(cut, 0.3)))])
    for where, value in changes:
        content[int(where * len(content))] = value

    first, second = outcome(bytes(content)), outcome(bytes(content))

    assert first == second


FUZZED = {
    kind: saved(photograph(12, 17), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")
}


def outcome(content):
    options = DecodeOptions(max_pixels=100_000)  # a changed header must not take gigabytes
    try:
        picture, source = decode(content, options)
    except SampleError as error:
        return error.args
    assert source == read_header(content, options)
    return picture.resized(8, 8).array().tobytes()


def test_running_out_of_memory_is_no_fault_of_the_file(monkeypatch):
    def exhausted(_self):
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load_prepare", exhausted)

    with pytest.raises(MemoryError):
        decode(PNG_FILE, DecodeOptions())


# -- limits and warnings ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_picture_over_the_limit_is_refused_from_its_header(kind, monkeypatch):
    content = saved(photograph(30, 40), kind)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load_prepare", None)

    for read in (decode, read_header):
        with pytest.raises(SampleError, match="pixels: 40 x 30 pixels, over the limit of 1199"):
            read(content, DecodeOptions(max_pixels=1199))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF"])
def test_a_limit_over_pillows_own_holds(kind, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    content = saved(photograph(30, 40), kind, exif=oriented(3))  # a JPEG that is Pillow's

    assert pixels(content, max_pixels=1200).shape == (30, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 600


def test_pillows_own_limit_is_left_alone_where_it_does_no_harm():
    before = Image.MAX_IMAGE_PIXELS

    pixels(PNG_FILE)
    pixels(PNG_FILE, max_pixels=1000)

    assert before == Image.MAX_IMAGE_PIXELS


def test_a_text_chunk_without_bound_takes_no_memory():
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000)))
    content = PNG_FILE[:33] + text + PNG_FILE[33:]

    with pytest.raises(SampleError, match="corrupt: Decompressed data too large"):
        decode(content, DecodeOptions())


def warns(module):
    warnings.warn_explicit("broken", UserWarning, "file.py", 1, module=module)


def test_pillows_warnings_are_silent_in_the_thread_that_reads_and_nowhere_else():
    with contained:
        warns("PIL.TiffImagePlugin")
        with ThreadPoolExecutor(1) as pool, pytest.raises(UserWarning, match="broken"):
            pool.submit(warns, "PIL.TiffImagePlugin").result()
    with pytest.raises(SampleError), contained:
        raise ValueError
    with pytest.raises(UserWarning, match="broken"):
        warns("PIL.TiffImagePlugin")


def test_a_broken_animation_is_decoded_without_a_warning():
    # Pillow warns of an animation of no frames.
    content = PNG_FILE[:33] + chunk(b"acTL", bytes(8)) + PNG_FILE[33:]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = pixels(content)

    npt.assert_array_equal(got, pixels(PNG_FILE))


def test_threads_leave_the_filters_of_others_as_they_were():
    pixels(PNG_FILE)
    before = list(warnings.filters)
    stop = threading.Event()

    def read():
        while not stop.is_set():
            pixels(PNG_FILE)

    with ThreadPoolExecutor(2) as pool:
        pool.submit(read)
        pool.submit(read)
        for _ in range(200):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
        stop.set()

    assert list(warnings.filters) == before


# -- the room -----------------------------------------------------------------------------


def test_versions_name_everything_that_changes_bits():
    versions = decoder_versions()

    assert versions["pillow"] == Image.__version__
    assert versions["libjpeg"].startswith("libjpeg")
    assert {"webp", "avif", "openjpeg", "libtiff", "littlecms"} < set(versions)
    assert all(isinstance(version, str) for version in versions.values())


def test_the_room_shows_its_doors():
    assert room.__all__ == sorted(room.__all__)
    assert {"Picture", "Source", "decode", "read_header"} < set(room.__all__)
    assert Source(3, 2, "RGB", reduced=False).width == 3


def test_the_room_needs_no_file_and_no_cluster():
    code = "import sys, daskimg.decode; print('dask' in sys.modules, 'fsspec' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )

    assert done.stdout.split() == ["False", "False"]
