import pickle

import numpy as np
import numpy.testing as npt
import pandas as pd
import pytest
import scenes
import shelves
from hypothesis import given, settings
from hypothesis import strategies as st

import daskimg
from daskimg.read._pool import Pool

COUNT = 103


@pytest.fixture(scope="module")
def image():
    return shelves.pictures(COUNT)


@pytest.fixture(scope="module", params=["none", "lz4"])
def samples(request, image, tmp_path_factory):
    """Labels 0 to 4, of which 4 is rare; slots 5 and 17 failed."""
    label = np.where(np.arange(COUNT) % 50 == 49, 4, np.arange(COUNT) % 4)
    status = [2 if i in (5, 17) else 1 for i in range(COUNT)]
    url = tmp_path_factory.mktemp("views") / "a"
    shelves.write_store(
        url, image, shard=20, chunk=5, codec=request.param, label=label, status=status
    )
    return daskimg.open_store(url)


@pytest.fixture(scope="module")
def built(pictures, tmp_path_factory, threads):
    """A real build, with a rows table: keys, prices, classes."""
    url = tmp_path_factory.mktemp("views") / "out.zarr"
    return scenes.build(scenes.table_of(*pictures), url, threads, shard=16, chunk=4, max_failed=1)


def read(batches):
    found = list(batches)
    return (
        np.concatenate([b.sample for b in found]),
        np.concatenate([b.image for b in found]),
        np.concatenate([b.label for b in found]),
    )


# -- select --------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    first=st.sets(st.integers(0, COUNT - 1), min_size=1),
    second=st.sets(st.integers(0, COUNT - 1)),
    shuffle=st.sampled_from([False, "full", "chunks"]),
)
def test_views_of_views_are_the_samples_that_both_choose(samples, image, first, second, shuffle):
    both = sorted(first & second) or sorted(first)
    view = samples.select(rows=sorted(first)).select(rows=both)

    sample, pixels, label = read(view.batches(16, shuffle=shuffle, failed="keep"))

    assert view.slots.tolist() == both
    assert sorted(sample.tolist()) == list(range(len(both)))
    kept = np.isin(view.slots[sample], (5, 17), invert=True)
    npt.assert_array_equal(pixels[kept], image[view.slots[sample]][kept])
    npt.assert_array_equal(label, samples.labels[view.slots[sample]])


def test_a_view_is_a_sequence_of_its_own(samples, image):
    view = samples.select(mask=np.arange(COUNT) % 10 == 7)

    assert len(view) == 10
    npt.assert_array_equal(view[1][0], image[17])
    npt.assert_array_equal(view[-1][0], image[97])
    npt.assert_array_equal(view[2:4][0], image[[27, 37]])
    npt.assert_array_equal(view.image[[0, 3]], image[[7, 37]])
    npt.assert_array_equal(np.asarray(view.image)[2:], image[27::10])
    assert view.image[0, 2, 3].tolist() == image[7, 2, 3].tolist()
    assert [label for _, label in view] == view.labels.tolist()
    assert view.array("row").tolist() == [7, 17, 27, 37, 47, 57, 67, 77, 87, 97]
    assert "10 of 8 x 6 x 3 uint8, 1 failed" in repr(view)
    npt.assert_array_equal(view.to_dask().compute()[2:], image[27::10])
    npt.assert_array_equal(view.to_xarray()["image"][2:], image[27::10])
    with pytest.raises(IndexError):
        view[10]


def test_a_view_travels_to_other_processes(built):
    view = built.select(rows=range(5, 25)).with_columns({"row": range(40), "odd": 7}, on="row")

    again = pickle.loads(pickle.dumps(view))

    npt.assert_array_equal(again[3][0], view[3][0])
    npt.assert_array_equal(again.array("odd"), [7] * len(view))


