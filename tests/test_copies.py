"""Copies of stores between disks and buckets: checked, resumable, the commit last."""

import json
import subprocess
import threading
from pathlib import Path

import numpy.testing as npt
import pytest
import scenes

import daskimg
from daskimg import cli, copies, fetch, store
from daskimg.errors import AccessError, OptionError, StoppedError, StoreError

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

SHARD = {"shard": 4, "chunk": 2}


@pytest.fixture(scope="module")
def built(pictures, tmp_path_factory, threads):
    """A store of twelve pictures on disk."""
    url = tmp_path_factory.mktemp("built") / "out.zarr"
    scenes.build(scenes.table_of(pictures[0], pictures[1][6:17]), url, threads, **SHARD)
    return url


def sizes(url):
    """Bytes of every object of a store, accounts of runs included."""
    return fetch.open_folder(str(url)).sizes()


def same(a, b):
    a, b = (fetch.open_folder(str(place)) for place in (a, b))
    return {n: a.read(n) for n in a.sizes()} == {n: b.read(n) for n in b.sizes()}


@pytest.mark.parametrize("way", ["disk to disk", "up", "down", "across"])
def test_a_copy_has_every_object_and_is_whole(gcs, built, tmp_path, way):
    first = f"gs://{gcs.bucket()}/a.zarr"
    if way in ("down", "across"):
        daskimg.copy_store(built, first)
    source = first if way in ("down", "across") else str(built)
    target = str(tmp_path / "b.zarr") if "d" in way else f"gs://{gcs.bucket()}/b.zarr"

    found = daskimg.copy_store(source, target)

    assert same(source, target)
    assert found.objects == len(fetch.open_folder(source).sizes())
    assert daskimg.verify_store(target, rows=11).findings == ()
    npt.assert_array_equal(daskimg.open_store(target).image[:], daskimg.open_store(built).image[:])


def test_within_googles_storage_objects_are_copied_by_the_server_and_read_once(gcs, built):
    source = f"gs://{gcs.bucket()}/a.zarr"
    daskimg.copy_store(built, source)
    gcs.forget()

    daskimg.copy_store(source, f"gs://{gcs.bucket()}/b.zarr")

    stats = gcs.stats()
    shards = r"^a.zarr/image/c/\d"
    assert stats.by_kind(shards) == {"copy": 3, "media": 3}
    assert stats.count("put") == 0


@pytest.mark.parametrize("way", ["up", "across", "down"])
def test_a_copy_counts_what_the_server_counts(gcs, built, tmp_path, way):
    source, target = str(built), f"gs://{gcs.bucket()}/a.zarr"
    if way != "up":
        daskimg.copy_store(source, target)
        there = f"gs://{gcs.bucket()}/b.zarr" if way == "across" else str(tmp_path / "b.zarr")
        source, target = target, there
    sizes(source if way != "up" else target)  # what was asked before is no part of it
    gcs.forget()

    found = daskimg.copy_store(source, target)

    traffic, stats = found.traffic, gcs.stats()
    server = {
        "read": "media|part", "meta": "info|bucket", "list": "list",
        "write": "put|create|copy", "delete": "delete",
    }  # fmt: skip
    assert found.to_json()["requests"] == {k: stats.count(p) for k, p in server.items()}
    assert traffic.requests.total() == stats.count() >= found.objects
    assert traffic.sent == stats.received
    assert 0 <= stats.sent - traffic.received < 5000  # bodies of answers like "not found"
    assert (traffic.sent if way == "up" else traffic.received) > found.bytes
    assert not traffic.retries


