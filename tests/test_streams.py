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


@given(length=st.integers(1, 5000), start=st.integers(0, 9))
def test_parts_side_by_side_have_the_checksum_of_the_whole(length, start):
    content = np.random.default_rng(length).integers(0, 256, start + length, dtype=np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "_RENT", Rent(0))
        patch.setattr(streams, "_SMALL", 1)
        patch.setattr(streams, "_GRAIN", 8)

        found = streams.crc32c(content[start:])

    assert found == crc32c(content[start:])


def test_the_checksum_is_that_of_the_standard(at_once):
    """RFC 3720, B.4: 32 bytes of zeros, of ones, and rising ones."""
    for content, expected in (
        (np.zeros(32), 0x8A9136AA),
        (np.full(32, 255), 0x62A8AB43),
        (np.arange(32), 0x46DD794E),
    ):
        assert streams.crc32c(content.astype(np.uint8)) == expected


def test_nothing_is_compiled_before_it_pays(monkeypatch):
    monkeypatch.setattr(streams, "_RENT", Rent(1 << 20))
    compiled = []
    monkeypatch.setattr(streams, "_loops", lambda: compiled.append(True) or compiled)
    content = np.zeros(1 << 19, np.uint8)

    assert streams.crc32c(content) == crc32c(content)
    assert not streams.pays(1 << 18)
    assert not compiled
    assert streams.pays(1 << 19)


def test_a_machine_without_the_instruction_has_the_other_package(at_once, monkeypatch):
    without = streams._loops()._replace(check=None)
    monkeypatch.setattr(streams, "_loops", lambda: without)

    assert streams.crc32c(np.arange(32, dtype=np.uint8)) == 0x46DD794E


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
