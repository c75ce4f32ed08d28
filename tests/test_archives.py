import bz2
import io
import os
import tarfile
import zipfile
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web import Answer, serving

from daskimg import fetch
from daskimg.errors import SampleError, TransportError
from daskimg.fetch import _archives
from daskimg.fetch._archives import Archives, Means
from daskimg.fetch._paths import Place, place_of

NAMES = ["plain.jpg", "sub/nét 图像 #1 100%.jpg", "a::b.jpg", "with space?.jpg", "%41.jpg"]
FILES = {name: name.encode() * 500 for name in NAMES} | {"empty": b""}


def zipped(files, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(files, mode="w", lead=""):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(lead + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


ARCHIVES = {
    "stored": ("zip", zipped(FILES, zipfile.ZIP_STORED)),
    "deflated": ("zip", zipped(FILES)),
    "behind a program": ("zip", b"#!" + b"x" * 5000 + zipped(FILES)),
    "tar": ("tar", tarred(FILES)),
    "tar of a folder": ("tar", tarred(FILES, lead="./")),
}


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.mark.parametrize(("kind", "content"), ARCHIVES.values(), ids=ARCHIVES)
@pytest.mark.parametrize("where", ["disk", "web", "memory"])
def test_members_of_any_name_are_read_wherever_their_archive_is(
    tmp_path, server, where, kind, content
):
    roots = {"disk": str(tmp_path), "web": server.url, "memory": f"memory://{tmp_path}"}
    archive = f"{roots[where]}/x#1 100%.{kind}" if where != "web" else f"{server.url}/x.{kind}"
    server.files[f"/x.{kind}"] = content
    if where != "web":
        fetch.open_folder(roots[where]).put(f"x#1 100%.{kind}", content)

    found = list(fetch.read_ahead(f"{kind}://{name}::{archive}" for name in FILES))

    assert found == list(FILES.values())


def test_a_web_server_without_ranges_serves_archives_too():
    with serving(ranges=False) as server:
        server.files["/x.zip"] = zipped(FILES)
        place = f"zip://{NAMES[1]}::{server.url}/x.zip"

        assert fetch.read(place) == FILES[NAMES[1]]


def test_an_archive_is_listed_once_and_each_member_costs_one_range(server):
    server.files["/x.zip"] = content = zipped({f"{i}": os.urandom(9000) for i in range(40)})
    places = [f"zip://{i}::{server.url}/x.zip" for i in range(40)]
    fetch.read(places[0])
    before = len(server.asked)

    list(fetch.read_ahead(places))

    assert before == 3  # how large, its end, the member
    assert len(server.asked) == before + 40
    ranges = [asked.removeprefix("bytes=").split("-") for _, asked in server.asked[before:]]
    assert sum(int(last) - int(first) + 1 for first, last in ranges) < len(content)


@settings(max_examples=25, deadline=None)
@given(
    files=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0/.\\"), min_size=1),
        st.binary(max_size=200),
        max_size=5,
    ),
    kind=st.sampled_from(["zip", "tar"]),
)
def test_what_was_packed_is_what_is_read(files, kind):
    content = {"zip": zipped, "tar": tarred}[kind](files)
    archives = Archives(Means(lambda _: len(content), lambda _, start, stop: content[start:stop]))

    for name, packed in files.items():
        place = Place(kind, name, "memory://x")
        assert archives.read(place, archives.find(place)) == packed


def test_names_of_archives_are_joined_and_taken_apart():
    inner = "zip://a/b.jpg::gs://bucket/x#1.zip"

    assert place_of(inner) == ("zip", "a/b.jpg", "gs://bucket/x#1.zip")
    assert place_of("zip://a::b.jpg::/data/x.zip") == ("zip", "a::b.jpg", "/data/x.zip")
    assert fetch.join("/data", inner) == inner
    assert fetch.join("zip://::gs://bucket/x.zip", "/b.jpg") == "zip://b.jpg::gs://bucket/x.zip"
    assert fetch.is_url(inner)


def test_members_are_found_under_their_extensions(tmp_path):
    (tmp_path / "x.zip").write_bytes(zipped({"a.png": b"1"}))

    found = list(
        fetch.find_ahead(
            [f"zip://{name}::{tmp_path}/x.zip" for name in "ab"], extensions=(".jpg", ".png")
        )
    )

    assert found[0] == (b"1", ".png")
    assert found[1].content.message == "no such member in the archive, nor with .jpg, .png"


def test_a_table_may_be_in_an_archive(tmp_path):
    (tmp_path / "x.tar").write_bytes(tarred({"in/t.csv": b"path\na.jpg\n"}))
    place = f"tar://in/t.csv::{tmp_path}/x.tar"

    with fetch.open_input(place) as file:
        assert file.read() == b"path\na.jpg\n"
    with pytest.raises(FileNotFoundError, match="no such member"):
        fetch.open_input(f"tar://u.csv::{tmp_path}/x.tar")

    assert fetch.expand(place) == [place]
    assert fetch.name_of(place) == "t.csv"


def encrypted():
    content = bytearray(zipped({"a": b"x" * 100}))
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(sign) + at] |= 1
    return bytes(content)


def damaged(content):
    changed = bytearray(content)
    changed[content.index(b"xxxx") + 50] ^= 1
    return bytes(changed)