def test_what_a_view_orders_is_what_the_same_choice_orders(samples):
    view = samples.select(rows=range(10, 90))

    state = samples.batches(12, shuffle=True, rows=range(10, 90)).state_dict()
    slots = view.slots[read(view.batches(12, shuffle=True, state=state))[0]]

    npt.assert_array_equal(slots, read(samples.batches(12, shuffle=True, rows=range(10, 90)))[0])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"keys": ["nobody"]}, "^no sample has the key 'nobody'; samples"),
        ({"keys": "a"}, r"keys is a list of keys, got 'a'; try \['a'\]"),
        ({"keys": ["a", "b", "c"]}, "no sample has the key 'a', nor 2 others of keys"),
        ({"rows": [1, 99]}, "the table has 40 rows, and no row 99; try 0 to 39"),
        ({"rows": [-1]}, "the table has 40 rows, and no row -1; try 0 to 39"),
        ({"rows": ["a"]}, "rows must be whole numbers"),
        ({"rows": []}, "no sample is left to read by rows; choose others, or leave rows out"),
        ({"mask": [True]}, "mask must be 40 booleans"),
        ({"classes": ["cow"]}, "no class 'cow'"),
    ],
    ids=["key", "text", "keys", "row", "last", "word", "nothing", "mask", "class"],
)
def test_a_choice_that_cannot_be_is_refused(built, choice, message):
    with pytest.raises(daskimg.OptionError, match=message):
        built.select(**choice)


def test_samples_are_chosen_by_their_keys(built):
    keys = built.rows["key"].iloc[[31, 5, 8]].tolist()

    view = built.select(keys=keys)

    assert view.slots.tolist() == [5, 8, 31]
    assert view.rows["row"].tolist() == [5, 8, 31]
    assert view.failures["row"].tolist() == [5]
    assert read(built.batches(8, keys=keys))[0].tolist() == [8, 31]


# -- columns -------------------------------------------------------------------------------


def folds(samples):
    return pd.DataFrame(
        {
            "key": samples.rows["key"],
            "fold": np.arange(40) % 5,
            "light": ["day", "night", ""] * 13 + ["dusk"],
            "depth": np.linspace(0, 1, 40),
        }
    )


def test_columns_of_a_table_are_labels_wherever_its_lines_stand(built):
    table = folds(built).sample(frac=1, random_state=1)

    view = built.with_columns(table)

    assert view.array("fold").tolist() == [i % 5 for i in range(40)]
    assert view.array("light")[:4].tolist() == [0, 2, -1, 0]
    assert view.attributes["classes"]["light"] == ["day", "dusk", "night"]
    npt.assert_allclose(view.array("depth"), np.linspace(0, 1, 40), rtol=1e-6)
    train = view.select(mask=view.array("fold") != 3)
    (batch,) = train.batches(64, targets=["fold"], failed="keep")
    assert batch.targets["fold"].tolist() == [i % 5 for i in range(40) if i % 5 != 3]
    assert "fold" not in built.attributes["columns"]


def test_a_column_called_label_takes_the_labels_place(built):
    table = pd.DataFrame({"key": built.rows["key"], "label": ["b", "a"] * 20})

    view = built.with_columns(table)

    assert view.classes == ["a", "b"]
    assert view.labels.tolist() == [1, 0] * 20
    assert view.batches(8, classes=["a"]).order.tolist() == [
        i for i in range(40) if i % 2 and i not in (5, 17)
    ]
    npt.assert_array_equal(next(view.batches(4)).label, [1, 0, 1, 0])


def test_lines_of_other_keys_are_passed_over(built):
    view = built.select(rows=[1, 2]).with_columns(folds(built))

    assert view.array("fold").tolist() == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[1:], "the table has no line for key '[^']*'; add"),
        (
            lambda t: pd.concat([t, t.iloc[:2]]),
            "the key '.*' is in the table twice, as well as 1 other;",
        ),
        (lambda t: t.rename(columns={"fold": "row"}), "cannot be called 'row'"),
        (lambda t: t.rename(columns={"key": "id"}), "the table has no column 'key', it has id"),
        (lambda t: t[["key"]], "no column but 'key'"),
        (lambda t: t.assign(fold=[[1]] * 40), "'fold' must hold text or numbers, got mixed"),
    ],
    ids=["missing", "twice", "taken", "no key", "empty", "lists"],
)
def test_a_table_that_does_not_fit_is_refused_in_one_line(built, change, message):
    with pytest.raises(daskimg.OptionError, match=message) as found:
        built.with_columns(change(folds(built)))

    assert "\n" not in str(found.value)


