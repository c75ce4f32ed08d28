import itertools
import threading
import time

import numpy as np
import numpy.testing as npt
import pytest
import shelves
from hypothesis import given, settings
from hypothesis import strategies as st

import daskimg
from daskimg.read._order import Windowed

COUNT = 103
CODECS = ("none", "lz4", "zstd")


@pytest.fixture(scope="module")
def image():
    return shelves.pictures(COUNT)


@pytest.fixture(scope="module")
def stores(image, tmp_path_factory):
    """The same pictures with every codec; slots 5 and 17 failed; labels of five classes."""
    folder = tmp_path_factory.mktemp("epochs")
    image = image.copy()
    image[[5, 17]] = 0
    given = {
        "status": [2 if i in (5, 17) else 1 for i in range(COUNT)],
        "label": np.arange(COUNT) % 5,
        "mask": shelves.pictures(COUNT, 20, 20, 1, seed=1),
    }
    for codec in CODECS:
        shelves.write_store(folder / codec, image, shard=20, chunk=5, codec=codec, **given)
    return folder


@pytest.fixture(scope="module")
def samples(stores):
    return daskimg.open_store(stores / "none")


def slots_of(batches):
    return np.concatenate([batch.sample for batch in batches])


# -- the order -----------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 3000), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2**64 - 1))
def test_every_epoch_is_a_permutation(count, seed, epoch):
    order = daskimg.epoch_order(count, seed=seed, epoch=epoch)

    npt.assert_array_equal(np.sort(order), np.arange(count))


@settings(max_examples=50, deadline=None)
@given(
    mask=st.lists(st.booleans(), min_size=1, max_size=200),
    unit=st.integers(1, 20),
    window=st.integers(1, 8),
    seed=st.integers(0, 100),
    cut=st.integers(1, 50),
)
def test_a_windowed_order_is_a_permutation_wherever_it_is_cut(mask, unit, window, seed, cut):
    chosen = np.flatnonzero(mask)
    order = Windowed(chosen, unit, window, seed, 3)

    parts = [order.slots(i, i + cut) for i in range(0, len(chosen), cut)]

    whole = order.slots(0, len(chosen))
    npt.assert_array_equal(np.sort(whole), chosen)
    npt.assert_array_equal(np.concatenate([whole[:0], *parts]), whole)


