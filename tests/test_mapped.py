import pickle
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import numpy.testing as npt
import pytest
import shelves

import daskimg
from daskimg.checksums import crc32c
from daskimg.read._pool import Piece, Pool, Wish
from daskimg.read._reader import Reader
from daskimg.read._sources import Mapped, Maps

CODECS = ("none", "lz4", "zstd")
SIZE = 8 * 6 * 3


def store_of(folder, codec="none", count=100, **settings):
    image = shelves.pictures(count, **settings)
    return shelves.write_store(folder / codec, image, shard=20, chunk=5, codec=codec)


def read_all(samples, **settings):
    found = np.zeros(samples.image.shape, samples.image.dtype)
    for batch in samples.batches(16, **settings):
        found[batch.sample] = batch.image
    return found


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_flipped_bit_is_an_error_that_names_its_samples(tmp_path, codec, shuffle):
    url = store_of(tmp_path, codec)
    shelves.flip_bit(url, "image/c/1/0/0/0", 20)  # in the first chunk of the second shard
    samples = daskimg.open_store(url)

    message = r"image/c/1/0/0/0 has a damaged chunk .* samples 20 to 24 of image cannot be read"
    with pytest.raises(daskimg.StoreError, match=message):
        list(samples.batches(16, shuffle=shuffle))


def test_a_damaged_chunk_is_an_error_every_time(tmp_path):
    url = store_of(tmp_path)
    shelves.flip_bit(url, "image/c/1/0/0/0", 20)
    epoch = daskimg.open_store(url).batches(16)
    next(epoch)

    for _ in range(2):
        with pytest.raises(daskimg.StoreError, match="samples 20 to 24"):
            next(epoch)
    assert epoch.state_dict()["position"] == 16


def test_checks_can_be_left_out(tmp_path):
    url = store_of(tmp_path)
    good = read_all(daskimg.open_store(url))
    shelves.flip_bit(url, "image/c/1/0/0/0", 20)

    found = read_all(daskimg.open_store(url), check="never")

    assert np.argwhere((found != good).reshape(-1)).tolist() == [[20 * SIZE + 20]]


def test_of_two_threads_that_map_a_shard_both_have_the_same(tmp_path, monkeypatch):
    sharded = daskimg.open_store(store_of(tmp_path)).sharded("image")
    maps, plain, found = Maps(sharded), daskimg.store.Sharded.mapped, []

    def late(sharded, shard):
        monkeypatch.undo()
        found.append(maps.get(shard))  # another thread, in the meantime
        return plain(sharded, shard)

    monkeypatch.setattr(daskimg.store.Sharded, "mapped", late)
    assert maps.get(1) is found[0]
    assert maps.get(1) is found[0]


@pytest.mark.parametrize("codec", CODECS)
def test_each_chunk_is_checked_once(tmp_path, monkeypatch, codec):
    checked = []
    plain = daskimg.store.Sharded.check
    monkeypatch.setattr(
        daskimg.store.Sharded, "check", lambda *a: (checked.extend(a[1]), plain(*a))[1]
    )
    samples = daskimg.open_store(store_of(tmp_path, codec))

    for check in ("never", "first", "never", "first"):
        list(samples.batches(16, shuffle=True, threads=1, prefetch=0, check=check))

    assert sorted(checked) == list(range(20))


@pytest.mark.parametrize("codec", CODECS)
def test_a_shard_lost_after_the_opening_is_an_error_and_not_zeros(tmp_path, codec):
    url = store_of(tmp_path, codec)
    samples = daskimg.open_store(url)
    Path(url, "image/c/3/0/0/0").unlink()

    with pytest.raises(daskimg.StoreError, match="c/3/0/0/0 is missing, so samples 60 to 79"):
        list(samples.batches(16))