# -- weights -------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [True, "chunks", "shards"])
def test_balance_draws_every_class_equally_often(samples, shuffle):
    counts = np.zeros(5)
    for epoch in range(60):
        order = samples.batches(
            16, shuffle=shuffle, balance="label", epoch=epoch, window_bytes=1
        ).order
        counts += np.bincount(samples.labels[order], minlength=5)

    # Standard deviation of each: about sqrt(60 * 101 * 0.2 * 0.8) = 31, fewer over windows.
    assert np.abs(counts - 60 * 101 / 5).max() < 160
    assert not np.isin(order, (5, 17)).any()


def test_a_sample_comes_as_often_as_its_weight_says(samples):
    weights = np.zeros(COUNT)
    weights[[3, 30, 60]] = 1, 2, 5
    weights[5] = 100  # failed: never read

    found = [samples.batches(16, weights=weights, epoch=e).order for e in range(40)]

    counts = np.bincount(np.concatenate(found), minlength=COUNT)
    assert set(np.flatnonzero(counts)) == {3, 30, 60}
    npt.assert_allclose(counts[[3, 30, 60]] / counts.sum(), [1 / 8, 2 / 8, 5 / 8], atol=0.03)


@settings(max_examples=30, deadline=None)
@given(
    stop=st.integers(0, 8),
    shuffle=st.sampled_from([False, "full", "chunks", "shards"]),
    world=st.sampled_from([1, 2, 3]),
    seed=st.integers(0, 2**64 - 1),
)
def test_drawn_epochs_go_on_anywhere_with_any_number_of_ranks(
    samples, image, stop, shuffle, world, seed
):
    options = daskimg.ReadOptions(
        shuffle=shuffle, seed=seed, epoch=2, balance="label", window_bytes=1
    )
    whole = read(samples.batches(12, options))
    first = samples.batches(12, options, rank=1, world=3)
    for _ in range(stop):
        next(first)
    state = first.state_dict()
    first.close()

    rests = [samples.batches(12, options, rank=r, world=world, state=state) for r in range(world)]

    found = [p.sample[p.valid] for parts in zip(*rests, strict=True) for p in parts]
    npt.assert_array_equal(np.concatenate([whole[0][:0], *found]), whole[0][12 * stop :])
    npt.assert_array_equal(whole[1], image[whole[0]])


def test_draws_are_never_others(samples):
    """Pinned: a resumed run of a newer version must find the same draws."""
    order = samples.batches(8, balance="label", seed=7, epoch=3, shuffle="full").order

    assert order[:8].tolist() == PINNED


PINNED = [44, 14, 34, 99, 41, 99, 39, 22]


def test_a_state_of_other_weights_is_refused(samples):
    state = samples.batches(12, shuffle=True, balance="label").state_dict()

    with pytest.raises(daskimg.OptionError, match="its weights is"):
        samples.batches(12, shuffle=True, state=state)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"weights": [1.0]}, "weights must be 103 numbers, one a sample, got"),
        ({"weights": np.full(COUNT, np.nan)}, "finite numbers of at least 0"),
        ({"weights": np.zeros(COUNT)}, "leave nothing to draw"),
        ({"weights": np.full(COUNT, 1e308)}, "sum of the weights is more than a float64 holds"),
        ({"balance": "image"}, "balance needs one class or whole number a sample"),
        ({"balance": "colour"}, "no array 'colour'"),
        ({"balance": 3}, "balance names a column, got 3"),
    ],
    ids=["shape", "nan", "zero", "sum", "affine", "nothing", "number"],
)
def test_weights_that_cannot_be_are_refused(samples, settings_, message):
    with pytest.raises(daskimg.OptionError, match=message):
        samples.batches(12, **settings_)


