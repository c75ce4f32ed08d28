"""The protocol server against clients that were not made for it, and its own faults and counts.

Where the environment names another server or a real bucket, the first half runs there.
"""

import asyncio
import base64
import hashlib
import http.client
import os
import random
import subprocess
import sys
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import numpy as np
import numpy.testing as npt
import pytest
import zarr
from zarr.core.sync import sync

# gcsfs hands large bodies to aiohttp as bytes, and aiohttp would rather have a file.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

MIB = 1 << 20
BYTES = bytes(range(256)) * 4


@pytest.fixture(scope="module")
def place(gcs_environment):
    """A bucket of this module's."""
    return gcs_environment.bucket()


@pytest.fixture(scope="module")
def system(gcs_environment):
    return gcs_environment.system


@pytest.fixture(scope="module")
def many(system, place):
    """2,500 objects in the folder `many`, more than two pages hold."""
    system.pipe({f"{place}/many/{i:05d}": b"v%d" % i for i in range(2500)})
    return f"{place}/many"


# -- through gcsfs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\x89PNG\r", b"\xff\xd8\n", b"x\r\n", b"x\n\n", b"x\n--==", b"\r\n--"],
    ids=["empty", "text", "cr", "lf", "crlf", "lflf", "boundary", "dashes"],
)
def test_any_bytes_come_back_as_they_were(system, place, content):
    system.pipe_file(f"{place}/s/a", content)

    assert system.cat_file(f"{place}/s/a") == content
    assert system.info(f"{place}/s/a")["size"] == len(content)


def test_random_bytes_come_back_as_they_were(system, place):
    contents = {f"{place}/r/{i}": random.Random(i).randbytes(5000 + i) for i in range(30)}

    system.pipe(contents)

    assert system.cat(list(contents)) == contents


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 10), (10, 20), (1000, None), (1000, 1024), (1000, 5000), (-5, None), (None, 7), (-9, -2)],
)
def test_ranges_are_those_of_a_slice(system, place, start, stop):
    system.pipe_file(f"{place}/s/r", BYTES)

    assert system.cat_file(f"{place}/s/r", start=start, end=stop) == BYTES[slice(start, stop)]


def test_a_range_beyond_the_end_is_refused(system, place):
    system.pipe_file(f"{place}/s/r", BYTES)

    with pytest.raises(Exception, match=r"416|satisfi"):
        system.cat_file(f"{place}/s/r", start=5000, end=6000)


def test_many_ranges_at_once(system, place):
    system.pipe_file(f"{place}/s/r", BYTES)

    found = system.cat_ranges([f"{place}/s/r"] * 200, list(range(200)), list(range(7, 207)))

    assert found == [BYTES[i : i + 7] for i in range(200)]


def test_what_is_not_there_is_not_found(system, place):
    with pytest.raises(FileNotFoundError):
        system.cat_file(f"{place}/nope")
    with pytest.raises(FileNotFoundError):
        system.cat_file("no-such-bucket-at-all/a")
    assert not system.exists(f"{place}/nope")


@pytest.mark.parametrize("size", [1, 6 * MIB], ids=["whole", "chunks"])
def test_creation_happens_once(system, place, size):
    name = f"{place}/x/{size}"
    with system.open(name, "xb") as file:
        file.write(b"1" * size)

    with pytest.raises(FileExistsError), system.open(name, "xb") as file:
        file.write(b"2" * size)
    with pytest.raises(FileExistsError):
        system.pipe_file(name, b"3", mode="create")

    assert system.cat_file(name)[:1] == b"1"


def test_one_of_sixteen_creators_wins(system, place):
    def create(i):
        try:
            system.pipe_file(f"{place}/race", b"%d" % i, mode="create")
        except FileExistsError:
            return None
        return i

    with ThreadPoolExecutor(8) as pool:
        winners = [i for i in pool.map(create, range(16)) if i is not None]

    assert len(winners) == 1
    assert system.cat_file(f"{place}/race") == b"%d" % winners[0]