def test_a_shard_cut_short_is_an_error(tmp_path):
    url = store_of(tmp_path)
    samples = daskimg.open_store(url)
    path = Path(url, "image/c/0/0/0/0")
    path.write_bytes(path.read_bytes()[:-7])

    with pytest.raises(daskimg.StoreError, match=r"has .* bytes, not .* samples 0 to 19"):
        list(samples.batches(16))


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_index_is_an_error(tmp_path, codec):
    url = store_of(tmp_path, codec)
    shelves.flip_bit(url, "image/c/2/0/0/0", -10)

    with pytest.raises(daskimg.StoreError, match="damaged index, so samples 40 to 59"):
        list(daskimg.open_store(url).batches(16))


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("shuffle", ["chunks", "shards"])
def test_each_chunk_is_decoded_once_an_epoch_within_the_budget(
    tmp_path, codec, shuffle, monkeypatch
):
    pools = []
    plain = Reader.__init__

    def remembering(self, *arguments):
        plain(self, *arguments)
        pools.append(self.pool)

    monkeypatch.setattr(Reader, "__init__", remembering)
    samples = daskimg.open_store(store_of(tmp_path, codec, count=1000))
    window = 40 * SIZE
    settings = {"shuffle": shuffle, "window_bytes": window, "threads": 2, "prefetch": 1}

    list(samples.batches(16, budget=3 * window + 2 * 5 * SIZE + 2 * 16 * SIZE, **settings))

    (pool,) = pools
    assert pool.loads == 200
    assert pool.most <= pool.capacity == 3 * window + 2 * 5 * SIZE


def test_a_budget_too_small_for_the_windows_is_refused(tmp_path):
    samples = daskimg.open_store(store_of(tmp_path, "zstd"))

    with pytest.raises(daskimg.OptionError, match=r"budget must hold .* smaller .* window_bytes"):
        samples.batches(16, shuffle=True, window_bytes=40 * SIZE, budget=60 * SIZE)


def test_a_true_shuffle_of_compressed_chunks_holds_its_budget_too(tmp_path):
    samples = daskimg.open_store(store_of(tmp_path, "lz4"))

    found = read_all(samples, shuffle="full", threads=2, budget=(3 * 16 + 4 * 5) * SIZE)

    npt.assert_array_equal(found, shelves.pictures(100))


# -- the pool ------------------------------------------------------------------------------


def wish(number, size=50, load=None):
    def fresh():
        return Piece(np.zeros(size, np.uint8), np.zeros(1, np.int64))

    return Wish(("a", number), size, load or fresh)


def taken(pool, *numbers):
    found = []
    for number in numbers:
        with pool.lease([wish(number)]) as (piece,):
            found.append(id(piece.memory))
    return found


