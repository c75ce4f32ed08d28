"""The laws of DESIGN.md section 1, each by a test that would catch its breaking."""

import os
import random
import signal
import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.testing as npt
import pytest
import scenes
from scenes import sample_hashes

import daskimg
from daskimg import store
from daskimg.build import connect
from daskimg.decode import Picture
from daskimg.fetch._objects import _Local
from daskimg.plan import _brief as brief_module
from daskimg.transforms import Resize

BROKEN = [5, 17]


@pytest.fixture(scope="module")
def expected(pictures, tmp_path_factory, threads):
    """The store that every other way of building must equal: one shard, two threads."""
    url = tmp_path_factory.mktemp("expected") / "out.zarr"
    scenes.build(scenes.table_of(*pictures), url, threads, shard=40, chunk=10, max_failed=1)
    return url


# Law 1: rows never shift


def test_a_broken_picture_costs_one_sample_and_shifts_none(expected, table):
    samples = daskimg.open_store(str(expected))

    assert np.flatnonzero(samples.status == store.FAILED).tolist() == BROKEN
    assert not samples.image[5].any()
    assert samples.rows["path"].tolist() == table["path"].tolist()
    for i in (0, 4, 6, 16, 18, 39):
        with scenes.Image.open(table["path"][i]) as picture:
            wanted = np.asarray(picture.convert("RGB").resize((16, 16)))
        assert np.abs(samples.image[i].astype(int) - wanted).mean() < 2, i


def test_labels_stay_with_their_rows(expected, table):
    samples = daskimg.open_store(str(expected))

    assert [samples.classes[code] for code in samples.labels] == table["label"].tolist()
    npt.assert_array_equal(samples.array("row"), np.arange(40))
    npt.assert_array_equal(samples.array("part"), np.zeros(40))


# Law 2: the same bytes, always


@pytest.mark.parametrize("shard", [4, 12, 40])
def test_samples_do_not_depend_on_shards_or_the_kind_of_cluster(
    client, table, tmp_path, expected, shard
):
    scenes.build(table, tmp_path / "a.zarr", client, shard=shard, chunk=4, max_failed=1)

    assert sample_hashes(tmp_path / "a.zarr") == sample_hashes(expected)


@pytest.mark.parametrize(("workers", "processes"), [(1, True), (2, False), (7, False)])
def test_objects_do_not_depend_on_the_number_of_workers(
    table, tmp_path, expected, workers, processes
):
    options = daskimg.ClusterOptions(
        workers=workers, threads=1, processes=processes, dashboard=False
    )
    plan = scenes.plan(table, tmp_path / "a.zarr", shard=40, chunk=10, max_failed=1)

    daskimg.build_store(plan, cluster=options)

    same = ["image", "label", "status", "row", "part", "affine", "daskimg/records/ledger"]
    for name in same:
        assert scenes.objects(tmp_path / "a.zarr", name) == scenes.objects(expected, name), name


def test_a_badly_cut_dask_frame_gives_the_same_samples(table, tmp_path, expected, threads):
    import dask
    import dask.dataframe as dd
    import pandas as pd

    pieces = [table[:1], table[1:1], table[1:30], table[30:30], table[30:]]
    pieces = [piece.set_index(pd.Index([0] * len(piece))) for piece in pieces]
    frame = dd.from_delayed([dask.delayed(p) for p in pieces], meta=table[:0])

    scenes.build(frame, tmp_path / "a.zarr", threads, shard=8, chunk=4, max_failed=1)

    assert sample_hashes(tmp_path / "a.zarr") == sample_hashes(expected)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_stores_are_equal_from_run_to_run(table, tmp_path, threads, expected, codec):
    for name in ("a", "b"):
        url = tmp_path / f"{name}.zarr"
        scenes.build(table, url, threads, shard=20, chunk=5, codec=codec, max_failed=1)

    assert scenes.objects(tmp_path / "a.zarr", "image") == scenes.objects(
        tmp_path / "b.zarr", "image"
    )
    assert sample_hashes(tmp_path / "a.zarr") == sample_hashes(expected)


@dataclass(frozen=True)
class Grain:
    """Each row becomes three samples of noise that differ by part."""

    def resolve(self, spec):
        return [spec] * 3

    def __call__(self, sample):
        made = []
        for part in range(3):
            one = replace(sample, part=part)
            noise = one.rng(stream=1).integers(0, 256, (16, 16, 3), np.uint8)
            made.append(replace(one, image=Picture.from_array(noise)))
        return made


