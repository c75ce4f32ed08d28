"""A listing of a bucket as a manifest: in pages, sorted, each object as it was listed."""

import subprocess
import sys

import pandas as pd
import pytest
import scenes

import daskimg
from daskimg import fetch
from daskimg.errors import OptionError, PlanError, SampleError, TransportError
from daskimg.manifest import _spool

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


def rows_of(manifest):
    facts = manifest.scan()
    return pd.concat(manifest.pieces(facts), ignore_index=True)


@pytest.fixture
def shelf(gcs):
    """A bucket with objects of several kinds in several folders."""
    bucket = gcs.bucket()
    names = ("in/b/2.jpg", "in/a/1.JPG", "in/a/deep/3.png", "in/9.jpg", "in/notes.txt", "x.jpg")
    gcs.system.pipe({f"{bucket}/{name}": name.encode() for name in names})
    return bucket


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("in/**/*.jpg", ["9.jpg", "b/2.jpg"]),
        ("in/*", ["9.jpg"]),
        ("in/**", ["9.jpg", "a/1.JPG", "a/deep/3.png", "b/2.jpg"]),
        ("in/[ab]/*", ["a/1.JPG", "b/2.jpg"]),
        ("in/a/*/?.png", ["deep/3.png"]),
        ("*.jpg", ["x.jpg"]),
    ],
)
def test_a_pattern_over_a_bucket_names_what_fsspec_would(gcs, shelf, pattern, paths):
    manifest = daskimg.read_manifest(f"gs://{shelf}/{pattern}", kind="glob")

    rows = rows_of(manifest)

    found = [manifest.resolve(path).removeprefix("gs://") for path in rows["path"]]
    wanted = gcs.system.glob(f"{shelf}/{pattern}")  # folders, too
    assert found == sorted(name for name in wanted if name.lower().endswith(("jpg", "png")))
    assert rows["path"].tolist() == paths


def test_rows_tell_the_size_and_the_generation_of_each_object(gcs, shelf):
    rows = rows_of(daskimg.read_manifest(f"gs://{shelf}/in/**/*.jpg"))

    facts = gcs.system.find(f"{shelf}/in", detail=True)
    assert rows["size"].tolist() == [len("in/9.jpg"), len("in/b/2.jpg")]
    assert rows["generation"].tolist() == [
        facts[f"{shelf}/in/{path}"]["generation"] for path in rows["path"]
    ]


def test_a_folder_in_a_bucket_is_listed_with_its_classes(shelf):
    rows = rows_of(daskimg.read_manifest(f"gs://{shelf}/in"))

    assert rows["path"].tolist() == ["9.jpg", "a/1.JPG", "a/deep/3.png", "b/2.jpg"]
    assert rows["label"].fillna("none").tolist() == ["none", "a", "a", "b"]
    assert rows["generation"].notna().all()


def test_files_that_a_local_pattern_names_have_a_size_and_no_generation(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"12345")

    rows = rows_of(daskimg.read_manifest(f"{tmp_path}/*.jpg"))

    assert rows[["path", "size"]].to_numpy().tolist() == [["a.jpg", 5]]
    assert "generation" not in rows


def test_tables_that_a_pattern_over_a_bucket_names_are_tables(gcs):
    bucket = gcs.bucket()
    for part in (10, 9):
        gcs.system.pipe_file(f"{bucket}/t/part-{part}.csv", f"path\n{part}.jpg\n".encode())

    rows = rows_of(daskimg.read_manifest(f"gs://{bucket}/t/part-*.csv"))

    assert rows["path"].tolist() == ["9.jpg", "10.jpg"]


def test_the_name_of_a_bucket_is_no_pattern():
    with pytest.raises(OptionError, match="name one bucket"):
        daskimg.read_manifest("gs://my-*/in/*.jpg")


def test_a_listing_is_read_once_and_set_aside_in_pieces(gcs, monkeypatch):
    monkeypatch.setattr(_spool, "PIECE_ROWS", 1000)
    bucket = gcs.numbered(2500)

    manifest = daskimg.read_manifest(f"gs://{bucket}/in/*.jpg")
    first, second = rows_of(manifest), rows_of(manifest)

    assert [len(t) for t in manifest.table.spool.tables()] == [1000, 1000, 500]
    assert first.equals(second)
    assert first["path"].tolist() == [f"{number:07d}.jpg" for number in range(2500)]
    assert first["generation"].tolist() == [str(number + 1) for number in range(2500)]
    assert first["size"].unique().tolist() == [len("in/0000000.jpg")]
    assert gcs.stats().by_name("list", "^in/$") == {"in/": 3}


def test_a_single_level_is_listed_without_what_is_below(gcs, shelf):
    gcs.forget()

    fetched = [each for page in fetch.list_matches(f"gs://{shelf}/*.jpg") for each in page]

    assert [each.location for each in fetched] == [f"gs://{shelf}/x.jpg"]
    assert gcs.stats().count("list") == 1