def test_a_pool_lets_one_thread_load_and_gives_a_fault_to_all():
    pool = Pool(100)

    with pytest.raises(ZeroDivisionError), pool.lease([wish(0, load=lambda: 1 // 0)]):
        pass
    loaded = taken(pool, 0, 1, 0, 1, 2, 1)

    assert loaded[0] == loaded[2]
    assert loaded[1] == loaded[3] == loaded[5]
    assert (pool.loads, pool.most) == (4, 100)


def test_a_pool_lets_nobody_wait_for_what_another_has_not_begun():
    pool = Pool(200)
    begun, go_on = Event(), Event()

    def slow():
        begun.set()
        assert go_on.wait(10)
        return wish(0).load()

    def both():
        with pool.lease([wish(0, load=slow), wish(1)]) as pieces:
            return len(pieces)

    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(both)
        assert begun.wait(10)
        with pool.lease([wish(1)]) as (piece,):
            assert len(piece.memory)
        assert not other.done()
        go_on.set()

        assert other.result(10) == 2
    assert pool.loads == 2


def test_a_pool_drops_last_what_is_announced_and_never_what_is_in_use():
    pool = Pool(150)
    pool.announce([wish(0)])
    taken(pool, 0, 1)

    with pool.lease([wish(2)]):
        taken(pool, 3, 4, 0)

    assert pool.loads == 5
    pool.renounce([wish(0)])
    taken(pool, 2, 5, 6, 0)
    assert pool.loads == 8


def test_a_pool_reads_ahead_only_what_is_needed_and_has_room():
    pool = Pool(100)
    pool.announce([wish(0), wish(1)])
    with ThreadPoolExecutor(1) as threads:
        assert pool.ahead(wish(0), threads)
        assert pool.ahead(wish(5), threads), "not announced: nothing to wait for"
        assert pool.ahead(wish(1), threads)
        pool.announce([wish(2)])
        taken(pool, 0, 1)

        assert not pool.ahead(wish(2), threads)
        pool.renounce([wish(0)])
        assert pool.ahead(wish(2), threads)

    assert (pool.loads, pool.most) == (3, 100)


def test_decoded_memory_is_used_again():
    pool = Pool(100)

    def decoded():
        return Piece(pool.memory(50), np.zeros(1, np.int64), reusable=True)

    memories = set()
    for number in (0, 1, 2, 3, 2):
        with pool.lease([wish(number, load=decoded)]) as (piece,):
            memories.add(piece.memory.ctypes.data)

    assert len(memories) == 2


def test_a_reader_travels_without_its_maps(tmp_path):
    samples = daskimg.open_store(store_of(tmp_path))
    read_all(samples)

    again = pickle.loads(pickle.dumps(samples))

    assert len(pickle.dumps(samples)) < 500
    npt.assert_array_equal(read_all(again, shuffle=True), read_all(samples))


def test_remote_stores_are_read_by_whole_shards(monkeypatch):
    import fsspec

    url = "memory://mapped/remote.zarr"
    image = shelves.pictures(100)
    shelves.write_store(url, image, shard=20, chunk=5, codec="lz4")
    reads = []
    system = type(fsspec.filesystem("memory"))
    plain = system.cat_file

    def counted(self, path, *span, **options):
        reads.append(path)
        return plain(self, path, *span, **options)

    monkeypatch.setattr(system, "cat_file", counted)
    samples = daskimg.open_store(url)

    batches = list(samples.batches(16, shuffle=True))

    slots = np.concatenate([batch.sample for batch in batches])
    npt.assert_array_equal(np.concatenate([b.image for b in batches]), image[slots])
    shards = [path for path in reads if "/image/c/" in path]
    assert len(shards) == len(set(shards)) == 5


def test_several_threads_may_touch_a_new_shard_at_once(tmp_path):
    samples = daskimg.open_store(store_of(tmp_path, count=400))

    for _ in range(5):
        samples = pickle.loads(pickle.dumps(samples))
        found = read_all(samples, shuffle=True, threads=8, prefetch=8)
        npt.assert_array_equal(found, shelves.pictures(400))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of maps")
def test_an_uncompressed_store_is_mapped(tmp_path):
    url = store_of(tmp_path)
    sharded = daskimg.open_store(url)._arrays.sharded("image")

    source = Mapped(Maps(sharded), check=True)
    (run,) = source.runs(np.array([21, 23, 38]), np.array([2, 0, 1]))

    assert np.diff(run.addresses).tolist() == [2 * SIZE, 3 * (5 * SIZE + 4)]
    assert run.lines.tolist() == [2, 0, 1]
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if url in line]
    assert [line.split()[1] for line in maps] == ["r--s"]


def test_more_shards_are_mapped_than_files_may_be_open(tmp_path):
    image = shelves.pictures(300)
    samples = daskimg.open_store(shelves.write_store(tmp_path / "a", image, shard=1, chunk=1))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        found = read_all(samples, shuffle=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    npt.assert_array_equal(found, image)


@pytest.mark.parametrize("codec", CODECS)
def test_an_index_whose_sums_wrap_is_an_error_and_not_read(tmp_path, codec):
    url = store_of(tmp_path, codec)
    path = Path(url, "image/c/0/0/0/0")
    content = bytearray(path.read_bytes())
    places = np.frombuffer(content, "<i8", 8, len(content) - 4 - 64).copy()
    places[:2] = 1 << 33, (1 << 63) - 1
    content[-68:-4] = places.tobytes()
    content[-4:] = crc32c(places.view(np.uint8)).to_bytes(4, "little")
    path.write_bytes(content)

    with pytest.raises(daskimg.StoreError, match="index that points elsewhere, so samples 0 to"):
        list(daskimg.open_store(url).batches(16))


def test_a_pool_that_is_closed_holds_nothing_that_nobody_reads():
    pool = Pool(200)
    pool.announce([wish(0), wish(1), wish(2)])
    begun, go_on = Event(), Event()

    def late():
        begun.set()
        go_on.wait(10)
        return wish(2).load()

    with ThreadPoolExecutor(1) as threads:
        taken(pool, 0)
        with pool.lease([wish(1)]):
            pool.ahead(wish(2, load=late), threads)
            begun.wait(10)
            pool.close()
            held = set(pool._held)
        go_on.set()

    assert held == {("a", 1), ("a", 2)}, "what is read, and what is under way"
    assert not pool._held
    assert pool._bytes == 0
