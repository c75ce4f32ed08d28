"""The main job from a bucket to a bucket, over the protocol server: counted, cut off, resumed."""

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import numpy.testing as npt
import pytest
import scenes
import zarr

import daskimg
from daskimg import fetch, run
from daskimg.build import ClusterOptions, connect

# gcsfs hands large bodies to aiohttp as bytes, and aiohttp would rather have a file.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

SHARD = 8  # samples: five shards of the forty pictures


@pytest.fixture(scope="module")
def place(gcs_environment, pictures):
    """A bucket with the forty pictures in its folder `in`."""
    bucket = gcs_environment.bucket()
    gcs_environment.upload(pictures[0], f"{bucket}/in", pictures[1])
    return bucket


@pytest.fixture(scope="module")
def workers(gcs_environment):
    """Two worker processes that were started with the server's address."""
    options = ClusterOptions(workers=2, threads=1, dashboard=False)
    with connect(options) as client:
        yield client


@pytest.fixture
def cloud_table(place, table):
    """The manifest of the forty pictures in the bucket."""
    names = [path.rpartition("/")[2] for path in table["path"]]
    return table.assign(path=[f"gs://{place}/in/{name}" for name in names])


@pytest.fixture
def out(gcs, request):
    """An address of a store that is not there yet, in a bucket of its own."""
    return f"gs://{gcs.bucket()}/out.zarr"


build = partial(scenes.build, shard=SHARD, chunk=4, max_failed=1)
plan = partial(scenes.plan, shard=SHARD, chunk=4, max_failed=1)


@pytest.fixture(scope="module")
def on_disk(pictures, tmp_path_factory, threads):
    """The same pictures, from a disk to a disk."""
    url = tmp_path_factory.mktemp("cloud") / "out.zarr"
    return build(scenes.table_of(*pictures), url, threads)


def sample_hashes(samples):
    images = np.asarray(samples.image[:])
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def bucket_of(url):
    return url.removeprefix("gs://")


# -- equal results ----------------------------------------------------------------------------


def test_a_store_in_a_bucket_equals_the_one_on_disk(gcs, cloud_table, out, workers, on_disk):
    samples = build(cloud_table, out, workers)

    assert sample_hashes(samples) == sample_hashes(on_disk)
    npt.assert_array_equal(samples.labels, on_disk.labels)
    assert samples.status.tolist() == on_disk.status.tolist()
    for column in ("source_sha256", "source_width", "status", "reason", "price"):
        assert samples.rows[column].tolist() == on_disk.rows[column].tolist()
    disk = scenes.objects(on_disk.url, "image") | scenes.objects(on_disk.url, "label")
    assert {n: c for n, c in gcs.objects(bucket_of(out)).items() if n in disk} == disk


def test_a_store_in_a_bucket_is_verified_repaired_and_else_left_alone(
    gcs, cloud_table, out, workers
):
    build(cloud_table, out, workers)
    shard = f"{bucket_of(out)}/image/c/1/0/0/0"
    whole = gcs.system.cat_file(shard)
    gcs.system.pipe_file(shard, b"\xff" + whole[1:])

    found = daskimg.verify_store(out).findings
    repaired = daskimg.build_store(plan(cloud_table, out), client=workers)
    again = daskimg.build_store(plan(cloud_table, out), client=workers)

    assert [line.split()[0] for line in found] == ["image/c/1/0/0/0"]
    assert (repaired.outcome, again.outcome) == ("repaired", "unchanged")
    assert gcs.system.cat_file(shard) == whole
    assert daskimg.verify_store(out, rows=10).findings == ()


@pytest.fixture
def labels(gcs, place, cloud_table):
    """The table as a CSV in the bucket, beside its pictures: paths are relative to it."""
    names = [path.rpartition("/")[2] for path in cloud_table["path"]]
    content = cloud_table.assign(path=names).to_csv(index=False).encode()
    gcs.system.pipe_file(f"{place}/in/labels.csv", content)
    yield f"gs://{place}/in/labels.csv"
    gcs.system.rm_file(f"{place}/in/labels.csv")


