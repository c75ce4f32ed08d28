import os
import socket

import pytest
from web import Answer, serving

from daskimg import fetch
from daskimg.errors import SampleError, TransportError
from daskimg.fetch import _retries

NAMES = ["plain.jpg", "nét 图像 #1 100%.jpg", "a::b.jpg", "with space?.jpg", "[x].jpg", "%41.jpg"]


@pytest.fixture
def files(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_any_name_is_read_as_it_stands(files):
    for name in NAMES:
        assert fetch.read(fetch.join(str(files), name)) == name.encode()
        assert fetch.read(f"file://{files}/{name}") == name.encode()
        assert fetch.expand(str(files / name)) == [str(files / name)]


def test_sources_come_in_the_order_asked_for(files):
    places = [str(files / name) for name in [*NAMES, "gone.jpg", NAMES[0]]]

    found = list(fetch.read_ahead(places))

    assert [f if isinstance(f, bytes) else f.reason for f in found] == [
        *(name.encode() for name in NAMES), "missing", NAMES[0].encode(),
    ]  # fmt: skip


@pytest.fixture(params=["disk", "memory"])
def nameless(request, tmp_path):
    """A folder in which a.png, b.jpg, b.png and an empty c.png are."""
    folder = fetch.open_folder(
        str(tmp_path) if request.param == "disk" else f"memory://{tmp_path}"
    )
    for name, content in {"a.png": b"1", "b.jpg": b"2", "b.png": b"3", "c.png": b""}.items():
        folder.put(name, content)
    return folder.url


def test_a_name_without_its_extension_is_found_under_the_first_that_is_there(nameless):
    places = [f"{nameless}/{name}" for name in ("a", "b", "b.png", "c", "d")]

    found = list(fetch.find_ahead([*places, ""], extensions=(".jpg", ".png")))

    assert found[:4] == [(b"1", ".png"), (b"2", ".jpg"), (b"3", ""), (b"", ".png")]
    assert [f.content.reason for f in found[4:]] == ["missing", "missing"]
    assert "nor with .jpg, .png" in found[4].content.message
    assert found[5].content.message == "no path in the table"
    contents = fetch.read_ahead(places[:3], extensions=(".jpg", ".png"))
    assert list(contents) == [b"1", b"2", b"3"]


def test_another_fault_than_absence_ends_the_search(nameless):
    found = list(fetch.find_ahead([f"{nameless}/b"], 0, (".jpg", ".png")))

    assert found[0].content.reason == "bytes"


def test_parts_of_a_source_are_read_from_either_end(nameless):
    fetch.open_folder(nameless).put("x", b"0123456789")
    place = f"{nameless}/x"

    assert fetch.read_part(place, 0, 4) == b"0123"
    assert fetch.read_part(place, 8, 20) == b"89"
    assert fetch.read_part(place, -3) == b"789"
    assert fetch.read_part(place, -30) == b"0123456789"
    with pytest.raises(SampleError, match="missing"):
        fetch.read_part(f"{nameless}/y", 0, 4)


@pytest.mark.parametrize(
    ("make", "reason", "message"),
    [
        (lambda p: p / "gone", "missing", "no such file"),
        (lambda p: p / "plain.jpg" / "below", "missing", "no such file"),
        (lambda p: p, "missing", "not a regular file"),
        (lambda p: p / ("x" * 300), "missing", "too long"),
        (lambda p: str(p / "nul\0.jpg"), "missing", "no such file"),
        (lambda p: "", "missing", "no path in the table"),
    ],
    ids=["gone", "below a file", "a folder", "long", "nul", "empty"],
)
def test_a_file_at_fault_is_a_failed_sample(files, make, reason, message):
    with pytest.raises(SampleError, match=message) as caught:
        fetch.read(str(make(files)))

    assert caught.value.reason == reason


def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")

    with pytest.raises(SampleError, match="not a regular file"):
        fetch.read(str(tmp_path / "pipe.jpg"))


def test_a_source_over_the_limit_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(SampleError, match=r"limit of 1,000 bytes") as caught:
        fetch.read(str(tmp_path / "sparse.jpg"), 1000)

    assert caught.value.reason == "bytes"


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def no_waiting(monkeypatch):
    waits = []

    async def pause(seconds):
        waits.append(seconds)

    monkeypatch.setattr(_retries, "pause", pause)
    return waits


def test_remote_sources_come_in_order_and_missing_ones_are_named(server):
    server.script["/3.jpg"] = [Answer(404)]
    places = [f"{server.url}/{i}.jpg" for i in range(40)]

    found = list(fetch.read_ahead(places))

    assert isinstance(found[3], SampleError)
    assert found[3].reason == "missing"
    assert [f for f in found if isinstance(f, bytes)] == [
        f"/{i}.jpg".encode() for i in range(40) if i != 3
    ]


def test_a_server_in_trouble_is_asked_again(server, no_waiting):
    server.script["/a.jpg"] = [Answer(503), Answer(503)]

    assert fetch.read(f"{server.url}/a.jpg") == b"/a.jpg"
    assert len(no_waiting) == 2


def test_an_unreachable_server_is_no_bad_picture(no_waiting):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.jpg"

        with pytest.raises(TransportError, match="cannot reach http"):
            fetch.read(url)

    assert len(no_waiting) == fetch.Options().attempts - 1


def test_whole_objects_are_asked_for_in_one_plain_request(server):
    places = [f"{server.url}/{i}.jpg" for i in range(30)]

    list(fetch.read_ahead(places))

    assert sorted(server.asked) == sorted((f"/{i}.jpg", None) for i in range(30))


def test_redirects_are_followed(server):
    server.script["/old.jpg"] = [Answer(302, headers={"Location": "/new.jpg"})]

    assert fetch.read(f"{server.url}/old.jpg") == b"/new.jpg"


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "missing"), (410, "missing"), (403, "unreadable")]
)
def test_what_a_web_server_does_not_give_is_told_apart_at_once(server, status, reason):
    server.script["/a.jpg"] = [Answer(status)]

    with pytest.raises(SampleError, match=reason):
        fetch.read(f"{server.url}/a.jpg")

    assert len(server.asked) == 1