TWO = tarred({"b": b"x" * 900, "a": b"x" * 900})
BROKEN = {
    "no member": ("zip", zipped({"b": b""}), "missing", "no such member in the archive"),
    "no zip": ("zip", b"rubbish" * 100, "corrupt", "the archive is no zip: File is not a zip"),
    "empty zip": ("zip", b"", "corrupt", "the archive is no zip"),
    "cut zip": ("zip", zipped({"a": b"x" * 900})[:-30], "corrupt", "the archive is no zip"),
    "encrypted": ("zip", encrypted(), "unreadable", "the member is encrypted"),
    "method": (
        "zip", zipped({"a": b"x"}, zipfile.ZIP_BZIP2), "codec", r"method 12 \(bzip2\); use deflate"
    ),
    "flipped": (
        "zip", damaged(zipped({"a": b"x" * 900}, zipfile.ZIP_STORED)), "corrupt", "its CRC-32 is"
    ),
    "no tar": ("tar", b"rubbish" * 100, "corrupt", "the archive is no tar"),
    "tar.gz": ("tar", tarred({"a": b"x"}, "w:gz"), "codec", "compressed by gzip.*a plain tar"),
    "tar.bz2": ("tar", bz2.compress(tarred({"a": b""})), "codec", "compressed by bzip2"),
    "tar.xz": ("tar", tarred({"a": b"x"}, "w:xz"), "codec", "compressed by xz"),
    "cut tar": ("tar", tarred({"a": b"x" * 9000})[:5000], "truncated", "ends within the member"),
    "tar without its end": (
        "tar", TWO[:1000], "missing", r"breaks off after 1 members \(unexpected end of data"
    ),
    "tar with rubbish": (
        "tar", TWO[:1600] + b"?" + TWO[1601:], "missing", r"1 members \(a header is damaged"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "content", "reason", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_archive_says_what_is_wrong(tmp_path, kind, content, reason, message):
    (tmp_path / "x").write_bytes(content)

    with pytest.raises(SampleError, match=message) as caught:
        fetch.read(f"{kind}://a::{tmp_path}/x")

    assert caught.value.reason == reason


def test_an_archive_that_is_not_there_is_missing(tmp_path, server):
    server.script["/x.zip"] = [Answer(404)]

    for archive in (f"{tmp_path}/x.zip", f"{server.url}/x.zip"):
        with pytest.raises(SampleError, match="missing: no such archive"):
            fetch.read(f"zip://a::{archive}")


def test_a_member_over_the_limit_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "x.zip").write_bytes(zipped({"a": b"x" * 5000}))

    with pytest.raises(SampleError, match="limit of 1,000 bytes"):
        fetch.read(f"zip://a::{tmp_path}/x.zip", 1000)


def test_links_within_a_tar_are_the_files_that_they_name(tmp_path):
    file = io.BytesIO(tarred({"a": b"1"}))
    with tarfile.open(fileobj=file, mode="a") as archive:
        link = tarfile.TarInfo("b")
        link.type, link.linkname = tarfile.LNKTYPE, "a"
        archive.addfile(link)
    (tmp_path / "x.tar").write_bytes(file.getvalue())

    assert fetch.read(f"tar://b::{tmp_path}/x.tar") == b"1"


def test_an_archive_that_is_written_anew_is_listed_anew(tmp_path):
    place = f"zip://a::{tmp_path}/x.zip"
    (tmp_path / "x.zip").write_bytes(zipped({"a": b"old"}))
    old = fetch.read(place)
    (tmp_path / "x.zip").write_bytes(zipped({"before": b"it", "a": b"newer"}))

    assert (old, fetch.read(place)) == (b"old", b"newer")


def test_another_tar_in_a_listed_ones_place_is_no_silent_other_picture(server):
    server.files["/x.tar"] = tarred({"a": b"1" * 700, "b": b"2" * 700})
    fetch.read(f"tar://b::{server.url}/x.tar")
    server.files["/x.tar"] = tarred({"c": b"1" * 700, "d": b"2" * 700})

    with pytest.raises(SampleError, match=r"corrupt: .*the archive was changed"):
        fetch.read(f"tar://b::{server.url}/x.tar")


def test_bytes_that_arrive_damaged_are_fetched_again_and_are_no_fault_of_the_picture():
    good = zipped({"a": b"x" * 900}, zipfile.ZIP_STORED)
    answers = []
    archives = Archives(Means(lambda _: len(good), lambda _, a, b: answers.pop(0)[a:b]))
    place = Place("zip", "a", "memory://x")
    answers[:] = [good] * 5
    member = archives.find(place)
    other = bytearray(damaged(good))
    other[100] ^= 4

    answers[:] = [damaged(good), good]
    assert archives.read(place, member) == b"x" * 900
    answers[:] = [damaged(good), bytes(other)]
    with pytest.raises(TransportError, match="cannot reach memory://x: bytes arrive damaged"):
        archives.read(place, member)


def test_no_more_members_are_kept_than_allowed_and_the_last_archive_always():
    listed = Counter()
    content = zipped({str(i): b"" for i in range(6)})

    def size(archive):
        listed[archive] += 1
        return len(content)

    archives = Archives(Means(size, lambda _, start, stop: content[start:stop]), members=10)
    for archive in ("a", "a", "b", "b", "a"):
        archives.find(Place("zip", "1", archive))

    assert listed == {"a": 2, "b": 1}


def test_listings_are_bounded_by_default():
    assert _archives.MEMBERS == 2_000_000
