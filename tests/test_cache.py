"""Stores in buckets, read for training: ahead of need, within a budget, kept on this machine."""

import pickle
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import shelves

import daskimg
from daskimg.read import _cache
from daskimg.read._cache import Cache
from daskimg.store import Sharded

# gcsfs hands large bodies to aiohttp as bytes, and aiohttp would rather have a file.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

COUNT, SHARD = 200, 20
SIZE = 8 * 6 * 3
BYTES = 4 * (5 * SIZE + 4) + 4 * 16 + 4  # of an uncompressed shard
CODECS = ("none", "lz4", "zstd")
WINDOW = 4 * SHARD * SIZE


@pytest.fixture(scope="module")
def image():
    return shelves.pictures(COUNT)


@pytest.fixture(scope="module")
def urls(gcs_environment, image):
    """A store of ten shards for each codec."""
    bucket = gcs_environment.bucket()
    return {
        codec: shelves.write_store(
            f"gs://{bucket}/{codec}", image, shard=SHARD, chunk=5, codec=codec
        )
        for codec in CODECS
    }


@pytest.fixture
def own(gcs, image):
    """A store that a test may damage."""
    return shelves.write_store(f"gs://{gcs.bucket()}/a", image, shard=SHARD, chunk=5)


def read_all(samples, **settings):
    found = np.zeros(samples.image.shape, samples.image.dtype)
    for batch in samples.batches(16, window_bytes=WINDOW, **settings):
        found[batch.sample] = batch.image
    return found


def fetches(gcs):
    """How often each shard was asked for."""
    return sorted(count for *_, name, count in gcs.stats().calls if "/image/c/" in name)


def held(folder):
    """Return the bytes of a cache's files; one may go while they are counted."""
    total = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


# -- ahead of need -----------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shuffle", [False, True, "chunks"])
def test_each_shard_is_fetched_once_an_epoch(gcs, urls, image, codec, shuffle):
    samples = daskimg.open_store(urls[codec])
    gcs.forget()

    found = read_all(samples, shuffle=shuffle, threads=2)

    npt.assert_array_equal(found, image)
    assert fetches(gcs) == [1] * 10


def test_shards_are_fetched_many_at_once_and_no_more_than_allowed(gcs, urls):
    samples = daskimg.open_store(urls["none"])
    samples.labels, samples.status  # noqa: B018  fetched here, and not counted
    gcs.forget()
    gcs.latency(0.05)

    read_all(samples, shuffle=True, connections=3)

    assert gcs.stats().most_in_flight == 3


def test_a_small_budget_has_fewer_connections_and_the_same_batches(gcs, urls, image):
    samples = daskimg.open_store(urls["lz4"])
    shards = samples._arrays.sharded("image").stamps
    least = (COUNT + 16) * SIZE + 2 * max(size for size, _ in shards)
    samples.labels, samples.status  # noqa: B018  fetched here, and not counted
    gcs.forget()
    gcs.latency(0.02)

    found = read_all(samples, shuffle=True, threads=2, prefetch=0, budget=least)

    npt.assert_array_equal(found, image)
    assert gcs.stats().most_in_flight == 1
    with pytest.raises(daskimg.OptionError, match="budget must hold a batch of"):
        read_all(samples, shuffle=True, threads=2, prefetch=0, budget=least - 1)


def test_an_epoch_over_a_bucket_that_is_let_go_can_be_taken_up(gcs, urls):
    samples = daskimg.open_store(urls["zstd"])
    whole = [b.sample.tolist() for b in samples.batches(16, shuffle=True)]
    gcs.latency(0.05)
    epoch = samples.batches(16, shuffle=True, connections=2)
    first = next(epoch).sample.tolist()
    epoch.close()
    gcs.calm()

    assert [first, *(batch.sample.tolist() for batch in epoch)] == whole


# -- kept on this machine ----------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_shards_in_the_cache_are_not_fetched_again(gcs, urls, image, tmp_path, codec):
    samples = daskimg.open_store(urls[codec])
    gcs.forget()

    for epoch in range(3):
        found = read_all(samples, shuffle=True, epoch=epoch, cache=tmp_path)
        npt.assert_array_equal(found, image)

    again = pickle.loads(pickle.dumps(samples))
    npt.assert_array_equal(read_all(again, cache=str(tmp_path)), image)
    assert fetches(gcs) == [1] * 10


