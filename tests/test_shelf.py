"""What workers keep of what they read and wrote: it saves requests, and nothing hangs on it."""

import pytest
import scenes

import daskimg
from daskimg import fetch
from daskimg.build import ClusterOptions, connect
from daskimg.errors import SampleError
from daskimg.fetch import Found
from daskimg.store._shelf import SHELF, Shelf
from daskimg.task._tried import TRIED, Tried

# gcsfs hands large bodies to aiohttp as bytes, and aiohttp would rather have a file.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


def test_a_shelf_keeps_what_there_is_room_for():
    shelf = Shelf(room=10)
    shelf.open("run.1")
    shelf.open("run.2")
    shelf.keep("run.1", 0, b"12345")
    shelf.keep("run.1", 1, b"1234567")  # no room
    shelf.keep("run.2", 0, b"12345")

    assert shelf.of("run.1", [0, 1, 2]) == {0: b"12345"}
    assert shelf.of("run.2", range(3)) == {0: b"12345"}


def test_what_is_kept_again_takes_the_place_of_what_was_there():
    shelf = Shelf(room=10)
    shelf.open("run.1")

    for content in (b"123456", b"abcdefgh", b"12"):
        shelf.keep("run.1", 0, content)

    assert shelf.of("run.1", [0]) == {0: b"12"}


def test_a_run_that_is_over_leaves_all_the_room():
    shelf = Shelf(room=4)
    shelf.open("run.1")
    shelf.open("run.2")
    shelf.keep("run.1", 0, b"1234")

    shelf.clear("run.1")
    shelf.keep("run.2", 0, b"5678")

    assert (shelf.of("run.1", [0]), shelf.of("run.2", [0])) == ({}, {0: b"5678"})


def test_a_task_that_ends_after_its_run_leaves_nothing():
    shelf = Shelf(room=4)
    shelf.open("run.1")
    shelf.clear("run.1")
    shelf.keep("run.1", 0, b"1234")
    shelf.open("run.2")
    shelf.keep("run.2", 0, b"5678")

    assert (shelf.of("run.1", [0]), shelf.of("run.2", [0])) == ({}, {0: b"5678"})


def found(content):
    return Found(content, "")


def test_what_was_tried_is_taken_once_and_by_the_same_run_only():
    tried = Tried()
    gone = SampleError("missing", "no such object")
    list(tried.kept("run", ["a", "b"], iter([found(b"1"), found(gone)])))

    assert tried.take("other", ["a"]) == {}
    assert tried.take("run", ["b", "c"]) == {"b": found(gone)}
    assert tried.take("run", ["a", "b"]) == {"a": found(b"1")}


def test_what_was_tried_is_kept_as_far_as_there_is_room_and_until_another_run_tries():
    tried = Tried(room=3)
    list(tried.kept("run", ["a", "b"], iter([found(b"12"), found(b"34")])))
    list(tried.kept("run", ["c"], iter([found(b"5")])))
    kept = tried.take("run", ["a", "b", "c"])
    list(tried.kept("run", ["a"], iter([found(b"")])))
    list(tried.kept("next", ["d"], iter([found(b"678")])))

    assert sorted(kept) == ["a", "c"]
    assert (tried.take("run", ["a"]), sorted(tried.take("next", ["d"]))) == ({}, ["d"])


def test_what_was_tried_goes_with_its_run_only():
    tried = Tried()
    list(tried.kept("run", ["a"], iter([found(b"1")])))

    tried.clear("other")
    left = tried.take("run", ["a"])
    list(tried.kept("run", ["b"], iter([found(b"2")])))
    tried.clear("run")

    assert left == {"a": found(b"1")}
    assert tried.take("run", ["b"]) == {}


# -- in a run ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workers(gcs_environment):
    """Two worker processes."""
    with connect(ClusterOptions(workers=2, threads=1, dashboard=False)) as client:
        yield client


