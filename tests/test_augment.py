import numpy as np
import numpy.testing as npt
import pandas as pd
import pytest
import shelves
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import daskimg
from daskimg import kernels
from daskimg.augment import Moment, Who, fractions, moves_of
from daskimg.targets import Keypoints, MaskFile
from daskimg.transforms import apply_affine

COUNT, HEIGHT, WIDTH = 45, 24, 32
PAIRS = ((0, 1), (2, 3))


def mapped(count=COUNT):
    """Pictures whose every pixel says where it is: (y, x, picture)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pictures = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    pictures[..., 0], pictures[..., 1] = 10 * y, 7 * x
    pictures[..., 2] = np.arange(count)[:, None, None]
    return pictures


@pytest.fixture(scope="module")
def people(tmp_path_factory, threads):
    """A real build of such pictures with four joints and a mask each; picture 3 is broken."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    rows = []
    for i, pixels in enumerate(mapped()):
        Image.fromarray(pixels).save(folder / f"p{i}.png")
        Image.fromarray(pixels[..., 0]).save(folder / f"m{i}.png")
        joints = rng.integers((4, 4), (WIDTH - 4, HEIGHT - 4), (4, 2)) + 0.5
        seen = [1, 1, 0, 1]
        if i % 5 == 0:
            joints[2] = -1
        if i == 7:
            joints[:], seen = -1, [0] * 4
        rows.append(
            {
                "path": str(folder / f"p{i}.png"),
                "mask": str(folder / f"m{i}.png"),
                "joints": joints.tolist(),
                "joints_vis": seen,
                "label": "abc"[i % 3],
            }
        )
    (folder / "p3.png").write_bytes(b"no picture")
    recipe = daskimg.Recipe(
        (daskimg.Resize(HEIGHT, WIDTH),), targets=(Keypoints(count=4), MaskFile())
    )
    plan = daskimg.plan_store(
        daskimg.read_manifest(pd.DataFrame(rows)),
        str(folder / "out.zarr"),
        recipe,
        store=daskimg.StoreOptions(shard_samples=20, chunk_samples=5),
        options=daskimg.RunOptions(max_failed=1),
    )
    daskimg.build_store(plan, client=threads)
    return daskimg.open_store(folder / "out.zarr")


@pytest.fixture(scope="module", params=["none", "zstd"])
def samples(request, tmp_path_factory):
    url = tmp_path_factory.mktemp("augment") / "a"
    label = np.arange(COUNT) % 4 - 1
    image = shelves.pictures(COUNT, HEIGHT, WIDTH)
    shelves.write_store(url, image, shard=20, chunk=5, codec=request.param, label=label)
    return daskimg.open_store(url)


ALL = daskimg.Augment(
    crop=(16, 16), scale=(0.3, 1.0), mirror=0.5, brightness=0.4, contrast=0.4, saturation=0.4
)
TARGETS = ("mask", "keypoint", "visible", "affine", "label", "row")


def one(samples, augment, **settings_):
    """All samples in one batch."""
    (batch,) = samples.batches(len(samples), augment=augment, **settings_)
    return batch