def test_missing_credentials_are_no_fault_of_a_picture(server):
    server.script["/a.jpg"] = [Answer(401)]

    with pytest.raises(TransportError, match=r"401 Unauthorized$"):
        fetch.read(f"{server.url}/a.jpg")

    assert len(server.asked) == 1


@pytest.mark.parametrize("said", [{}, {"Content-Length": None}], ids=["said", "unsaid"])
def test_a_remote_source_over_the_limit_is_refused(server, said):
    server.script["/a.jpg"] = [Answer(body=b"x" * 2000, headers=said)]

    with pytest.raises(SampleError, match=r"limit of 1,000 bytes") as caught:
        fetch.read(f"{server.url}/a.jpg", 1000)

    assert caught.value.reason == "bytes"


def test_remote_tables_are_read_by_parts_or_whole(server):
    content = os.urandom(300_000)
    server.files["/a.csv"] = content

    with fetch.open_input(f"{server.url}/a.csv?signature=1") as file:
        file.seek(100_000)
        assert file.read(10) == content[100_000:100_010]
        file.seek(0)
        assert file.read() == content

    assert fetch.expand(f"{server.url}/a.csv?signature=1") == [f"{server.url}/a.csv?signature=1"]
    assert {path for path, _ in server.asked} == {"/a.csv?signature=1"}


def test_a_server_without_ranges_is_asked_for_a_table_once():
    with serving(ranges=False) as server:
        server.files["/a.csv"] = content = os.urandom(300_000)

        with fetch.open_input(f"{server.url}/a.csv") as file:
            assert file.read() == content

    assert len(server.asked) == 2  # how large, and all of it


def test_a_table_that_is_not_there_is_no_such_file(server):
    server.script["/a.csv"] = [Answer(404)]

    with pytest.raises(FileNotFoundError, match="no such object"):
        fetch.open_input(f"{server.url}/a.csv")


@pytest.fixture(params=["disk", "memory"])
def folder(request, tmp_path):
    if request.param == "disk":
        return fetch.open_folder(str(tmp_path / "new" / "store"))
    return fetch.open_folder(f"memory://{tmp_path}")


def test_a_listing_passes_over_what_is_removed_meanwhile(tmp_path, monkeypatch):
    folder = fetch.open_folder(str(tmp_path))
    folder.put("a", b"one")
    monkeypatch.setattr(os, "walk", lambda start: [(str(start), [], ["a", "gone"])])

    assert folder.sizes() == {"a": 3}


def test_objects_are_put_listed_read_and_removed(folder):
    assert folder.names() == []
    assert folder.sizes() == {}

    folder.put("a/b/1", b"one")
    folder.put("a/b/1", b"other")
    folder.put("c", memoryview(b"two"))

    assert folder.names() == ["a", "c"]
    assert folder.sizes() == {"a/b/1": 5, "c": 3}
    assert folder.sizes("a") == {"a/b/1": 5}
    assert (folder.size("c"), folder.size("d")) == (3, None)
    assert folder.read("a/b/1") == b"other"
    folder.remove("a")
    folder.remove("never there")
    assert folder.sizes() == {"c": 3}
    with pytest.raises(FileNotFoundError):
        folder.read("a/b/1")


def test_only_one_creator_wins(folder):
    assert folder.create("commit", b"first")
    assert not folder.create("commit", b"second")
    assert folder.read("commit") == b"first"


def test_a_put_that_dies_leaves_the_old_object_and_no_rubbish(tmp_path, monkeypatch):
    folder = fetch.open_folder(str(tmp_path))
    folder.put("a", b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.put("a", b"new")

    assert folder.read("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