def test_hundreds_of_objects_come_at_once_as_they_were(system, many):
    names = system.find(many)[:500]

    found = system.cat(names)

    assert sorted(found) == names
    hashes = {name: hashlib.md5(content).digest() for name, content in found.items()}
    told = {name: base64.b64decode(system.info(name)["md5Hash"]) for name in names[:5]}
    assert told.items() <= hashes.items()


def test_a_shard_is_written_and_read_by_zarr_whole_and_in_parts(gcs_environment, place):
    url = f"gs://{place}/sharded"
    values = np.random.default_rng(0).integers(0, 256, (8, 4, 4), np.uint8)
    options = gcs_environment.storage_options
    array = zarr.create_array(
        url, shape=values.shape, dtype="uint8", chunks=(2, 4, 4), shards=(8, 4, 4),
        storage_options=options,
    )  # fmt: skip
    array[:] = values

    found = zarr.open_array(url, mode="r", storage_options=options)
    npt.assert_array_equal(found[:], values)
    npt.assert_array_equal(found[2:4], values[2:4])  # one chunk, found by a suffix range
    npt.assert_array_equal(found.oindex[[1, 6]], values[[1, 6]])
    array.store.close()
    sync(array.store.fs._session.close())  # on its loop: gcsfs would close it on another


@pytest.mark.parametrize("size", [7 * MIB, 13 * MIB + 17], ids=["7", "13"])
def test_large_objects_go_up_in_chunks(system, place, tmp_path, size):
    content = random.Random(size).randbytes(size)
    (tmp_path / "large").write_bytes(content)

    system.put_file(str(tmp_path / "large"), f"{place}/large/put")
    with system.open(f"{place}/large/open", "wb", block_size=5 * MIB) as file:
        file.write(content)

    assert system.cat_file(f"{place}/large/put") == content
    assert system.cat_file(f"{place}/large/open") == content


def test_a_piped_object_over_50_mib_goes_up_in_chunks(system, place):
    content = random.Random(0).randbytes(MIB) * 52

    system.pipe_file(f"{place}/large/piped", content)

    assert system.cat_file(f"{place}/large/piped") == content
    system.rm(f"{place}/large/piped")


def test_listings_are_whole_sorted_and_folded(system, many, place):
    names = system.ls(many, detail=False)

    assert names == [f"{many}/{i:05d}" for i in range(2500)]
    assert len(system.find(many)) == 2500
    assert f"{place}/many" in system.ls(place, detail=False)
    assert system.glob(f"{many}/0000*") == names[:10]
    assert len(system.cat(names[:500])) == 500


def test_a_listing_names_what_is_needed_to_check_an_object(system, place):
    system.pipe_file(f"{place}/facts/a", b"123456789")

    (facts,) = system.find(f"{place}/facts", detail=True).values()

    assert facts["size"] == 9
    assert facts["crc32c"] == "4waSgw=="  # 0xE3069283, the check value of CRC-32C
    assert facts["md5Hash"] == "JfnnlDI7RTiF9RgfG2JNCw=="
    assert int(facts["generation"]) > 0


@pytest.mark.parametrize("name", ["a b.jpg", "50%.jpg", "ü/é.png", "a+b", "q?x=1", "a&b", "x#1"])
def test_any_name_is_a_name(system, place, name):
    system.pipe_file(f"{place}/w/{name}", name.encode())

    assert system.cat_file(f"{place}/w/{name}") == name.encode()
    assert f"{place}/w/{name}" in system.find(f"{place}/w")


def test_copies_moves_and_metadata(system, place):
    system.pipe_file(f"{place}/c/a", b"hello", metadata={"k": "v"})

    system.cp_file(f"{place}/c/a", f"{place}/c/b")
    system.mv(f"{place}/c/b", f"{place}/c/d")

    assert system.cat_file(f"{place}/c/d") == b"hello"
    assert not system.exists(f"{place}/c/b")
    assert system.getxattr(f"{place}/c/d", "k") == "v"