def test_a_full_shuffle_of_mapped_files_of_the_cache_fetches_each_once(gcs, urls, image, tmp_path):
    samples = daskimg.open_store(urls["none"])
    gcs.forget()

    found = read_all(samples, shuffle="full", cache=tmp_path, budget=16 * SIZE * 8)

    npt.assert_array_equal(found, image)
    assert fetches(gcs) == [1] * 10


READER = """
import pickle, sys
import daskimg
url, cache, rank, limit = sys.argv[1:]
samples = daskimg.open_store(url)
found = []
for epoch in range(2):
    for batch in samples.batches(
        30, shuffle=True, epoch=epoch, rank=int(rank), world=3, cache=cache,
        cache_bytes=int(limit), window_bytes={window},
    ):
        found += [(epoch, int(i), image.tobytes()) for i, image in zip(batch.sample, batch.image)]
sys.stdout.buffer.write(pickle.dumps(found))
"""


def test_the_ranks_of_a_host_fetch_each_shard_once_together(gcs, urls, image, tmp_path):
    gcs.forget()
    command = [sys.executable, "-c", READER.format(window=WINDOW), urls["none"], tmp_path]

    ranks = [
        subprocess.Popen([*map(str, command), str(rank), "1000000"], stdout=subprocess.PIPE)
        for rank in range(3)
    ]
    found = [sample for rank in ranks for sample in pickle.loads(rank.communicate()[0])]

    given = sorted((epoch, i) for epoch, i, _ in found if i >= 0)
    assert given == [(epoch, i) for epoch in range(2) for i in range(COUNT)]
    assert all(content == image[i].tobytes() for _, i, content in found if i >= 0)
    assert fetches(gcs) == [1] * 10


def test_a_cache_smaller_than_the_store_keeps_its_limit(gcs, urls, image, tmp_path):
    samples = daskimg.open_store(urls["none"])
    limit, most = 9 * BYTES, 0
    gcs.forget()

    for epoch in range(2):
        settings = {"shuffle": True, "epoch": epoch, "cache": tmp_path, "cache_bytes": limit}
        for batch in samples.batches(16, window_bytes=2 * SHARD * SIZE, **settings):
            npt.assert_array_equal(batch.image, image[batch.sample])
            most = max(most, held(tmp_path))

    assert 5 * BYTES < most <= limit
    assert max(fetches(gcs)) <= 2, "at most once an epoch"


@pytest.mark.parametrize(
    ("descriptors", "files"), [(1024, 256), (20000, 512), (resource.RLIM_INFINITY, 512), (2, 1)]
)
def test_one_reader_leaves_descriptors_to_others(urls, tmp_path, monkeypatch, descriptors, files):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    sharded = daskimg.open_store(urls["none"]).sharded("image")

    room = Cache(str(tmp_path), 1 << 40).room(sharded)

    assert room == files * BYTES


def test_what_finds_no_room_is_read_and_not_kept(gcs, urls, image, tmp_path):
    samples = daskimg.open_store(urls["none"])

    found = read_all(samples, cache=tmp_path, cache_bytes=BYTES - 1)

    npt.assert_array_equal(found, image)
    assert held(tmp_path) == 0


@pytest.mark.parametrize("check", ["first", "never"])
@pytest.mark.parametrize("damage", ["bit", "index", "cut", "empty"])
def test_a_damaged_file_of_the_cache_is_fetched_again(gcs, urls, image, tmp_path, damage, check):
    samples = daskimg.open_store(urls["none"])
    read_all(samples, cache=tmp_path)
    path = tmp_path / samples._arrays.sharded("image").stamps[3][1]
    content = bytearray(path.read_bytes())
    content[-20 if damage == "index" else 20] ^= 4
    path.write_bytes({"cut": content[:-7], "empty": b""}.get(damage, content))
    gcs.forget()

    found = read_all(pickle.loads(pickle.dumps(samples)), cache=tmp_path, check=check)

    npt.assert_array_equal(found, image)
    assert fetches(gcs) == [1]


