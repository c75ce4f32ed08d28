import json
import subprocess
import sys

import numpy as np
import numpy.testing as npt
import pytest
import scenes
import tensorstore
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import daskimg
from daskimg import fetch, recipes, store
from daskimg.plan import ArraySpec, Group, Layout
from daskimg.store._metadata import metadata
from daskimg.store._shard import small_object


def write_store(root, array, layout):
    """Write an array through ShardBuffer, with metadata and empty small arrays."""
    spec = ArraySpec("image", ("height", "width", "channel"), array.shape[1:], array.dtype.name)
    folder = fetch.open_folder(str(root))
    for shard in range(layout.shards):
        start, stop = layout.span(shard)
        buffer = store.ShardBuffer(spec, layout, stop - start)
        for i in range(start, stop):
            buffer.slot(i - start)[...] = array[i]
        folder.put(store.chunk_name("image", shard, 4), buffer.finish())
    group = Group("", recipes.resize(8), (spec,), (), layout, 0)
    for name, content in metadata((group,), {}).items():
        folder.put(name, content)
    for spec in group.small:
        values = np.arange(layout.samples).astype(spec.dtype)
        folder.put(f"{spec.name}/c/0", small_object(values, layout.samples))


def read_tensorstore(path):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    return tensorstore.open(spec).result()


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(1, 40),
    chunk=st.integers(1, 6),
    chunks=st.integers(1, 4),
    codec=st.sampled_from(["none", "lz4", "zstd"]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
)
def test_every_reader_reads_what_was_written(
    tmp_path_factory, samples, chunk, chunks, codec, dtype
):
    root = tmp_path_factory.mktemp("store")
    array = (np.random.default_rng(samples).random((samples, 3, 4, 3)) * 255).astype(dtype)

    write_store(root, array, Layout(samples, chunk * chunks, chunk, codec))

    image = zarr.open_group(root, mode="r")["image"]
    npt.assert_array_equal(image[:], array)
    npt.assert_array_equal(image[samples - 1], array[-1])
    npt.assert_array_equal(read_tensorstore(root / "image").read().result(), array)
    npt.assert_array_equal(read_tensorstore(root / "row").read().result(), np.arange(samples))


def test_failed_slots_and_the_padding_of_the_last_chunk_are_zero(tmp_path):
    layout = Layout(5, 4, 4, "none")
    buffer = store.ShardBuffer(ArraySpec("image", ("a",), (300,), "uint8"), layout, 1)

    content = bytes(buffer.finish())

    assert not any(content[: 4 * 300])
    assert len(content) == 4 * 300 + 4 + 16 + 4


