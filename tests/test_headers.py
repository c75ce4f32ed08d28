"""Sizes of pictures from the beginnings of their files: what decoding will find, and order."""

import csv
import socket
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from daskimg import fetch, headers
from daskimg.decode import decode, read_beginning, read_header
from daskimg.errors import SampleError, TransportError
from daskimg.headers import Header, header_of, read_headers
from daskimg.options import DecodeOptions

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not (SHARED / "imagenet").is_dir(), reason="no shared/data beside the repository"
)
OPTIONS = DecodeOptions()
FIRST = 1 << 16
HEIGHT, WIDTH = 200, 300
XMP = b'<rdf:Description tiff:Orientation="6"/>'


def speckled(mode="RGB"):
    """Noise: its file is long."""
    rng = np.random.default_rng(3)
    return Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).convert(mode)


def saved(kind, mode="RGB", **options):
    file = BytesIO()
    speckled(mode).save(file, kind, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def late_exif(content):
    """A PNG whose orientation is behind its pixels, as ImageMagick writes it."""
    file = BytesIO()
    PngImagePlugin.putchunk(file, b"eXIf", turned(6)[6:])
    return content[:-12] + file.getvalue() + content[-12:]


def last_directory(content):
    """A TIFF whose directory is behind its pixels."""
    content += b"\0" * (len(content) % 2)
    entries = int.from_bytes(content[8:10], "little")
    directory = content[8 : 10 + 12 * entries + 4]
    return content[:4] + len(content).to_bytes(4, "little") + content[8:] + directory


def late_values(content, tag):
    """A TIFF in which the values of one tag are behind the pixels."""
    entries = int.from_bytes(content[8:10], "little")
    places = range(10, 10 + 12 * entries, 12)
    at = next(at for at in places if content[at : at + 2] == tag.to_bytes(2, "little"))
    count, place = (int.from_bytes(content[at + i : at + i + 4], "little") for i in (4, 8))
    size = count * {1: 1, 3: 2}[content[at + 2]]
    moved = bytearray(content + b"\0" * (len(content) % 2) + content[place : place + size])
    moved[at + 8 : at + 12] = (len(moved) - size).to_bytes(4, "little")
    moved[place : place + size] = bytes(size)
    return bytes(moved)


def padded_jpeg(kilobytes):
    """A JPEG whose frame lies behind so much of somebody's metadata."""
    segment = b"\xff\xed\xfc\x02" + b"x" * 0xFC00
    content = saved("JPEG", exif=turned(8))
    return content[:2] + segment * (kilobytes // 63) + content[2:]


FILES = {
    "a JPEG": saved("JPEG", quality=95),
    "a grey JPEG": saved("JPEG", "L", quality=95),
    "a JPEG of four colours": saved("JPEG", "CMYK", quality=95),
    "a progressive JPEG": saved("JPEG", quality=95, progressive=True),
    "a JPEG on its side": saved("JPEG", quality=95, exif=turned(6)),
    "a JPEG upside down": saved("JPEG", quality=95, exif=turned(3)),
    "a JPEG behind a large profile": saved("JPEG", icc_profile=b"x" * 150_000),
    "a JPEG behind much else": padded_jpeg(260),
    "a PNG": saved("PNG"),
    "a PNG on its side": saved("PNG", exif=turned(6)),
    "a PNG with its orientation at the end": late_exif(saved("PNG")),
    "a palette PNG": saved("PNG", "P"),
    "a TIFF": saved("TIFF"),
    "a TIFF on its side": saved("TIFF", tiffinfo={0x0112: 6}),
    "a TIFF with its directory at the end": last_directory(saved("TIFF")),
    "a TIFF with its depths at the end": late_values(saved("TIFF"), 258),
    "a TIFF with its orientation at the end": late_values(saved("TIFF", tiffinfo={700: XMP}), 700),
    "a GIF": saved("GIF"),
    "a BMP": saved("BMP"),
    "a WebP": saved("WEBP", lossless=True),
    "a WebP on its side": saved("WEBP", lossless=True, exif=turned(6)),
    "a PPM": saved("PPM"),
}
every_file = pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())


def declared(content, options=OPTIONS):
    """What decoding finds, by itself."""
    source = decode(content, options)[1]
    return Header(source.height, source.width, source.mode)


@pytest.fixture
def asked(monkeypatch):
    """Bytes read of files: from each start, how many."""
    calls = []
    read_part, read = fetch.read_part, fetch.read

    def part(place, start, stop=None, *rest):
        found = read_part(place, start, stop, *rest)
        calls.append((start, -start if start else stop))
        return found

    def whole(place, *rest):
        calls.append("whole")
        return read(place, *rest)

    monkeypatch.setattr(fetch, "read_part", part)
    monkeypatch.setattr(fetch, "read", whole)
    return calls


@every_file
def test_a_header_is_what_decoding_finds(tmp_path, content):
    (tmp_path / "a").write_bytes(content)

    (header,) = read_headers([str(tmp_path / "a")], OPTIONS)

    assert header == declared(content)
    assert header_of(content, OPTIONS) == header


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("a JPEG", [(0, FIRST)]),
        ("a JPEG on its side", [(0, FIRST)]),
        ("a JPEG of four colours", [(0, FIRST)]),
        ("a GIF", [(0, FIRST)]),
        ("a BMP", [(0, FIRST)]),
        ("a TIFF", [(0, FIRST)]),
        ("a PNG", [(0, FIRST), (-FIRST, FIRST)]),
        ("a PNG on its side", [(0, FIRST)]),
        ("a JPEG behind a large profile", [(0, FIRST), (0, 8 * FIRST)]),
    ],
)
def test_no_more_of_a_file_is_read_than_its_header_needs(tmp_path, asked, name, reads):
    assert len(FILES[name]) > FIRST
    (tmp_path / "a").write_bytes(FILES[name])

    list(read_headers([str(tmp_path / "a")], OPTIONS))

    assert asked == reads


