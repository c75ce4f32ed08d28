import pickle
import subprocess
import sys

import numpy as np
import numpy.testing as npt
import pytest
import scenes

import daskimg


@pytest.fixture(scope="module")
def samples(pictures, tmp_path_factory, threads):
    url = tmp_path_factory.mktemp("read") / "out.zarr"
    return scenes.build(scenes.table_of(*pictures), url, threads, shard=16, chunk=4, max_failed=1)


def test_a_sample_is_an_image_and_its_label(samples, table):
    image, label = samples[7]

    assert (image.shape, image.dtype) == ((16, 16, 3), np.uint8)
    assert samples.classes[label] == table["label"][7]
    npt.assert_array_equal(samples[-33][0], image)
    npt.assert_array_equal(samples[np.int64(7)][0], image)
    npt.assert_array_equal(samples[6:9][0][1], image)
    with pytest.raises(IndexError):
        samples[40]


def test_batches_are_in_order_and_leave_failures_out(samples):
    batches = list(samples.batches(7))

    places = np.concatenate([batch.sample for batch in batches])
    assert places.tolist() == [i for i in range(40) if i not in (5, 17)]
    assert [len(batch.image) for batch in batches] == [7, 7, 7, 7, 7, 3]
    npt.assert_array_equal(np.concatenate([b.image for b in batches]), samples.image[:][places])
    npt.assert_array_equal(np.concatenate([b.label for b in batches]), samples.labels[places])


def test_batches_can_keep_failures_as_zeros(samples):
    (batch,) = samples.batches(100, failed="keep")

    assert len(batch.image) == 40
    assert not batch.image[5].any()


def test_iterating_gives_every_slot(samples):
    assert len(list(samples)) == len(samples) == 40


def test_rows_and_failures_are_tables(samples, table):
    assert samples.rows["price"].tolist() == table["price"].tolist()
    assert samples.rows["status"].tolist() == samples.status.tolist()
    assert samples.rows["source_width"][0] == 60
    assert samples.failures["row"].tolist() == [5, 17]
    assert set(samples.failures["reason"]) == {"format"}
    assert samples.failures["path"].tolist() == table["path"][[5, 17]].tolist()


def test_a_reader_travels_to_other_processes_as_its_address(samples):
    again = pickle.loads(pickle.dumps(samples))

    npt.assert_array_equal(again[3][0], samples[3][0])
    assert len(pickle.dumps(samples)) < 500


@pytest.mark.parametrize(
    "call", [lambda s: s.batches(0), lambda s: s.batches(4, failed="maybe")], ids=["0", "maybe"]
)
def test_bad_batches_are_refused(samples, call):
    with pytest.raises(daskimg.OptionError):
        next(call(samples))


def test_no_such_array_names_those_there_are(samples):
    with pytest.raises(daskimg.OptionError, match="affine"):
        samples.array("heatmap")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", "there is no store"),
        (lambda p: p, "not a store that daskimg wrote"),
    ],
    ids=["nowhere", "foreign"],
)
def test_what_is_no_store_is_not_opened(tmp_path, make, message):
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(daskimg.StoreError, match=message):
        daskimg.open_store(str(make(tmp_path)))


def test_reading_needs_neither_dask_nor_a_decoder_nor_numba(samples):
    script = (
        "import sys, daskimg\n"
        "samples = daskimg.open_store(sys.argv[1])\n"
        "next(samples.batches(4)), samples.rows, samples[0]\n"
        "print(sorted({'dask', 'distributed', 'numba', 'bokeh'} & set(sys.modules)))"
    )

    found = subprocess.run(
        [sys.executable, "-c", script, samples.url], capture_output=True, text=True, check=True
    )

    assert found.stdout == "[]\n"


# -- joining the tiles of a row -----------------------------------------------------------


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """A table of pictures in tiles; row 2 is smaller than a tile, row 3 is broken."""
    folder = tmp_path_factory.mktemp("cut")
    sizes = [(40, 50), (33, 16), (5, 5), (20, 20), (16, 47)]
    names = [f"p{i}.png" for i in range(len(sizes))]
    for i, name in enumerate(names):
        scenes.picture(i, *sizes[i]).save(folder / name)
    (folder / names[3]).write_bytes(b"no picture")
    return scenes.table_of(folder, names)


def tiled(table, url, client, recipe, split=None):
    plan = daskimg.plan_store(
        daskimg.read_manifest(table),
        str(url),
        recipe,
        split=split,
        options=daskimg.RunOptions(max_failed=1),
    )
    daskimg.build_store(plan, client=client)
    return str(url)


STEPS = {
    "in noise": daskimg.NoiseFrames(16, 16),
    "padded": daskimg.Tiles(16, 16, edge="pad"),
    "overlapping": daskimg.Tiles(5, 5, 3, "pad"),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=list(STEPS))
def test_the_tiles_of_a_row_are_joined_to_its_picture(cut, tmp_path, threads, step):
    url = tiled(cut, tmp_path / "a.zarr", threads, daskimg.Recipe((step,)))
    samples = daskimg.open_store(url)

    for row in (0, 1, 2, 4):
        height, width = samples.rows.loc[row, ["source_height", "source_width"]].astype(int)
        npt.assert_array_equal(samples.join(row), scenes.picture(row, height, width))


def test_what_was_dropped_at_an_edge_is_filled(cut, tmp_path, threads):
    url = tiled(cut, tmp_path / "a.zarr", threads, daskimg.recipes.tiles(16))

    joined = daskimg.open_store(url).join(1, fill=9)

    assert joined.shape == (33, 16, 3)
    npt.assert_array_equal(joined[:32], np.asarray(scenes.picture(1, 33, 16))[:32])
    assert (joined[32:] == 9).all()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (2, "row 2 gave no sample: .* smaller than a tile"),
        (3, "row 3 failed .format.: there is nothing to join"),
        (5, "the table has 5 rows, and no row 5; try 0 to 4"),
        (-1, "no row -1"),
        (4, "row 4 is of the split test, and this is train; say open_store.url, 'test'"),
    ],
)
def test_a_row_without_tiles_is_not_joined(cut, tmp_path, threads, row, words):
    table = cut.assign(part=["train"] * 4 + ["test"])
    url = tiled(table, tmp_path / "a.zarr", threads, daskimg.recipes.tiles(16), "column:part")

    with pytest.raises(daskimg.OptionError, match=words):
        daskimg.open_store(url, "train").join(row)


def test_scaled_pictures_are_not_joined(samples):
    with pytest.raises(daskimg.OptionError, match="moved by whole pixels only"):
        samples.join(0)


def test_the_front_door_opens_to_every_name():
    assert daskimg.__all__ == sorted(daskimg.__all__)
    for name in daskimg.__all__:
        assert getattr(daskimg, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        daskimg.nonsense  # noqa: B018