def test_each_writing_has_a_higher_generation(system, place):
    generations = []
    for content in (b"one", b"two"):
        system.pipe_file(f"{place}/g", content)
        generations.append(int(system.info(f"{place}/g")["generation"]))

    assert generations[0] < generations[1]


def test_folders_are_removed_whole(system, place):
    system.pipe({f"{place}/gone/{i}": b"" for i in range(50)})

    system.rm(f"{place}/gone", recursive=True)

    assert system.find(f"{place}/gone") == []


# -- through google-cloud-storage -------------------------------------------------------------


@pytest.fixture(scope="module")
def google(gcs_environment, place):
    """A bucket of Google's own client, and the prefix to write below."""
    storage = pytest.importorskip("google.cloud.storage", reason="needs google-cloud-storage")
    from google.auth.credentials import AnonymousCredentials

    name, _, prefix = place.partition("/")
    if not gcs_environment.url:
        yield storage.Client().bucket(name), f"{prefix}/"
        return
    client = storage.Client(
        project="test",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": gcs_environment.url},
    )
    yield client.bucket(name), prefix and f"{prefix}/"
    client.close()


@pytest.mark.parametrize("chunk", [None, MIB], ids=["two parts", "chunks"])
def test_googles_client_writes_and_reads(google, chunk):
    bucket, prefix = google
    content = random.Random(1).randbytes(2 * MIB + 100) + b"\r\n"
    blob = bucket.blob(f"{prefix}google/a", chunk_size=chunk)

    blob.upload_from_string(content, checksum="crc32c")

    assert blob.download_as_bytes(checksum="crc32c") == content
    assert blob.download_as_bytes(start=5, end=9, checksum=None) == content[5:10]
    blob.reload()
    assert (blob.size, blob.content_type) == (len(content), "text/plain")


def test_googles_client_creates_once(google):
    from google.api_core.exceptions import NotFound, PreconditionFailed

    bucket, prefix = google
    bucket.blob(f"{prefix}google/once").upload_from_string(b"1", if_generation_match=0)

    with pytest.raises(PreconditionFailed):
        bucket.blob(f"{prefix}google/once").upload_from_string(b"2", if_generation_match=0)
    with pytest.raises(NotFound):
        bucket.blob(f"{prefix}google/never").download_as_bytes()


def test_googles_client_lists_composes_and_renames(google, many):
    bucket, prefix = google
    parts = [bucket.blob(f"{prefix}parts/{i}") for i in range(3)]
    for i, part in enumerate(parts):
        part.upload_from_string(b"%d" % i)

    made = bucket.blob(f"{prefix}google/whole")
    made.compose(parts)
    bucket.rename_blob(parts[0], f"{prefix}parts/other")

    assert made.download_as_bytes() == b"012"
    names = [blob.name for blob in bucket.list_blobs(prefix=f"{prefix}parts/")]
    assert names == [f"{prefix}parts/{name}" for name in ("1", "2", "other")]
    some = bucket.list_blobs(prefix=f"{prefix}many/", fields="items(name),nextPageToken")
    assert len(list(some)) == 2500


def test_googles_client_asks_what_it_may(google):
    bucket, _ = google

    assert bucket.test_iam_permissions(["storage.objects.get", "storage.objects.create"]) == [
        "storage.objects.get",
        "storage.objects.create",
    ]
    assert bucket.client.get_bucket(bucket.name).storage_class


def test_a_wrong_hash_is_refused(google):
    from google.api_core.exceptions import BadRequest

    bucket, prefix = google
    blob = bucket.blob(f"{prefix}google/wrong")
    blob.crc32c = "AAAAAA=="

    with pytest.raises(BadRequest, match="crc32c"):
        blob.upload_from_string(b"content", checksum=None)


# -- through obstore: the XML API -------------------------------------------------------------