def test_a_header_behind_more_than_half_a_megabyte_takes_the_whole_file(tmp_path, asked):
    content = padded_jpeg(700)
    (tmp_path / "a.jpg").write_bytes(content)

    (header,) = read_headers([str(tmp_path / "a.jpg")], OPTIONS)

    assert header == (WIDTH, HEIGHT, "RGB") == declared(content)
    assert asked == [(0, FIRST), (0, 8 * FIRST), "whole"]


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(FILES)), place=st.floats(0, 1), near=st.booleans())
def test_a_beginning_says_what_the_whole_file_says_or_nothing(name, place, near):
    content = FILES[name]
    cut = int(place * (1000 if near else len(content)))

    found = read_beginning(content[:cut], OPTIONS, lambda: content[-FIRST:])

    assert found is None or found == read_header(content, OPTIONS)


def test_pixels_that_look_like_an_orientation_are_pixels(tmp_path):
    fake = b"\0\0\0\x20eXIf" + turned(6)[6:]
    content = late_exif(saved("PNG"))
    content = content[: -len(fake) - 24] + fake + saved("PNG")[-12:]

    found = read_beginning(content[:FIRST], OPTIONS, lambda: content)

    assert (found.height, found.width) == (HEIGHT, WIDTH)


def test_headers_come_in_order_with_faults_in_their_places(tmp_path):
    for i in range(5):
        Image.new("RGB", (10 + i, 20)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "3.png").write_bytes(b"<html>")
    names = ["4", "0", "2", "gone", "3", "1"]

    found = list(read_headers([*(str(tmp_path / f"{n}.png") for n in names), ""], OPTIONS))

    assert [f.reason if isinstance(f, SampleError) else f.width for f in found] == [
        14, 10, "empty", "missing", "format", 11, "missing",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"max_pixels": HEIGHT * WIDTH - 1}, "pixels"), ({"max_bytes": FIRST}, "bytes")],
)
@pytest.mark.parametrize("name", ["a JPEG", "a PNG", "a TIFF", "a WebP"])
def test_what_decoding_will_refuse_is_refused_in_the_same_words(tmp_path, name, options, reason):
    options = DecodeOptions(**options)
    (tmp_path / "a").write_bytes(FILES[name])
    with pytest.raises(SampleError) as expected:
        decode(fetch.read(str(tmp_path / "a"), options.max_bytes), options)

    (found,) = read_headers([str(tmp_path / "a")], options)

    assert found.reason == reason
    assert str(found) == str(expected.value)


def test_a_name_without_its_extension_is_measured_under_the_first_that_is_there(tmp_path):
    Image.new("RGB", (3, 4)).save(tmp_path / "a.png")

    found = list(
        read_headers([str(tmp_path / "a"), str(tmp_path / "b")], OPTIONS, (".jpg", ".png"))
    )

    assert found[0] == (4, 3, "RGB")
    assert str(found[1]) == "missing: no such file, nor with .jpg, .png"