@pytest.fixture(scope="module")
def built(pictures, tmp_path_factory, threads):
    url = tmp_path_factory.mktemp("built") / "out.zarr"
    table = scenes.table_of(*pictures)
    scenes.build(table, url, threads, shard=16, chunk=4, max_failed=1)
    return url


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
def test_a_flipped_bit_is_an_error_for_every_reader_and_a_finding(table, tmp_path, threads, codec):
    url = tmp_path / "a.zarr"
    scenes.build(table, url, threads, shard=16, chunk=4, codec=codec, max_failed=1)
    path = url / "image/c/1/0/0/0"
    good = path.read_bytes()
    chance = np.random.default_rng(0)
    for place in chance.integers(0, 4 * 16 * 16 * 3 // 4, 5):  # inside the shard's first chunk
        bad = bytearray(good)
        bad[place] ^= 1 << int(chance.integers(8))
        path.write_bytes(bad)

        with pytest.raises((ValueError, RuntimeError)):
            daskimg.open_store(str(url)).image[16]
        with pytest.raises((ValueError, RuntimeError)):
            zarr.open_group(url, mode="r")["image"][16]
        with pytest.raises(ValueError, match=r"(?i)crc|checksum|digest|blosc"):
            read_tensorstore(url / "image")[16].read().result()
        assert any("image/c/1" in line for line in daskimg.verify_store(str(url)).findings)


READERS = """
import sys, warnings
warnings.simplefilter("error")
import xarray, zarr, tensorstore
url = sys.argv[1]
group = zarr.open_group(url, mode="r")
assert group["image"].shape == (40, 16, 16, 3), group["image"].shape
assert group["image"].metadata.dimension_names == ("sample", "height", "width", "channel")
group.tree()
assert ("daskimg/records" in dict(group.members(max_depth=None)))
dataset = xarray.open_zarr(url)
assert dataset.image.dims == ("sample", "height", "width", "channel")
assert dataset.affine.dims == ("sample", "affine_row", "affine_column")
dataset.load()
tree = xarray.open_datatree(url, engine="zarr")
assert tree["daskimg"]["records"].dims == ("byte",)
array = tensorstore.open(
    {"driver": "zarr3", "kvstore": {"driver": "file", "path": url + "/image"}}
).result()
assert array.domain.labels == ("sample", "height", "width", "channel")
assert (array.read().result() == dataset.image.values).all()
assert "daskimg" not in sys.modules
print("fine")
"""


def test_plain_readers_open_it_without_daskimg_and_without_a_warning(built):
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", READERS, str(built)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (found.stdout, found.stderr) == ("fine\n", "")


def test_the_attributes_are_those_of_the_contract(built, table):
    attributes = zarr.open_group(built, mode="r").attrs["daskimg"]

    assert set(attributes) == {
        "schema", "fingerprints", "recipe", "seed", "columns", "classes", "samples", "failed",
        "mean", "std", "versions", "commit",
    }  # fmt: skip
    assert (attributes["schema"], attributes["samples"], attributes["failed"]) == (1, 40, 2)
    assert attributes["classes"] == {"label": ["cat", "dog", "emu"]}
    assert attributes["columns"] == {"label": ["label", "class"]}
    assert {"daskimg", "decoder", "libjpeg", "pillow", "numba", "zarr"} <= set(
        attributes["versions"]
    )


def test_mean_and_std_are_those_of_the_good_samples(built):
    samples = daskimg.open_store(str(built))
    good = samples.image[:][samples.status == store.OK] / 255.0

    npt.assert_allclose(samples.mean, good.mean(axis=(0, 1, 2)), rtol=1e-12)
    npt.assert_allclose(samples.std, good.std(axis=(0, 1, 2)), rtol=1e-12)


def test_the_commit_lists_every_object(built):
    commit = json.loads((built / "daskimg/records/commits/000001.json").read_bytes())
    there = set(scenes.objects(built)) - {"daskimg/records/commits/000001.json"}

    assert set(commit["objects"]) == there
    assert commit["previous"] is None


def test_nothing_but_the_layout_of_the_contract_is_there(built):
    top = {path.name for path in built.iterdir()}
    records = {path.name for path in (built / "daskimg/records").iterdir()}

    assert top == {"zarr.json", "image", "label", "status", "row", "part", "affine", "daskimg"}
    assert records == {
        "zarr.json", "plan.json", "rows", "ledger", "failures.parquet", "commits", "runs",
    }  # fmt: skip


def test_a_store_can_be_moved(built, tmp_path):
    import shutil

    shutil.copytree(built, tmp_path / "moved.zarr")

    assert daskimg.verify_store(str(tmp_path / "moved.zarr"), rows=3).findings == ()


def test_a_newer_schema_is_refused(built, tmp_path):
    import shutil

    url = tmp_path / "new.zarr"
    shutil.copytree(built, url)
    path = url / "daskimg/records/commits/000001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))

    with pytest.raises(daskimg.StoreError, match="install a newer daskimg"):
        daskimg.open_store(str(url))


def test_an_invalid_commit_is_passed_over(built, tmp_path):
    import shutil

    url = tmp_path / "torn.zarr"
    shutil.copytree(built, url)
    (url / "daskimg/records/commits/000002.json").write_text('{"schema": 1, "number": 2')

    assert daskimg.open_store(str(url)).attributes["commit"] == 1


def test_xarray_and_dask_see_the_same_pixels(built):
    samples = daskimg.open_store(str(built))

    npt.assert_array_equal(samples.to_dask().compute(), samples.image[:])
    assert isinstance(samples.to_xarray(), xarray.Dataset)
    npt.assert_array_equal(samples.to_xarray().label.values, samples.labels)
    assert samples.to_dask().chunks[0] == (16, 16, 8)


@pytest.mark.parametrize(
    "content", [b"[]", b'{"rows": null}', b'{"rows": [1]}', b'{"rows": {"x": {}}}', b"{", b"7"]
)
def test_a_verdict_that_is_none_of_ours_is_found_again(tmp_path, content):
    folder = fetch.open_folder(str(tmp_path))
    folder.put("daskimg/records/verdicts/00000003.json", content)
    folder.put("daskimg/records/verdicts/notes.txt", b"mine")

    assert store.read_verdicts(folder) == ()

    store.write_verdict(folder, 3, {9: {"path": "x"}})
    assert store.read_verdicts(folder) == ((3, 9),)