@pytest.mark.parametrize("cached", [False, True])
def test_a_bit_flipped_in_the_bucket_is_an_error_that_names_its_samples(
    gcs, own, tmp_path, cached
):
    samples = daskimg.open_store(own)
    shard = f"{own.removeprefix('gs://')}/image/c/1/0/0/0"
    content = bytearray(gcs.system.cat_file(shard))
    content[20] ^= 4
    gcs.system.pipe_file(shard, bytes(content))

    message = r"image/c/1/0/0/0 has a damaged chunk .* samples 20 to 24 of image cannot be read"
    for _ in range(2):
        with pytest.raises(daskimg.StoreError, match=message):
            read_all(samples, cache=tmp_path if cached else None)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_a_shard_damaged_on_its_way_is_fetched_again(
    gcs, urls, image, tmp_path, codec, cached, times
):
    samples = daskimg.open_store(urls[codec])
    gcs.forget()
    gcs.faults({"fault": "corrupt", "name": "image/c/3", "kind": "media", "count": times})

    found = read_all(samples, shuffle=True, cache=tmp_path if cached else None)

    npt.assert_array_equal(found, image)
    assert fetches(gcs) == [1] * 9 + [1 + times]


@pytest.mark.parametrize("codec", CODECS)
def test_unchecked_chunks_are_what_the_server_promised(gcs, urls, image, codec):
    samples = daskimg.open_store(urls[codec])
    gcs.forget()
    gcs.faults({"fault": "corrupt", "name": "image/c/3", "kind": "media", "count": 1})

    npt.assert_array_equal(read_all(samples, shuffle=True, check="never"), image)
    assert fetches(gcs) == [1] * 9 + [2]


@pytest.mark.parametrize("codec", CODECS)
def test_the_next_epoch_reads_into_memory_that_is_there(urls, image, codec, monkeypatch):
    samples = daskimg.open_store(urls[codec])
    arrived = []
    received = Sharded.received

    def seen(sharded, shard, memory, **given):
        content = received(sharded, shard, memory, **given)
        assert content.ctypes.data == memory().ctypes.data
        assert not content.flags.writeable
        arrived.append(content.ctypes.data)
        return content

    monkeypatch.setattr(Sharded, "received", seen)
    for epoch in range(3):
        for batch in samples.batches(
            16, shuffle=True, epoch=epoch, window_bytes=WINDOW, reuse=True, connections=2
        ):
            npt.assert_array_equal(batch.image, image[batch.sample])

    assert len(arrived) == 30
    assert set(arrived[10:12]) <= set(arrived[:10]), "from its very beginning"


class Scripted:
    """A folder that gives one content after the other, and notes whether it was to check it."""

    url = "gs://bucket/a"

    def __init__(self, *contents):
        self.contents, self.checked = list(contents), []

    def read_into(self, name, room, *, checked):
        self.checked.append(checked)
        content = self.contents.pop(0)
        if content is None:
            raise FileNotFoundError(name)
        memory = room(len(content))
        memory[:] = content
        return memory


@pytest.fixture
def whole(urls):
    """A shard, and its array."""
    sharded = daskimg.open_store(urls["zstd"]).sharded("image")
    memory = np.zeros(sharded.largest, np.uint8)
    content = bytes(sharded.received(3, lambda: memory, check=True))
    return content, sharded


def received_from(folder, sharded, *, check=True):
    memory = np.zeros(sharded.largest, np.uint8)
    return bytes(replace(sharded, folder=folder).received(3, lambda: memory, check=check))


WRONG = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "short": lambda content: content[: len(content) // 2],
    "longer": lambda content: content + bytes(9),
    "much longer": lambda content: content + bytes(1 << 20),
    "flipped": lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
    "another index": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
}


@pytest.mark.parametrize("fault", WRONG)
def test_whatever_is_wrong_with_a_shard_it_is_read_once_more(whole, fault):
    content, sharded = whole
    wrong = WRONG[fault](content)
    folder = Scripted(wrong, content)

    assert received_from(folder, sharded) == content
    assert folder.checked == [False, True], "by the server's hash, which repeats what differs"
    with pytest.raises(daskimg.StoreError, match=r"image/c/3/0/0/0 .* samples 60 to") as error:
        received_from(Scripted(wrong, wrong), sharded)
    assert error.value.__context__ is None or error.value.__suppress_context__


