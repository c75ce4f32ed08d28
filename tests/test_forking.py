"""Workers of a local cluster: a process a core, forked from one that has imported everything."""

import os
import subprocess
import sys
from pathlib import Path

import dask
import pytest
from dask.system import CPU_COUNT

import daskimg
from daskimg.build import connect
from daskimg.build._forking import is_forked, method

TWO = daskimg.ClusterOptions(workers=2, threads=1, dashboard=False)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are spawned")


def test_by_default_there_is_a_process_a_core():
    assert daskimg.ClusterOptions().shape() == (CPU_COUNT, 1)
    assert daskimg.ClusterOptions(threads=CPU_COUNT).shape() == (1, CPU_COUNT)
    assert daskimg.ClusterOptions(processes=False).shape() == (1, CPU_COUNT)


def test_workers_are_forked_from_one_process_that_has_imported_what_they_need():
    with connect(TWO) as client:
        assert set(client.run(is_forked).values()) == {True}
        parents = set(client.run(os.getppid).values())

    assert len(parents) == 1
    assert os.getpid() not in parents


def test_the_process_that_is_forked_has_one_thread():
    # Another's lock would be held for ever in the child; Python 3.12 warns of it.
    with connect(TWO) as client:
        (parent,) = set(client.run(os.getppid).values())
        assert len(list(Path(f"/proc/{parent}/task").iterdir())) == 1


def test_workers_have_todays_environment(monkeypatch):
    monkeypatch.setenv("DASKIMG_TEST_OF_WHAT_GOES", "early")
    with connect(TWO):
        pass
    monkeypatch.delenv("DASKIMG_TEST_OF_WHAT_GOES")
    monkeypatch.setenv("DASKIMG_TEST_OF_WHAT_COMES", "late")

    with connect(TWO) as client:
        gone = client.run(os.environ.get, "DASKIMG_TEST_OF_WHAT_GOES")
        come = client.run(os.environ.get, "DASKIMG_TEST_OF_WHAT_COMES")

    assert (set(gone.values()), set(come.values())) == ({None}, {"late"})


def test_texts_hash_alike_in_every_run():
    found = set()
    for _ in range(2):
        with connect(TWO) as client:
            found |= set(client.run(hash, "the same in every worker of every run").values())

    assert len(found) == 1


ALONE = """
import os
from multiprocessing import get_context
from pathlib import Path
import daskimg
from daskimg.build import connect
from daskimg.build._forking import is_forked
TWO = daskimg.ClusterOptions(workers=2, threads=1, dashboard=False)
"""


def in_a_process_of_its_own(code):
    """Run code where no other cluster stands: a process has one server for all of them."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE + code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_nothing_of_it_outlives_the_clusters():
    in_a_process_of_its_own(
        """
with connect(TWO) as client:
    (parent,) = set(client.run(os.getppid).values())
    with connect(TWO) as other:
        assert set(other.run(os.getppid).values()) == {parent}
    assert Path(f"/proc/{parent}").exists()
assert not Path(f"/proc/{parent}").exists()
with get_context("forkserver").Pool(1) as pool:
    assert pool.apply(is_forked) is False
"""
    )


def test_a_server_that_was_there_before_is_left_alone():
    in_a_process_of_its_own(
        """
with get_context("forkserver").Pool(1) as pool:
    before = pool.apply(os.getppid)
with connect(TWO) as client:
    assert set(client.run(os.getppid).values()) == {before}
assert Path(f"/proc/{before}").exists()
"""
    )


def test_workers_keep_the_pages_of_their_pictures():
    with connect(TWO) as client:
        found = client.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_")
        (parent,) = set(client.run(os.getppid).values())
        begun_with = Path(f"/proc/{parent}/environ").read_bytes().split(b"\0")

    assert set(found.values()) == {str(16 << 20)}
    assert b"MALLOC_TRIM_THRESHOLD_=16777216" in begun_with  # it is read when a process begins


def test_who_asks_dask_for_another_way_gets_it():
    with dask.config.set({"distributed.worker.multiprocessing-method": "fork"}):
        assert method() == {}