# -- several stores ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def months(image, tmp_path_factory):
    """The same pictures in three stores, cut and compressed in different ways."""
    folder = tmp_path_factory.mktemp("months")
    cuts = (0, 41, 60, COUNT)
    forms = ((20, 5, "none"), (8, 4, "lz4"), (14, 7, "none"))
    for i, (shard, chunk, codec) in enumerate(forms):
        part = slice(cuts[i], cuts[i + 1])
        label = np.arange(COUNT)[part] % 5
        shelves.write_store(
            folder / str(i), image[part], shard=shard, chunk=chunk, codec=codec, label=label
        )
    return [folder / str(i) for i in range(3)]


@pytest.mark.parametrize("shuffle", [False, True, "full", "chunks", "shards"])
@pytest.mark.parametrize("which", [[0, 1, 2], [0, 2]], ids=["mixed", "mapped"])
def test_several_stores_are_read_as_one(months, image, shuffle, which):
    samples = daskimg.open_stores([months[i] for i in which])
    wanted = np.concatenate([image[[0, 41, 60][i] : [41, 60, COUNT][i]] for i in which])

    sample, pixels, label = read(samples.batches(16, shuffle=shuffle, window_bytes=1))

    assert sorted(sample.tolist()) == list(range(len(wanted)))
    npt.assert_array_equal(pixels, wanted[sample])
    npt.assert_array_equal(label, samples.labels[sample])
    npt.assert_array_equal(samples.image[:], wanted)
    npt.assert_array_equal(samples.to_dask().compute(), wanted)
    npt.assert_array_equal(pickle.loads(pickle.dumps(samples))[50][0], wanted[50])


def test_what_is_read_ahead_is_asked_of_each_store_by_its_own_slots(months):
    arrays = daskimg.open_stores(months)._arrays

    source = arrays.source(arrays.sharded("image"), Pool(1), daskimg.ReadOptions())

    (part,) = source.pooled  # the others are mapped
    slots = np.array([0, 40, 41, 45, 59, 60, 102])
    assert [wish.key for wish in part.wishes(slots)] == [
        (f"{months[1]}/image", chunk) for chunk in (0, 1, 4)
    ]


def test_views_weights_and_resuming_go_over_several_stores(months, image):
    view = daskimg.open_stores(months).select(classes=[1, 2])
    epoch = view.batches(8, balance="label", seed=1)
    whole = read(view.batches(8, balance="label", seed=1))
    next(epoch)

    rest = read(view.batches(8, balance="label", state=epoch.state_dict()))

    npt.assert_array_equal(rest[0], whole[0][8:])
    npt.assert_array_equal(rest[1], image[view.slots[rest[0]]])


def months_of(pictures, folder, client, *changes):
    """Build a store for each change to the same table."""
    found = []
    for i, change in enumerate(changes):
        table = change.get("table", lambda t: t)(scenes.table_of(*pictures))
        given = {"shard": 16, "chunk": 4, "max_failed": 1, "size": 16} | change.get("options", {})
        found.append(scenes.build(table, folder / f"{i}.zarr", client, **given).url)
    return found


def renamed(table):
    return table.assign(label=["zebra", *table["label"][1:]])


def test_classes_that_differ_are_refused_or_numbered_anew(pictures, tmp_path, threads):
    urls = months_of(pictures, tmp_path, threads, {}, {"table": renamed})
    names = daskimg.open_store(urls[0]).classes

    with pytest.raises(daskimg.OptionError, match="classes of label is with 'zebra'"):
        daskimg.open_stores(urls)
    merged = daskimg.open_stores(urls, merge_classes=True)

    assert merged.classes == [*names, "zebra"]
    assert merged.labels[40] == len(names)
    npt.assert_array_equal(merged.labels[41:], merged.labels[1:40])