def test_a_copy_tells_requests_by_class_bytes_and_what_was_repeated(gcs, built, capsys):
    target = f"gs://{gcs.bucket()}/b.zarr"
    gcs.faults(
        {
            "fault": "status",
            "status": 503,
            "kind": "create|put",
            "name": r"image/c/\d",
            "count": 2,
        },
        {"fault": "reset", "kind": "create|put", "name": "zarr.json", "count": 1},
    )
    gcs.forget()

    assert cli.main(["copy", str(built), target]) == 0
    text, stats = capsys.readouterr().out, gcs.stats()
    assert cli.main(["copy", str(built), target, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)

    a, b = stats.count("list|put|create"), stats.count("media|part|info|bucket")
    assert f"  {a + b:,} requests: {stats.count('media')} read, " in text
    assert f"; {stats.sent / 1e6:,.1f} MB received, {stats.received / 1e6:,.1f} MB sent\n" in text
    assert f"    class A {a:,}, class B {b:,}\n" in text
    assert "  retried: 2 5xx, 1 reset\n" in text
    assert stats.faults == {"status": 2, "reset": 1}
    # What the first copy asked for is no part of the second, which finds all of it there.
    assert again["objects"] == 0
    assert again["retries"] == {}
    assert again["class_a"] == again["requests"]["list"] + again["requests"]["write"] < a
    assert again["class_b"] == again["requests"]["read"] + again["requests"]["meta"]
    assert again["received_bytes"] > sum(sizes(built).values())


def test_a_server_that_copies_another_object_is_found_out(gcs, built):
    source = f"gs://{gcs.bucket()}/a.zarr"
    daskimg.copy_store(built, source)
    name = "image/c/1/0/0/0"
    folder = fetch.open_folder(source)
    content = folder.read(name)
    target = fetch.open_folder(f"gs://{gcs.bucket()}/b.zarr")

    with pytest.raises(daskimg.TransportError, match="other bytes"):
        fetch.put_copy(folder, target, name, content[:-1] + b"?")


def test_the_root_and_the_commit_come_last(gcs, built, monkeypatch):
    written = []
    bucket = gcs.bucket()
    target = fetch.open_folder(f"gs://{bucket}/b.zarr")
    put, create = type(target).put, type(target).create
    monkeypatch.setattr(type(target), "put", lambda s, n, c: (written.append(n), put(s, n, c))[1])
    monkeypatch.setattr(
        type(target), "create", lambda s, n, c: (written.append(n), create(s, n, c))[1]
    )

    daskimg.copy_store(built, target.url)

    assert written[0] == "daskimg/records/plan.json"
    assert written.index("zarr.json") > max(written.index(n) for n in written if "/c/" in n)
    assert written[-1] == "daskimg/records/commits/000001.json"
    assert sorted(written) == sorted(sizes(built))  # each once


def test_a_copy_that_was_stopped_goes_on_and_trusts_no_size(gcs, built, tmp_path):
    target = f"gs://{gcs.bucket()}/b.zarr"
    gcs.faults({"fault": "status", "status": 400, "kind": "put", "name": "image/c/2"})
    with pytest.raises(StoppedError, match=r"image/c/2.* run the same command again to go on"):
        daskimg.copy_store(built, target, threads=1)
    with pytest.raises(StoreError, match="not finished"):
        daskimg.open_store(target)
    gcs.calm()
    shard = f"{target.removeprefix('gs://')}/image/c/0/0/0/0"
    size = len(gcs.system.cat_file(shard))
    gcs.system.pipe_file(shard, bytes(size))

    found = daskimg.copy_store(built, target)

    assert same(built, target)
    assert 3 <= found.kept < found.objects + found.kept == len(sizes(built))


def test_a_copy_of_what_is_there_writes_nothing(built, tmp_path):
    daskimg.copy_store(built, tmp_path / "b.zarr")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "b.zarr").rglob("*") if p.is_file()}

    found = daskimg.copy_store(built, tmp_path / "b.zarr")

    assert found.objects == 0
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_a_damaged_object_stops_the_copy_before_it_is_a_store(built, tmp_path):
    daskimg.copy_store(built, tmp_path / "a.zarr")
    shard = tmp_path / "a.zarr/image/c/1/0/0/0"
    shard.write_bytes(b"?" + shard.read_bytes()[1:])

    with pytest.raises(StoppedError, match=r"image/c/1/0/0/0 of .*a\.zarr is not what was comm"):
        daskimg.copy_store(tmp_path / "a.zarr", tmp_path / "b.zarr")

    assert not (tmp_path / "b.zarr/zarr.json").exists()
    assert not (tmp_path / "b.zarr/daskimg/records/commits").exists()


def test_a_later_state_of_the_same_store_replaces_an_earlier_copy(
    pictures, built, tmp_path, threads
):
    daskimg.copy_store(built, tmp_path / "a.zarr")
    daskimg.copy_store(built, tmp_path / "b.zarr")
    table = scenes.table_of(pictures[0], pictures[1][6:17]).assign(label="cat")
    report = daskimg.build_store(scenes.plan(table, tmp_path / "a.zarr", **SHARD), client=threads)
    assert report.outcome == "relabelled"

    daskimg.copy_store(tmp_path / "a.zarr", tmp_path / "b.zarr")

    assert daskimg.verify_store(str(tmp_path / "b.zarr")).findings == ()
    assert daskimg.open_store(tmp_path / "b.zarr").classes == ["cat"]
    with pytest.raises(StoreError, match="later state"):
        daskimg.copy_store(built, tmp_path / "b.zarr")


def test_a_later_state_replaces_metadata_of_equal_size_and_what_was_found_since(
    pictures, built, tmp_path, threads
):
    source, target = tmp_path / "a.zarr", tmp_path / "b.zarr"
    daskimg.copy_store(built, source)
    store.write_verdict(fetch.open_folder(str(source)), 1, {5: {"path": "x"}})
    table = scenes.table_of(pictures[0], pictures[1][6:17])
    plans = [table.assign(label=name) for name in ("cat", "dog")]
    daskimg.build_store(scenes.plan(plans[0], source, **SHARD), client=threads)
    daskimg.copy_store(source, target)
    store.write_verdict(fetch.open_folder(str(source)), 1, {6: {"path": "y"}})
    daskimg.build_store(scenes.plan(plans[1], source, **SHARD), client=threads)
    assert (source / "zarr.json").stat().st_size == (target / "zarr.json").stat().st_size

    daskimg.copy_store(source, target)

    assert daskimg.open_store(target).classes == ["dog"]
    assert same(source, target)