def test_a_window_needs_only_its_own_units():
    order = Windowed(np.arange(1000), 10, 4, 0, 0).slots(0, 1000)

    units = [set((order[i : i + 40] // 10).tolist()) for i in range(0, 1000, 40)]

    assert all(len(each) == 4 for each in units)
    assert len(set().union(*units)) == 100


def test_the_order_is_never_another():
    """Pinned: a resumed run of a newer version must find the same order."""
    assert daskimg.epoch_order(10, seed=7, epoch=3).tolist() == PINNED
    assert Windowed(np.arange(10), 2, 2, 7, 3).slots(0, 10).tolist() == PINNED_WINDOWS


PINNED = [3, 7, 6, 0, 8, 1, 2, 4, 9, 5]
PINNED_WINDOWS = [4, 9, 8, 5, 1, 3, 2, 0, 7, 6]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_all_orders_of_a_few_are_equally_frequent(count):
    orders = dict.fromkeys(itertools.permutations(range(count)), 0)
    draws = 100 * len(orders)

    for epoch in range(draws):
        orders[tuple(daskimg.epoch_order(count, seed=5, epoch=epoch).tolist())] += 1

    chi_squared = sum((found - 100) ** 2 / 100 for found in orders.values())
    free = len(orders) - 1
    assert chi_squared < free + 4 * np.sqrt(2 * free)


def test_any_sample_comes_to_any_place_equally_often():
    count, draws = 25, 2000
    found = np.zeros((count, count))

    for seed in range(draws):
        found[np.arange(count), daskimg.epoch_order(count, seed=seed)] += 1

    wanted = draws / count
    chi_squared, free = ((found - wanted) ** 2 / wanted).sum(), (count - 1) ** 2
    assert abs(chi_squared - free) < 4 * np.sqrt(2 * free)


def test_a_shuffle_is_scored_by_how_many_of_a_batch_are_independent():
    count, batch = 40_000, 200
    table = np.arange(count)
    windows = Windowed(table, 100, 20, 0, 0).slots(0, count)

    true = daskimg.shuffle_score(daskimg.epoch_order(count), batch)
    windowed = daskimg.shuffle_score(windows, batch)
    unmixed = daskimg.shuffle_score(table, batch)

    assert true > 0.7
    # 20 chunks of 100 neighbours each count as 20 samples, or a few more: 20 of 200.
    assert 0.06 < windowed < 0.2
    assert unmixed < 0.01


# -- batches -------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shuffle", [False, True, "full", "chunks", "shards"])
def test_every_good_sample_is_read_once_with_its_own_pixels(stores, image, codec, shuffle):
    samples = daskimg.open_store(stores / codec)

    batches = list(samples.batches(16, shuffle=shuffle, seed=2, targets=["mask", "row"]))

    slots = slots_of(batches)
    assert sorted(slots.tolist()) == [i for i in range(COUNT) if i not in (5, 17)]
    assert (slots.tolist() == sorted(slots.tolist())) is (shuffle is False)
    npt.assert_array_equal(np.concatenate([b.image for b in batches]), image[slots])
    npt.assert_array_equal(np.concatenate([b.label for b in batches]), slots % 5)
    masks = np.concatenate([b.targets["mask"] for b in batches])
    npt.assert_array_equal(masks, shelves.pictures(COUNT, 20, 20, 1, seed=1)[slots])
    npt.assert_array_equal(np.concatenate([b.targets["row"] for b in batches]), slots)
    assert all(batch.valid.all() for batch in batches)


@pytest.mark.parametrize("shuffle", ["full", "chunks", "shards"])
def test_effort_changes_nothing(samples, shuffle):
    efforts = [
        {"threads": 1, "prefetch": 0},
        {"threads": 3, "prefetch": 5, "check": "never"},
        {"reuse": True, "budget": 1_000_000},
    ]

    runs = [
        [
            (b.image.tobytes(), b.sample.tolist())
            for b in samples.batches(16, shuffle=shuffle, **effort)
        ]
        for effort in efforts
    ]

    assert runs[0] == runs[1] == runs[2]


@settings(max_examples=25, deadline=None)
@given(
    batch=st.sampled_from([6, 12, 30, 120]),
    shuffle=st.sampled_from([False, "full", "chunks"]),
    world=st.sampled_from([2, 3]),
    drop_last=st.booleans(),
)
def test_the_batches_of_ranks_together_are_those_of_one(samples, batch, shuffle, world, drop_last):
    options = daskimg.ReadOptions(shuffle=shuffle, seed=1, drop_last=drop_last)
    alone = list(samples.batches(batch, options))

    ranks = [list(samples.batches(batch, options, rank=r, world=world)) for r in range(world)]

    assert [len(rank) for rank in ranks] == [len(alone)] * world
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert len({len(part.image) for part in parts}) == 1
        kept = [part.valid for part in parts]
        for name in ("sample", "image", "label"):
            found = [getattr(p, name)[k] for p, k in zip(parts, kept, strict=True)]
            npt.assert_array_equal(np.concatenate(found), getattr(whole, name))


def test_padding_is_masked_and_means_none(samples):
    *_, last = samples.batches(99, rank=2, world=3)

    assert last.sample.tolist() == [-1]
    assert last.label.tolist() == [-1]
    assert not last.valid.any()
    assert not last.image.any()


def test_a_batch_that_does_not_divide_is_refused(samples):
    with pytest.raises(daskimg.OptionError, match="multiple of world=3, got 256; try 255"):
        samples.batches(256, world=3)


def test_drop_last_leaves_out_what_fills_no_batch(samples):
    epoch = samples.batches(50, drop_last=True)

    assert len(epoch) == 2
    assert [len(batch.image) for batch in epoch] == [50, 50]


# -- which samples -------------------------------------------------------------------------


def test_failed_samples_are_kept_and_marked(samples):
    (batch,) = samples.batches(200, failed="keep")

    assert np.flatnonzero(~batch.valid).tolist() == [5, 17]
    assert not batch.image[[5, 17]].any()


def test_failed_samples_are_refused_if_they_must_not_be(samples):
    with pytest.raises(daskimg.StoreError, match=r"2 of .* failed, the first is sample 5;"):
        samples.batches(16, failed="raise")
    assert len(samples.batches(16, failed="raise", rows=range(6, 12))) == 1


def test_rows_masks_and_classes_choose_samples(samples):
    mask = np.arange(COUNT) < 50

    batches = samples.batches(8, rows=range(10, 90), mask=mask, classes=[0, 3], shuffle=True)

    wanted = [i for i in range(10, 50) if i % 5 in (0, 3)]
    assert sorted(slots_of(batches).tolist()) == wanted


def named(samples):
    samples.attributes = samples.attributes | {
        "columns": {"label": ["animal", "class"]},
        "classes": {"animal": ["ant", "bee", "cat", "dog", "emu"]},
    }
    return samples


def test_classes_are_chosen_by_name(stores):
    samples = named(daskimg.open_store(stores / "none"))

    slots = slots_of(samples.batches(8, classes=["bee", 4]))

    assert set((slots % 5).tolist()) == {1, 4}
    with pytest.raises(daskimg.OptionError, match="no class 'cow'; it has ant, bee, cat, dog"):
        samples.batches(8, classes=["cow"])


# -- resuming ------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    stop=st.integers(0, 9),
    shuffle=st.sampled_from([False, "full", "shards"]),
    world=st.sampled_from([1, 2, 4]),
    prefetch=st.integers(0, 3),
)
def test_an_epoch_goes_on_where_it_was_left_with_any_number_of_ranks(
    samples, stop, shuffle, world, prefetch
):
    options = daskimg.ReadOptions(shuffle=shuffle, seed=4, epoch=2, prefetch=prefetch)
    whole = slots_of(samples.batches(12, options))
    first = samples.batches(12, options, rank=1, world=3)
    for _ in range(stop):
        next(first)
    state = first.state_dict()
    first.close()

    rests = [
        samples.batches(12, rank=r, world=world, shuffle=shuffle, state=state)
        for r in range(world)
    ]

    assert [len(rest) for rest in rests] == [9 - stop] * world
    found = [p.sample[p.valid] for parts in zip(*rests, strict=True) for p in parts]
    found = np.concatenate([whole[:0], *found])
    npt.assert_array_equal(found, whole[12 * stop :])


def test_a_state_is_a_few_numbers(samples):
    epoch = samples.batches(12, shuffle=True, seed=4)
    next(epoch)

    state = epoch.state_dict()

    assert (state["seed"], state["epoch"], state["position"]) == (4, 0, 12)
    assert len(str(state)) < 500


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"shuffle": True, "rows": range(50)}, "its samples is 101, and here it is 48"),
        ({"shuffle": "shards"}, "its shuffle is 'full', and here it is 'shards'"),
        ({"shuffle": True, "failed": "keep"}, "its samples is 101, and here it is 103"),
    ],
    ids=["rows", "shuffle", "failed"],
)
def test_a_state_of_another_order_is_refused_with_the_difference(samples, settings_, message):
    state = samples.batches(12, shuffle=True).state_dict()

    with pytest.raises(daskimg.OptionError, match=message):
        samples.batches(12, state=state, **settings_)


