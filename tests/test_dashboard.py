"""The scheduler's view of a run: the board, the page that is served, and the metrics."""

import io
import re
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import scenes
from bokeh.client import pull_session
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import daskimg
from daskimg import decode, store
from daskimg.build import ClusterOptions, _page, _watch, connect, page_of
from daskimg.build._board import DONE, FAILED, PENDING, RUNNING, Board
from daskimg.timeline import Rates


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def done(shard, samples=10, failed=0, resumed=False, picture=None, **stages):
    reasons = {"format": failed} if failed else {}
    return {
        "state": "done", "shard": shard, "samples": samples, "failed": failed,
        "resumed": resumed, "reasons": reasons, "source_bytes": 100, "stored_bytes": 50,
        "stages": stages, "picture": picture,
    }  # fmt: skip


def running(shard, worker="a"):
    return {"state": "running", "shard": shard, "worker": worker}


@pytest.fixture(scope="module")
def cluster():
    """A cluster with a dashboard."""
    with connect(ClusterOptions(workers=1, threads=2)) as client:
        yield client


@pytest.fixture(scope="module")
def built(cluster, pictures, tmp_path_factory):
    """A store that this cluster has built, of ten shards, with two broken pictures."""
    url = tmp_path_factory.mktemp("dashboard") / "a.zarr"
    plan = scenes.plan(scenes.table_of(*pictures), url, shard=4, chunk=4, max_failed=1)
    report = daskimg.build_store(plan, client=cluster)
    assert report.outcome == "committed"
    return str(url)


def get(client, page):
    address = client.dashboard_link.removesuffix("status") + page
    with urllib.request.urlopen(address, timeout=20) as answer:
        return answer.read().decode()


def served(client):
    """The page's models as a browser is sent them, by name."""
    address = page_of(client)
    with pull_session(url=address) as session:
        names = ("head", "rates", "shards", "stages", "reasons", "sheet")
        return {name: session.document.get_model_by_name(name) for name in names}, session


def test_a_board_counts_what_it_is_told():
    clock = Clock()
    board = Board("a.zarr", 3, 30, clock)
    board.take(running(0))
    clock.now = 4.0
    board.take(done(0, failed=2, decode=3.0))
    board.take(done(1, resumed=True))
    board.take(running(2))

    assert list(board.states) == [DONE, DONE, RUNNING]
    assert (board.done, board.failed, board.resumed) == (20, 2, 10)
    assert (board.source_bytes, board.stored_bytes) == (100, 50)
    assert board.reasons == {"format": 2}
    assert board.stages == {"decode": 3.0}
    assert board.rate == 10 / 4
    assert board.settled == 4.0


def test_a_shard_that_is_done_stays_done_and_counts_once():
    board = Board("a.zarr", 1, 10)
    for message in (
        running(0),
        done(0),
        running(0, "b"),
        done(0),
        {"state": "failed", "shard": 0},
    ):
        board.take(message)

    assert (board.done, list(board.states)) == (10, [DONE])


def test_what_ran_on_a_lost_worker_is_pending_again():
    board = Board("a.zarr", 3, 30)
    for message in (running(0, "a"), running(1, "b"), {"state": "failed", "shard": 2}):
        board.take(message)

    board.lose("a")

    assert list(board.states) == [PENDING, RUNNING, FAILED]


def test_a_board_keeps_the_last_thumbnails_only():
    board = Board("a.zarr", 100, 1000)
    for shard in range(100):
        board.take(done(shard, picture=(b"jpeg", f"row {shard}")))

    assert len(board.pictures) == 24
    assert board.pictures[0].caption == "row 99"


@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.floats(0, 1e4), st.floats(0, 1e3)),
        min_size=1,
        max_size=30,
    )
)
def test_no_sample_is_lost_among_the_bins_of_time_whose_number_is_bounded(tasks):
    rates = Rates()
    for samples, start, length in tasks:
        rates.add(samples, start, start + length)

    assert len(rates.values()) <= Rates.MOST + 1
    total = sum(samples for samples, _, _ in tasks)
    assert sum(rates.values()) * rates.width == pytest.approx(total, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("shards", [1, 64, 2048, 2049, 50_000])
def test_the_map_has_a_cell_for_each_shard_or_for_several(shards):
    board = Board("a.zarr", shards, shards)
    board.take({"state": "failed", "shard": shards - 1})

    cells = _page._cells(board)

    assert len(cells["x"]) <= 2048
    assert len(set(zip(cells["x"], cells["y"], strict=True))) == len(cells["x"])
    assert cells["state"][-1] == "failed"
    assert cells["shard"][-1].replace(",", "").endswith(str(shards - 1))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_thumbnail_is_a_small_jpeg_of_any_sample(dtype, channels):
    level = {"uint8": 128, "uint16": 128 << 8, "float32": 0.5}[dtype]
    pixels = np.full((300, 200, channels), level, dtype)

    content = decode.encode_thumbnail(pixels)

    image = Image.open(io.BytesIO(content))
    assert (image.format, image.size, len(image.getbands())) == ("JPEG", (64, 96), channels)
    assert abs(int(np.asarray(image).mean()) - 128) <= 1
    assert len(content) < 4096


def test_even_a_thumbnail_of_noise_is_a_few_kilobytes():
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3)).astype(np.uint8)

    assert len(decode.encode_thumbnail(noise)) < 12_000