def test_a_copy_that_has_gone_on_by_itself_is_left_as_it_is(pictures, built, tmp_path, threads):
    source, target = tmp_path / "a.zarr", tmp_path / "b.zarr"
    table = scenes.table_of(pictures[0], pictures[1][6:17])
    for url, label in ((source, "cat"), (target, "dog")):
        daskimg.copy_store(built, url)
        plan = scenes.plan(table.assign(label=label), url, **SHARD)
        daskimg.build_store(plan, client=threads)
    before = scenes.objects(target)

    with pytest.raises(StoreError, match=r"has another daskimg/records/commits/000002\.json"):
        daskimg.copy_store(source, target)

    assert scenes.objects(target) == before


def test_another_tools_copy_verifies_and_is_gone_on_with(pictures, tmp_path, threads):
    here, there = tmp_path / "here", tmp_path / "there"
    names = scenes.make_pictures(here, 6)
    table = scenes.table_of(here, names)
    table["path"] = names
    table.to_csv(here / "t.csv", index=False)
    scenes.build(daskimg.read_manifest(here / "t.csv"), tmp_path / "a.zarr", threads, **SHARD)
    subprocess.run(["cp", "-r", tmp_path / "a.zarr", tmp_path / "b.zarr"], check=True)
    here.rename(there)
    (tmp_path / "b.zarr/image/c/1/0/0/0").unlink()

    moved = daskimg.read_manifest(there / "t.csv")
    report = daskimg.build_store(scenes.plan(moved, tmp_path / "b.zarr", **SHARD), client=threads)

    assert report.outcome == "repaired"
    found = daskimg.verify_store(str(tmp_path / "b.zarr"), rows=6, root=str(there))
    assert (found.findings, found.recomputed) == ((), 6)


def test_an_unfinished_store_is_not_copied(built, tmp_path):
    daskimg.copy_store(built, tmp_path / "a.zarr")
    (tmp_path / "a.zarr/daskimg/records/commits/000001.json").unlink()

    with pytest.raises(StoreError, match="is not finished; run the command that builds it again"):
        daskimg.copy_store(tmp_path / "a.zarr", tmp_path / "b.zarr")

    assert not (tmp_path / "b.zarr").exists()


def test_what_is_in_the_way_is_left_alone(built, pictures, tmp_path, threads):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.txt").write_text("mine")
    scenes.build(scenes.table_of(pictures[0], pictures[1][6:8]), tmp_path / "c.zarr", threads)
    before = scenes.objects(tmp_path)

    with pytest.raises(StoreError, match="holds other files"):
        daskimg.copy_store(built, tmp_path / "files")
    with pytest.raises(StoreError, match="holds another store"):
        daskimg.copy_store(built, tmp_path / "c.zarr")
    with pytest.raises(OptionError, match="beside the store"):
        daskimg.copy_store(tmp_path / "c.zarr", tmp_path / "c.zarr" / "copy")
    with pytest.raises(OptionError, match="the same store"):
        daskimg.copy_store(built, built)

    assert scenes.objects(tmp_path) == before


def test_objects_under_way_are_bounded_by_their_bytes():
    room, inside = copies._Room(100), threading.Event()

    def enter():
        with room.taken(60):
            inside.set()

    with room.taken(60):
        other = threading.Thread(target=enter, daemon=True)
        other.start()
        assert not inside.wait(0.1)
    assert inside.wait(5)
    other.join()
    with room.taken(1000):  # one always has its place
        pass


def test_the_command_copies_and_tells_in_numbers(built, tmp_path, capsys):
    code = cli.main(["copy", str(built), str(tmp_path / "b.zarr"), "--json"])

    out, err = capsys.readouterr()
    found = json.loads(out)
    assert code == 0
    assert not err
    assert found["objects"] == len(sizes(built))
    assert found["requests"] == dict.fromkeys(("read", "meta", "list", "write", "delete"), 0)
    assert found["bytes"] == sum(sizes(built).values())
    assert Path(found["url"]) == tmp_path / "b.zarr"


@pytest.mark.parametrize(("at_once", "code"), [("0", 2), ("1", 3)], ids=["refused", "stopped"])
def test_the_command_ends_as_all_others_do(built, tmp_path, capsys, at_once, code):
    daskimg.copy_store(built, tmp_path / "a.zarr")
    shard = tmp_path / "a.zarr/image/c/1/0/0/0"
    shard.write_bytes(b"?" + shard.read_bytes()[1:])

    arguments = [str(tmp_path / "a.zarr"), str(tmp_path / "b.zarr"), "--threads", at_once]
    assert cli.main(["copy", *arguments, "--quiet"]) == code

    assert capsys.readouterr().err.count("\n") == 1


def test_a_bucket_that_may_not_be_written_to_is_named_first(gcs, built):
    bucket = gcs.bucket()
    gcs.deny(bucket, "storage.objects.create")

    with pytest.raises(AccessError, match=r"refuses storage\.objects\.create"):
        daskimg.copy_store(built, f"gs://{bucket}/b.zarr")
