"""Each pipeline as one command: its recipe file, on real data and on the pictures shipped."""

import json
import tomllib

import numpy as np
import numpy.testing as npt
import pandas as pd
import pytest
import scenes
from PIL import Image, ImageOps

import daskimg
from daskimg import Recipe, recipes, run

needs_shared = pytest.mark.skipif(not scenes.SHARED.is_dir(), reason="no ../shared/data")
LABELS = scenes.PICTURES / "labels.csv"
IMAGENET = scenes.SHARED / "imagenet" / "labels.csv"
EITHER = [
    pytest.param(LABELS, id="shipped"),
    pytest.param(IMAGENET, id="imagenet", marks=needs_shared),
]


def job(*arguments):
    """Run the command line in this process, and expect it to commit."""
    code = run.main([str(argument) for argument in arguments] + ["--threads", "2"])
    assert code == run.COMMITTED


def made(folder, split=None):
    return daskimg.open_store(str(folder / "o"), split)


def sizes_of(table):
    """Upright heights and widths, as Pillow finds them."""
    found = []
    for path in pd.read_csv(table)["path"]:
        with Image.open(table.parent / path) as image:
            width, height = ImageOps.exif_transpose(image).size
        found.append((height, width))
    return found


def rgb(table, row):
    path = table.parent / pd.read_csv(table)["path"][row]
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_file_says_what_it_is_and_goes_to_toml_and_back(name):
    text = recipes.recipe_text(name)

    assert text.startswith("# ")
    recipe = Recipe.from_dict(tomllib.loads(text))
    assert Recipe.from_dict(tomllib.loads(recipe.to_toml())) == recipe
    assert recipe.outputs()


@pytest.mark.parametrize("name", recipes.names())
def test_the_size_of_a_recipe_is_that_of_its_images(name):
    recipe = recipes.read_recipe(name, (48, 32))

    for split in ("", *dict(recipe.splits)):
        spec = recipe.of(split).outputs()[0]
        assert (spec.height, spec.width) == (48, 32)


def test_an_unknown_recipe_is_refused_with_the_nearest():
    with pytest.raises(
        daskimg.OptionError, match=r"there are .*noise-frames.* Did you mean tiles"
    ):
        recipes.read_recipe("tile")


def test_settings_reach_steps_in_splits_and_branches_and_targets():
    pose = recipes.adjusted(recipes.read_recipe("pose"), ["person-crop.stretch=true"])
    masks = recipes.adjusted(recipes.read_recipe("masks"), ["mask.fill=7"])

    assert pose.transforms[0].stretch
    assert dict(pose.splits)["train"][0].stretch
    assert masks.targets[0].fill == 7
    with pytest.raises(
        daskimg.OptionError, match="it has decode, keypoints, person-crop, heatmaps"
    ):
        recipes.adjusted(recipes.read_recipe("pose"), ["tiles.stride=3"])


def test_a_misspelt_key_of_a_split_is_refused():
    with pytest.raises(daskimg.OptionError, match=r"split\.test has no field 'transforms'"):
        Recipe.from_dict({"split": {"test": {"transforms": []}}})


def test_a_size_of_nothing_is_refused():
    with pytest.raises(daskimg.OptionError, match="height must be a whole number of at least 1"):
        recipes.resize(0)


# 1. Tiles and noise frames


