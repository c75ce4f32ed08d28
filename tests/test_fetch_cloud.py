import base64
import json
import threading
import traceback
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
import pytest

from daskimg import fetch
from daskimg.errors import SampleError, TransportError
from daskimg.fetch import _retries


def crc32c(content):
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


class Bucket(BaseHTTPRequestHandler):
    """What one bucket of Google's JSON API answers to uploads, downloads and deletions.

    Faults are taken from the server's list, one a request: a status, `lost` (done, and no
    answer), `flipped` (a byte of the body, on its way here or there) or `stalled`.
    """

    extra: ClassVar = {}

    def do_GET(self):
        fault, url = self._begin()
        name = unquote(url.path.partition("/o/")[2])
        if url.path.endswith("/o"):
            self._list(parse_qs(url.query))
        elif name not in self.server.objects:
            self._send(404, b"")
        elif "alt" in parse_qs(url.query):
            content = self.server.objects[name]["content"]
            sent = b"?" + content[1:] if fault == "flipped" else content
            self._send(200, sent, {"x-goog-hash": f"crc32c={crc32c(content)}", **self.extra})
        else:
            self._send(200, self._facts(name))

    def do_POST(self):
        fault, url = self._begin()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if fault == "flipped":
            body = body.replace(b"picture", b"pikture")
        boundary = self.headers["Content-Type"].partition('boundary="')[2].rstrip('"').encode()
        _, first, second, _ = body.split(b"--" + boundary)
        given = json.loads(first.partition(b"\r\n\r\n")[2])
        content = second.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        there = given["name"] in self.server.objects
        if given["crc32c"] != crc32c(content):
            self._send(400, b'{"error": {"message": "Provided crc32c doesn\'t match"}}')
        elif there and "ifGenerationMatch=0" in url.query:
            self._send(412, b"")
        else:
            metadata = given.get("metadata", {})
            self.server.objects[given["name"]] = {"content": content, "metadata": metadata}
            if fault == "lost":
                self.close_connection = True
            else:
                self._send(200, self._facts(given["name"]))

    def do_DELETE(self):
        fault, url = self._begin()
        gone = self.server.objects.pop(unquote(url.path.partition("/o/")[2]), None)
        if fault != "lost":
            self._send(404 if gone is None else 204, b"")

    def _begin(self):
        fault = self.server.faults.pop(0) if self.server.faults else None
        self.server.asked.append(self.command)
        if fault == "stalled":
            self.server.over.wait(5)
        if isinstance(fault, int):
            if self.command == "POST":
                self.rfile.read(int(self.headers["Content-Length"]))
            self._send(fault, json.dumps({"error": {"message": self.server.told}}).encode())
            self.close_connection = True
            raise ConnectionAbortedError
        return fault, urlsplit(self.path)

    def _list(self, query):
        """Send one page of two names, and where the next begins."""
        prefix, after = query.get("prefix", [""])[0], query.get("pageToken", [""])[0]
        names = sorted(n for n in self.server.objects if n.startswith(prefix) and n > after)
        page = {"items": [json.loads(self._facts(name)) for name in names[:2]]}
        more = {"nextPageToken": names[1]} if len(names) > 2 else {}
        self._send(200, json.dumps(page | more).encode())

    def _facts(self, name):
        found = self.server.objects[name]
        facts = {"name": name, "size": str(len(found["content"])), "metadata": found["metadata"]}
        return json.dumps({**facts, "crc32c": crc32c(found["content"])}).encode()

    def _send(self, status, body, headers=()):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Say nothing of answers that were broken off."""


@pytest.fixture
def cloud():
    server = Server(("127.0.0.1", 0), Bucket)
    server.objects, server.faults, server.asked, server.told = {}, [], [], "no"
    server.over = threading.Event()
    server.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=partial(server.serve_forever, 0.01))
    thread.start()
    storage = {"gs": {"token": "anon", "endpoint_url": server.endpoint}}
    with fetch.using(fetch.Options(read_seconds=0.3, storage=storage)):
        yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    async def pause(seconds):
        pass

    monkeypatch.setattr(_retries, "pause", pause)
    fetch.traffic(reset=True)


def test_objects_of_any_name_go_in_and_out(cloud):
    folder = fetch.open_folder("gs://bucket/in")

    for name in ("a#1 100%.jpg", "a::b.jpg", "what?.jpg", "n#12", "nét 图像", "%41"):
        folder.put(name, name.encode())

        assert fetch.read(f"gs://bucket/in/{name}") == folder.read(name) == name.encode()
        assert folder.size(name) == len(name.encode())
    assert folder.size("gone") is None


def test_a_picture_costs_one_request_and_a_shard_one(cloud):
    folder = fetch.open_folder("gs://bucket")
    folder.put("a", bytearray(b"x" * 3_000_000))
    fetch.read("gs://bucket/a")

    assert cloud.asked == ["POST", "GET"]


def test_bytes_damaged_on_their_way_are_sent_or_fetched_again(cloud):
    folder = fetch.open_folder("gs://bucket")
    folder.put("a", b"a picture")

    cloud.faults[:] = ["flipped"]
    assert fetch.read("gs://bucket/a") == b"a picture"

    assert fetch.traffic().retries == {"corrupt": 1}


@pytest.mark.parametrize("fault", [None, 503, "stalled", "flipped"])
def test_an_object_is_read_into_memory_that_is_there(cloud, fault):
    content = bytes(range(256)) * 12_000
    folder = fetch.open_folder("gs://bucket")
    folder.put("a", content)
    memory, asked = bytearray(len(content)), []

    def room(size):
        asked.append(size)
        return memoryview(memory)

    cloud.faults[:] = [fault]
    found = folder.read_into("a", room, checked=True)

    assert found == content
    assert found.obj is memory
    assert set(asked) == {len(content)}
    assert sum(fetch.traffic().retries.values()) == (fault is not None)


def test_who_checks_what_arrives_may_be_given_damaged_bytes(cloud):
    folder = fetch.open_folder("gs://bucket")
    folder.put("a", b"a picture")
    cloud.faults[:] = ["flipped"]

    found = folder.read_into("a", lambda size: memoryview(bytearray(size)), checked=False)

    assert found == b"? picture"
    assert fetch.traffic().retries == {}


def test_what_is_longer_than_its_length_is_no_answer(cloud, monkeypatch):
    folder = fetch.open_folder("gs://bucket")
    folder.put("a", b"a picture")
    monkeypatch.setattr(Bucket, "extra", {"x-goog-stored-content-length": "3"})

    with pytest.raises(TransportError, match="9 bytes of 3 arrived"):
        folder.read_into("a", lambda size: memoryview(bytearray(size)), checked=False)


def test_an_upload_that_arrives_damaged_is_not_stored(cloud):
    folder = fetch.open_folder("gs://bucket")
    cloud.faults[:] = ["flipped"]

    folder.put("a", b"a picture")

    assert cloud.objects["a"]["content"] == b"a picture"
    assert cloud.asked == ["POST", "POST"]
    assert fetch.traffic().retries == {"corrupt": 1}


def test_a_creation_whose_answer_was_lost_is_known_as_our_own(cloud):
    folder = fetch.open_folder("gs://bucket")
    cloud.faults[:] = ["lost"]

    assert folder.create("commit", b"1")

    assert fetch.traffic().retries == {"reset": 1}


def test_anothers_creation_is_not_taken_for_our_own_even_with_equal_content(cloud):
    ours, theirs = (fetch.open_folder("gs://bucket") for _ in range(2))
    assert theirs.create("commit", b"1")

    assert not ours.create("commit", b"1")
    cloud.faults[:] = [503]
    assert not ours.create("commit", b"1")


def test_a_deletion_whose_answer_was_lost_is_done(cloud):
    folder = fetch.open_folder("gs://bucket")
    folder.put("a", b"1")
    cloud.faults[:] = [None, "lost"]

    folder.remove("a")

    assert cloud.objects == {}
    assert cloud.asked[1:] == ["GET", "DELETE", "DELETE"]


def test_a_folder_is_removed_with_all_that_is_in_it_and_nothing_else(cloud):
    folder = fetch.open_folder("gs://bucket")
    for name in ("a/1", "a/2", "a/b/3", "a/4", "a.b", "ab/1", "b"):
        folder.put(name, b"")

    folder.remove("a")
    folder.remove("never there")

    assert sorted(cloud.objects) == ["a.b", "ab/1", "b"]


@pytest.mark.parametrize("method", ["read", "put"])
def test_a_stalled_connection_costs_one_retry(cloud, method):
    folder = fetch.open_folder("gs://bucket")
    folder.put("a", b"1")
    cloud.faults[:] = ["stalled"]

    assert folder.read("a") == b"1" if method == "read" else folder.put("a", b"2") is None

    assert fetch.traffic().retries == {"timeout": 1}


def test_a_bucket_in_trouble_is_named_with_its_endpoint(cloud):
    cloud.faults[:] = [503] * fetch.Options().attempts
    cloud.told = "Backend Error"
    wanted = f"^cannot reach gs://bucket/a: 503 Backend Error, from {cloud.endpoint} .attempt 20"

    with pytest.raises(TransportError, match=wanted):
        fetch.read("gs://bucket/a")


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_permission_is_told_at_once_in_google_s_words(cloud, status):
    cloud.told = "robot@project does not have storage.objects.get access"
    folder = fetch.open_folder("gs://bucket/in")
    for call in (folder.read, folder.size, lambda name: folder.put(name, b"")):
        cloud.faults[:] = [status, status]
        with pytest.raises(TransportError, match=r"gs://bucket/in.* refuses .* to robot@project;"):
            call("a")

    assert not fetch.traffic().retries


def test_an_object_that_is_not_there_is_missing(cloud):
    with pytest.raises(SampleError, match="missing: no such object"):
        fetch.read("gs://bucket/a")
    with pytest.raises(FileNotFoundError):
        fetch.open_folder("gs://bucket").read("a")

    assert cloud.asked == ["GET", "GET"]


def test_an_empty_object_has_no_parts(cloud):
    fetch.open_folder("gs://bucket").put("a", b"")

    assert fetch.read("gs://bucket/a") == b""
    assert fetch.read_part("gs://bucket/a", 0, 0) == b""


def test_a_token_is_in_no_error_nor_its_traceback(cloud):
    token = "ya29.a0-very-secret"
    storage = {"gs": {"token": "anon", "endpoint_url": cloud.endpoint, "secret": token}}
    cloud.told = f"bad token {token} for https://me:pass@host/o?access_token={token}"
    cloud.faults[:] = [400]

    with (
        fetch.using(fetch.Options(storage=storage)),
        pytest.raises(TransportError, match=r"400 bad token \*\*\* for https://host/o") as caught,
    ):
        fetch.read("gs://bucket/a")

    assert token not in "".join(traceback.format_exception(caught.value))
