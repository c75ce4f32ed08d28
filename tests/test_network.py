"""A network that fails: what a run puts up with, what it stops at, and within what time."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import scenes

import daskimg
from daskimg import fetch
from daskimg.build import ClusterOptions, connect

# gcsfs hands large bodies to aiohttp as bytes, and aiohttp would rather have a file.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

SHARD = 8  # samples: five shards of the forty pictures

build = partial(scenes.build, shard=SHARD, chunk=4, max_failed=1)
plan = partial(scenes.plan, shard=SHARD, chunk=4, max_failed=1)


@pytest.fixture(scope="module")
def place(gcs_environment, pictures):
    """A bucket with the forty pictures and their table in its folder `in`."""
    bucket = gcs_environment.bucket()
    gcs_environment.upload(pictures[0], f"{bucket}/in", pictures[1])
    table = scenes.table_of(*pictures).assign(path=pictures[1])
    content = table.to_csv(index=False).encode()
    gcs_environment.system.pipe_file(f"{bucket}/in/labels.csv", content)
    return bucket


@pytest.fixture(scope="module")
def workers(gcs_environment):
    """Two worker processes that were started with the server's address."""
    options = ClusterOptions(workers=2, threads=1, dashboard=False)
    with connect(options) as client:
        yield client


@pytest.fixture(scope="module")
def expected(pictures, tmp_path_factory, threads):
    """The samples of the same pictures, from a disk to a disk."""
    url = tmp_path_factory.mktemp("network") / "out.zarr"
    return hashes(build(scenes.table_of(*pictures), url, threads))


@pytest.fixture
def table(place, pictures):
    return scenes.table_of(*pictures).assign(
        path=[f"gs://{place}/in/{name}" for name in pictures[1]]
    )


@pytest.fixture
def out(gcs):
    return f"gs://{gcs.bucket()}/out.zarr"


def hashes(samples):
    images = np.asarray(samples.image[:])
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


# -- a fifth of all requests ------------------------------------------------------------------

SIX = [
    {"fault": "status", "status": 503},
    {"fault": "status", "status": 429, "retry_after": 0.5},
    {"fault": "reset"},
    {"fault": "reset_after_write", "kind": "put|create|delete"},
    {"fault": "truncate"},
    {"fault": "stall", "seconds": 20},
]
"""Faults of transport; a rule that strikes hides those behind it."""


def test_a_fifth_of_all_requests_may_fail(gcs, table, out, workers, expected):
    planned = plan(table, out)
    gcs.forget()
    gcs.faults(*({**rule, "probability": 0.05} for rule in SIX), seed=3)

    with fetch.using(fetch.Options(read_seconds=1)):
        report = daskimg.build_store(planned, client=workers)
        stats = gcs.stats()
        gcs.calm()

    samples = daskimg.open_store(out)
    assert 0.15 < sum(stats.faults.values()) / stats.count() < 0.3
    assert hashes(samples) == expected
    assert samples.failures["reason"].tolist() == ["format", "format"]  # those that are broken
    assert {"server", "throttled", "reset", "truncated", "timeout"} <= set(report.traffic.retries)
    # An answer without a body, or one of an error, cannot be cut short.
    assert 0 <= sum(stats.faults.values()) - report.traffic.retries.total() <= 3
    assert re.search(r"retried: .*\d+ 429", str(report))
    assert daskimg.verify_store(out, rows=10).findings == ()


# -- one worker that reaches nothing ----------------------------------------------------------


def test_what_a_cut_off_worker_cannot_do_another_does(gcs, table, out, workers, expected):
    planned = plan(table, out)
    cut_off = next(iter(workers.run(os.getpid).values()))
    gcs.faults({"fault": "stall", "client": cut_off})

    with fetch.using(fetch.Options(read_seconds=0.5, total_seconds=1)):
        began = time.monotonic()
        report = daskimg.build_store(planned, client=workers)
        seconds = time.monotonic() - began
        gcs.calm()

    assert hashes(daskimg.open_store(out)) == expected
    assert report.failed == 2
    assert seconds < 30


def test_a_task_of_a_cut_off_worker_fails_within_the_stated_time(gcs, place, workers):
    address, cut_off = next(iter(workers.run(os.getpid).items()))
    gcs.faults({"fault": "stall", "client": cut_off})
    url = f"gs://{place}/in/p0000.jpg"

    began = time.monotonic()
    task = workers.submit(_read, url, {"read_seconds": 0.5, "total_seconds": 1}, workers=[address])
    with pytest.raises(daskimg.TransportError, match=r"TimeoutError.*from http.*attempt \d"):
        task.result()

    assert time.monotonic() - began < 1 + 0.5 + 2


