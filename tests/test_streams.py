import ctypes

import numpy as np
import numpy.testing as npt
import pytest
import shelves
from hypothesis import given
from hypothesis import strategies as st

import daskimg
from daskimg import streams
from daskimg.checksums import crc32c
from daskimg.compiling import Rent

SIZES = st.one_of(st.integers(1, 700), st.sampled_from([3072, 12288, 12289, 150528]))


@pytest.fixture
def at_once(monkeypatch):
    """Compile at once, and check what is small, too."""
    monkeypatch.setattr(streams, "_RENT", Rent(0))
    monkeypatch.setattr(streams, "_SMALL", 1)
    monkeypatch.setattr(streams, "_GRAIN", 8)


@given(size=SIZES, samples=st.integers(0, 5), shift=st.integers(0, 65), seed=st.integers(0, 9))
def test_samples_are_gathered_from_anywhere_in_memory(size, samples, shift, seed):
    chance = np.random.default_rng(seed)
    content = chance.integers(0, 256, 2 * size + 1000, dtype=np.uint8)
    starts, lines = chance.integers(0, size + 1000, samples), chance.permutation(7)[:samples]
    memory = np.full(7 * size + 128, 255, np.uint8)
    expected = memory.copy()
    for start, line in zip(starts.tolist(), lines.tolist(), strict=True):
        place = shift + line * size
        expected[place : place + size] = content[start : start + size]

    out = memory[shift : shift + 7 * size].reshape(7, size)
    streams.gather(content.ctypes.data + starts, lines, out)

    npt.assert_array_equal(memory, expected)


def test_every_other_line_may_be_asked_for():
    content = np.arange(64, dtype=np.uint8)
    addresses, lines = content.ctypes.data + np.arange(0, 64, 8), np.arange(8)
    out = np.zeros((8, 8), np.uint8)

    streams.gather(addresses[::2], lines[::2], out)

    npt.assert_array_equal(out[::2], content.reshape(8, 8)[::2])
    assert not out[1::2].any()


def blocks(size, count, seed=0):
    """Return (block, byte) uint8: random bytes, each line with its checksum at the end."""
    found = np.random.default_rng(seed).integers(0, 256, (count, size), dtype=np.uint8)
    for block in found:
        block[-4:] = np.frombuffer(crc32c(block[:-4]).to_bytes(4, "little"), np.uint8)
    return found


def addresses_of(found):
    return found.ctypes.data + np.arange(len(found)) * found.shape[1]


@given(size=st.integers(4, 5000), count=st.integers(0, 4), seed=st.integers(0, 9))
def test_blocks_are_sound_until_a_bit_is_flipped(size, count, seed):
    found, chance = blocks(size, count, seed), np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "_RENT", Rent(0))
        patch.setattr(streams, "_SMALL", 1)
        patch.setattr(streams, "_GRAIN", 8)
        assert streams.find_damaged(addresses_of(found), size) == -1
        for number in range(count):
            place = number, chance.integers(size)
            found[place] ^= 1 << chance.integers(8)
            assert streams.find_damaged(addresses_of(found), size) == number
            assert streams.find_damaged(addresses_of(found)[: number + 1][::-1], size) == 0
            found[number] = blocks(size, count, seed)[number]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("content", "checksum"),
    [(np.zeros(32), 0x8A9136AA), (np.full(32, 255), 0x62A8AB43), (np.arange(32), 0x46DD794E)],
)
def test_the_checksum_is_that_of_the_standard(monkeypatch, at_once, compiled, content, checksum):
    """RFC 3720, B.4: 32 bytes of zeros, of ones, and rising ones."""
    if not compiled:  # a machine without the instruction has the other package
        without = streams._loops()._replace(check=None)
        monkeypatch.setattr(streams, "_loops", lambda: without)
    stored = np.frombuffer(checksum.to_bytes(4, "little"), np.uint8)
    block = np.concatenate([content.astype(np.uint8), stored])

    assert streams.find_damaged(addresses_of(block[None]), 36) == -1
    block[-1] ^= 1
    assert streams.find_damaged(addresses_of(block[None]), 36) == 0


def test_a_forked_process_does_not_wait_for_a_lock_that_was_held(at_once):
    assert streams._loops() is not None

    with streams._LOCK:
        assert streams._loops() is not None


def test_nothing_is_compiled_before_it_pays(monkeypatch):
    monkeypatch.setattr(streams, "_RENT", Rent(1 << 20))
    compiled = []
    monkeypatch.setattr(streams, "_loops", lambda: compiled.append(True) or compiled)
    found = blocks(1 << 18, 2)

    assert streams.find_damaged(addresses_of(found), 1 << 18) == -1
    assert not streams.pays(1 << 18)
    assert not compiled
    assert streams.pays(1 << 19)


@pytest.mark.parametrize("place", [20, 400, 700])
def test_a_flipped_bit_is_found_in_every_part(tmp_path, at_once, place):
    url = shelves.write_store(tmp_path / "a", shelves.pictures(100), shard=20, chunk=5)
    shelves.flip_bit(url, "image/c/1/0/0/0", place)
    samples = daskimg.open_store(url)

    with pytest.raises(daskimg.StoreError, match="samples 20 to 24 of image cannot be read"):
        list(samples.batches(16, shuffle=True))


def test_large_batches_are_copied_past_the_caches(tmp_path, at_once, monkeypatch):
    monkeypatch.setattr("daskimg.read._writers._LARGE", 1)
    monkeypatch.setattr(ctypes, "memmove", lambda *_: pytest.fail("copied by memmove"))
    image = shelves.pictures(100)
    samples = daskimg.open_store(shelves.write_store(tmp_path / "a", image, shard=20, chunk=5))

    for batch in samples.batches(16, shuffle=True):
        npt.assert_array_equal(batch.image, image[batch.sample])


@pytest.mark.parametrize("price", [2 * 14400, 2 * 14400 - 1])
def test_an_epoch_that_pays_is_copied_past_the_caches_from_its_first_batch_on(
    tmp_path, monkeypatch, price
):
    monkeypatch.setattr("daskimg.read._writers._LARGE", 1)
    monkeypatch.setattr(streams, "_RENT", Rent(price))
    copied, plain = [], streams.gather
    monkeypatch.setattr(streams, "gather", lambda *run: copied.append(run) or plain(*run))
    image = shelves.pictures(100)
    samples = daskimg.open_store(shelves.write_store(tmp_path / "a", image, shard=20, chunk=5))

    first = next(samples.batches(4, prefetch=0, threads=1))

    assert image.nbytes == 14400
    npt.assert_array_equal(first.image, image[:4])
    assert bool(copied) is (price < 2 * image.nbytes)


@pytest.mark.parametrize("refused", ["get_host_cpu_features", "create_mcjit_compiler"])
def test_a_machine_for_which_nothing_can_be_compiled_reads_all_the_same(
    tmp_path, at_once, monkeypatch, refused
):
    asked = []

    def refuse(*_):
        asked.append(refused)
        raise RuntimeError("LLVM ERROR: no such target")

    monkeypatch.setattr(f"llvmlite.binding.{refused}", refuse)
    monkeypatch.setattr(streams, "_made", [])
    monkeypatch.setattr("daskimg.read._writers._LARGE", 1)
    image = shelves.pictures(100)
    samples = daskimg.open_store(shelves.write_store(tmp_path / "a", image, shard=20, chunk=5))

    for batch in samples.batches(16, shuffle=True):
        npt.assert_array_equal(batch.image, image[batch.sample])

    assert asked == [refused], "it was not asked, or asked again"
    assert not streams.pays(1 << 30)
