"""One writer per object: stragglers of overwritten runs, frozen wherever they may be."""

import shutil
import threading
import time
from pathlib import Path

import pytest
import scenes

import daskimg
from daskimg import fetch, store
from daskimg.build import _shards
from daskimg.store import _claim
from daskimg.task import read_shard_rows, run_task

# gcsfs hands large bodies to aiohttp as bytes, and aiohttp would rather have a file.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


@pytest.fixture(params=["disk", "bucket"])
def url(request, tmp_path):
    """The address of a store that is not there yet."""
    if request.param == "disk":
        return str(tmp_path / "out.zarr")
    gcs = request.getfixturevalue("gcs")
    return f"gs://{gcs.bucket()}/out.zarr"


def plan_of(table, url, seed, **options):
    """A plan of one shard; another seed is another run's."""
    recipe = daskimg.recipes.resize(16)
    recipe = daskimg.Recipe(recipe.transforms, seed=seed)
    return scenes.plan(table[:4], url, recipe=recipe, shard=4, max_failed=1, **options)


def objects(url):
    """All that is below an address, but the log of runs."""
    folder = fetch.open_folder(url)
    return {name: folder.read(name) for name in folder.sizes() if "/runs/" not in name}


class Straggler:
    """The only task of a run that somebody else overwrites; it ends in a thread of its own."""

    def __init__(self, plan):
        self._folder = fetch.open_folder(plan.url)
        stored = store.create_plan(self._folder, plan)
        store.stage_rows(self._folder, plan.staged())
        self.brief = plan.brief(stored.run, call=f"{stored.run}.1")
        self.rows = read_shard_rows(next(plan.shard_rows()), self.brief)
        self.error = None
        self.there, self.go_on = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._work)

    def _work(self):
        try:
            run_task(self.rows, self.brief)
        except daskimg.StoreError as error:
            self.error = error

    def freeze(self, monkeypatch, time_of):
        """Start it, and have it stop for the ``time_of``-th time that it has found all well."""
        look, looks = _claim.Claim.look, []

        def frozen(claim):
            look(claim)
            if threading.current_thread() is self.thread:
                looks.append(claim)
                if len(looks) == time_of:
                    self.there.set()
                    assert self.go_on.wait(60)

        monkeypatch.setattr(_claim.Claim, "look", frozen)
        self.thread.start()
        assert self.there.wait(60)

    def end(self):
        self.go_on.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.mark.parametrize("time_of", [1, 2], ids=["before its shard", "before its entry"])
def test_a_straggler_that_thaws_after_another_run_has_finished_changes_nothing(
    url, table, threads, monkeypatch, time_of
):
    straggler = Straggler(plan_of(table, url, seed=1))
    straggler.freeze(monkeypatch, time_of)
    pictures = table.assign(path=[*list(table["path"][1:]), table["path"][0]])  # other pixels
    daskimg.build_store(plan_of(pictures, url, seed=2, overwrite=True), client=threads)
    before = objects(url)

    straggler.end()

    assert "another run has taken over" in str(straggler.error)
    assert objects(url) == before
    assert daskimg.verify_store(url, rows=4).findings == ()


def test_what_a_straggler_writes_before_another_run_comes_to_it_is_replaced(
    url, table, threads, monkeypatch
):
    straggler = Straggler(plan_of(table, url, seed=1))
    straggler.freeze(monkeypatch, 1)
    pictures = table.assign(path=[*list(table["path"][1:]), table["path"][0]])
    new = plan_of(pictures, url, seed=2)
    folder = fetch.open_folder(url)
    store.erase(folder)
    store.create_plan(folder, new)  # and there the new run is killed

    straggler.end()
    left, shard = store.find_entry(folder, 0), folder.size("image/c/0/0/0/0")
    report = daskimg.build_store(new, client=threads)

    if fetch.is_url(url):
        assert straggler.error is None
        assert left is not None, "the straggler has written nothing: the test shows nothing"
    else:  # there it looks again before the entry
        assert "another run has taken over" in str(straggler.error)
        assert left is None
        assert shard is not None, "the straggler has written nothing: the test shows nothing"
    assert report.outcome == "committed"
    assert report.resumed == 0
    expected = scenes.build(pictures[:4], f"{url}-2", threads, shard=4, max_failed=1)
    assert (daskimg.open_store(url).image[:] == expected.image[:]).all()
    assert daskimg.verify_store(url, rows=4).findings == ()


def test_on_a_disk_a_writer_does_not_bring_back_what_was_deleted(table, tmp_path):
    url = tmp_path / "out.zarr"
    folder = fetch.open_folder(str(url))
    claim = store.Claim(folder, store.create_plan(folder, plan_of(table, str(url), seed=1)).run)
    claim.put("a", b"1")
    shutil.rmtree(url)

    with pytest.raises(daskimg.StoreError, match=r"plan\.json is missing"):
        claim.put("b", b"2")

    assert not url.exists()


@pytest.mark.parametrize(("age", "asked"), [(0, 0), (30, 0), (90, 1), (-90, 1)])
def test_a_worker_that_joins_knows_what_the_client_saw_and_when(
    gcs, table, monkeypatch, age, asked
):
    url = f"gs://{gcs.bucket()}/out.zarr"
    folder = fetch.open_folder(url)
    planned = plan_of(table, url, seed=1)
    run = store.create_plan(folder, planned).run
    told = _shards._Told(planned.brief(run, call=f"{run}.1"), None, None)
    now = time.time() + age  # a clock that is behind the client's is no sign of youth, either
    monkeypatch.setattr(time, "time", lambda: now)
    gcs.forget()

    told.setup(None)
    store.Claim(folder, run).look()
    told.teardown(None)

    assert gcs.stats().count("media", "plan.json") == asked