@pytest.mark.parametrize("shard", [4, 10, 120])
def test_random_samples_of_rows_that_straddle_shards_are_the_same(
    table, tmp_path, threads, monkeypatch, shard
):
    for module in (store._records, store._assembly, store._open):
        monkeypatch.setattr(module, "ROWS_PER_FILE", 6)  # seven files of rows
    monkeypatch.setattr(brief_module, "SMALL_CHUNK", 7)  # many chunks of each small array
    recipe = daskimg.Recipe((Resize(16, 16), Grain()), seed=5)

    samples = scenes.build(
        table, tmp_path / "a.zarr", threads, recipe=recipe, shard=shard, chunk=2, max_failed=1
    )

    for sample in (0, 10, 11, 12, 13, 119):
        counter = [0, sample % 3, sample // 3, 1]
        rng = np.random.Generator(np.random.Philox(key=5, counter=counter))
        npt.assert_array_equal(samples.image[sample], rng.integers(0, 256, (16, 16, 3), np.uint8))
    assert samples.rows["path"].tolist() == table["path"].tolist()
    npt.assert_array_equal(samples.array("row"), np.repeat(np.arange(40), 3))
    npt.assert_array_equal(samples.array("part"), np.tile(np.arange(3), 40))
    assert samples.failures["sample"].tolist() == [15, 16, 17, 51, 52, 53]
    assert daskimg.verify_store(str(tmp_path / "a.zarr"), rows=30).findings == ()


# Laws 3 and 4: one writer per object, nothing lost, nothing half done

SLOW = """
import sys
import daskimg, scenes, slow_resize

if __name__ == "__main__":
    table, url, workers = sys.argv[1:4]
    recipe = daskimg.Recipe((slow_resize.SlowResize(16, 16),))
    plan = scenes.plan(
        daskimg.read_manifest(table), url, shard=2, chunk=1, recipe=recipe, max_failed=1
    )
    options = daskimg.ClusterOptions(workers=int(workers), threads=1, dashboard=False)
    print(daskimg.build_store(plan, cluster=options).outcome)
"""


@pytest.fixture
def slow_build(pictures, tmp_path):
    """Start a build of twenty small shards as a process group of its own."""
    table = tmp_path / "labels.csv"
    scenes.table_of(*pictures).to_csv(table, index=False)
    script = tmp_path / "build.py"
    script.write_text(SLOW)

    def start(workers):
        return scenes.start(script, table, tmp_path / "a.zarr", workers)

    return start


def finished_shards(url):
    """Each finished shard's object, with what tells whether it was written again."""
    ledger = url / "daskimg/records/ledger"
    numbers = [int(p.stem) for p in ledger.glob("*.parquet")] if ledger.is_dir() else []
    images = {n: url / f"image/c/{n}/0/0/0" for n in numbers}
    return {n: (path.stat().st_ino, path.stat().st_mtime_ns) for n, path in images.items()}


def test_a_run_killed_at_random_moments_is_resumed_with_other_workers(
    slow_build, tmp_path, expected
):
    url = tmp_path / "a.zarr"
    seed = time.time_ns()
    print("seed", seed)  # noqa: T201  shown if it fails
    chance = random.Random(seed)
    goals = sorted(chance.sample(range(1, 19), 2))
    for workers, goal in zip((2, 1), goals, strict=True):
        scenes.kill_when(slow_build(workers), lambda goal=goal: len(finished_shards(url)) >= goal)
        done = finished_shards(url)

        assert not (url / "zarr.json").exists(), "a reader would find an unfinished store"
        with pytest.raises(daskimg.StoreError, match="not finished"):
            daskimg.open_store(str(url))
    last = slow_build(2)
    output, errors = last.communicate(timeout=100)

    assert output.split() == ["committed"], errors
    after = finished_shards(url)
    assert {n: after[n] for n in done} == done, "finished shards were written again"
    assert sample_hashes(url) == sample_hashes(expected)
    assert daskimg.verify_store(str(url), rows=5).findings == ()


def test_a_worker_killed_costs_a_retry_and_nothing_else(table, tmp_path, expected):
    import slow_resize

    recipe = daskimg.Recipe((slow_resize.SlowResize(16, 16),))
    plan = scenes.plan(table, tmp_path / "a.zarr", shard=2, chunk=1, recipe=recipe, max_failed=1)
    killed = []

    def kill_one(tally):
        if tally.shards >= 3 and not killed:
            pids = client.run(os.getpid)
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], signal.SIGKILL)

    options = daskimg.ClusterOptions(workers=2, threads=1, dashboard=False)
    with connect(options) as client:
        report = daskimg.build_store(plan, client=client, on_tally=kill_one)

    assert killed
    assert (report.outcome, report.failed) == ("committed", 2)
    assert sample_hashes(tmp_path / "a.zarr") == sample_hashes(expected)


def test_a_straggler_of_an_overwritten_run_writes_nothing(table, tmp_path, threads):
    from daskimg.task import rows_to_try, run_task

    url = tmp_path / "a.zarr"
    plan = scenes.plan(table, url, shard=40, chunk=10, max_failed=1)
    daskimg.build_store(plan, client=threads)
    old = plan.brief("the run before")
    folder = daskimg.fetch.open_folder(str(url))
    folder.remove(store.ledger_name(0))
    before = scenes.objects(url)

    with pytest.raises(daskimg.StoreError, match="another run has taken over"):
        run_task(rows_to_try(plan).assign(shard=0), old)

    assert scenes.objects(url) == before