def test_a_state_of_another_store_is_refused(samples):
    state = samples.batches(12).state_dict()
    state["order"]["store"] = "another"

    with pytest.raises(daskimg.OptionError, match="its store is 'another', and here it is 'p'"):
        samples.batches(12, state=state)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"position": -1}, "position must be 0 to 101"), ({"seed": -1}, "seed must be")],
    ids=["position", "seed"],
)
def test_a_broken_state_is_refused(samples, change, message):
    state = {**samples.batches(12).state_dict(), **change}

    with pytest.raises(daskimg.OptionError, match=message):
        samples.batches(12, state=state)
    with pytest.raises(daskimg.OptionError, match="the state has no order"):
        samples.batches(12, state={"seed": 0, "epoch": 0, "position": 0})


# -- form ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["hwc", "chw"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("mode", ["mean-std", "signed", "per-image"])
@pytest.mark.parametrize("compiled", [False, True])
def test_normalised_batches_are_what_normalize_gives(
    samples, image, layout, dtype, mode, compiled, monkeypatch
):
    price = 0 if compiled else 1 << 62
    monkeypatch.setattr("daskimg.read._writers._GATHERED", daskimg.compiling.Rent(price))
    form = {"layout": layout, "dtype": dtype, "mode": mode}
    given = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)} if mode == "mean-std" else {}

    batches = list(samples.batches(40, shuffle=True, **form))

    found = np.concatenate([batch.image for batch in batches])
    wanted = daskimg.normalize(image[slots_of(batches)], **form, **given)
    npt.assert_array_equal(found.view(f"u{found.itemsize}"), wanted.view(f"u{found.itemsize}"))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_other_pictures_are_read_and_normalised_too(tmp_path, dtype, channels, monkeypatch):
    monkeypatch.setattr("daskimg.read._writers._GATHERED", daskimg.compiling.Rent(0))
    image = shelves.pictures(20, channels=channels, dtype=dtype)
    samples = daskimg.open_store(shelves.write_store(tmp_path / "a", image, shard=8, chunk=4))
    statistics = {"mean": [0.4] * channels, "std": [0.2] * channels}

    (plain,) = samples.batches(20)
    (turned,) = samples.batches(20, layout="chw")
    (floating,) = samples.batches(20, dtype="float32", layout="chw", **statistics)

    npt.assert_array_equal(plain.image, image)
    npt.assert_array_equal(turned.image, image.transpose(0, 3, 1, 2))
    assert turned.image.flags.c_contiguous
    wanted = daskimg.normalize(image, layout="chw", **statistics)
    npt.assert_array_equal(floating.image, wanted)


