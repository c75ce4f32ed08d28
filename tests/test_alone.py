"""Rows that kill their worker: found alone, in processes of their own, and left out."""

import hashlib
import time

import killers
import numpy as np
import pytest
import scenes

import daskimg
from daskimg import store
from daskimg.build import connect
from daskimg.errors import StoppedError
from daskimg.fetch import open_folder
from daskimg.task import Limits, find_killers, read_shard_rows

ROWS = 12


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Twelve pictures; number 5 is broken."""
    folder = tmp_path_factory.mktemp("few")
    return scenes.table_of(folder, scenes.make_pictures(folder, ROWS, broken=(5,)))


@pytest.fixture
def found(few, tmp_path):
    """Look for killers among the twelve rows of one shard."""

    def look(step, **limits):
        plan = scenes.plan(few, tmp_path / "a.zarr", recipe=daskimg.Recipe((step,)), shard=ROWS)
        folder = open_folder(plan.url)
        brief = plan.brief(store.create_plan(folder, plan).run)
        store.stage_rows(folder, plan.staged())
        (span,) = plan.shard_rows()
        return find_killers(read_shard_rows(span, brief), brief, Limits(**limits))

    return look


@pytest.fixture(scope="module")
def workers():
    """A worker of two threads, whom its nanny starts again, and not much memory."""
    options = daskimg.ClusterOptions(workers=1, threads=2, memory_limit="800MB", dashboard=False)
    with connect(options) as client:
        yield client


@pytest.fixture
def build(few, workers):
    """Build the twelve rows; return the report, and what was said meanwhile."""

    def with_step(url, step, **settings):
        recipe = daskimg.Recipe((step,))
        plan = scenes.plan(few, url, recipe=recipe, shard=4, chunk=2, **settings)
        notes = []
        report = daskimg.build_store(plan, client=workers, on_note=notes.append)
        return report, notes

    return with_step


@pytest.mark.parametrize(
    ("how", "cause"), [("segfault", "SIGSEGV"), ("kill", "SIGKILL"), ("exit", "exit status 7")]
)
def test_a_row_that_ends_its_process_twice_alone_is_found(found, few, how, cause):
    (verdict,) = found(killers.Killer(16, 16, rows=(3,), how=how))

    assert verdict == (3, few["path"][3], (cause, cause))
    assert verdict.guilty


def test_several_are_found_also_the_first_and_the_last(found):
    verdicts = found(killers.Killer(16, 16, rows=(0, ROWS - 1)))

    assert [(each.row, each.guilty) for each in verdicts] == [(0, True), (ROWS - 1, True)]


def test_where_all_rows_kill_the_recipe_is_at_fault(found, monkeypatch):
    monkeypatch.setattr("daskimg.task._alone._KILLERS", 1)

    with pytest.raises(
        StoppedError, match=r"more than 1 rows .* look for the fault in the recipe"
    ):
        found(killers.Killer(16, 16, rows=tuple(range(ROWS))))


def test_bad_luck_condemns_no_row(found, tmp_path):
    assert found(killers.Unlucky(16, 16, folder=str(tmp_path), times=2)) == []


def test_signals_that_others_send_condemn_no_row(found):
    (verdict,) = found(killers.Killer(16, 16, rows=(3,), how="terminate"))

    assert (verdict.row, verdict.causes, verdict.guilty) == (3, ("SIGTERM",) * 2, False)


def test_lack_of_memory_condemns_no_row(found):
    (verdict,) = found(killers.Killer(16, 16, rows=(3,), how="memory"), memory=800_000_000)

    assert (verdict.row, verdict.causes, verdict.guilty) == (3, ("memory",) * 2, False)


def test_a_row_that_never_ends_condemns_none(found, monkeypatch):
    monkeypatch.setattr("daskimg.task._alone._OTHERS", 1)

    (verdict,) = found(killers.Killer(16, 16, rows=(3,), how="sleep"), silence=5.0)

    assert (verdict.row, verdict.causes, verdict.guilty) == (3, ("silence",), False)


def test_rows_that_kill_only_together_are_nobodys_fault(found):
    assert found(killers.Pair(16, 16)) == []


def hashes(url):
    images = daskimg.open_store(str(url)).image[:]
    return [hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in images]


def test_a_picture_that_kills_its_worker_costs_one_sample(build, few, tmp_path, threads):
    good = scenes.build(few, tmp_path / "good.zarr", threads, max_failed=1)
    url = tmp_path / "a.zarr"
    began = time.monotonic()

    report, notes = build(url, killers.Killer(16, 16, rows=(0,)), max_failed=0)

    assert time.monotonic() - began < 90
    assert (report.outcome, report.failed) == ("refused", 2)
    assert report.reasons == {"killed its worker": 1, "format": 1}
    shards = [note for note in notes if note.startswith("shard 0 (rows 0 to 3) killed its worker")]
    assert len(shards) == 1
    assert f"row 0 ({few['path'][0]}) killed a process of its own twice" in notes[-1]
    written = scenes.objects(url)
    again, quiet = build(url, killers.Killer(16, 16, rows=(0,)), max_failed=1)
    assert (again.outcome, quiet) == ("committed", [])
    samples = daskimg.open_store(str(url))
    assert samples.failures["reason"].tolist() == ["killed its worker", "format"]
    assert not samples.image[0].any()
    assert hashes(url)[1:] == [hashlib.sha256(image).hexdigest() for image in good.image[1:]]
    assert daskimg.verify_store(str(url), rows=ROWS).findings == ()
    (url / "image/c/0/0/0/0").unlink()
    repaired, quiet = build(url, killers.Killer(16, 16, rows=(0,)), max_failed=1)
    assert (repaired.outcome, quiet) == ("repaired", [])
    # A worker that was killed while it wrote has left its temporary file to the commit.
    assert scenes.objects(url, "image/c") == {
        name: content
        for name, content in written.items()
        if name.startswith("image/c/") and "/.daskimg-" not in name
    }


def test_a_picture_too_large_for_a_worker_stops_the_run_and_is_named(build, tmp_path):
    url = tmp_path / "a.zarr"

    with pytest.raises(StoppedError, match=r"row 3 \(.*p0003.png\) alone needs more memory"):
        build(url, killers.Killer(16, 16, rows=(3,), how="memory"), max_failed=1)

    assert store.find_entry(open_folder(str(url)), 2) is not None, "the others were to be built"