def test_rows_of_several_stores_say_whose_they_are(pictures, tmp_path, threads):
    urls = months_of(pictures, tmp_path, threads, {}, {})
    both = daskimg.open_stores(urls)

    assert both.rows["store"].tolist() == [0] * 40 + [1] * 40
    assert both.rows["first_sample"].tolist() == list(range(80))
    assert both.failures["sample"].tolist() == [5, 17, 45, 57]
    assert both.select(mask=np.arange(80) == 45).failures["row"].tolist() == [5]
    one = daskimg.open_store(urls[0])
    npt.assert_allclose(both.mean, one.mean)
    npt.assert_allclose(both.std, one.std)
    assert (both.attributes["samples"], both.attributes["failed"]) == (80, 4)
    with pytest.raises(daskimg.OptionError, match="a row is of one store"):
        both.join(0)


def test_moments_of_several_stores_are_those_of_all_their_pixels(tmp_path, image, months):
    stores = [{"mean": [0.2], "std": [0.1], "samples": 30, "failed": 0}]
    stores += [{"mean": [0.6], "std": [0.3], "samples": 12, "failed": 2}]
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=n) for n in (3000, 1000)]
    parts = [
        m + s * (p - p.mean()) / p.std()
        for p, m, s in zip(parts, (0.2, 0.6), (0.1, 0.3), strict=True)
    ]

    found = daskimg.read._joined._joined_moments(stores)

    both = np.concatenate(parts)
    npt.assert_allclose([found["mean"], found["std"]], [[both.mean()], [both.std()]])


def test_stores_that_differ_are_refused_with_the_difference(months, pictures, tmp_path, threads):
    wide = shelves.write_store(tmp_path / "wide", shelves.pictures(5, 8, 7), shard=5, chunk=5)
    deep = shelves.write_store(
        tmp_path / "deep", shelves.pictures(5, dtype="uint16"), shard=5, chunk=5
    )
    masked = shelves.write_store(
        tmp_path / "masked", shelves.pictures(5), shard=5, chunk=5,
        mask=shelves.pictures(5, 20, 20, 1),
    )  # fmt: skip

    for url, message in [
        (wide, r"a sample of image is \(8, 7, 3\), not \(8, 6, 3\)"),
        (deep, "the dtype of image is 'uint16', not 'uint8'"),
        (masked, "its set of arrays is with 'mask'"),
    ]:
        with pytest.raises(daskimg.OptionError, match=message):
            daskimg.open_stores([months[0], url])
    with pytest.raises(daskimg.OptionError, match="urls is a list of stores"):
        daskimg.open_stores("a.zarr")


def test_stores_of_other_recipes_are_refused(pictures, tmp_path, threads):
    table = scenes.table_of(*pictures)
    for name, seed in (("a", 0), ("b", 1)):
        recipe = daskimg.Recipe([daskimg.Resize(16, 16)], seed=seed)
        plan = daskimg.plan_store(
            daskimg.read_manifest(table), str(tmp_path / name), recipe,
            options=daskimg.RunOptions(max_failed=1),
        )  # fmt: skip
        daskimg.build_store(plan, client=threads)

    with pytest.raises(daskimg.OptionError, match="the recipe is another: its seed is 1, not 0"):
        daskimg.open_stores([tmp_path / "a", tmp_path / "b"])


def test_what_is_no_store_no_table_and_no_sample_is_refused_in_one_line(built):
    for wrong, message in [
        (lambda: daskimg.open_store(None), "opened by its path or URL, got None; try 'out.zarr'"),
        (
            lambda: daskimg.open_stores([built, built]),
            "got samples that are open; try '.*out.zarr'",
        ),
        (lambda: daskimg.open_stores(5), "urls is a list of stores"),
        (lambda: built.with_columns("labels.csv", on="path"), "try pd.read_csv"),
        (lambda: built[[1, 2]], r"got list; try samples.take\(\[1, 2\]\)"),
        (lambda: built.show("x"), "must be how many, or which, got str 'x'; try 24"),
    ]:
        with pytest.raises(daskimg.OptionError, match=message):
            wrong()
    with pytest.raises(IndexError, match="there are 40 samples, 0 to 39, and no sample 40"):
        built[40]


def test_a_batch_shows_itself_in_a_line(samples):
    shown = repr(samples.take([1, 2]))

    assert shown.startswith("Batch(image=(2, 8, 6, 3) uint8, label=(2,) ")
    assert shown.endswith("targets={})")
