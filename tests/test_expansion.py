"""Rows of any number of samples, and splits: the laws hold for them too."""

import hashlib

import numpy as np
import numpy.testing as npt
import pandas as pd
import pyarrow as pa
import pytest
import scenes
import tiffs
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import daskimg
from daskimg import PlanError, Recipe, Resize, run
from daskimg.fetch import open_folder
from daskimg.plan import Layout, Listed, Uniform
from daskimg.plan._expansion import LINE
from daskimg.store import _assembly
from daskimg.transforms import (
    Concatenate,
    Flip,
    MinSize,
    Mirror,
    Modes,
    NoiseFit,
    NoiseFrames,
    Rotate,
    Tiles,
)

SIZES = [(40, 50), (15, 80), (16, 16), (5, 5), (320, 320), (33, 16), (16, 47), (100, 30)]
"""Heights and widths: a row with 0 tiles of 16, with 1, with 400."""


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A table of pictures of very different sizes, one of them broken."""
    folder = tmp_path_factory.mktemp("several")
    names = []
    for i, (height, width) in enumerate(SIZES * 3):
        name = f"p{i:02d}.{('png', 'jpg')[i % 2]}"
        scenes.picture(i, height, width).save(folder / name, quality=95)
        names.append(name)
    (folder / names[10]).write_bytes(b"no picture")
    return scenes.table_of(folder, names)


def tiles_of(height, width, size=16):
    return (height // size) * (width // size)


def frames_of(height, width, size=16):
    return -(-height // size) * -(-width // size)


def digests(samples):
    return [
        (int(r), int(p), hashlib.sha256(image.tobytes()).hexdigest())
        for r, p, (image, _) in zip(
            samples.array("row"), samples.array("part"), samples, strict=True
        )
    ]


def planned(table, url, recipe, *, split=None, limit=None, shard=None, chunk=None, **options):
    return daskimg.plan_store(
        daskimg.read_manifest(table),
        str(url),
        recipe,
        split=split,
        limit=limit,
        store=daskimg.StoreOptions(shard_samples=shard, chunk_samples=chunk),
        options=daskimg.RunOptions(max_failed=1, **options),
    )


def built(client, *args, **settings):
    plan = planned(*args, **settings)
    report = daskimg.build_store(plan, client=client)
    assert report.outcome == "committed", report
    return plan, report


# The arithmetic


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=60),
    shard=st.integers(1, 12),
    block=st.integers(1, 9),
)
def test_places_and_spans_are_those_of_a_plain_loop(monkeypatch_module, counts, shard, block):
    monkeypatch_module("_BLOCK", block)
    listed = Listed(3, measured=False)
    for start in range(0, len(counts), 7):
        piece = counts[start : start + 7]
        lines = np.zeros(len(piece), LINE)
        lines["group"], lines["samples"] = np.array(piece).T
        listed.add(lines)
    first, seen = [], [0, 0, 0]
    for group, samples in counts:
        first.append(seen[group])
        seen[group] += samples

    places = listed.places(0, len(counts))

    assert listed.samples == tuple(seen)
    assert places.first.tolist() == first
    for group in range(3):
        layout = Layout(seen[group], shard, 1, "none")
        touched = [[] for _ in range(layout.shards)]
        for row, ((g, samples), start) in enumerate(zip(counts, first, strict=True)):
            for sample in range(start, start + samples) if g == group else ():
                touched[sample // shard].append(row)
        assert list(listed.spans(group, layout)) == [(min(t), max(t) + 1) for t in touched]
        again = sum(len(set(t)) for t in touched) - len({r for t in touched for r in t})
        assert listed.straddles(group, layout) == again


@pytest.fixture(scope="module")
def monkeypatch_module():
    from daskimg.plan import _expansion

    before = _expansion._BLOCK
    yield lambda name, value: setattr(_expansion, name, value)
    _expansion._BLOCK = before


def test_a_uniform_expansion_cuts_its_last_row():
    expansion = Uniform(rows=4, parts=3, total=10)

    assert expansion.places(2, 4).first.tolist() == [6, 9]
    assert expansion.places(2, 4).samples.tolist() == [3, 1]
    assert list(expansion.spans(0, Layout(10, 4, 2, "none"))) == [(0, 2), (1, 3), (2, 4)]


# Laws 1 and 2


@pytest.mark.parametrize("shard", [4, 30, 2000])
def test_each_sample_is_the_tile_that_its_row_and_part_say(several, tmp_path, client, shard):
    _, report = built(
        client, several, tmp_path / "o", Recipe((Tiles(16, 16),)), shard=shard, chunk=2
    )

    samples = daskimg.open_store(str(tmp_path / "o"))
    counts = [tiles_of(*size) for size in SIZES * 3]
    counts[10] = 1
    assert samples.rows["samples"].tolist() == counts
    assert samples.rows["first_sample"].tolist() == (np.cumsum(counts) - counts).tolist()
    assert report.empty == counts.count(0) > 0
    npt.assert_array_equal(samples.array("row"), np.repeat(np.arange(24), counts))
    for row in (0, 4, 7, 12):
        first, number = samples.rows.loc[row, ["first_sample", "samples"]]
        height, width = (SIZES * 3)[row]
        joined = daskimg.join_tiles(
            samples.image[first : first + number],
            samples.array("affine")[first : first + number],
            height=height // 16 * 16,
            width=width // 16 * 16,
        )
        exact = np.asarray(Image.open(several["path"][row]).convert("RGB"))
        npt.assert_array_equal(joined, exact[: height // 16 * 16, : width // 16 * 16])
    failed = samples.failures.iloc[0]
    assert (failed["row"], failed["reason"]) == (10, "format")
    assert len(samples.failures) == 1
    assert daskimg.verify_store(str(tmp_path / "o"), rows=60).findings == ()


def test_the_rows_table_is_made_of_a_line_a_row(several, tmp_path, threads):
    plan, _ = built(threads, several, tmp_path / "o", Recipe((Tiles(16, 16),)), shard=40, chunk=4)
    folder = open_folder(str(tmp_path / "o"))
    table = pa.concat_tables(plan.staged())

    ledger = _assembly.Ledger(folder, plan.brief("a run"), {})
    lines = _assembly._lines_of(ledger, plan.groups[0], table, 0)

    assert plan.samples > 900
    assert lines["part"].to_pylist() == [0] * (24 - plan.empty_rows)


def test_rows_without_samples_are_in_the_rows_table(several, tmp_path, threads):
    built(threads, several, tmp_path / "o", Recipe((Tiles(16, 16),)))

    rows = daskimg.open_store(str(tmp_path / "o")).rows
    small = rows[rows["samples"] == 0]
    assert small["row"].tolist() == [r for r, s in enumerate(SIZES * 3) if not tiles_of(*s)]
    assert set(small["status"]) == {1}
    assert set(small["reason"]) == {""}


def test_noise_does_not_depend_on_shards_workers_splits_or_filters(several, tmp_path, threads):
    frames = NoiseFrames(16, 16)
    built(threads, several, tmp_path / "a", Recipe((frames,), seed=3), shard=7, chunk=7)
    built(threads, several, tmp_path / "b", Recipe((frames,), seed=3), split="every:5")
    built(threads, several, tmp_path / "c", Recipe((MinSize(6, 6), frames), seed=3))

    plain = set(digests(daskimg.open_store(str(tmp_path / "a"))))
    split = [set(digests(daskimg.open_store(str(tmp_path / "b"), s))) for s in ("train", "test")]
    filtered = set(digests(daskimg.open_store(str(tmp_path / "c"))))

    assert len(plain) == sum(frames_of(*s) for s in SIZES * 3) - frames_of(*SIZES[2]) + 1
    assert split[0] | split[1] == plain
    assert not split[0] & split[1]
    assert filtered < plain
    assert {row for row, _, _ in plain - filtered} == {3, 11, 19}


# Splits


def test_every_split_has_arrays_of_its_own_and_its_own_recipe(several, tmp_path, threads):
    recipe = Recipe((Tiles(16, 16),), splits={"test": (NoiseFit(32, 24),)})
    plan, report = built(threads, several, tmp_path / "o", recipe, split="every:8")

    train, test = (daskimg.open_store(str(tmp_path / "o"), s) for s in ("train", "test"))

    assert daskimg.splits_of(str(tmp_path / "o")) == ("train", "test")
    assert test.array("row").tolist() == [0, 8, 16]
    assert test.image.shape == (3, 32, 24, 3)
    assert train.image.shape == (len(train), 16, 16, 3)
    assert set(train.array("row")).isdisjoint(test.array("row"))
    assert report.splits == plan.sizes == {"train": len(train), "test": 3}
    assert test.rows["row"].tolist() == [0, 8, 16]
    assert test.labels.tolist() == [0, 2, 1]
    assert train.attributes["failed"] == 1
    assert test.attributes["failed"] == 0
    assert train.mean.tolist() != test.mean.tolist()
    assert train.failures["row"].tolist() == [10]
    assert test.failures.empty
    assert daskimg.verify_store(str(tmp_path / "o"), rows=40).findings == ()
    with pytest.raises(daskimg.OptionError, match="has the splits train, test; say which"):
        daskimg.open_store(str(tmp_path / "o"))
    with pytest.raises(daskimg.OptionError, match="and not 'val'"):
        daskimg.open_store(str(tmp_path / "o"), "val")


def test_equal_keys_never_straddle_a_split(tmp_path, threads, pictures):
    table = scenes.table_of(*pictures).assign(patient=[f"p{i % 9}" for i in range(40)])
    built(threads, table, tmp_path / "o", Recipe((Resize(8, 8),)), split="hash:patient:0.5,0.5")

    found = [
        set(daskimg.open_store(str(tmp_path / "o"), s).rows["patient"]) for s in ("train", "val")
    ]
    assert found[0] | found[1] == set(table["patient"])
    assert not found[0] & found[1]


def test_a_column_of_splits_keeps_its_name_in_the_rows_table(tmp_path, threads, pictures):
    words = ["val" if i % 3 == 0 else "train" for i in range(40)]
    table = scenes.table_of(*pictures).assign(split=words)
    built(threads, table, tmp_path / "a", Recipe((Resize(8, 8),)), split="column:split")
    built(threads, table, tmp_path / "b", Recipe((Resize(8, 8),)), split="every:2")

    assert set(daskimg.open_store(str(tmp_path / "a"), "val").rows["row"] % 3) == {0}
    rows = daskimg.open_store(str(tmp_path / "b"), "test").rows
    assert set(rows["split"]) == {"test"}
    assert rows["split_"].tolist() == words[::2]


def test_a_split_without_rows_is_an_empty_group(tmp_path, threads, pictures):
    table = scenes.table_of(*pictures).iloc[:1]
    built(threads, table, tmp_path / "o", Recipe((Resize(8, 8),)), split="every:2")

    assert len(daskimg.open_store(str(tmp_path / "o"), "train")) == 0
    assert len(daskimg.open_store(str(tmp_path / "o"), "test")) == 1
    assert daskimg.verify_store(str(tmp_path / "o"), rows=5).findings == ()


def test_other_readers_open_a_store_of_splits(several, tmp_path, threads):
    import xarray
    import zarr

    built(threads, several, tmp_path / "o", Recipe((NoiseFrames(16, 16),)), split="every:8")

    group = zarr.open_group(tmp_path / "o", mode="r")
    tree = xarray.open_datatree(tmp_path / "o", engine="zarr")
    assert set(tree.children) == {"train", "test", "daskimg"}
    assert tree["test"]["image"].dims == ("sample", "height", "width", "channel")
    train = daskimg.open_store(str(tmp_path / "o"), "train")
    npt.assert_array_equal(group["train/image"][:5], train.image[:5])
    npt.assert_array_equal(train.to_xarray()["image"][:5], train.image[:5])


@pytest.mark.parametrize("split", ["column:part", "hash:part:0.5,0.5", "every:2"])
def test_a_table_without_rows_is_empty_however_it_is_split(tmp_path, split):
    recipe = Recipe((Tiles(16, 16),), splits={"train": (Resize(8, 8),)})

    with pytest.raises(PlanError, match="is empty: there is nothing to build"):
        planned(
            pd.DataFrame({"path": [], "part": []}, dtype=object), tmp_path, recipe, split=split
        )


# Law 4


def test_a_store_of_splits_is_resumed_repaired_and_relabelled(several, tmp_path, threads):
    recipe = Recipe((NoiseFrames(16, 16),), seed=2)
    url = tmp_path / "o"
    built(threads, several, url, recipe, split="every:4", shard=40, chunk=10)
    before = scenes.objects(url)
    shards = [name for name in before if name.startswith("train/image/c/")]
    assert len(shards) > 2

    (url / shards[1]).unlink()
    (url / "test/label/c/0").write_bytes(b"?")
    again = daskimg.build_store(
        planned(several, url, recipe, split="every:4", shard=40, chunk=10), client=threads
    )

    assert again.outcome == "repaired"
    for name in [*shards, "test/label/c/0"]:
        assert scenes.objects(url)[name] == before[name]
    renamed = several.assign(label=["x"] * len(several))
    report = daskimg.build_store(
        planned(renamed, url, recipe, split="every:4", shard=40, chunk=10), client=threads
    )
    assert report.outcome == "relabelled"
    assert daskimg.open_store(str(url), "test").classes == ["x"]
    with pytest.raises(daskimg.StoreError, match=r"split \(every:4 in the store, every:5 asked\)"):
        daskimg.build_store(
            planned(several, url, recipe, split="every:5", shard=40, chunk=10), client=threads
        )


def test_a_repair_reads_again_what_an_earlier_one_found_changed(tmp_path, threads):
    scenes.picture(1).save(tmp_path / "a.png")
    good = (tmp_path / "a.png").read_bytes()
    branches = ((), (Mirror(),), (Flip(),), (Rotate(2),), *[(Mirror(), Flip())] * 4)
    recipe = Recipe((Resize(8, 8), Concatenate(branches)))  # of a row, a shard each
    arguments = scenes.table_of(tmp_path, ["a.png"]), tmp_path / "o", recipe
    built(threads, *arguments, shard=1)

    (tmp_path / "o/image/c/3/0/0/0").unlink()
    scenes.picture(2).save(tmp_path / "a.png")
    with pytest.raises(daskimg.StoppedError, match="sources have changed or are gone; bring"):
        built(threads, *arguments, shard=1)
    (tmp_path / "a.png").write_bytes(good)

    again = daskimg.build_store(planned(*arguments, shard=1), client=threads)

    assert again.outcome == "repaired"


SLOW = """
import sys
import daskimg
from slow_resize import SlowFrames