# -- geometry ------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["random", "center"])
@pytest.mark.parametrize("mirror", [0.0, 0.5, 1.0])
def test_masks_joints_and_affines_stay_on_their_pixels(people, place, mirror):
    augment = daskimg.Augment(crop=(18, 20), place=place, mirror=mirror, pairs=PAIRS)
    before = one(people, None, targets=TARGETS)

    after = one(people, augment, targets=TARGETS, epoch=3)

    assert after.image.shape == (COUNT - 1, 18, 20, 3)
    npt.assert_array_equal(after.targets["mask"][..., 0], after.image[..., 0])
    npt.assert_array_equal(after.image[:, 0, 0, 2], after.targets["row"])
    inside = swaps = 0
    for i in range(COUNT - 1):
        x, y = after.image[i, 0, :, 1] // 7, after.image[i, :, 0, 0] // 10
        assert (np.diff(y) == 1).all()
        turned = bool((np.diff(x.astype(int)) == -1).all())
        assert turned or (np.diff(x) == 1).all()
        order = [1, 0, 3, 2] if turned else [0, 1, 2, 3]
        swaps += turned
        npt.assert_array_equal(after.targets["visible"][i], before.targets["visible"][i][order])
        for now, old in zip(
            after.targets["keypoint"][i], before.targets["keypoint"][i][order], strict=True
        ):
            if (old == -1).all():
                assert (now == -1).all()
                continue
            npt.assert_allclose(apply_affine(after.targets["affine"][i], old), now, atol=1e-4)
            if 0 <= now[0] < 20 and 0 <= now[1] < 18:
                inside += 1
                found = after.image[i, int(now[1]), int(now[0])]
                assert (found[1] // 7, found[0] // 10) == (int(old[0]), int(old[1]))
    assert inside > 40
    assert {0.0: swaps == 0, 0.5: 5 < swaps < 40, 1.0: swaps == COUNT - 1}[mirror]


def test_every_place_of_a_crop_comes_up(samples):
    augment = daskimg.Augment(crop=(HEIGHT - 1, WIDTH - 2))
    image = shelves.pictures(COUNT, HEIGHT, WIDTH)
    places = {(y, x): 0 for y in range(2) for x in range(3)}

    for epoch in range(20):
        batch = one(samples, augment, epoch=epoch)
        for slot, found in zip(batch.sample, batch.image, strict=True):
            (place,) = (
                (y, x)
                for y, x in places
                if (image[slot, y : y + HEIGHT - 1, x : x + WIDTH - 2] == found).all()
            )
            places[place] += 1

    assert sum(places.values()) == 20 * COUNT
    assert min(places.values()) > 20 * COUNT / 6 * 0.6


def test_a_part_of_random_area_is_what_pillow_makes_of_it(samples):
    augment = daskimg.Augment(crop=(16, 12), scale=(0.1, 1.0), mirror=0.5)
    image = shelves.pictures(COUNT, HEIGHT, WIDTH)
    who = Who(np.arange(COUNT), np.arange(COUNT), *np.zeros((2, COUNT), np.int64))
    moves = moves_of(augment, (HEIGHT, WIDTH), who, Moment(5, 2), None)

    batch = one(samples, augment, seed=5, epoch=2)

    areas = moves.windows[:, 2] * moves.windows[:, 3] / (HEIGHT * WIDTH)
    ratios = moves.windows[:, 3] / moves.windows[:, 2]
    assert 0.08 < areas.min() < 0.3 < 0.7 < areas.max() <= 1
    assert 0.6 < ratios.min() < 0.9 < 1.1 < ratios.max() < 1.5
    for i, (top, left, tall, wide) in enumerate(moves.windows):
        part = Image.fromarray(image[i, top : top + tall, left : left + wide])
        wanted = np.asarray(part.resize((12, 16), Image.Resampling.BILINEAR)).astype(int)
        wanted = wanted[:, ::-1] if moves.mirrored[i] else wanted
        assert np.abs(wanted - batch.image[i]).max() <= 1


def test_joints_of_a_scaled_part_are_where_the_affine_says(people):
    augment = daskimg.Augment(crop=(48, 40), scale=(0.2, 0.6), mirror=0.5, pairs=PAIRS)
    before = one(people, None, targets=TARGETS)

    after = one(people, augment, targets=TARGETS)

    turned = after.targets["affine"][:, 0, 0] < 0
    assert 5 < turned.sum() < COUNT - 5
    for i in range(COUNT - 1):
        order = [1, 0, 3, 2] if turned[i] else [0, 1, 2, 3]
        old = before.targets["keypoint"][i][order]
        there = (old != -1).all(axis=1)
        wanted = np.where(there[:, None], apply_affine(after.targets["affine"][i], old), -1)
        npt.assert_allclose(after.targets["keypoint"][i], wanted, atol=1e-3)
        # Levels of the picture rise by 10 a pixel: the mask is of the nearest one.
        gap = after.targets["mask"][i, ..., 0].astype(int) - after.image[i, ..., 0]
        assert np.abs(gap).max() <= 10


def test_a_region_is_the_box_of_the_visible_joints_and_its_margin(people):
    augment = daskimg.Augment(crop=(24, 24), margin=(0.2, 0.2))

    batch = one(people, augment, targets=TARGETS)

    for i in range(COUNT - 1):
        points, seen = batch.targets["keypoint"][i], batch.targets["visible"][i] > 0
        if not seen.any():
            npt.assert_array_equal(batch.targets["affine"][i][:, 2], 0)  # the whole picture
            continue
        low, high = points[seen].min(axis=0), points[seen].max(axis=0)
        assert (low >= 0).all()
        assert (high <= 24).all()
        # One of its sides fills the output, but for the margin, whole pixels and the edges.
        assert (high - low).max() > 24 / 1.2 * 0.6 or (low < 3).any() or (high > 21).any()


def test_heatmaps_are_drawn_where_the_joints_are_now(people):
    augment = daskimg.Augment(crop=(16, 16), mirror=0.5, pairs=PAIRS, heatmap=(8, 8), sigma=1.5)

    batch = one(people, augment, targets=("keypoint", "visible"))

    wanted = daskimg.draw_heatmaps(
        batch.targets["keypoint"], batch.targets["visible"],
        image_size=(16, 16), size=(8, 8), sigma=1.5,
    )  # fmt: skip
    assert wanted.any()
    npt.assert_array_equal(batch.targets["heatmap"], wanted)
    alone = one(people, augment)
    npt.assert_array_equal(alone.targets["heatmap"], wanted)


def test_pictures_of_16_bits_are_cut_and_mirrored(tmp_path):
    image = shelves.pictures(9, 8, 6, dtype="uint16") * 257
    shelves.write_store(tmp_path / "a", image, shard=9, chunk=3)
    samples = daskimg.open_store(tmp_path / "a")

    batch = one(samples, daskimg.Augment(crop=(8, 4), place="center", mirror=1.0))

    npt.assert_array_equal(batch.image, image[:, :, 1:5][:, :, ::-1])


# -- colours -------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_one_linear_map_rounded_once(channels):
    images = shelves.pictures(6, 5, 7, channels)
    factors = np.array(
        [[1, 1, 1], [1.4, 1, 1], [1, 0.3, 1], [1, 1, 0], [0.7, 1.3, 1.8], [3, 2, 4.0]]
    )
    made = images.reshape(6, 35, channels).copy()

    kernels.jitter_colours(made, np.arange(6), factors)

    weights = [0.299, 0.587, 0.114] if channels == 3 else [1.0]
    for image, (b, c, s), found in zip(images.astype(float), factors, made, strict=True):
        grey = (image @ weights)[..., None]
        light = b * image
        even = c * light + (1 - c) * b * grey.mean()
        wanted = s * even + (1 - s) * (c * b * grey + (1 - c) * b * grey.mean())
        wanted = np.floor(np.clip(wanted, 0, 255) + 0.5).clip(0, 255)
        assert np.abs(wanted - found.reshape(image.shape)).max() <= 1
        assert (wanted != found.reshape(image.shape)).mean() < 0.02
    npt.assert_array_equal(made[0], images[0].reshape(35, channels))


def test_factors_are_drawn_evenly_around_one():
    augment = daskimg.Augment(brightness=0.4, saturation=2.0)
    who = Who(np.arange(4000), *np.zeros((3, 4000), np.int64))

    colours = moves_of(augment, (8, 8), who, Moment(0, 0), None).colours

    npt.assert_allclose(colours.min(axis=0), [0.6, 1, 0], atol=0.01)
    npt.assert_allclose(colours.max(axis=0), [1.4, 1, 3], atol=0.01)
    npt.assert_allclose(colours.mean(axis=0), [1, 1, 1.5], atol=0.05)


@pytest.mark.parametrize("size", [(7, 5), (24, 32), (40, 50)])
def test_scaling_is_the_mean_that_its_formula_says(size):
    image = shelves.pictures(1, 24, 32)
    out = np.empty((1, *size, 3), np.uint8)
    zero = np.zeros(1, np.int64)
    window = np.array([[3, 2, 20, 27]])

    address = np.array([image.ctypes.data])
    kernels.gather_scaled_windows(address, zero, window, np.zeros(1, bool), 24, 32, out)

    part = image[0, 3:23, 2:29].astype(float)
    wanted = _averaged(_averaged(part, size[0]).transpose(1, 0, 2), size[1]).transpose(1, 0, 2)
    assert np.abs(out[0] - wanted).max() < 0.5001


def _averaged(values, count):
    scale = len(values) / count
    reach = max(scale, 1)
    at = np.arange(len(values)) + 0.5
    centres = (np.arange(count) + 0.5) * scale
    weights = np.maximum(1 - np.abs(at - centres[:, None]) / reach, 0)
    return np.tensordot(weights / weights.sum(axis=1, keepdims=True), values, 1)


# -- the same for every reader ---------------------------------------------------------------


def bytes_of(batches):
    return [(b.sample.tolist(), b.image.tobytes(), b.label.tobytes()) for b in batches]


def shout(sample, rng):
    image = sample["image"]
    image += rng.integers(0, 3, image.shape, np.uint8)
    return {**sample, "image": image, "loud": np.float32(rng.random())}


@pytest.mark.parametrize("transform", [None, shout], ids=["alone", "transform"])
@pytest.mark.parametrize("form", [{}, {"dtype": "float32", "layout": "chw"}], ids=["u8", "f32"])
def test_effort_changes_no_byte(samples, form, transform):
    settings_ = {"shuffle": True, "augment": ALL, "transform": transform, "seed": 3, **form}
    efforts = [
        {"threads": 1, "prefetch": 0},
        {"threads": 5, "prefetch": 4},
        {"reuse": True, "budget": 2_000_000},
    ]

    runs = [bytes_of(samples.batches(12, **settings_, **effort)) for effort in efforts]

    assert runs[0] == runs[1] == runs[2]


@settings(max_examples=20, deadline=None)
@given(
    stop=st.integers(0, 4),
    world=st.sampled_from([1, 2, 3]),
    balance=st.sampled_from([None, "label"]),
    transform=st.sampled_from([None, shout]),
)
def test_ranks_and_resuming_change_no_byte(samples, stop, world, balance, transform):
    options = daskimg.ReadOptions(
        shuffle=True, seed=1, epoch=4, augment=ALL, balance=balance, transform=transform
    )
    whole = list(samples.batches(12, options))
    first = samples.batches(12, options, rank=1, world=3)
    for _ in range(stop):
        next(first)
    state = first.state_dict()
    first.close()

    ranks = [
        list(samples.batches(12, options, rank=r, world=world, state=state)) for r in range(world)
    ]

    for i, batch in enumerate(whole[stop:]):
        parts = [rank[i] for rank in ranks]
        found = np.concatenate([part.image[part.valid] for part in parts])
        npt.assert_array_equal(found, batch.image)
        assert not any(part.image[~part.valid].any() for part in parts)


def test_epochs_and_seeds_change_it_and_views_do_not(samples):
    view = samples.select(rows=range(10, 30))

    whole = one(samples, ALL, seed=1)

    npt.assert_array_equal(one(view, ALL, seed=1).image, whole.image[10:30])
    assert (one(samples, ALL, seed=1, epoch=1).image != whole.image).mean() > 0.8
    assert (one(samples, ALL, seed=2).image != whole.image).mean() > 0.8


def test_a_sample_that_is_drawn_twice_is_changed_anew(samples):
    weights = np.zeros(COUNT)
    weights[4] = 1

    (batch,) = samples.batches(COUNT, augment=ALL, weights=weights)

    assert batch.sample.tolist() == [4] * COUNT
    assert len({image.tobytes() for image in batch.image}) == COUNT


def test_stores_that_are_read_as_one_have_draws_of_their_own(samples):
    both = daskimg.open_stores([samples.url, samples.url])

    (batch,) = both.batches(2 * COUNT, augment=daskimg.Augment(crop=(12, 16)))

    assert (batch.image[:COUNT] != batch.image[COUNT:]).any(axis=(1, 2, 3)).mean() > 0.9


def test_one_augmentation_does_not_change_the_draws_of_another(samples):
    crop = daskimg.Augment(crop=(16, 16))
    both = daskimg.Augment(crop=(16, 16), mirror=1.0)

    npt.assert_array_equal(one(samples, both).image, one(samples, crop).image[:, :, ::-1])


def test_draws_are_never_others():
    """Pinned: a resumed run of a newer version must find the same."""
    who = Who(np.array([5, 6]), np.array([0, 1]), np.zeros(2, np.int64), np.zeros(2, np.int64))

    found = fractions(who, Moment(2**63 + 1, 2**40), 5)

    npt.assert_array_equal((found * 2**32).astype(np.int64), PINNED)
    assert ((found >= 0) & (found < 1)).all()


PINNED = [
    [79984474, 2514437635, 1944428557, 3977272220, 1641599781],
    [896095698, 45002430, 2741382537, 2777311043, 1843760482],
]


# -- one hot, and a function of one's own ----------------------------------------------------


def test_labels_are_handed_over_one_hot(samples, people):
    batch = one(samples, None, one_hot=True)
    named = one(people, None, one_hot=True)

    assert (batch.label.shape, batch.label.dtype) == ((COUNT, 3), np.float32)
    assert not batch.label[0].any()  # label -1: none
    npt.assert_array_equal(batch.label[1:].argmax(axis=1), (np.arange(1, COUNT) % 4 - 1).clip(0))
    assert named.label.sum(axis=1).tolist() == [1] * (COUNT - 1)
    for transform in (None, lambda sample, rng: sample):
        *_, last = samples.batches(12, one_hot=True, rank=3, world=4, transform=transform)
        assert not last.valid.all()
        assert not last.label[~last.valid].any()


def test_a_function_sees_what_was_augmented_and_is_normalised_after(samples):
    seen = []

    def note(sample, rng):
        seen.append(sample["image"].copy())
        return {"image": sample["image"][:5], "label": sample["label"] + np.int32(7)}

    crop = daskimg.Augment(crop=(16, 16))
    settings_ = {"dtype": "float32", "layout": "chw", "mode": "signed", "threads": 1}
    batch = one(samples, crop, transform=note, **settings_)

    given_ = one(samples, crop).image
    npt.assert_array_equal(np.stack(seen[1:]), given_)
    wanted = daskimg.normalize(given_[:, :5], mode="signed", layout="chw")
    npt.assert_array_equal(batch.image, wanted)
    npt.assert_array_equal(batch.label, samples.labels + 7)


def test_a_functions_new_arrays_become_targets(samples):
    batch = one(samples, None, transform=shout)

    assert batch.targets["loud"].shape == (COUNT,)
    assert len(set(batch.targets["loud"].tolist())) == COUNT


def broken(sample, rng):
    if int(sample["row"]) == 9:
        raise ZeroDivisionError("by nothing")
    return sample


def growing(sample, rng):
    return {**sample, "image": np.repeat(sample["image"], 1 + (sample["row"] == 9), axis=0)}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (broken, "broken failed on row 9 .*: ZeroDivisionError: by nothing"),
        (growing, r"growing failed on row 9 .*it returned image \(48, 32, 3\) uint8, .* at first"),
        (lambda sample, rng: None, "must return a dict with image and label"),
    ],
    ids=["raises", "grows", "nothing"],
)
def test_a_function_that_fails_names_the_row(samples, function, message):
    with pytest.raises(daskimg.TransformError, match=message):
        list(samples.batches(12, transform=function, targets=["row"]))