@pytest.fixture(scope="module")
def objects(gcs_environment, place):
    """A store of obstore's."""
    stores = pytest.importorskip("obstore.store", reason="needs obstore")
    name, _, prefix = place.partition("/")
    if not gcs_environment.url:
        return stores.GCSStore(name, prefix=prefix)
    # Without a token it asks a metadata server for one before it writes.
    return stores.GCSStore(
        name,
        prefix=prefix or None,
        base_url=gcs_environment.url,
        bearer_token="test",
        client_options={"allow_http": True},
    )


def test_obstore_writes_and_reads(objects):
    import obstore

    obstore.put(objects, "obstore/a b.bin", BYTES)

    assert bytes(obstore.get(objects, "obstore/a b.bin").bytes()) == BYTES
    assert bytes(obstore.get_range(objects, "obstore/a b.bin", start=5, end=9)) == BYTES[5:9]
    suffix = obstore.get(objects, "obstore/a b.bin", options={"range": {"suffix": 7}})
    assert bytes(suffix.bytes()) == BYTES[-7:]
    assert obstore.head(objects, "obstore/a b.bin")["size"] == len(BYTES)
    with pytest.raises(FileNotFoundError):
        obstore.get(objects, "obstore/never")


def test_obstore_creates_once(objects):
    import obstore
    from obstore.exceptions import AlreadyExistsError

    obstore.put(objects, "obstore/once", b"1", mode="create")

    with pytest.raises(AlreadyExistsError):
        obstore.put(objects, "obstore/once", b"2", mode="create")
    assert bytes(obstore.get(objects, "obstore/once").bytes()) == b"1"


def test_obstore_writes_in_parts_copies_lists_and_deletes(objects, many):
    import obstore

    content = random.Random(2).randbytes(12 * MIB)

    obstore.put(objects, "pieces/a", content, use_multipart=True, chunk_size=5 * MIB)
    obstore.copy(objects, "pieces/a", "pieces/b")
    obstore.delete(objects, "pieces/a")

    assert bytes(obstore.get(objects, "pieces/b").bytes()) == content
    assert [each["path"] for each in obstore.list(objects, "pieces").collect()] == ["pieces/b"]
    assert len(obstore.list(objects, "many").collect()) == 2500


# -- the server's own: over plain HTTP --------------------------------------------------------


def ask(server, method, path, body=b"", **headers):
    """Send one request; return its status, headers and body."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.fixture
def own(gcs):
    """The tests' own server, and a bucket with the object `a`."""
    gcs.stats()  # skips where it is another's
    gcs.name = gcs.bucket(location="europe-west4", storageClass="nearline")
    gcs.system.pipe_file(f"{gcs.name}/a", BYTES)
    gcs.forget()
    gcs.media = f"/storage/v1/b/{gcs.name}/o/a?alt=media"
    return gcs


def test_a_bucket_has_a_location_and_a_class(own):
    facts = own.system.info(own.name)

    assert (facts["location"], facts["storageClass"]) == ("EUROPE-WEST4", "NEARLINE")


def test_xml_requests_answer_as_the_json_api_does(own):
    path = f"/{own.name}/a"

    assert ask(own, "GET", path)[2] == BYTES
    status, headers, body = ask(own, "HEAD", path)
    assert (status, headers["Content-Length"], body) == (200, "1024", b"")
    status, headers, body = ask(own, "GET", path, Range="bytes=-3")
    assert (status, headers["Content-Range"], body) == (206, "bytes 1021-1023/1024", BYTES[-3:])
    assert ask(own, "GET", f"/{own.name}?list-type=2&prefix=a")[2].count(b"<Key>a</Key>") == 1
    assert ask(own, "PUT", path, b"x", **{"x-goog-if-generation-match": "0"})[0] == 412
    assert ask(own, "PUT", path, b"x", **{"x-goog-hash": "crc32c=AAAAAA=="})[0] == 400
    assert ask(own, "PUT", f"/{own.name}/b", b"x", **{"x-goog-copy-source": path})[0] == 200
    assert ask(own, "GET", f"/{own.name}/b")[2] == BYTES