def test_unchecked_shards_are_read_by_the_servers_hash_alone(whole):
    content, sharded = whole
    flipped, folder = WRONG["flipped"](content), Scripted(WRONG["flipped"](content))

    assert received_from(folder, sharded, check=False) == flipped
    assert folder.checked == [True]


def settled(pools):
    """Return the bytes given out, and the memory held, once what was on its way has come."""
    deadline = time.monotonic() + 10
    while any(pool._taken for pool in pools) and time.monotonic() < deadline:
        time.sleep(0.01)
    return [(pool._taken, pool._spare) for pool in pools]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("reuse", [False, True])
def test_an_epoch_that_is_over_or_failed_keeps_no_memory(
    own, gcs, image, tmp_path, codec, cached, reuse
):
    url = shelves.write_store(own.replace("/a", "/b"), image, shard=SHARD, chunk=5, codec=codec)
    samples, name = daskimg.open_store(url), f"{url.removeprefix('gs://')}/image/c/3/0/0/0"
    settings = {"reuse": reuse, "cache": tmp_path if cached else None, "window_bytes": WINDOW}
    epoch = samples.batches(16, shuffle=True, **settings)
    pools = {epoch._reader.pool, *(each.pool for each in epoch._reader._steps.pooled)}
    content = gcs.system.cat_file(name)

    gcs.system.pipe_file(name, content[:40] + bytes([content[40] ^ 1]) + content[41:])
    for _ in range(3):
        with pytest.raises(daskimg.StoreError):
            list(epoch)
        assert settled(pools) == [(0, [])] * len(pools)
    gcs.system.pipe_file(name, content)
    list(epoch)
    assert settled(pools) == [(0, [])] * len(pools)


def test_a_store_written_anew_is_not_read_from_old_files(gcs, image, tmp_path):
    bucket, other = gcs.bucket(), image[::-1].copy()
    for written in (image, other):
        url = shelves.write_store(f"gs://{bucket}/a", written, shard=SHARD, chunk=5)
        npt.assert_array_equal(read_all(daskimg.open_store(url), cache=tmp_path), written)
        gcs.system.rm(f"{bucket}/a", recursive=True)


def test_a_cache_that_cannot_be_a_folder_is_refused(urls, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(daskimg.OptionError, match=r"cache=.*file' cannot be made a folder"):
        daskimg.open_store(urls["none"]).batches(16, cache=tmp_path / "file")


# -- the cache by itself -----------------------------------------------------------------------


def stamp(letter, size=100):
    return size, letter * 64


def fill(letter, size=100):
    return lambda: np.full(size, ord(letter), np.uint8)


def keep(content, sound):
    return content


def test_only_a_file_of_this_process_is_taken_to_be_sound(tmp_path):
    def told(content, sound):
        return sound

    for cache in (Cache(str(tmp_path), 250), Cache(str(tmp_path), 250)):
        first = cache.get(stamp("a"), fill("a"), told)
        assert cache.get(stamp("a"), fill("b"), told), "what was looked at once"
        assert first is (cache.fetched == 1)


def test_the_longest_unused_goes_and_never_what_is_held(tmp_path):
    cache = Cache(str(tmp_path), 250)
    a = cache.get(stamp("a"), fill("a"), keep)
    cache.get(stamp("b"), fill("b"), keep)

    cache.get(stamp("c"), fill("c"), keep)
    names = {path.name[0] for path in tmp_path.iterdir() if path.is_file()}
    del a
    cache.get(stamp("d"), fill("d"), keep)

    assert names == {"a", "c"}
    assert {p.name[0] for p in tmp_path.iterdir() if p.is_file()} == {"c", "d"}


def test_what_others_put_into_the_folder_stays(tmp_path):
    others = [tmp_path / "thesis.tex", tmp_path / ".daskimg-notes", tmp_path / "abc"]
    for path in others:
        path.write_bytes(bytes(1000))
    cache = Cache(str(tmp_path), 150)

    for letter in "abc":
        cache.get(stamp(letter), fill(letter), keep)

    assert all(path.stat().st_size == 1000 for path in others)
    assert [p.name[0] for p in tmp_path.iterdir() if len(p.name) == 64] == ["c"]


@pytest.mark.parametrize("whose", ["locks", "room", "files"])
def test_another_users_folder_is_read_and_not_added_to(tmp_path, monkeypatch, whose):
    Cache(str(tmp_path), 250).get(stamp("a"), fill("a"), keep)
    plain = _cache.os.open

    def refused(path, *rest):
        path = Path(path)
        if {"locks": path.parent.name == ".daskimg-locks", "room": path.name == "room"}.get(
            whose, path.name.startswith(".daskimg-")
        ):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *rest)

    monkeypatch.setattr(_cache.os, "open", refused)
    other = Cache(str(tmp_path), 250)

    assert bytes(other.get(stamp("a"), fill("b"), keep)) == bytes(fill("a")())
    assert bytes(other.get(stamp("b"), fill("b"), keep)) == bytes(fill("b")())
    assert [p.name[0] for p in tmp_path.iterdir() if p.is_file()] == ["a"]