# -- refused before the first batch ----------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"crop": (0, 4)}, "crop must be a whole number of at least 1, got 0"),
        ({"crop": 64}, r"crop must be \(height, width\), got 64; try \(64, 64\)"),
        ({"place": "left"}, "place must be one of random, center"),
        (
            {"scale": (0.5, 0.2)},
            r"scale must be two numbers over 0, at most 1 .* got \(0.5, 0.2\)",
        ),
        ({"margin": 0.3}, r"margin must be two numbers over -1 .*try \(0.1, 0.4\)"),
        ({"scale": (0.1, 1), "margin": (0.1, 1)}, "both choose a part"),
        ({"mirror": 2}, "mirror must be a number of 0 to 1, got 2; try 0.5"),
        ({"contrast": -1}, "contrast must be a number of 0 to 3, got -1; try 0.4"),
        ({"pairs": ((0, 0),)}, r"pairs must be pairs of joints.* try \(\(0, 5\), \(1, 4\)\)"),
        ({"pairs": (1, 2)}, "pairs must be pairs of joints"),
        ({"sigma": 0}, "sigma must be at least 0.01"),
    ],
    ids=str,
)
def test_an_augmentation_that_cannot_be_is_refused(given_, message):
    with pytest.raises(daskimg.OptionError, match=message):
        daskimg.Augment(**given_)