def test_a_run_stopped_at_any_write_is_finished_by_the_next(
    table, tmp_path, threads, monkeypatch, expected
):
    write = _Local._written  # by all that puts an object, or creates one
    left = [10**9]

    def counted(folder, name, content):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return write(folder, name, content)

    monkeypatch.setattr(_Local, "_written", counted)
    url = tmp_path / "a.zarr"
    stopped = 0
    for stop in range(60):
        left[0] = stop
        plan = scenes.plan(table, url, shard=40, chunk=10, max_failed=1, overwrite=True)
        try:
            report = daskimg.build_store(plan, client=threads)
        except (daskimg.StoppedError, daskimg.StoreError):
            stopped += 1
            with pytest.raises(daskimg.StoreError):
                daskimg.open_store(str(url))
            continue
        assert report.committed
        break
    left[0] = 10**9
    daskimg.build_store(scenes.plan(table, url, shard=40, chunk=10, max_failed=1), client=threads)

    assert stopped > 10
    assert sample_hashes(url) == sample_hashes(expected)
    assert daskimg.verify_store(str(url), rows=3).findings == ()


def test_a_damaged_ledger_entry_is_built_again(table, tmp_path, threads, expected):
    url = tmp_path / "a.zarr"
    strict = scenes.plan(table, url, shard=20, chunk=10, max_failed=0)
    daskimg.build_store(strict, client=threads)  # finished, not committed
    entry = url / "daskimg/records/ledger/00000000.parquet"
    good = entry.read_bytes()
    for place in range(3, len(good), len(good) // 12):
        bad = bytearray(good)
        bad[place] ^= 4
        entry.write_bytes(bad)
        folder = daskimg.fetch.open_folder(str(url))

        found = store.find_entry(folder, 0)

        entry.write_bytes(good)
        assert found is None or found == store.find_entry(folder, 0), place
    entry.write_bytes(good[: len(good) // 2])
    daskimg.build_store(scenes.plan(table, url, shard=20, chunk=10, max_failed=1), client=threads)
    assert sample_hashes(url) == sample_hashes(expected)


def test_a_store_with_a_hole_is_not_opened(table, tmp_path, threads):
    url = tmp_path / "a.zarr"
    scenes.build(table, url, threads, shard=8, chunk=4, max_failed=1)
    (url / "image/c/1/0/0/0").unlink()

    with pytest.raises(daskimg.StoreError, match=r"image/c/1/0/0/0 missing .* repair"):
        daskimg.open_store(str(url))


def test_a_table_that_changes_after_it_was_planned_stops_the_run(table, tmp_path, threads):
    path = tmp_path / "labels.csv"
    table.to_csv(path, index=False)
    plan = scenes.plan(daskimg.read_manifest(str(path)), tmp_path / "a.zarr", max_failed=1)
    table[::-1].to_csv(path, index=False)

    with pytest.raises(daskimg.StoppedError, match="has changed since it was first read"):
        daskimg.build_store(plan, client=threads)

    table.to_csv(path, index=False)
    assert daskimg.build_store(plan, client=threads).outcome == "committed"


def test_a_wrong_root_can_be_put_right(pictures, tmp_path, threads):
    folder, names = pictures
    wrong = tmp_path / "wrong"
    scenes.make_pictures(wrong, 3)
    table = scenes.table_of(folder, names).assign(path=names)
    url = tmp_path / "a.zarr"
    strays = daskimg.read_manifest(table, root=str(wrong))
    report = daskimg.build_store(scenes.plan(strays, url, shard=8, chunk=4), client=threads)
    assert report.outcome == "refused"

    right = daskimg.read_manifest(table, root=str(folder))
    samples = scenes.build(right, url, threads, shard=8, chunk=4, max_failed=0.1)

    assert samples.failures["sample"].tolist() == BROKEN


def test_a_commit_compares_what_is_there_with_the_ledger(table, tmp_path, threads, monkeypatch):
    url = tmp_path / "a.zarr"
    real = store.assemble_samples

    def lose_a_byte(folder, brief, *span):
        shard = url / "image/c/0/0/0/0"
        shard.write_bytes(shard.read_bytes()[:-1])
        return real(folder, brief, *span)

    monkeypatch.setattr(store, "assemble_samples", lose_a_byte)
    with pytest.raises(daskimg.StoppedError, match=r"image/c/0/0/0/0 has \d+ bytes and not"):
        daskimg.build_store(scenes.plan(table, url, shard=40, max_failed=1), client=threads)

    assert not (url / "zarr.json").exists()


# Law 5: pixels never pass through the scheduler


def test_what_tasks_return_is_a_few_bytes_however_large_the_shard(table, tmp_path, threads):
    from distributed.protocol import dumps

    from daskimg.task import read_shard_rows, run_task

    url = tmp_path / "a.zarr"
    plan = scenes.plan(table, url, size=256, shard=40, chunk=10, max_failed=1)
    daskimg.build_store(plan, client=threads)
    stored = store.read_plan(daskimg.fetch.open_folder(str(url)))
    brief = plan.brief(stored.run)
    store.stage_rows(daskimg.fetch.open_folder(str(url)), plan.staged())

    report = run_task(read_shard_rows(next(plan.shard_rows()), brief), brief)

    assert sum(len(frame) for frame in dumps(report)) < 5_000 < plan.shard_bytes / 1000