def test_another_users_damaged_file_is_passed_over(tmp_path, monkeypatch):
    Cache(str(tmp_path), 250).get(stamp("a"), fill("a"), keep)
    path = next(p for p in tmp_path.iterdir() if p.is_file())
    path.write_bytes(bytes(fill("b")()))

    def refused(self, missing_ok=False):
        raise PermissionError(1, "Operation not permitted", str(self))

    def check(content, sound):
        if bytes(content) != bytes(fill("a")()):
            raise daskimg.StoreError("damaged")
        return bytes(content)

    monkeypatch.setattr(Path, "unlink", refused)

    found = Cache(str(tmp_path), 250).get(stamp("a"), fill("a"), check)

    assert found == bytes(fill("a")())


KILLED = """
import os, signal, sys
import numpy as np
from daskimg.read import _cache

def half(descriptor, content):
    os.write(descriptor, content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

_cache._write_all = half
cache = _cache.Cache(sys.argv[1], 250)
cache.get((100, "a" * 64), lambda: np.zeros(100, np.uint8), lambda content, sound: None)
"""


def test_what_a_killed_process_was_writing_is_never_read_and_goes(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    left = [path.name for path in tmp_path.iterdir() if path.is_file()]
    cache = Cache(str(tmp_path), 250)

    found = cache.get(stamp("a"), fill("a"), keep)

    assert killed.returncode == -signal.SIGKILL
    assert [name[:9] for name in left] == [".daskimg-"]
    assert (found == ord("a")).all()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a" * 64]


def test_a_full_disk_costs_only_the_keeping(tmp_path, monkeypatch):
    def full(descriptor, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_cache, "_write_all", full)
    cache = Cache(str(tmp_path), 250)

    assert (cache.get(stamp("a"), fill("a"), keep) == ord("a")).all()
    assert held(tmp_path) == 0


# -- memory ------------------------------------------------------------------------------------

MEASURED = """
import sys, threading, time
import daskimg
url, budget, shuffle = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def resident():
    text = open("/proc/self/status").read()
    return int(text.split("RssAnon:")[1].split()[0]) * 1024

samples = daskimg.open_store(url)
samples.labels, samples.status
with samples.batches(8, budget=budget, connections=1) as epoch:
    next(epoch)  # what is imported, and the threads
time.sleep(0.5)  # for what is still on its way
del epoch
before = most = resident()
over = threading.Event()

def watch():
    global most
    while not over.wait(0.002):
        most = max(most, resident())

threading.Thread(target=watch, daemon=True).start()
for batch in samples.batches(
    64, shuffle=shuffle, budget=budget, window_bytes=10_000_000, reuse=True, threads=2
):
    pass
over.set()
print(most - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("place", ["local", "remote"])
def test_memory_stays_within_the_budget(gcs, tmp_path, place):
    image = shelves.pictures(2000, 128, 128)  # 98 MB
    url = f"gs://{gcs.bucket()}/a" if place == "remote" else str(tmp_path / "a")
    shelves.write_store(url, image, shard=40, chunk=20, codec="lz4")
    budget = 50_000_000

    done = subprocess.run(
        [sys.executable, "-c", MEASURED, url, str(budget), "shards"],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip

    # Malloc keeps a little between what is in use, which is not the budget's.
    assert 10_000_000 < int(done.stdout) < 1.25 * budget