def test_the_page_that_is_served_shows_what_the_run_did(cluster, built):
    models, _ = served(cluster)

    assert built in models["head"].text
    assert "<b>40</b> of 40 images (100%)" in models["head"].text
    assert "<b>2</b> failed" in models["head"].text
    assert "committed" in models["head"].text
    assert models["shards"].data["state"] == ["done"] * 10
    assert models["stages"].data["name"] == ["fetch", "decode", "transform", "write"]
    assert sum(models["stages"].data["length"]) == pytest.approx(1)
    assert models["reasons"].data == {"name": ["format"], "length": [2]}
    assert len(models["rates"].data["rate"]) > 0
    assert models["sheet"].text.count("<img src='data:image/jpeg;base64,") >= 1
    assert "alt='row " in models["sheet"].text


def test_every_page_of_the_dashboard_has_a_tab_for_it(cluster, built):
    assert '<a href="daskimg">' in get(cluster, "status")
    assert '<a href="daskimg">' in get(cluster, "daskimg")


def test_metrics_are_on_the_scheduler_s_endpoint(cluster, built):
    text = get(cluster, "metrics")

    for name, value in (
        ("samples_total", 40), ("planned_samples", 40), ("shards", 10), ("planned_shards", 10),
    ):  # fmt: skip
        assert f'daskimg_{name}{{store="{built}"}} {value}.0' in text, name
    assert f'daskimg_failed_samples_total{{reason="format",store="{built}"}} 2.0' in text
    rate = re.search(rf'daskimg_images_per_second{{store="{built}"}} (\S+)', text)
    stored = re.search(rf'daskimg_stored_bytes_total{{store="{built}"}} (\S+)', text)
    assert float(rate[1]) > 0
    assert float(stored[1]) > 40 * 16 * 16 * 3


def test_tasks_have_names_that_can_be_read(cluster, built):
    prefixes = cluster.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.task_prefixes))

    assert "daskimg-shard" in prefixes


def test_a_second_run_takes_the_page_over_and_the_first_ones_pictures_are_not_kept_by_dask(
    cluster, built, table, tmp_path
):
    plan = scenes.plan(table, tmp_path / "b.zarr", shard=20, chunk=20, max_failed=1)
    daskimg.build_store(plan, client=cluster)

    models, _ = served(cluster)

    assert "b.zarr" in models["head"].text
    assert models["shards"].data["state"] == ["done"] * 2
    events = cluster.get_events("daskimg")
    assert len(events) > 20
    assert all(message == {} for _, message in events)


def test_a_run_that_stops_says_so_on_the_page(cluster, table, tmp_path, monkeypatch):
    def break_off(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(store, "commit_store", break_off)
    plan = scenes.plan(table, tmp_path / "c.zarr", shard=20, chunk=20, max_failed=1)
    with pytest.raises(daskimg.StoppedError, match="no space left"):
        daskimg.build_store(plan, client=cluster)

    models, _ = served(cluster)

    assert models["head"].text.count("stopped") == 1


def test_workers_show_a_thumbnail_only_when_it_is_their_turn(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_watch.time, "monotonic", clock)
    turns = _watch._Turns()

    found = []
    for now in (10.0, 10.5, 11.9, 12.0, 12.1, 14.5):
        clock.now = now
        found.append(turns.mine(2.0))

    assert found == [True, False, False, True, False, True]


def test_a_cluster_without_a_dashboard_has_no_page_and_builds_all_the_same(
    client, table, tmp_path
):
    scenes.build(table, tmp_path / "a.zarr", client, max_failed=1)

    assert page_of(client) is None


def test_a_scheduler_that_cannot_watch_builds_all_the_same(threads, table, tmp_path, monkeypatch):
    def unpickle(*_):
        raise ModuleNotFoundError("No module named 'daskimg'")

    monkeypatch.setattr(_watch, "Watch", unpickle)

    scenes.build(table, tmp_path / "a.zarr", threads, max_failed=1)

    assert _watch.begin_watch(threads, scenes.plan(table, tmp_path / "b.zarr")) is None


def test_the_page_is_there_on_a_scheduler_that_others_started(table, tmp_path):
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port",
         "0", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", tmp_path / "s.json"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file",
         tmp_path / "s.json", "--nthreads", "1", "--no-dashboard", "--no-nanny",
         "--local-directory", tmp_path],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "s.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        with connect(ClusterOptions(scheduler=str(tmp_path / "s.json"))) as client:
            client.wait_for_workers(1, timeout=60)
            plan = scenes.plan(table, tmp_path / "a.zarr", shard=8, chunk=8, max_failed=1)
            daskimg.build_store(plan, client=client)
            models, _ = served(client)
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait(30)

    assert models["shards"].data["state"] == ["done"] * 5
    assert "<img" in models["sheet"].text