_LISTING = """
import resource, sys
import daskimg
manifest = daskimg.read_manifest(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
facts = manifest.scan()
rows = sum(len(piece) for piece in manifest.pieces(facts))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_the_memory_of_a_listing_does_not_grow_with_it(gcs):
    def megabytes(count):
        bucket = gcs.numbered(count)
        out = subprocess.run(
            [sys.executable, "-c", _LISTING, f"gs://{bucket}/in/*.jpg"],
            capture_output=True, text=True, check=True, timeout=100,
        ).stdout  # fmt: skip
        rows, peak = map(int, out.split())
        assert rows == count
        return peak

    assert megabytes(40_000) - megabytes(2_000) < 40_000 * 1000 / 1e6  # a kilobyte an object


# -- what changed since -----------------------------------------------------------------------


@pytest.fixture
def listed(gcs, pictures):
    """A bucket of six pictures, its listing as a manifest, and where a store may be."""
    bucket = gcs.bucket()
    gcs.upload(pictures[0], f"{bucket}/in", pictures[1][6:12])
    return bucket, daskimg.read_manifest(f"gs://{bucket}/in/*"), pictures[1][6:12]


def plan_of(manifest, bucket, **options):
    return scenes.plan(manifest, f"gs://{bucket}/out.zarr", shard=2, chunk=2, **options)


def test_an_object_written_again_after_the_listing_is_a_fault_and_no_other_picture(
    gcs, listed, pictures, threads
):
    bucket, manifest, names = listed
    plan = plan_of(manifest, bucket, max_failed=1)
    again = (pictures[0] / pictures[1][0]).read_bytes()
    gcs.system.pipe_file(f"{bucket}/in/{names[2]}", again)
    gcs.system.rm_file(f"{bucket}/in/{names[3]}")

    daskimg.build_store(plan, client=threads)
    samples = daskimg.open_store(plan.url)

    assert samples.status.tolist() == [1, 1, 2, 2, 1, 1]
    assert samples.failures["reason"].tolist() == ["changed", "missing"]
    assert not samples.image[2].any()
    assert samples.rows["generation"].tolist() == rows_of(manifest)["generation"].tolist()


def test_sources_are_asked_for_by_the_generation_that_was_listed(gcs, listed):
    bucket, manifest, names = listed
    generation = rows_of(manifest)["generation"][0]
    place = fetch.pinned(f"gs://{bucket}/in/{names[0]}", generation)
    assert fetch.read(place) == gcs.system.cat_file(f"{bucket}/in/{names[0]}")

    gcs.system.pipe_file(f"{bucket}/in/{names[0]}", b"another")

    with pytest.raises(SampleError, match="changed: it was written again"):
        fetch.read(place)
    with pytest.raises(SampleError, match="changed"):
        fetch.read_part(place, 0, 4)
    (found,) = fetch.read_ahead([place])
    assert found.reason == "changed"


def test_a_run_that_goes_on_takes_the_objects_that_it_was_begun_with(
    gcs, listed, pictures, threads
):
    bucket, manifest, names = listed
    first = plan_of(manifest, bucket)
    gcs.faults({"fault": "status", "status": 400, "name": names[-1]})
    with pytest.raises(TransportError):
        daskimg.build_store(first, client=threads)
    gcs.calm()
    gcs.system.pipe_file(f"{bucket}/in/{names[-1]}", (pictures[0] / names[0]).read_bytes())

    later = plan_of(daskimg.read_manifest(f"gs://{bucket}/in/*"), bucket, max_failed=1)
    report = daskimg.build_store(later, client=threads)

    samples = daskimg.open_store(later.url)
    assert (report.outcome, report.failed) == ("committed", 1)
    assert samples.failures[["sample", "reason"]].to_numpy().tolist() == [[5, "changed"]]
    assert samples.rows["generation"].tolist() == rows_of(manifest)["generation"].tolist()


def test_a_finished_store_of_a_listing_is_left_alone_whatever_was_written_since(
    gcs, listed, threads
):
    bucket, manifest, names = listed
    daskimg.build_store(plan_of(manifest, bucket), client=threads)
    gcs.system.pipe_file(f"{bucket}/in/{names[0]}", b"no picture any more")

    later = plan_of(daskimg.read_manifest(f"gs://{bucket}/in/*"), bucket)
    report = daskimg.build_store(later, client=threads)
    found = daskimg.verify_store(later.url, rows=6).findings

    assert report.outcome == "unchanged"
    assert len(found) == 1
    assert "now fails: changed" in found[0]


def test_sizes_in_headers_are_those_of_the_listed_objects(gcs, listed, threads):
    bucket, manifest, names = listed
    gcs.system.pipe_file(f"{bucket}/in/{names[0]}", b"no picture any more")
    recipe = daskimg.Recipe([daskimg.Tiles(16, 16)])

    plan = plan_of(manifest, bucket, recipe=recipe, max_failed=1)
    daskimg.build_store(plan, client=threads)

    failures = daskimg.open_store(plan.url).failures
    assert failures[["row", "part", "reason"]].to_numpy().tolist() == [[0, 0, "changed"]]


def test_a_listing_of_nothing_but_changed_objects_is_refused(gcs, listed, threads):
    bucket, manifest, names = listed
    plan = plan_of(manifest, bucket)
    gcs.system.pipe({f"{bucket}/in/{name}": b"another" for name in names})

    with pytest.raises(PlanError, match="6 changed"):
        daskimg.build_store(plan, client=threads)
