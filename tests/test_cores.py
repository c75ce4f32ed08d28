"""Cores with nothing to do help: every item once, errors heard, nobody in the way."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import scenes
from hypothesis import given
from hypothesis import strategies as st

import daskimg
from daskimg.build import connect
from daskimg.task import OwnCores, SharedCores
from daskimg.task._cores import share
from daskimg.transforms import Resize


@dataclass(frozen=True, slots=True)
class PlacedResize(Resize):
    """``Resize`` that notes which threads of which process are at it, and takes its time."""

    notes: str = ""

    def __call__(self, sample):
        Path(self.notes, f"{os.getpid()}-{threading.get_ident()}").touch()
        time.sleep(0.01)
        return Resize.__call__(self, sample)


LOCK = threading.Lock()
AT_ONCE = [0]  # how many threads are in a transform, noted whenever one comes in or goes


@dataclass(frozen=True, slots=True)
class NotedResize(Resize):
    """``Resize`` that notes how many threads are at it, and takes its time."""

    def __call__(self, sample):
        with LOCK:
            AT_ONCE.append(AT_ONCE[-1] + 1)
        time.sleep(0.01)
        with LOCK:
            AT_ONCE.append(AT_ONCE[-1] - 1)
        return Resize.__call__(self, sample)


@pytest.fixture(params=["own", "shared"])
def three(request, tmp_path):
    """Three cores: a process's own, or those that it shares with others."""
    if request.param == "own":
        return OwnCores(3)
    for number in range(3):
        (tmp_path / str(number)).touch()
    return SharedCores(str(tmp_path))


def taken(cores):
    """Take all that are free."""
    found = []
    while let_go := cores.take():
        found.append(let_go)
    return found


@given(items=st.lists(st.integers(), max_size=60), count=st.integers(1, 5))
def test_each_item_is_done_once_whoever_helps(items, count):
    done, lock = [], threading.Lock()

    def do(item):
        with lock:
            done.append(item)

    cores = OwnCores(count)
    share(items, cores, lambda: do)

    assert sorted(done) == sorted(items)
    assert len(taken(cores)) == count


def test_each_core_is_taken_once_and_can_be_given_back(three):
    held = taken(three)
    assert len(held) == 3

    held[1]()

    assert len(taken(three)) == 1


def test_a_core_with_nothing_to_do_helps_and_leaves_when_its_own_task_begins(three):
    own, seen = threading.get_ident(), []
    busy, begun = three.take(), []

    def do(item):
        mine = threading.get_ident() == own
        seen.append((mine, bool(begun)))
        time.sleep(0.002)
        if mine and len(seen) > 40 and not begun and not all(who for who, _ in seen):
            deadline = time.monotonic() + 10
            while not (core := three.take()):  # as a task does that has begun without one
                assert time.monotonic() < deadline
                time.sleep(0.001)
            begun.append(core)

    share(range(200), three, lambda: do)

    assert begun
    assert (False, False) in seen  # there was help ...
    assert (False, True) not in seen  # ... until a task began
    assert len(taken(three)) == 1
    busy()


def test_a_task_without_a_core_works_and_takes_the_first_that_is_free(three):
    held, seen = taken(three), []

    def do(item):
        seen.append(item)
        if item == 5:
            held.pop()()
        if item == 7:
            assert three.take() is None

    share(range(10), three, lambda: do)

    assert seen == list(range(10))
    assert len(taken(three)) == 1


@pytest.fixture
def folder():
    with SharedCores.laid_out(2) as place:
        yield place


def test_the_cores_of_a_process_that_dies_are_free_again(folder):
    cores = SharedCores(folder)
    code = (
        "import sys, time; from daskimg.task import SharedCores; "
        "held = SharedCores(sys.argv[1]).take(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=-1) as other:
        assert other.stdout.readline() == b"held\n"
        held = taken(cores)
        assert len(held) == 1
        other.kill()

    assert len(taken(cores)) == 1


def test_cores_that_are_gone_are_none():
    with SharedCores.laid_out(2) as folder:
        cores = SharedCores(folder)
    assert not Path(folder).exists()

    done = []
    share(range(3), cores, lambda: done.append)

    assert done == [0, 1, 2]


def test_the_first_item_that_fails_is_the_one_that_is_told_whoever_was_first():
    late = threading.Event()

    def do(item):
        if item == 5:
            assert late.wait(10)
        if item == 6:
            late.set()
        if item >= 5:
            raise ValueError(f"item {item}")
        time.sleep(0.001)

    with pytest.raises(ValueError, match="item 5"):
        share(range(100), OwnCores(3), lambda: do)


def test_what_killed_runs_left_is_removed_after_days_and_no_sooner():
    with SharedCores.laid_out(1) as old, SharedCores.laid_out(1) as young:
        os.utime(old, (0, 0))

        with SharedCores.laid_out(1):
            assert not Path(old).exists()
            assert Path(young).exists()


def test_where_no_thread_can_be_started_one_goes_on_alone(monkeypatch):
    def refused(self, *arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refused)
    cores, done = OwnCores(2), []

    share(range(5), cores, lambda: done.append)

    assert done == [0, 1, 2, 3, 4]
    assert len(taken(cores)) == 2


@pytest.mark.parametrize("helper", [True, False])
def test_what_fails_in_any_thread_ends_the_work_and_is_heard_of(helper):
    own, begun = threading.get_ident(), []

    def do(item):
        begun.append(item)
        time.sleep(0.001)
        if len(begun) > 20 and (threading.get_ident() != own) == helper:
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        share(range(10_000), OwnCores(3), lambda: do)
    assert len(begun) < 1000


def test_one_shard_is_built_by_all_threads_of_its_worker(table, tmp_path, threads):
    recipe = daskimg.Recipe([NotedResize(16, 16)])

    samples = scenes.build(
        table, tmp_path / "a.zarr", threads, recipe=recipe, shard=40, chunk=10, max_failed=1
    )

    assert max(AT_ONCE) == 2
    assert samples.rows["path"].tolist() == table["path"].tolist()


def test_one_shard_is_built_by_all_cores_where_each_worker_has_one(table, tmp_path):
    (tmp_path / "notes").mkdir()
    recipe = daskimg.Recipe([PlacedResize(16, 16, notes=str(tmp_path / "notes"))])
    options = daskimg.ClusterOptions(workers=2, threads=1, dashboard=False)

    with connect(options) as client:
        samples = scenes.build(
            table, tmp_path / "a.zarr", client, recipe=recipe, shard=40, chunk=10, max_failed=1
        )
        tried = client.run(os.getpid)

    at_work = [file.name.split("-")[0] for file in (tmp_path / "notes").iterdir()]
    assert max(at_work.count(str(pid)) for pid in tried.values()) >= 2
    assert samples.rows["path"].tolist() == table["path"].tolist()