@pytest.mark.parametrize(
    ("augment", "targets", "message"),
    [
        ({"crop": (25, 8)}, (), r"crop is 25 x 8, .* are 24 x 32; try \(24, 8\), or scale"),
        ({"mirror": 0.5}, ("keypoint",), "left joints of keypoint right ones, and no pairs"),
        ({"mirror": 0.5}, ("visible",), "left joints of visible right ones"),
        ({"mirror": 1, "heatmap": (8, 8)}, (), "left joints of keypoint right ones"),
        ({"mirror": 1, "pairs": ((0, 4),)}, ("visible",), "pairs up to joint 4, .* has 4 joints"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_store_is_refused(people, augment, targets, message):
    with pytest.raises(daskimg.OptionError, match=message) as found:
        people.batches(8, augment=daskimg.Augment(**augment), targets=targets)

    assert "\n" not in str(found.value)


def test_what_a_store_lacks_is_refused(samples, tmp_path):
    deep = shelves.pictures(3, dtype="uint16")
    shelves.write_store(tmp_path / "deep", deep, shard=3, chunk=3)
    mask = shelves.pictures(3, 20, 20, 1)
    shelves.write_store(tmp_path / "mask", shelves.pictures(3), shard=3, chunk=3, mask=mask)
    deep, masked = (daskimg.open_store(tmp_path / name) for name in ("deep", "mask"))

    for store, augment, targets, message in [
        (samples, {"heatmap": (8, 8)}, (), "heatmap needs joints, .* the store has none"),
        (samples, {"crop": (4, 4), "margin": (0, 1)}, (), "margin needs joints"),
        (deep, {"scale": (0.1, 1)}, (), "scale and margin work on uint8 pictures, .* uint16"),
        (deep, {"contrast": 0.4}, (), "saturation work on uint8 pictures"),
        (masked, {"mirror": 0.5}, ("mask",), "mask is 20 x 20, and cannot move along"),
    ]:
        with pytest.raises(daskimg.OptionError, match=message):
            store.batches(2, augment=daskimg.Augment(**augment), targets=targets)
    with pytest.raises(daskimg.OptionError, match="augment is an Augment, got 'flip'"):
        samples.batches(2, augment="flip")
    with pytest.raises(daskimg.OptionError, match="transform is a function"):
        samples.batches(2, transform=3)


def test_a_stored_heatmap_does_not_move(tmp_path, threads):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    row = {"path": str(tmp_path / "a.png"), "joints": [[1, 1]], "joints_vis": [1]}
    recipe = daskimg.Recipe(
        (daskimg.Resize(8, 8), daskimg.Heatmaps(8, 8)), targets=(Keypoints(count=1),)
    )
    manifest = daskimg.read_manifest(pd.DataFrame([row]))
    daskimg.build_store(
        daskimg.plan_store(manifest, str(tmp_path / "out"), recipe), client=threads
    )
    samples = daskimg.open_store(tmp_path / "out")
    crop = {"crop": (4, 4)}

    with pytest.raises(daskimg.OptionError, match=r"heatmap cannot move .*draws it anew"):
        samples.batches(1, augment=daskimg.Augment(**crop), targets=["heatmap"])
    (batch,) = samples.batches(
        1, augment=daskimg.Augment(**crop, heatmap=(4, 4)), targets=["heatmap"]
    )
    assert batch.targets["heatmap"].shape == (1, 4, 4, 1)