def test_in_a_bucket_a_writer_looks_again_after_a_minute_whether_the_store_is_still_its_own(
    gcs, table, monkeypatch
):
    url = f"gs://{gcs.bucket()}/out.zarr"
    folder = fetch.open_folder(url)
    claim = store.Claim(folder, store.create_plan(folder, plan_of(table, url, seed=1)).run)
    claim.put("a", b"1")
    store.erase(folder)
    store.create_plan(folder, plan_of(table, url, seed=2))

    claim.put("b", b"2")  # a name that nobody has written: within the minute it is not known
    later = time.monotonic() + 61
    monkeypatch.setattr(_claim.time, "monotonic", lambda: later)
    with pytest.raises(daskimg.StoreError, match="another run has taken over"):
        claim.put("c", b"3")

    assert folder.size("c") is None


# -- an object of one writer ------------------------------------------------------------------


def allowed():
    """Let anything be replaced."""


def forbidden():
    raise daskimg.StoreError("it is another's")


@pytest.fixture
def folder(url):
    return fetch.open_folder(url)


def test_an_object_is_created_and_nobody_is_asked(folder):
    folder.put_once("a", b"1", forbidden)

    assert folder.read("a") == b"1"


def test_an_object_with_the_same_bytes_is_left_alone(folder, request):
    folder.put("a", b"1")

    folder.put_once("a", b"1", forbidden)

    if fetch.is_url(folder.url):
        assert request.getfixturevalue("gcs").stats().by_kind("a$")["create"] == 1  # refused


def test_an_object_with_other_bytes_of_the_same_size_is_replaced_where_that_is_allowed(folder):
    folder.put("a", b"1")

    folder.put_once("a", b"2", allowed)

    assert folder.read("a") == b"2"


def test_an_object_with_other_bytes_stays_where_it_is_not_to_be_replaced(folder):
    folder.put("a", b"1")

    with pytest.raises(daskimg.StoreError, match="another's"):
        folder.put_once("a", b"2", forbidden)

    assert folder.read("a") == b"1"


@pytest.mark.parametrize("says", [FileNotFoundError, FileExistsError])
def test_whatever_says_that_an_object_is_not_to_be_replaced_is_heard(folder, says):
    folder.put("a", b"1")

    def refuse():
        raise says("of another file")

    with pytest.raises(says, match="of another file"):
        folder.put_once("a", b"2", refuse)

    assert folder.read("a") == b"1"


@pytest.mark.parametrize("erased", [False, True], ids=["put", "erased and created"])
def test_only_that_writing_is_replaced_which_was_looked_at(folder, erased):
    folder.put("a", b"1")
    asked = []

    def overtaken():
        asked.append(folder.read("a"))
        if len(asked) == 1:  # by a run that begins just now
            if erased:
                folder.remove("a")
            folder.put("a", b"3")
        else:
            forbidden()

    with pytest.raises(daskimg.StoreError, match="another's"):
        folder.put_once("a", b"2", overtaken)

    assert asked == [b"1", b"3"]
    assert folder.read("a") == b"3"


def test_on_a_disk_what_comes_at_the_last_moment_keeps_its_name(tmp_path, monkeypatch):
    folder = fetch.open_folder(str(tmp_path / "out"))
    folder.put("a", b"1")
    rename, answers = Path.rename, [allowed, forbidden]

    def overtaken(path, goal):
        folder.put("a", b"3")
        return rename(path, goal)

    monkeypatch.setattr(Path, "rename", overtaken)
    with pytest.raises(daskimg.StoreError, match="another's"):
        folder.put_once("a", b"2", lambda: answers.pop(0)())

    assert folder.read("a") == b"3"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def test_an_object_to_which_others_write_all_the_time_is_given_up(folder):
    folder.put("a", b"1")
    contents = (bytes([number]) * 2 for number in range(100))

    with pytest.raises(daskimg.errors.TransportError, match="others write to it all the time"):
        folder.put_once("a", b"2", lambda: folder.put("a", next(contents)))

    assert len(folder.read("a")) == 2
    assert list(folder.sizes()) == ["a"]


def test_an_object_that_goes_meanwhile_is_created(folder):
    folder.put("a", b"1")

    folder.put_once("a", b"2", lambda: folder.remove("a"))

    assert folder.read("a") == b"2"


def test_a_lost_answer_to_a_replacement_is_known_as_our_own(gcs):
    folder = fetch.open_folder(f"gs://{gcs.bucket()}/out")
    folder.put("a", b"1")
    gcs.faults({"fault": "reset_after_write", "kind": "put", "count": 1})

    folder.put_once("a", b"2", allowed)

    assert gcs.stats().faults == {"reset_after_write": 1}
    assert folder.read("a") == b"2"


# -- the commit -------------------------------------------------------------------------------


def test_a_commit_compares_the_checksums_that_the_bucket_lists(
    gcs, pictures, table, threads, monkeypatch
):
    url = f"gs://{gcs.bucket()}/out.zarr"
    folder = fetch.open_folder(url)
    real = store.assemble_samples

    def flip_a_bit(given, brief, *rest):
        whole = folder.read("image/c/0/0/0/0")
        folder.put("image/c/0/0/0/0", whole[:-1] + bytes([whole[-1] ^ 1]))
        return real(given, brief, *rest)

    monkeypatch.setattr(store, "assemble_samples", flip_a_bit)
    gcs.forget()
    with pytest.raises(daskimg.StoppedError, match=r"image/c/0/0/0/0 has the crc32c \S+ and not"):
        daskimg.build_store(plan_of(table, url, seed=1), client=threads)
    monkeypatch.undo()
    again = daskimg.build_store(plan_of(table, url, seed=1), client=threads)

    assert folder.size("zarr.json") is not None
    assert again.outcome == "committed"