def _read(url, options):
    with fetch.using(fetch.Options(**options)):
        return fetch.read(url)


# -- nothing goes through ---------------------------------------------------------------------


def run_apart(place, out, **variables):
    """Run the main job as a process; return it, and how long it took."""
    began = time.monotonic()
    done = subprocess.run(
        [
            sys.executable, "-m", "daskimg.run", f"gs://{place}/in/labels.csv", out, "--size",
            "16", "--shard-samples", "8", "--chunk-samples", "4", "--max-failed", "1",
            "--workers", "2", "--threads", "1", "--json",
        ],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    return done, time.monotonic() - began


def test_where_nothing_goes_through_a_run_stops_and_says_where(gcs, place, out):
    gcs.faults({"fault": "status", "status": 503, "message": "Backend Error"})

    done, seconds = run_apart(place, out, DASKIMG_ATTEMPTS="3")

    assert done.returncode == 3, done.stderr
    assert f"503 Backend Error, from {gcs.url} (attempt 3" in done.stderr
    assert "Traceback" not in done.stderr
    assert seconds < 120


@pytest.mark.parametrize("fault", ["status", "stall"])
def test_a_run_whose_network_goes_down_stops_and_is_gone_on_with(gcs, place, out, expected, fault):
    down = {"name": "in/p003|image/c/4", "message": "Backend Error"}  # the last shard's sources
    gcs.faults({"fault": fault, **down})
    hasty = {"DASKIMG_ATTEMPTS": "3", "DASKIMG_READ_SECONDS": "0.5", "DASKIMG_TOTAL_SECONDS": "2"}

    stopped, seconds = run_apart(place, out, **hasty)
    finished = gcs.system.find(f"{out.removeprefix('gs://')}/daskimg/records/ledger")
    gcs.calm()
    done, _ = run_apart(place, out)

    assert stopped.returncode == 3, stopped.stderr
    assert f"from {gcs.url} (attempt" in stopped.stderr
    assert ("503 Backend Error" if fault == "status" else "TimeoutError") in stopped.stderr
    assert seconds < 60
    assert finished, "nothing was finished before"
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["resumed"] >= 8 * len(finished)
    assert hashes(daskimg.open_store(out)) == expected


def started(place, out, folder, variables):
    """Start the main job, which stops at its eighth picture until there is a file `gate`."""
    (folder / "gated.toml").write_text(
        '[[transform]]\nname = "slow_resize:GatedResize"\nheight = 16\nwidth = 16\n'
        f'gate = "{folder / "gate"}"\n'
    )
    return subprocess.Popen(
        [
            sys.executable, "-m", "daskimg.run", f"gs://{place}/in/labels.csv", out, "--recipe",
            str(folder / "gated.toml"), "--shard-samples", "2", "--chunk-samples", "2",
            "--max-failed", "1", "--workers", "2", "--threads", "1", "--json",
        ],
        env={**os.environ, "PYTHONPATH": f"{scenes.ROOT / 'tests'}:{scenes.ROOT}", **variables},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


LATER = {"fault": "status", "status": 429, "retry_after": 2}  # twice that is over the deadline


@pytest.mark.parametrize(
    "fault", [{"fault": "status"}, LATER, {"fault": "stall"}, {"fault": "reset"}],
    ids=["status", "later", "stall", "reset"],
)  # fmt: skip
def test_a_run_in_the_middle_of_which_everything_fails_has_one_deadline(
    gcs, place, out, tmp_path, fault
):
    hasty = {"DASKIMG_READ_SECONDS": "1", "DASKIMG_TOTAL_SECONDS": "3"}
    process = started(place, out, tmp_path, hasty)
    while process.poll() is None and not gcs.stats().count(name=r"records/ledger/\d"):
        time.sleep(0.05)

    gcs.faults({**fault, "message": "Backend Error"})
    (tmp_path / "gate").touch()
    began = time.monotonic()
    _, told = process.communicate(timeout=100)
    seconds = time.monotonic() - began

    assert process.returncode == 3, told
    # A first attempt that is told to come back too late is the last one, and says that instead.
    last = (
        r".* \(attempt \d" if fault is not LATER else r"(.* \(attempt \d|, which asks to wait 2 s)"
    )
    assert re.search(rf"from {re.escape(gcs.url)}{last}", told), told
    assert "Traceback" not in told
    # One deadline, and the attempts that it finds under way. Three tries of each task, each with
    # a deadline of its own, and one more for the log, were four times as long.
    assert seconds < 3 + 2 * 1 + 15, told  # a busy machine starts and ends processes late