@pytest.mark.parametrize("table", EITHER)
def test_tiles(table, tmp_path):
    job(table, tmp_path / "o", "--recipe", "tiles", "--limit", 300, "--quiet")

    samples = made(tmp_path)
    sizes = sizes_of(table)
    counts = [(h // 128) * (w // 128) for h, w in sizes]
    rows = samples.rows
    whole = rows.iloc[:-1] if len(samples) == 300 else rows
    assert whole["samples"].tolist() == counts[: len(whole)]
    assert len(samples) == min(300, sum(counts))
    row = next(i for i, count in enumerate(counts) if count > 1)
    first, number = rows.loc[row, ["first_sample", "samples"]]
    height, width = sizes[row][0] // 128 * 128, sizes[row][1] // 128 * 128
    joined = daskimg.join_tiles(
        samples.image[first : first + number],
        samples.array("affine")[first : first + number],
        height=height,
        width=width,
    )
    npt.assert_array_equal(joined, rgb(table, row)[:height, :width])


@pytest.mark.parametrize("table", EITHER)
def test_noise_frames(table, tmp_path):
    job(table, tmp_path / "o", "--recipe", "noise-frames", "--limit", 200, "--quiet")

    samples = made(tmp_path)
    counts = [-(-h // 128) * -(-w // 128) for h, w in sizes_of(table)]
    assert samples.rows["samples"].tolist()[:-1] == counts[: len(samples.rows) - 1]
    height, width = sizes_of(table)[0]
    first = samples.image[: counts[0]]
    joined = daskimg.join_tiles(
        first, samples.array("affine")[: counts[0]], height=height, width=width
    )
    npt.assert_array_equal(joined, rgb(table, 0))
    assert samples.attributes["seed"] == 0
    assert daskimg.verify_store(str(tmp_path / "o"), rows=20).findings == ()


@pytest.mark.parametrize("table", EITHER)
def test_tiles_to_train_on_and_framed_pictures_to_test_on(table, tmp_path, capsys):
    every = 12
    job(
        table,
        tmp_path / "o",
        "--recipe",
        "train-tiles",
        "--split",
        f"every:{every}",
        "--limit",
        400,
    )

    train, test = (made(tmp_path, split) for split in ("train", "test"))
    assert test.array("row").tolist() == [every * i for i in range(len(test))]
    assert not set(train.array("row") % every == 0) - {False}
    assert f"train {len(train):,}, test {len(test)}" in capsys.readouterr().out
    height, width = sizes_of(table)[0]
    (across, _, left), (_, down, top) = test.array("affine")[0]
    assert max(down * height, across * width) == pytest.approx(128)
    assert min(left, top) == 0
    assert left + top == pytest.approx(
        (128 - min(round(down * height), round(across * width))) // 2
    )


# 2. Pictures by stages


@pytest.mark.parametrize("table", EITHER)
def test_pictures_and_their_mirror_images(table, tmp_path):
    job(
        table,
        tmp_path / "o",
        "--recipe",
        "mirrored",
        "--limit",
        40,
        "--size",
        32,
        "--exact-decode",
        "--quiet",
    )

    samples = made(tmp_path)
    assert samples.array("row").tolist() == [i // 2 for i in range(40)]
    npt.assert_array_equal(samples.image[1::2], samples.image[::2][:, :, ::-1])
    pixels = rgb(table, 0)
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    expected = ImageOps.autocontrast(square.resize((32, 32), Image.Resampling.BILINEAR), 1)
    npt.assert_array_equal(samples.image[0], np.asarray(expected))


def test_all_originals_and_then_all_mirrored_copies(tmp_path):
    table = pd.read_csv(LABELS)[:10].assign(
        path=lambda t: [str(LABELS.parent / p) for p in t.path]
    )
    pd.concat([table.assign(copy=copy) for copy in (0, 1, 7)]).to_csv(tmp_path / "t.csv")
    (tmp_path / "r.toml").write_text(
        'transform = [{ name = "resize", height = 24, width = 24 }, '
        '{ name = "choose", column = "copy", branches = [[], [{ name = "mirror" }]] }]'
    )

    job(tmp_path / "t.csv", tmp_path / "o", "--recipe", tmp_path / "r.toml", "--max-failed", 0.4)

    samples = made(tmp_path)
    npt.assert_array_equal(samples.image[10:20], samples.image[:10][:, :, ::-1])
    assert samples.failures["row"].tolist() == list(range(20, 30))
    assert set(samples.failures["message"]) == {"copy must be 0 to 1, got 7"}


# 3. Tiny-ImageNet


def tiny_folder(folder):
    """The layout of tiny-imagenet-200, with the pictures that are shipped."""
    names = [scenes.PICTURES / path for path in pd.read_csv(LABELS)["path"]]
    wnids = ["n02", "n01"]
    for k, wnid in enumerate(wnids):
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        for i in range(3):
            Image.open(names[3 * k + i]).convert("RGB").resize((64, 64)).save(
                images / f"{wnid}_{i}.JPEG"
            )
    for split, start in (("val", 6), ("test", 8)):
        (folder / split / "images").mkdir(parents=True)
        for i in range(2):
            image = Image.open(names[start + i]).convert("L" if split == "val" else "RGB")
            image.resize((64, 64)).save(folder / split / "images" / f"{split}_{i}.JPEG")
    (folder / "wnids.txt").write_text("n02\nn01\n")
    (folder / "words.txt").write_text("n01\ttench\nn02\tcrane, bird\nn03\tnothing\n")
    boxes = "val_1.JPEG\tn01\t0\t0\t9\t9\nval_0.JPEG\tn02\t0\t0\t9\t9\n"
    (folder / "val" / "val_annotations.txt").write_text(boxes)
    return folder


def test_tiny_imagenet_of_shipped_pictures(tmp_path, capsys):
    folder = tiny_folder(tmp_path / "tiny")

    job(folder, tmp_path / "o", "--recipe", "tiny-imagenet")

    assert "train 6, val 2, test 2" in capsys.readouterr().out
    train, val, test = (made(tmp_path, s) for s in daskimg.splits_of(tmp_path / "o"))
    assert train.classes == ["n02", "n01"]
    assert train.attributes["class_words"] == {"n01": "tench", "n02": "crane, bird"}
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert val.labels.tolist() == [1, 0]
    assert test.labels.tolist() == [-1, -1]
    assert (val.image[0][:, :, 0] == val.image[0][:, :, 2]).all()


def test_grey_pictures_are_dropped_with_a_count_if_asked(tmp_path, capsys):
    folder = tiny_folder(tmp_path / "tiny")
    recipe = tmp_path / "colour.toml"
    recipe.write_text(
        '[[transform]]\nname = "modes"\ndrop = ["L"]\n' + recipes.recipe_text("tiny-imagenet")
    )

    job(folder, tmp_path / "o", "--recipe", recipe)

    out = capsys.readouterr().out
    assert "train 6, val 0, test 2" in out
    assert "2 rows give no sample" in out


@needs_shared
def test_tiny_imagenet(tmp_path, capsys):
    folder = scenes.SHARED / "tiny-imagenet-mini"

    job(folder, tmp_path / "o", "--recipe", "tiny-imagenet")

    assert "train 200, val 50, test 50" in capsys.readouterr().out
    train, val = (made(tmp_path, split) for split in ("train", "val"))
    assert train.classes == (folder / "wnids.txt").read_text().split()
    annotations = [
        line.split("\t") for line in (folder / "val/val_annotations.txt").read_text().splitlines()
    ]
    assert [val.classes[label] for label in val.labels] == [line[1] for line in annotations]
    with Image.open(folder / "val" / "images" / annotations[7][0]) as image:
        npt.assert_array_equal(val.image[7], np.asarray(image.convert("RGB")))
    modes = pd.concat([made(tmp_path, s).rows for s in daskimg.splits_of(tmp_path / "o")])
    assert modes["source_mode"].value_counts().to_dict() == {"RGB": 291, "L": 9}


# 4. Product tables


def test_products_of_shipped_pictures(tmp_path, capsys):
    paths = [str(scenes.PICTURES / path) for path in pd.read_csv(LABELS)["path"]][:6]
    suffix = paths[1][paths[1].rindex(".") :]
    table = pd.DataFrame(
        {
            "itemid": [7, 5, 9, 1, 2, 3],
            "image_path": [paths[0], paths[1].removesuffix(suffix), *paths[2:5], "gone.jpg"],
            "Brand": [1.0, np.nan, 0.0, 2.0, np.nan, 1.0],
            "Colour": [0.0, 0.0, 1.0, 1.0, 1.0, np.nan],
        }
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    profile = {"Brand": {"a": 0, "b": 1, "c": 2}, "Colour": {"red": 0, "blue": 1}}
    (tmp_path / "profile.json").write_text(json.dumps(profile))

    job(
        tmp_path / "t.csv",
        tmp_path / "o",
        "--recipe",
        "products",
        "--key",
        "itemid",
        "--label",
        "Brand",
        "--label",
        "Colour",
        "--classes",
        tmp_path / "profile.json",
        "--extension",
        suffix,
        "--max-failed",
        0.2,
    )

    out = capsys.readouterr().out
    assert "1 path was found by an --extension" in out
    samples = made(tmp_path)
    assert samples.labels.tolist() == [1, -1, 0, 2, -1, 1]
    assert samples.array("Colour").tolist() == [0, 0, 1, 1, 1, -1]
    assert samples.attributes["classes"] == {"Brand": ["a", "b", "c"], "Colour": ["red", "blue"]}
    assert samples.rows["key"].tolist() == ["7", "5", "9", "1", "2", "3"]
    assert samples.failures["reason"].tolist() == ["missing"]
    assert not samples.image[5].any()
    assert daskimg.verify_store(str(tmp_path / "o"), rows=6).findings == ()


@needs_shared
def test_products(tmp_path, capsys):
    folder = scenes.SHARED / "catalogue"
    names = ["Category", "Brand", "Product_type", "Kids"]

    job(
        folder / "catalogue.csv",
        tmp_path / "o",
        "--recipe",
        "products",
        "--key",
        "itemid",
        *(f"--label={name}" for name in names),
        "--classes",
        folder / "profile.json",
        "--extension",
        ".jpg",
        "--extension",
        ".png",
        "--max-failed",
        0.02,
    )

    assert "6 paths were found by an --extension" in capsys.readouterr().out
    samples = made(tmp_path)
    table = pd.read_csv(folder / "catalogue.csv")
    assert samples.image.shape == (147, 64, 64, 3)
    assert samples.rows["itemid"].tolist() == table["itemid"].tolist()
    assert set(samples.failures["reason"]) == {"missing"}
    assert len(samples.failures) == 2
    for place, name in enumerate(names):
        codes = samples.array("label" if place == 0 else name)
        npt.assert_array_equal(codes, table[name].fillna(-1).astype(int))


# 5. Human pose


def people(folder, count=6):
    """Annotations in MPII's form on shipped pictures."""
    paths = [scenes.PICTURES / path for path in pd.read_csv(LABELS)["path"]][: count // 2]
    chance = np.random.default_rng(0)
    records = []
    for i in range(count):
        with Image.open(paths[i // 2]) as image:
            width, height = image.size
        joints = (chance.uniform(0.3, 0.7, (16, 2)) * [width, height]).round(1)
        visible = (chance.random(16) < 0.8).astype(int)
        joints[visible == 0] = -1
        records.append(
            {
                "joints": joints.tolist(),
                "joints_vis": visible.tolist(),
                "image": str(paths[i // 2]),
                "scale": round(height / 200, 3),
                "center": [width / 2, height / 2],
            }
        )
    (folder / "people.json").write_text(json.dumps(records))
    return folder / "people.json", records


def check_people(samples, records):
    """The joints in the store are those of the records, mapped by the affine."""
    keypoint, visible = samples.array("keypoint"), samples.array("visible")
    affine, heatmaps = samples.array("affine"), samples.array("heatmap")
    assert heatmaps.shape == (len(samples), 64, 64, 16)
    for place, row in enumerate(samples.array("row")):
        if samples.status[place] != 1:
            continue
        given = np.array(records[row]["joints"])
        shown = np.array(records[row]["joints_vis"]) > 0
        npt.assert_array_equal(visible[place], records[row]["joints_vis"])
        missing = (given == -1).all(axis=1)
        assert (keypoint[place][missing] == -1).all()
        there = shown & ~missing
        mapped = given[there] @ affine[place][:, :2].T + affine[place][:, 2]
        npt.assert_allclose(keypoint[place][there], mapped, atol=2e-3)
        inside = there & ((keypoint[place] >= 0) & (keypoint[place] < 256)).all(axis=1)
        peaks = heatmaps[place].max(axis=(0, 1))
        assert (peaks[inside] > 0.8).all()
        assert not peaks[~inside].any()


def test_pose_of_shipped_pictures(tmp_path):
    table, records = people(tmp_path)

    job(table, tmp_path / "o", "--recipe", "pose", "--quiet")

    samples = made(tmp_path)
    assert samples.image.shape == (6, 256, 256, 3)
    check_people(samples, records)
    assert daskimg.verify_store(str(tmp_path / "o"), rows=6).findings == ()


def test_pose_of_shipped_pictures_is_drawn_for_train_only(tmp_path):
    table, records = people(tmp_path)
    for seed in (0, 1):
        job(
            table,
            tmp_path / f"o{seed}",
            "--recipe",
            "pose",
            "--quiet",
            "--split",
            "every:3",
            "--seed",
            seed,
        )

    stores = [
        [daskimg.open_store(str(tmp_path / f"o{seed}"), split) for seed in (0, 1)]
        for split in ("train", "test")
    ]

    assert (stores[0][0].array("affine") != stores[0][1].array("affine")).any()
    npt.assert_array_equal(stores[1][0].array("affine"), stores[1][1].array("affine"))
    check_people(stores[1][0], records)


@needs_shared
def test_pose(tmp_path):
    table = scenes.SHARED / "mpii" / "validation.json"

    job(table, tmp_path / "o", "--recipe", "pose", "--quiet")

    samples = made(tmp_path)
    records = json.loads(table.read_text())
    assert len(samples) == len(records) == 23
    assert samples.attributes["failed"] == 0
    check_people(samples, records)


@needs_shared
def test_people_whose_pictures_are_not_there_keep_their_slots(tmp_path):
    table = scenes.SHARED / "mpii" / "annotations_only.json"

    job(table, tmp_path / "o", "--recipe", "pose", "--quiet", "--limit", 50, "--max-failed", 1)

    samples = made(tmp_path)
    assert set(samples.status.tolist()) == {2}
    assert set(samples.failures["reason"]) == {"missing"}


# 6. Masks


def masked_table(folder, paths):
    """Masks of four values, as palette pictures whose colours say something else."""
    rows = []
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            width, height = ImageOps.exif_transpose(image).size
        y, x = np.mgrid[:height, :width]
        mask = Image.fromarray((2 * (y >= height // 2) + (x >= width // 2)).astype(np.uint8))
        mask.putpalette([200, 1, 1, 1, 200, 1, 1, 1, 200, 9, 9, 9])
        mask.save(folder / f"m{i}.png")
        rows.append({"path": str(path), "mask": str(folder / f"m{i}.png")})
    table = pd.DataFrame(rows)
    table.to_csv(folder / "t.csv", index=False)
    return table


@pytest.mark.parametrize("way", ["--recipe masks", "--recipe resize --mask mask"])
@pytest.mark.parametrize("table", EITHER)
def test_masks_keep_their_values_through_the_geometry(table, tmp_path, way):
    paths = [table.parent / path for path in pd.read_csv(table)["path"]][:9]
    masked_table(tmp_path, paths)
    Image.new("L", (5, 5)).save(tmp_path / "m4.png")
    (tmp_path / "m5.png").unlink()
    listed = pd.read_csv(tmp_path / "t.csv")
    listed.loc[6, "mask"] = None
    listed.to_csv(tmp_path / "t.csv", index=False)

    job(
        tmp_path / "t.csv",
        tmp_path / "o",
        *way.split(),
        "--size",
        32,
        "--quiet",
        "--max-failed",
        0.5,
    )

    samples = made(tmp_path)
    masks = samples.array("mask")
    assert masks.shape == (9, 32, 32, 1)
    assert samples.failures["row"].tolist() == [4, 5, 6]
    assert samples.failures["reason"].tolist() == ["target"] * 3
    assert samples.failures["message"][1].endswith("m5.png: no such file")
    values = {0, 1, 2, 3} | ({255} if "masks" in way.split() else set())
    assert set(np.unique(masks[samples.status == 1])) == values
    if "resize" in way:
        quarters = np.kron([[0, 1], [2, 3]], np.ones((16, 16)))
        for place in np.flatnonzero(samples.status == 1):
            assert (masks[place][:, :, 0] == quarters).mean() > 0.93
    assert daskimg.verify_store(str(tmp_path / "o"), rows=9).findings == ()