def test_reused_memory_is_a_ring_and_fresh_memory_is_not(samples):
    fresh = [batch.image for batch in samples.batches(10)]
    reused = [batch.image for batch in samples.batches(10, reuse=True, prefetch=2)]

    assert len({each.ctypes.data for each in fresh}) == len(fresh)
    assert len({each.ctypes.data for each in reused}) == 3
    again = [batch.image for batch in samples.batches(10, reuse=True, prefetch=2)]
    assert {each.ctypes.data for each in again} == {each.ctypes.data for each in reused}


def test_two_epochs_at_once_do_not_share_reused_memory(samples):
    list(samples.batches(10, reuse=True))

    for one, other in zip(
        samples.batches(10, reuse=True), samples.batches(10, reuse=True, shuffle=True), strict=True
    ):
        assert not np.shares_memory(one.image, other.image)
        npt.assert_array_equal(one.image, samples.image[:][one.sample])


def test_memory_can_come_from_elsewhere(samples):
    shapes = []

    def allocate(shape, dtype):
        shapes.append(shape)
        return np.empty(shape, dtype)

    list(samples.batches(60, allocate=allocate))

    assert shapes == [(60, 8, 6, 3), (41, 8, 6, 3)]


def test_memory_that_cannot_be_written_into_is_refused(samples):
    def strided(shape, dtype):
        return np.empty((2, *shape), dtype)[:, ::2].swapaxes(0, 1)[:, 0]

    with pytest.raises(daskimg.OptionError, match="allocate must return a C-contiguous, writable"):
        next(samples.batches(60, allocate=strided))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shuffle": "rows"}, "shuffle must be one of .*; got 'rows'"),
        ({"seed": -1}, "seed must be a whole number .* got -1; try 0"),
        ({"epoch": 1.5}, "epoch must be a whole number .* got 1.5"),
        ({"rank": 2, "world": 2}, "rank must be a whole number of 0 to 1, got 2"),
        ({"failed": "hide"}, "failed must be one of drop, keep, raise"),
        ({"dtype": "int8"}, "dtype must be one of uint8, float32, float16"),
        ({"mean": (0, 0, 0)}, "normalise to dtype float32 or float16, got dtype=None"),
        ({"dtype": "float32", "std": (1, 0, 1)}, "mean must be 3 finite numbers"),
        ({"targets": "mask"}, r"targets is a list of names, got 'mask'; try \['mask'\]"),
        ({"targets": ["heatmap"]}, "no array 'heatmap'; it has image, label, mask"),
        ({"classes": "cat"}, r"classes is a list of names, got 'cat'; try \['cat'\]"),
        ({"mask": [True]}, "mask must be 103 booleans"),
        ({"rows": []}, "no sample is left to read by rows; choose others, or leave rows out"),
        ({"check": "always"}, "check must be one of first, never"),
        ({"threads": 0}, "threads must be a whole number of at least 1"),
        ({"prefetch": -1}, "prefetch must be a whole number of 0"),
        ({"connections": 0}, "connections must be a whole number of at least 1"),
        ({"cache_bytes": 0.5}, "cache_bytes must be a whole number of at least 1"),
        ({"budget": 1000}, "budget must hold a batch of 2,304 bytes .* got 1,000; try 6912"),
        ({"shufle": True}, "there is no option 'shufle'; there are .*shuffle"),
    ],
    ids=[
        "shuffle",
        "seed",
        "epoch",
        "rank",
        "failed",
        "dtype",
        "mean",
        "std",
        "targets",
        "array",
        "classes",
        "mask",
        "rows",
        "check",
        "threads",
        "prefetch",
        "connections",
        "cache_bytes",
        "budget",
        "unknown",
    ],
)
def test_bad_options_are_refused_with_advice(samples, wrong, message):
    with pytest.raises(daskimg.OptionError, match=message):
        samples.batches(16, **wrong)


def test_a_store_with_splits_wants_to_be_told_whose_mean_it_is(samples, monkeypatch):
    monkeypatch.setattr(samples, "split", "test")
    with pytest.raises(daskimg.OptionError, match="give those of the training split"):
        samples.batches(16, dtype="float32")


# -- threads -------------------------------------------------------------------------------


def test_an_epoch_that_is_let_go_leaves_no_thread(samples):
    before = threading.active_count()
    epoch = samples.batches(4, shuffle=True, threads=4)
    next(epoch)

    del epoch

    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_an_epoch_is_over_once(samples):
    with samples.batches(50) as epoch:
        assert len(list(epoch)) == 3
        assert list(epoch) == []