# Remote files


@pytest.fixture
def bucket(tmp_path):
    system = fsspec.filesystem("memory")
    root = f"{tmp_path}/bucket"
    for i, content in enumerate(FILES.values()):
        system.pipe_file(f"{root}/{i}", content)
    yield f"memory://{root}"
    system.rm(root, recursive=True)


def test_remote_headers_come_in_order(bucket):
    places = [f"{bucket}/{i % len(FILES)}" for i in range(3 * len(FILES))]

    found = list(read_headers([*places, f"{bucket}/gone"], OPTIONS))

    assert found[:-1] == [declared(content) for content in FILES.values()] * 3
    assert found[-1].reason == "missing"


class Ranged(BaseHTTPRequestHandler):
    """Serves the files by number; in ranges, if the server is set to."""

    def do_GET(self):
        content = list(FILES.values())[int(self.path[1:])] if self.path != "/empty" else b""
        given = self.headers.get("Range") if self.server.ranges else None
        if given and not content:
            self.send_error(416)
            return
        if given:
            start, _, stop = given.removeprefix("bytes=").partition("-")
            span = slice(int(start), int(stop) + 1) if start else slice(-int(stop), None)
            content = content[span]
        self.server.sent.append(len(content))
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture(params=[True, False], ids=["ranges", "no ranges"])
def server(request):
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Ranged)
    httpd.ranges, httpd.sent = request.param, []
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=partial(httpd.serve_forever, 0.01))
    thread.start()
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_a_web_server_is_asked_for_beginnings_whether_it_knows_them_or_not(server):
    places = [f"{server.url}/{i}" for i in range(len(FILES))]

    found = list(read_headers(places, OPTIONS))

    assert found == [declared(content) for content in FILES.values()]
    if server.ranges:
        assert sum(server.sent) < sum(map(len, FILES.values()))


def test_an_empty_remote_file_is_empty_whatever_the_server_answers(server):
    (found,) = read_headers([f"{server.url}/empty"], OPTIONS)

    assert found.reason == "empty"
    assert fetch.read(f"{server.url}/empty") == b""


def test_a_server_that_cannot_be_reached_is_no_bad_header():
    with socket.socket() as unused, fetch.using(fetch.Options(attempts=1)):
        unused.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{unused.getsockname()[1]}/a.jpg"

        with pytest.raises(TransportError, match="cannot reach http"):
            list(read_headers([place], OPTIONS))


def test_remote_files_are_asked_for_no_further_ahead_than_so_many(bucket, monkeypatch):
    monkeypatch.setattr(headers, "IN_FLIGHT", 3)
    taken = []

    def places():
        for i in range(20):
            taken.append(i)
            yield f"{bucket}/{i % len(FILES)}"

    next(read_headers(places(), OPTIONS))

    assert taken == [0, 1, 2]


# Real and hostile files


@needs_shared
def test_photographs_are_measured_as_they_are_decoded():
    paths = sorted((SHARED / "imagenet").rglob("*.JPEG"))
    paths += sorted((SHARED / "large").glob("*.jpg"))

    found = read_headers(map(str, paths), OPTIONS)

    for path, header in zip(paths, found, strict=True):
        with Image.open(path) as image:
            assert header == (image.height, image.width, image.mode), path.name


@needs_shared
@pytest.mark.parametrize("options", [OPTIONS, DecodeOptions(exact=True)], ids=["quick", "exact"])
def test_hostile_files_are_measured_as_they_are_decoded_or_fail_alike(options):
    with (SHARED / "hostile" / "manifest.csv").open(encoding="utf-8", newline="") as file:
        paths = [SHARED / "hostile" / row["path"] for row in csv.DictReader(file)]

    found = list(read_headers(map(str, paths), options))

    for path, header in zip(paths, found, strict=True):
        content = path.read_bytes()
        decoded = outcome(content, options)
        assert str(header) == str(header_of(content, options)), path.name
        if isinstance(decoded, Header):
            assert header == decoded, path.name
        elif isinstance(header, SampleError):
            assert str(header) == str(decoded), path.name


def outcome(content, options):
    try:
        return declared(content, options)
    except SampleError as error:
        return error