@pytest.fixture
def plan(gcs, table):
    return scenes.plan(table, f"gs://{gcs.bucket()}/out.zarr", shard=8, chunk=4, max_failed=1)


def ledger_reads(gcs):
    return gcs.stats().by_name("media|part", r"/records/ledger/\d")


def _clear_shelves():
    for call in list(SHELF._held):
        SHELF.clear(call)


def test_entries_that_workers_have_no_more_are_read_from_the_store(gcs, plan, workers):
    cleared = []

    def lose_all(tally):
        if tally.done == tally.total:
            cleared.append(workers.run(_clear_shelves))

    report = daskimg.build_store(plan, client=workers, on_tally=lose_all)

    assert cleared
    assert report.outcome == "committed"
    assert set(ledger_reads(gcs).values()) == {2}  # for the samples, and for the rows
    assert daskimg.verify_store(plan.url, rows=5).findings == ()


def _held():
    return {call: len(held) for call, held in SHELF._held.items()}


@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_entries_are_kept_of_stores_in_buckets_only_and_no_longer_than_the_run(
    gcs, table, workers, tmp_path, place
):
    url = tmp_path / "a.zarr" if place == "disk" else f"gs://{gcs.bucket()}/a.zarr"
    kept = []

    def look(tally):
        if tally.done == tally.total:
            found = workers.run(_held).values()
            kept.append(sum(sum(each.values()) for each in found))

    daskimg.build_store(
        scenes.plan(table, str(url), shard=8, chunk=4, max_failed=1),
        client=workers,
        on_tally=look,
    )

    assert kept == [0 if place == "disk" else 5]
    assert not any(workers.run(_held).values())


def test_a_run_that_goes_on_reads_each_earlier_entry_once(gcs, table, workers):
    strict = scenes.plan(table, f"gs://{gcs.bucket()}/out.zarr", shard=8, chunk=4)
    refused = daskimg.build_store(strict, client=workers)
    gcs.forget()

    report = daskimg.build_store(
        scenes.plan(table, strict.url, shard=8, chunk=4, max_failed=1), client=workers
    )

    assert (refused.outcome, report.outcome) == ("refused", "committed")
    assert list(ledger_reads(gcs).values()) == [1] * 5
    assert daskimg.verify_store(strict.url, rows=5).findings == ()


def test_rows_that_were_tried_in_vain_are_read_once_too(gcs, pictures, workers):
    bucket = gcs.bucket()
    urls = gcs.upload(pictures[0], f"{bucket}/in", pictures[1][:12])
    table = scenes.table_of(*pictures)[:12].assign(path=urls)
    folder = fetch.open_folder(f"gs://{bucket}/in")
    for name in pictures[1][:9]:  # more than one shard begins with what is no picture
        folder.put(name, b"no picture")
    planned = scenes.plan(table, f"gs://{bucket}/out.zarr", shard=4, chunk=4, max_failed=1)
    gcs.forget()

    report = daskimg.build_store(planned, client=workers)

    assert (report.samples, report.failed) == (12, 9)
    assert set(gcs.stats().by_name("media", "^in/").values()) == {1}
    assert fetch.traffic().requests.total() < 100


def _tried_bytes():
    return sum(len(each.content) for each in TRIED._held.values())


def test_a_run_that_is_refused_after_its_trial_leaves_none_of_its_files_to_workers(
    gcs, pictures, workers
):
    bucket = gcs.bucket()
    urls = gcs.upload(pictures[0], f"{bucket}/in", pictures[1][:4])
    table = scenes.table_of(*pictures)[:4].assign(path=urls)
    folder = fetch.open_folder(f"gs://{bucket}/in")
    for name in pictures[1][:4]:
        folder.put(name, b"no picture")
    planned = scenes.plan(table, f"gs://{bucket}/out.zarr", shard=4, chunk=4)

    with pytest.raises(daskimg.PlanError, match="none of 4 rows tried gives a picture"):
        daskimg.build_store(planned, client=workers)

    assert set(workers.run(_tried_bytes).values()) == {0}