def test_xml_uploads_in_parts_become_one_object(own):
    path = f"/{own.name}/parts"
    begun = ask(own, "POST", f"{path}?uploads")[2].decode()
    identity = begun.partition("<UploadId>")[2].partition("<")[0]

    for number in (2, 1):
        ask(own, "PUT", f"{path}?partNumber={number}&uploadId={identity}", b"%d" % number)
    done = ask(own, "POST", f"{path}?uploadId={identity}", b"<x/>")

    assert done[0] == 200
    assert ask(own, "GET", path)[2] == b"12"
    assert own.stats().by_kind("parts") == {"begin": 1, "chunk": 2, "finish": 1, "media": 1}


def test_pages_have_the_size_asked_for(own):
    numbered = own.numbered(1_000_000, "deep/in/{:07d}.jpg")
    path = f"/storage/v1/b/{numbered}/o?prefix=deep/in/&"

    for most, expected in (("", 1000), ("maxResults=10", 10), ("maxResults=5000", 1000)):
        body = ask(own, "GET", path + most)[2]
        assert body.count(b'"storage#object"') == expected
    assert b"nextPageToken" in body
    assert own.system.cat_file(f"{numbered}/deep/in/0999999.jpg") == b"deep/in/0999999.jpg"
    assert own.system.ls(f"{numbered}/deep", detail=False) == [f"{numbered}/deep/in"]
    last = ask(own, "GET", f"{path}startOffset=deep/in/0999998&fields=items/name")[2]
    assert last == b'{"items": [{"name": "deep/in/0999998.jpg"}, {"name": "deep/in/0999999.jpg"}]}'


def test_what_is_not_imitated_says_so(own):
    status, _, body = ask(own, "GET", f"/storage/v1/b/{own.name}/o?matchGlob=*.jpg")

    assert status == 501
    assert b"matchGlob is not imitated" in body


def test_requests_are_counted_by_kind_and_object(own):
    system, name = own.system, own.name

    system.cat_file(f"{name}/a")
    system.cat_file(f"{name}/a", start=0, end=1 << 30)
    system.cat_file(f"{name}/a", start=0, end=10)
    system.pipe_file(f"{name}/b", b"1")
    system.pipe_file(f"{name}/c", b"1", mode="create")
    system.rm_file(f"{name}/c")

    stats = own.stats()
    assert stats.by_kind("^a$") == {"media": 2, "part": 1}
    assert stats.by_kind("^b$") == {"put": 1}
    assert stats.by_kind("^c$") == {"create": 1, "delete": 1}
    assert stats.count("media|part") == 3
    assert stats.sent > 2 * len(BYTES)
    assert stats.most_in_flight == 1


def test_a_name_written_twice_in_a_second_is_hasty(own):
    own.system.pipe_file(f"{own.name}/new", b"1")
    assert own.stats().hasty == {}

    own.system.pipe_file(f"{own.name}/new", b"2")

    assert own.stats().hasty == {f"{own.name}/new": 1}


def test_latency_is_added_to_each_request(own):
    own.latency(0.1)

    began = time.monotonic()
    ask(own, "GET", own.media)

    assert time.monotonic() - began >= 0.1


# -- faults -----------------------------------------------------------------------------------


def test_a_status_strikes_as_often_as_it_should_and_names_a_time(own):
    own.faults({"fault": "status", "status": 429, "retry_after": 2, "count": 1, "name": "^a$"})

    status, headers, _ = ask(own, "GET", own.media)

    assert (status, headers["Retry-After"]) == (429, "2")
    assert ask(own, "GET", own.media)[0] == 200
    assert own.stats().faults == {"status": 1}


def test_rules_look_at_the_method_the_kind_and_the_name(own):
    own.faults(
        {"fault": "status", "method": "POST"},
        {"fault": "status", "kind": "part"},
        {"fault": "status", "name": "jpg$"},
    )

    assert ask(own, "GET", own.media)[0] == 200
    assert ask(own, "GET", own.media, Range="bytes=0-3")[0] == 503
    assert ask(own, "PUT", f"/{own.name}/b", b"x")[0] == 200
    assert ask(own, "PUT", f"/{own.name}/b.jpg", b"x")[0] == 503
    upload = f"/upload/storage/v1/b/{own.name}/o?uploadType=media&name=c"
    assert ask(own, "POST", upload, b"x")[0] == 503