if __name__ == "__main__":
    table, url, workers = sys.argv[1:4]
    plan = daskimg.plan_store(
        daskimg.read_manifest(table), url, daskimg.Recipe((SlowFrames(16, 16),), seed=4),
        split="every:3", store=daskimg.StoreOptions(shard_samples=60, chunk_samples=20),
        options=daskimg.RunOptions(max_failed=1),
    )
    options = daskimg.ClusterOptions(workers=int(workers), threads=1, dashboard=False)
    print(daskimg.build_store(plan, cluster=options).outcome)
"""


def test_a_run_of_tiles_and_splits_is_killed_and_resumed(several, tmp_path, threads):
    url, table, script = tmp_path / "o", tmp_path / "t.csv", tmp_path / "build.py"
    several.to_csv(table, index=False)
    script.write_text(SLOW)
    recipe = Recipe((NoiseFrames(16, 16),), seed=4)
    built(threads, several, tmp_path / "whole", recipe, split="every:3")
    ledger = url / "daskimg/records/ledger"
    done = {}
    for workers, goal in ((2, 3), (1, 9)):
        count = lambda goal=goal: len(list(ledger.glob("*.parquet"))) >= goal  # noqa: E731
        scenes.kill_when(scenes.start(script, table, url, workers), count)
        done = {p.name: p.stat().st_mtime_ns for p in ledger.glob("*.parquet")}
        with pytest.raises(daskimg.StoreError, match="not finished"):
            daskimg.splits_of(str(url))

    output, errors = scenes.start(script, table, url, 2).communicate(timeout=100)

    assert output.split() == ["committed"], errors
    assert len(done) >= 9
    assert {name: (ledger / name).stat().st_mtime_ns for name in done} == done
    for split in ("train", "test"):
        expected = digests(daskimg.open_store(str(tmp_path / "whole"), split))
        assert digests(daskimg.open_store(str(url), split)) == expected


def test_an_array_that_somebody_added_stays_when_labels_change(tmp_path, threads, pictures):
    import zarr

    def relabelled(*labels):
        table = scenes.table_of(*pictures).assign(weight=7)
        plan = daskimg.plan_store(
            daskimg.read_manifest(table, labels=labels),
            str(tmp_path / "o"), Recipe((Resize(8, 8),)), split="every:4",
            options=daskimg.RunOptions(max_failed=1),
        )  # fmt: skip
        return daskimg.build_store(plan, client=threads).outcome

    relabelled("label", "weight")
    zarr.create_array(tmp_path / "o" / "train", name="features", data=np.ones((30, 2)))

    assert relabelled("label") == "relabelled"
    found = {path.name for path in (tmp_path / "o" / "train").iterdir()}
    assert "features" in found
    assert "weight" not in found


def test_overwriting_a_store_of_splits_leaves_nothing_of_it(several, tmp_path, threads):
    url = tmp_path / "o"
    built(threads, several, url, Recipe((NoiseFrames(16, 16),)), split="every:4")

    built(threads, several, url, Recipe((Resize(8, 8),)), overwrite=True)

    assert not [name for name in scenes.objects(url) if name.startswith(("train", "test"))]
    assert daskimg.verify_store(str(url)).findings == ()


def test_all_rows_failing_is_a_store_of_failures(tmp_path, threads):
    names = [f"{i}.png" for i in range(5)]
    for name in names:
        (tmp_path / name).write_bytes(b"?")
    built(threads, scenes.table_of(tmp_path, names), tmp_path / "o", Recipe((Tiles(16, 16),)))

    samples = daskimg.open_store(str(tmp_path / "o"))
    assert samples.status.tolist() == [2] * 5
    assert samples.mean is None


def test_no_row_that_gives_a_sample_is_refused(several, tmp_path):
    with pytest.raises(PlanError, match=r"none of the 23 rows of .* gives a sample"):
        planned(several.drop(index=10), tmp_path / "o", Recipe((Tiles(1000, 1000),)))


def test_a_table_of_which_filters_leave_one_row_is_built(tmp_path, threads):
    names = [f"{i}.png" for i in range(300)]  # of which a hundred are tried before the build
    for i, name in enumerate(names):
        scenes.picture(i, *((20, 40) if i == 233 else (5, 5))).save(tmp_path / name)
    table = scenes.table_of(tmp_path, names)

    plan, _ = built(threads, table, tmp_path / "o", Recipe((Tiles(16, 16),)))

    assert 233 not in plan.facts.sample["row"].tolist()
    assert daskimg.open_store(str(tmp_path / "o")).array("row").tolist() == [233, 233]


# Headers


def test_a_header_that_lies_is_one_failed_row(several, tmp_path, threads):
    table = several.assign(height=[h for h, _ in SIZES * 3], width=[w for _, w in SIZES * 3])
    table.loc[4, "height"] = 160
    table.loc[12, "width"] = 1600
    built(threads, table, tmp_path / "o", Recipe((Tiles(16, 16),)), shard=20, chunk=5)

    samples = daskimg.open_store(str(tmp_path / "o"))
    failures = samples.failures
    assert set(failures["row"]) == {4, 10, 12}
    assert set(failures.loc[failures["row"] == 4, "reason"]) == {"size"}
    assert failures.loc[failures["row"] == 4, "message"].iloc[0] == (
        "320 x 320 pixels, and 320 x 160 declared"
    )
    assert (failures["row"] == 4).sum() == 10 * 20
    good = samples.array("row")[samples.status == 1]
    assert sorted(set(good)) == [
        r for r, s in enumerate(SIZES * 3) if tiles_of(*s) and r not in (4, 10, 12)
    ]


def test_a_filter_by_mode_reads_headers_beside_the_tables_own_sizes(tmp_path, threads):
    names = ["a.png", "b.png"]
    scenes.picture(0, 20, 20).save(tmp_path / "a.png")
    scenes.picture(1, 20, 20).convert("L").save(tmp_path / "b.png")
    table = scenes.table_of(tmp_path, names).assign(height=20, width=20)

    built(threads, table, tmp_path / "o", Recipe((Modes(), Tiles(10, 10))))

    samples = daskimg.open_store(str(tmp_path / "o"))
    assert samples.rows["samples"].tolist() == [4, 0]
    assert samples.status.tolist() == [1] * 4


def test_a_table_declares_stored_sizes_also_of_pictures_on_their_side(tmp_path, threads):
    names = ["side.png", "side.jpg", "up.png", "lie.png"]
    for name in names:
        stored = scenes.picture(1, 40, 50)
        exif = stored.getexif()
        exif[0x0112] = 6 if name.startswith("side") else 1
        stored.save(tmp_path / name, exif=exif)
    table = scenes.table_of(tmp_path, names).assign(height=40, width=50)
    table.loc[3, ["height", "width"]] = 50, 40

    built(threads, table, tmp_path / "square", Recipe((Tiles(16, 16),)), shard=5, chunk=5)
    built(threads, table.iloc[:1], tmp_path / "wide", Recipe((Tiles(10, 20),)))

    samples = daskimg.open_store(str(tmp_path / "square"))
    with Image.open(tmp_path / "side.png") as picture:
        upright = np.asarray(picture.transpose(Image.Transpose.ROTATE_270))
    npt.assert_array_equal(samples.image[1], upright[:16, 16:32])
    assert set(samples.failures["row"]) == {3}
    assert daskimg.verify_store(str(tmp_path / "square"), rows=20).findings == ()
    failures = daskimg.open_store(str(tmp_path / "wide")).failures
    assert failures["message"].iloc[0] == (
        "40 x 50 pixels once upright, which give 10 samples; stored on its side, as declared, "
        "it gives 8: declare upright sizes"
    )
    assert len(failures) == 8


@pytest.mark.parametrize("height", [2_000_000_000, 999_999_999])
def test_a_size_that_cannot_be_is_looked_up_in_the_header(tmp_path, height):
    scenes.picture(1, 40, 50).save(tmp_path / "a.png")
    table = scenes.table_of(tmp_path, ["a.png", "a.png"]).assign(height=[40, height], width=50)

    plan = planned(table, tmp_path / "o", Recipe((Tiles(16, 16),)))

    assert plan.samples == 2 * tiles_of(40, 50)


def test_a_picture_that_is_declared_over_the_limit_is_named_by_the_plan(tmp_path, threads):
    scenes.picture(1, 100, 100).save(tmp_path / "a.png")
    (tmp_path / "b.tif").write_bytes(tiffs.tiled(scenes.picture(2, 100, 100), 32, 32))
    table = scenes.table_of(tmp_path, ["a.png", "b"]).assign(height=100, width=100)
    recipe = Recipe((Tiles(50, 50),), decode=daskimg.DecodeOptions(max_pixels=5000))
    plan = daskimg.plan_store(
        daskimg.read_manifest(table, extensions=(".tif",)),
        str(tmp_path / "o"), recipe, options=daskimg.RunOptions(max_failed=1),
    )  # fmt: skip

    daskimg.build_store(plan, client=threads)

    assert "1 pictures have over 5,000 pixels and will fail; --max-pixels" in repr(plan)
    assert daskimg.open_store(str(tmp_path / "o")).status.tolist() == [2, 1, 1, 1, 1]


def test_a_recipe_by_modes_is_refused_for_a_decoder_of_ones_own(several, tmp_path):
    table = several.assign(height=40, width=50)
    recipe = Recipe((Modes(), Resize(8, 8)), decoder=sorted)

    with pytest.raises(PlanError, match=r"depends on their modes, .* leave out modes"):
        planned(table, tmp_path / "o", recipe)


def test_a_picture_that_changes_after_the_plan_fails_its_own_slots_only(
    several, tmp_path, threads
):
    folder = tmp_path / "p"
    folder.mkdir()
    names = []
    for i, (height, width) in enumerate(SIZES):
        names.append(f"{i}.png")
        scenes.picture(i, height, width).save(folder / names[-1])
    plan = planned(scenes.table_of(folder, names), tmp_path / "o", Recipe((Tiles(16, 16),)))
    scenes.picture(0, 64, 64).save(folder / "0.png")

    daskimg.build_store(plan, client=threads)

    samples = daskimg.open_store(str(tmp_path / "o"))
    assert samples.failures["row"].tolist() == [0] * tiles_of(*SIZES[0])
    assert set(samples.failures["reason"]) == {"size"}


# --limit


@pytest.mark.parametrize("limit", [1, 5, 6, 30])
def test_a_limit_counts_samples_of_all_splits(several, tmp_path, threads, limit):
    recipe = Recipe((Tiles(16, 16),))
    built(threads, several, tmp_path / "all", recipe, split="every:3")

    built(threads, several, tmp_path / "o", recipe, split="every:3", limit=limit)

    whole, part = (
        [digests(daskimg.open_store(str(tmp_path / name), s)) for s in ("train", "test")]
        for name in ("all", "o")
    )
    assert sum(map(len, part)) == limit
    assert all(few == many[: len(few)] for few, many in zip(part, whole, strict=True))


def test_a_limit_within_a_row_of_several_samples(tmp_path, threads, pictures):
    recipe = Recipe((Resize(8, 8), Concatenate(((), (Mirror(),)))))
    built(threads, scenes.table_of(*pictures), tmp_path / "o", recipe, limit=5)

    samples = daskimg.open_store(str(tmp_path / "o"))
    assert samples.array("row").tolist() == [0, 0, 1, 1, 2]
    npt.assert_array_equal(samples.image[1], samples.image[0][:, ::-1])


# Words


def test_the_plan_says_decodes_and_memory(several, tmp_path):
    text = repr(planned(several, tmp_path / "o", Recipe((Tiles(16, 16),)), shard=10, chunk=5))

    assert "decodes  " in text
    assert "per source" in text
    assert "memory of a task  up to" in text
    assert "without a sample  " in text


def test_a_recipe_for_a_split_that_is_not_there_is_refused(several, tmp_path):
    recipe = Recipe((Resize(8, 8),), splits={"tset": (Resize(9, 9),)})

    with pytest.raises(PlanError, match="steps for split 'tset'; the splits are train, test"):
        planned(several, tmp_path / "o", recipe, split="every:5")
    assert "the recipe's steps for tset are not used" in repr(planned(several, tmp_path, recipe))


def test_a_recipe_of_splits_goes_to_toml_and_back():
    recipe = Recipe((Tiles(16, 16),), splits={"test": (NoiseFit(32, 24),)})

    import tomllib

    assert Recipe.from_dict(tomllib.loads(recipe.to_toml())) == recipe


def test_the_command_line_splits(several, tmp_path, capsys):
    table = tmp_path / "t.csv"
    several.to_csv(table, index=False)

    code = run.main(
        [
            str(table),
            str(tmp_path / "o"),
            "--recipe",
            "noise-frames",
            "--size",
            "16",
            "--split",
            "every:10",
            "--max-failed",
            "1",
        ]
    )

    assert code == 0
    assert "train " in capsys.readouterr().out
    assert pd.unique(daskimg.open_store(str(tmp_path / "o"), "test").array("row")).tolist() == [
        0,
        10,
        20,
    ]
