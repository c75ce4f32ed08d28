"""Threads with nothing to do help: every item once, errors heard, nobody in the way."""

import threading
import time
from dataclasses import dataclass

import pytest
import scenes
from hypothesis import given
from hypothesis import strategies as st

import daskimg
from daskimg.task import Hands
from daskimg.task._hands import share
from daskimg.transforms import Resize

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


@given(items=st.lists(st.integers(), max_size=60), threads=st.integers(1, 5))
def test_each_item_is_done_once_whoever_helps(items, threads):
    done, lock = [], threading.Lock()

    def do(item):
        with lock:
            done.append(item)

    hands = Hands(threads)
    share(items, hands, lambda: do)

    assert sorted(done) == sorted(items)
    assert hands._busy == 0


def test_a_thread_with_nothing_to_do_helps_and_leaves_when_a_task_begins():
    hands, helped, own = Hands(2), threading.Event(), threading.get_ident()
    seen = []

    def do(item):
        seen.append((item, threading.get_ident() == own))
        if not seen[-1][1]:
            helped.set()
        time.sleep(0.002)
        if item == 100:
            assert helped.wait(10)
            hands.take()  # another task begins ...
            hands._busy += 1  # ... in the thread that helps
        if item > 110:
            assert seen[-1][1]

    share(range(140), hands, lambda: do)

    assert {mine for _, mine in seen} == {True, False}
    assert sorted(item for item, _ in seen) == list(range(140))


@pytest.mark.parametrize("helper", [True, False])
def test_what_fails_in_any_thread_ends_the_work_and_is_heard_of(helper):
    own, begun = threading.get_ident(), []

    def do(item):
        begun.append(item)
        time.sleep(0.001)
        if len(begun) > 20 and (threading.get_ident() != own) == helper:
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        share(range(10_000), Hands(3), lambda: do)
    assert len(begun) < 1000


def test_one_shard_is_built_by_all_threads_of_its_worker(table, tmp_path, threads):
    recipe = daskimg.Recipe([NotedResize(16, 16)])

    samples = scenes.build(
        table, tmp_path / "a.zarr", threads, recipe=recipe, shard=40, chunk=10, max_failed=1
    )

    assert max(AT_ONCE) == 2
    assert samples.rows["path"].tolist() == table["path"].tolist()