def test_a_cut_before_the_write_leaves_nothing_and_one_after_it_leaves_the_object(own):
    own.faults(
        {"fault": "reset", "name": "before", "kind": "put"},
        {"fault": "reset_after_write", "name": "after", "kind": "put"},
    )

    for name in ("before", "after"):
        with pytest.raises(ConnectionError):
            ask(own, "PUT", f"/{own.name}/{name}", b"x")

    assert ask(own, "GET", f"/{own.name}/before")[0] == 404
    assert ask(own, "GET", f"/{own.name}/after")[2] == b"x"


def test_bodies_come_cut_short_or_changed_under_true_hashes(own):
    _, whole, _ = ask(own, "GET", own.media)

    own.faults({"fault": "truncate"})
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask(own, "GET", own.media)
    own.faults({"fault": "short"})
    short = ask(own, "GET", own.media)
    own.faults({"fault": "corrupt"})
    corrupt = ask(own, "GET", own.media)

    assert short[2] == BYTES[:512]
    assert short[1]["Content-Length"] == "512"
    assert sum(a != b for a, b in zip(corrupt[2], BYTES, strict=True)) == 1
    for _, headers, _ in (short, corrupt):
        assert headers["x-goog-hash"] == whole["x-goog-hash"]
        assert headers["x-goog-stored-content-length"] == "1024"


def test_an_upload_may_be_changed_on_its_way(own):
    own.faults({"fault": "corrupt", "kind": "put"})

    own.system.pipe_file(f"{own.name}/b", BYTES)
    told = {"x-goog-hash": "md5=" + own.system.info(f"{own.name}/a")["md5Hash"]}
    refused = ask(own, "PUT", f"/{own.name}/c", BYTES, **told)

    own.calm()
    stored = own.system.cat_file(f"{own.name}/b")
    assert sum(a != b for a, b in zip(stored, BYTES, strict=True)) == 1
    assert refused[0] == 400


def test_a_slow_body_comes_whole(own):
    own.faults({"fault": "slow", "seconds": 0.2})

    began = time.monotonic()
    body = ask(own, "GET", own.media)[2]

    assert body == BYTES
    assert time.monotonic() - began >= 0.2


def test_a_stall_lasts_as_long_as_it_should(own):
    async def stalled():
        limit = aiohttp.ClientTimeout(total=0.3)
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.get(own.url + own.media),
        ):
            pass

    own.faults({"fault": "stall"})
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(stalled())
    own.faults({"fault": "stall", "seconds": 0.1})

    assert ask(own, "GET", own.media)[2] == BYTES


def test_one_process_may_be_cut_off_while_another_is_not(own):
    own.faults({"fault": "status", "client": os.getpid()})
    script = "import sys, urllib.request as u; print(len(u.urlopen(sys.argv[1]).read()))"

    other = subprocess.run(
        [sys.executable, "-c", script, own.url + own.media], capture_output=True, check=True
    )

    assert ask(own, "GET", own.media)[0] == 503
    assert other.stdout == b"1024\n"


def test_chance_hangs_on_the_seed_and_the_request_and_on_nothing_else(own):
    def statuses(seed, order):
        own.forget()
        own.faults({"fault": "status", "probability": 0.2}, seed=seed)
        path = f"/storage/v1/b/{own.name}/o/"
        return {i: ask(own, "GET", f"{path}n{i}")[0] for i in order}

    one = statuses(1, range(200))
    again = statuses(1, reversed(range(200)))
    other = statuses(2, range(200))

    assert one == again != other
    assert 20 <= sum(status == 503 for status in one.values()) <= 60


def test_a_fault_that_is_none_is_refused(own):
    with pytest.raises(OSError, match="500"):
        own.faults({"fault": "explode"})
