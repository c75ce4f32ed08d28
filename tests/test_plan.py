import math

import pandas as pd
import pytest
import scenes
from hypothesis import given
from hypothesis import strategies as st

import daskimg
from daskimg import Mirror, Recipe, Resize, recipes
from daskimg.errors import OptionError, PlanError
from daskimg.options import RunOptions, StoreOptions
from daskimg.plan import choose_layout, differences, fingerprint

MB = 1_000_000


@given(samples=st.integers(1, 10**9), sample_bytes=st.integers(1, 10**8))
def test_default_shards_are_whole_chunks_within_the_stated_sizes(samples, sample_bytes):
    layout = choose_layout(samples, sample_bytes, StoreOptions())

    assert layout.shard % layout.chunk == 0
    assert layout.chunk * sample_bytes <= 4 * MB or layout.chunk == 1
    assert layout.shard * sample_bytes <= 1.5 * 48 * MB or layout.shard == layout.chunk
    if samples * sample_bytes > 8 * MB and sample_bytes < MB:
        assert layout.shard * sample_bytes >= 3 * MB


@given(samples=st.integers(1, 10_000), chunk=st.integers(1, 50), chunks=st.integers(1, 20))
def test_spans_cut_the_samples_into_whole_shards(samples, chunk, chunks):
    options = StoreOptions(chunk_samples=chunk, shard_samples=chunk * chunks)
    layout = choose_layout(samples, 10, options)

    spans = [layout.span(i) for i in range(layout.shards)]

    assert [i for a, b in spans for i in range(a, b)] == list(range(samples))
    assert all(a % layout.shard == 0 for a, _ in spans)


@given(shard=st.integers(1, 100_000))
def test_a_shard_alone_is_followed_by_a_chunk_that_divides_it(shard):
    layout = choose_layout(10**6, 12_288, StoreOptions(shard_samples=shard))

    assert layout.shard == shard
    assert shard % layout.chunk == 0


def test_a_chunk_alone_is_followed_by_a_shard():
    layout = choose_layout(10**6, 12_288, StoreOptions(chunk_samples=100))

    assert (layout.chunk, layout.shard % 100) == (100, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard_samples": 100, "chunk_samples": 32}, "try 96"),
        ({"shard_samples": 0}, "at least 1"),
        ({"codec": "lzma"}, "none, lz4, zstd"),
    ],
)
def test_packing_that_cannot_be_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        StoreOptions(**options)


def test_a_fraction_over_one_is_refused():
    with pytest.raises(OptionError, match=r"try 0.05"):
        RunOptions(max_failed=5)


def test_a_shard_that_no_worker_can_hold_is_refused(table, tmp_path):
    with pytest.raises(PlanError, match="lower --shard-samples"):
        scenes.plan(table, tmp_path / "a.zarr", size=2000, shard=1000, chunk=1)


def test_an_empty_table_is_refused(tmp_path):
    with pytest.raises(PlanError, match="empty"):
        scenes.plan(pd.DataFrame({"path": []}, dtype=object), tmp_path / "a.zarr")


def test_planning_writes_nothing(table, tmp_path):
    plan = scenes.plan(table, tmp_path / "a.zarr")

    assert "40" in repr(plan)
    assert "<table>" in plan._repr_html_()
    assert list(tmp_path.iterdir()) == []


def test_fingerprints_do_not_depend_on_where_and_how_it_runs(table, tmp_path):
    near = scenes.plan(table, tmp_path / "a.zarr")
    manifest = daskimg.read_manifest(table, root="/elsewhere")
    far = scenes.plan(manifest, tmp_path / "b.zarr", max_failed=0.5)

    assert fingerprint(near.pixels()) == fingerprint(far.pixels())
    assert fingerprint(near.labels()) == fingerprint(far.labels())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"size": 17}, "recipe"),
        ({"shard": 8}, "shard samples"),
        ({"chunk": 2}, "chunk samples"),
        ({"codec": "zstd"}, "codec"),
        ({"recipe": recipes.resize(16, exact=True)}, "exact decode"),
    ],
)
def test_what_differs_is_named(table, tmp_path, change, named):
    before = scenes.plan(table, tmp_path / "a.zarr", shard=4, chunk=4)
    after = scenes.plan(table, tmp_path / "a.zarr", **{"shard": 4, "chunk": 4, **change})

    found = differences(before.pixels(), after.pixels())

    assert any(line.startswith(named) for line in found), found
    assert math.isclose(len(found), 1, abs_tol=1)


def test_labels_do_not_touch_the_pixels_fingerprint(table, tmp_path):
    other = table.assign(label="x")

    before, after = (scenes.plan(t, tmp_path / "a.zarr") for t in (table, other))

    assert before.pixels() == after.pixels()
    assert before.labels() != after.labels()


def test_steps_in_another_order_or_once_more_are_another_recipe():
    mirror, small, large = Mirror(), Resize(8, 8), Resize(32, 32)
    recipes = [(mirror, small), (small, mirror), (mirror, mirror, small), (large, small)]
    plain = [{"recipe": Recipe(steps).to_dict()} for steps in (*recipes, (small, small))]

    for first in plain:
        for second in plain:
            assert bool(differences(first, second)) == (first != second)


def test_a_step_that_moved_is_named():
    stored, asked = (
        {"recipe": Recipe(steps).to_dict()}
        for steps in ((Mirror(), Resize(8, 8)), (Resize(8, 8), Mirror()))
    )

    assert differences(stored, asked) == [
        "recipe.transform in order (mirror, resize in the store, resize, mirror asked)"
    ]