def test_a_killed_run_of_the_command_line_is_gone_on_with(
    gcs, labels, out, tmp_path, workers, on_disk, capsys
):
    (tmp_path / "slow.toml").write_text(
        '[[transform]]\nname = "slow_resize:SlowResize"\nheight = 16\nwidth = 16\n'
    )
    recipe = str(tmp_path / "slow.toml")
    arguments = [labels, out, "--recipe", recipe, "--shard-samples", "2", "--max-failed", "1"]
    process = started(*arguments, "--workers", "1", "--threads", "1")

    scenes.kill_when(process, lambda: time.sleep(0.05) or len(entries(gcs, out)) >= 4)
    done = entries(gcs, out)
    with pytest.raises(daskimg.StoreError, match="not finished"):
        daskimg.open_store(out)
    code = run.main([*arguments, "--scheduler", workers.scheduler.address, "--json", "--quiet"])

    assert process.returncode == -signal.SIGKILL
    assert 4 <= len(done) < 20
    assert code == 0
    assert json.loads(capsys.readouterr().out)["resumed"] >= 2 * len(done)
    assert done.items() <= entries(gcs, out).items(), "finished shards were built again"
    assert sample_hashes(daskimg.open_store(out)) == sample_hashes(on_disk)


def started(*arguments):
    """Start the main job as a process group of its own."""
    search = f"{scenes.ROOT / 'tests'}:{scenes.ROOT}"
    return subprocess.Popen(
        [sys.executable, "-m", "daskimg.run", *arguments],
        env={**os.environ, "PYTHONPATH": search}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def entries(gcs, url):
    """The ledger's entries, each with which writing of it is there."""
    found = gcs.system.find(f"{bucket_of(url)}/daskimg/records/ledger", detail=True)
    return {name: facts["generation"] for name, facts in found.items()}


def test_a_pattern_over_thousands_of_objects_is_listed_once_in_pages(gcs):
    bucket = gcs.numbered(2500)
    manifest = daskimg.read_manifest(f"gs://{bucket}/in/*.jpg")

    facts = manifest.scan()

    sample = facts.sample
    assert facts.rows == 2500
    assert sample["path"].tolist() == [f"{row:07d}.jpg" for row in sample["row"]]
    assert manifest.resolve(sample["path"][0]).startswith(f"gs://{bucket}/in/")
    assert gcs.stats().by_name("list", "^in/$") == {"in/": 3}


# -- reading ----------------------------------------------------------------------------------


def test_zarr_reads_a_bucket_with_our_retries_and_checks(gcs, cloud_table, out, threads, on_disk):
    samples = build(cloud_table, out, threads)
    gcs.faults(
        {"fault": "status", "kind": "media|part", "name": "image/c/1", "count": 1},
        {"fault": "truncate", "kind": "media|part", "name": "image/c/2", "count": 1},
    )

    images = samples.image[...]
    from_dask = samples.to_dask()[-1].compute(scheduler="threads")

    assert gcs.stats().faults == {"status": 1, "truncate": 1}
    npt.assert_array_equal(images, on_disk.image[...])
    npt.assert_array_equal(from_dask, images[-1])


def test_a_store_in_a_bucket_is_travelled_with_and_listed_like_any_other(
    gcs, cloud_table, out, threads
):
    samples = build(cloud_table[:4], out, threads)
    group = samples.to_xarray()
    travelled = pickle.loads(pickle.dumps(samples.image))

    assert group["image"].shape == (4, 16, 16, 3)
    npt.assert_array_equal(travelled[...], samples.image[...])
    assert "image" in str(zarr.open_group(travelled.store, mode="r").tree())
    listed = zarr.open_group(travelled.store, mode="r", use_consolidated=False)
    assert sorted(name for name, _ in listed.members()) == [
        "affine", "daskimg", "image", "label", "part", "row", "status",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="read-only"):
        travelled[0] = 0


# -- requests, counted by the server ----------------------------------------------------------


@pytest.fixture(scope="module")
def counted(gcs_environment, place, pictures, workers):
    """What builds asked for, by their pictures and the samples of a shard."""
    found = {}
    table = scenes.table_of(*pictures).assign(
        path=[f"gs://{place}/in/{name}" for name in pictures[1]]
    )
    for count, shard in ((40, 20), (40, SHARD), (20, 4)):
        gcs_environment.forget()
        url = f"gs://{gcs_environment.bucket()}/out.zarr"
        build(table[:count], url, workers, shard=shard)
        found[count, shard] = gcs_environment.stats()
    return found


def others(stats):
    """Requests but for the GETs of sources and staged rows, the PUTs of shards and ledger."""
    puts = stats.count("create", r"/(image/c|records/ledger)/\d")
    return stats.count() - stats.count("media", "^in/|/records/input/") - puts


def test_each_shard_and_each_entry_of_the_ledger_is_put_once(counted):
    stats = counted[40, SHARD]

    for folder in (r"/image/c/\d", r"/records/ledger/\d"):
        # It is created, and nothing of it is asked or read, before or after.
        assert list(stats.by_name("create", folder).values()) == [1] * 5
        assert stats.by_kind(folder) == {"create": 5}


def test_a_commit_and_a_plan_are_created_and_never_overwritten(counted):
    assert counted[40, SHARD].by_kind("records/commits/0")["create"] == 1
    assert "put" not in counted[40, SHARD].by_kind("records/commits/0")
    assert counted[40, SHARD].by_kind("records/plan.json")["create"] == 1


def test_every_source_is_read_and_none_in_parts_or_asked_about(counted):
    sources = counted[40, SHARD].by_name("media", "^in/")

    assert len(sources) == 40
    assert set(counted[40, SHARD].by_kind("^in/")) == {"media"}
    assert sum(sources.values()) == 40  # the trial's is kept for the first task


def test_a_report_counts_what_the_server_counts(gcs, cloud_table, out, workers):
    planned = plan(cloud_table, out)
    gcs.forget()

    report = daskimg.build_store(planned, client=workers)

    counted = report.traffic.requests
    stats = gcs.stats()
    server = {
        "read": "media|part", "meta": "info|bucket", "list": "list",
        "write": "put|create", "delete": "delete",
    }  # fmt: skip
    assert counted == {kind: stats.count(pattern) for kind, pattern in server.items()}
    assert counted.total() == stats.count()
    assert counted["read"] >= 40
    assert (report.traffic.class_a, report.traffic.class_b) == (
        stats.count("list|put|create"), stats.count("media|part|info|bucket"),
    )  # fmt: skip
    assert report.traffic.sent == stats.received
    assert 0 <= stats.sent - report.traffic.received < 5000  # bodies of answers like "not found"
    assert not report.traffic.retries
    told = report.to_json()
    assert told["requests"] == dict(counted)
    assert f"{counted.total():,} requests: {counted['read']:,} read" in str(report)


def test_what_else_is_asked_grows_neither_with_the_pictures_nor_with_the_shards(counted):
    # Two shards and five, of 40 pictures and of 20; counted without what each has for itself.
    assert len({others(stats) for stats in counted.values()}) == 1


def test_staged_rows_are_read_once_a_process_and_not_once_a_shard(counted):
    for stats in counted.values():  # two workers; and the commit, for labels and for rows
        assert stats.count("media", "/records/input/") <= 2 + 2


def test_no_object_is_asked_about_as_a_folder(counted):
    stats = counted[40, SHARD]

    assert stats.count(name=r"\.json/") == 0
    assert stats.count("delete", "/input$") == 0


def test_nothing_is_written_twice_to_one_name_in_a_second(gcs, cloud_table, out, threads):
    build(cloud_table[:4], out, threads)

    assert gcs.stats().hasty == {}


# -- faults -----------------------------------------------------------------------------------


def test_a_run_under_one_503_in_ten_gives_the_same_store(gcs, cloud_table, out, workers, on_disk):
    gcs.faults({"fault": "status", "probability": 0.1}, seed=1)

    samples = build(cloud_table[:24], out, workers)

    assert gcs.stats().faults["status"] >= 3
    gcs.calm()
    assert sample_hashes(samples) == sample_hashes(on_disk)[:24]
    assert samples.failures["reason"].tolist() == on_disk.failures["reason"].tolist()
    assert daskimg.verify_store(out).findings == ()


@pytest.mark.parametrize("fault", ["reset", "truncate", "reset_after_write"])
def test_a_fault_of_transport_is_no_fault_of_the_data(gcs, cloud_table, out, threads, fault):
    kind = "media" if fault == "truncate" else "media|create"
    gcs.faults(
        {"fault": fault, "name": "in/p0003", "count": 1, "kind": kind},
        {"fault": fault, "name": "image/c/0", "count": 1, "kind": kind},
    )

    samples = build(cloud_table[:4], out, threads)

    assert gcs.stats().faults == {fault: 1 if fault == "truncate" else 2}
    assert samples.status.tolist() == [1] * 4
    assert daskimg.verify_store(out, rows=4).findings == ()


@pytest.mark.parametrize("name", ["plan.json", "commits/"])
def test_a_creation_whose_answer_was_lost_is_known_as_our_own(
    gcs, cloud_table, out, threads, name
):
    gcs.faults({"fault": "reset_after_write", "kind": "create", "name": name, "count": 1})

    samples = build(cloud_table[:4], out, threads)

    assert gcs.stats().faults == {"reset_after_write": 1}
    assert len(samples) == 4


def test_somebody_elses_creation_is_not_taken_for_our_own(gcs, out):
    folder = fetch.open_folder(out)
    gcs.faults({"fault": "reset_after_write", "kind": "create", "count": 1})

    assert folder.create("a", b"ours")
    assert not folder.create("a", b"theirs")
    assert folder.read("a") == b"ours"


@pytest.mark.parametrize(
    "fault",
    [
        "corrupt",
        "short",
    ],
)
def test_a_body_that_is_not_what_was_stored_is_read_again(
    gcs, cloud_table, out, threads, on_disk, fault
):
    # Twice: the trial before the build may read it, too.
    gcs.faults({"fault": fault, "name": "in/p0002", "count": 2, "kind": "media"})

    samples = build(cloud_table[:4], out, threads)

    assert gcs.stats().faults == {fault: 2}
    assert sample_hashes(samples) == sample_hashes(on_disk)[:4]
    assert samples.rows["source_sha256"].tolist() == on_disk.rows["source_sha256"].tolist()[:4]


def test_an_upload_that_was_changed_on_its_way_is_not_committed(gcs, cloud_table, out, threads):
    gcs.faults({"fault": "corrupt", "name": "image/c/0", "count": 1, "kind": "create"})

    build(cloud_table[:4], out, threads)

    assert gcs.stats().faults == {"corrupt": 1}
    assert daskimg.verify_store(out).findings == ()


def test_a_server_that_says_when_to_come_again_is_not_asked_before(gcs, place):
    gcs.faults({"fault": "status", "status": 429, "retry_after": 4, "count": 1})

    began = time.monotonic()
    fetch.read(f"gs://{place}/in/p0000.jpg")

    assert gcs.stats().faults == {"status": 1}
    assert time.monotonic() - began >= 4


def test_a_missing_object_is_a_missing_picture(gcs, cloud_table, out, threads):
    gone = cloud_table["path"].where(cloud_table.index != 2, cloud_table["path"] + ".gone")

    samples = build(cloud_table.assign(path=gone)[:4], out, threads)

    assert samples.failures[["sample", "reason"]].to_numpy().tolist() == [[2, "missing"]]


@pytest.fixture(scope="module")
def forbidden(gcs_environment, place):
    """The error of a source that may not be read, and how often it was asked for."""
    gcs_environment.faults({"fault": "status", "status": 403, "message": "no storage.objects.get"})
    gcs_environment.forget()
    with pytest.raises(daskimg.AccessError) as caught:
        fetch.read(f"gs://{place}/in/p0003.png")
    asked = gcs_environment.stats().count("media")
    gcs_environment.calm()
    return str(caught.value), asked


def test_a_permission_that_is_missing_is_no_bad_picture_and_is_named(forbidden):
    message, _ = forbidden

    assert "in/p0003.png" in message
    assert "storage.objects.get" in message


def test_a_permission_that_is_missing_is_asked_for_once(forbidden):
    assert forbidden[1] == 1
