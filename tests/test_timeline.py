import re
import time

import pytest
import scenes
from hypothesis import given
from hypothesis import strategies as st

import daskimg
from daskimg.fetch import _sources
from daskimg.recipe import _recipe
from daskimg.timeline import STAGES, Span, Stopwatch, Timeline

SPANS = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=20)


def timeline(threads, spans, cpu=1.0, **stages):
    """Tasks of (began, ended), all with the same share of each stage."""
    made = Timeline(threads)
    for shard, (began, ended) in enumerate(spans):
        length = ended - began
        seconds = {name: share * length for name, share in stages.items()}
        made.add(Span(shard, "a", began, ended, 1), seconds, cpu * length)
    return made


def test_each_lap_gives_a_stage_what_has_passed_since_the_last():
    watch = Stopwatch()
    time.sleep(0.02)
    watch.lap("fetch")
    watch.lap("decode")

    assert watch.seconds["fetch"] >= 0.02 > watch.seconds["decode"]
    assert watch.seconds["write"] == 0
    assert 0 <= watch.cpu < 0.02  # asleep it had no core


@given(SPANS)
def test_as_many_tasks_end_as_begin(pairs):
    line = timeline(4, [(a, a + b) for a, b in pairs], decode=1)

    steps = list(line.concurrency())

    assert len(steps) == 2 * len(pairs)
    assert steps[-1][1] == 0
    assert max(running for _, running in steps) <= len(pairs)
    assert [at for at, _ in steps] == sorted(at for at, _ in steps)


@pytest.mark.parametrize(
    ("threads", "spans", "cpu", "stages", "words"),
    [
        (2, [(0, 9), (0, 9)], 1, {"decode": 0.8, "write": 0.2}, "decoding: 80% .* were busy"),
        (2, [(0, 9), (0, 9)], 0.5, {"decode": 0.8}, "decoding: .* had a core for 50% only"),
        (2, [(0, 9), (0, 9)], 0.1, {"fetch": 0.7, "decode": 0.3}, "storage: .* sources for 70%"),
        (2, [(0, 9), (0, 9)], 0.1, {"fetch": 0.3, "write": 0.7}, "storage: tasks wrote for 70%"),
        (1, [(0, 5), (5, 9)], 1, {"decode": 0.2, "transform": 0.8}, "the recipe's steps: 80%"),
        (8, [(0, 9), (0, 9)], 1, {"decode": 1}, "too few shards, 2 shards for 8 threads: .* 75%"),
        (2, [(0, 1), (0, 9)], 1, {"decode": 1}, "the last shards: .* 44% .* most of it at the"),
        (2, [(0, 1), (5, 6), (9, 10)], 1, {"decode": 1}, "the handing out of tasks: .* 85%"),
        (2, [], 1, {}, "^$"),
    ],
)
def test_what_limited_a_run_follows_from_its_tasks(threads, spans, cpu, stages, words):
    limit = timeline(threads, spans, cpu, **stages).limit()

    assert re.search(words, limit), limit


def test_a_run_knows_its_workers_and_where_its_time_went(table, tmp_path, client):
    plan = scenes.plan(table, tmp_path / "a.zarr", shard=4, chunk=4, max_failed=1)
    before = time.time()

    report = daskimg.build_store(plan, client=client)

    line, after = report.timeline, time.time()
    names = {str(each["name"]) for each in client.scheduler_info()["workers"].values()}
    assert sorted(span.shard for span in line.spans) == list(range(10))
    assert {span.worker for span in line.spans} <= names
    assert all(before <= span.began <= span.ended <= after for span in line.spans)
    assert all(line.stages[stage] > 0 for stage in STAGES)
    # A core that helped with another's shard counts there, too.
    assert 0.9 * line.busy < sum(line.stages.values()) <= line.threads * line.busy
    assert line.threads == 2
    found = report.to_json()
    assert set(found["stages"]) == set(STAGES)
    assert f"  limited by {found['limited_by']}" in report.lines()
    again = daskimg.build_store(plan, client=client)
    assert (again.timeline.spans, again.to_json()["limited_by"]) == ([], "")


def test_tasks_that_wait_for_their_sources_say_so(table, tmp_path, threads, monkeypatch):
    def slowly(location, most):
        time.sleep(0.01)
        return read_file(location, most)

    read_file = _sources.read_file
    monkeypatch.setattr(_sources, "read_file", slowly)
    plan = scenes.plan(table, tmp_path / "a.zarr", shard=4, chunk=4, max_failed=1)

    line = daskimg.build_store(plan, client=threads).timeline

    assert line.stages["fetch"] >= 0.4  # forty pictures
    assert line.shares()["fetch"] == max(line.shares().values())
    assert line.cpu < line.busy - 0.3


def test_a_slow_decoder_is_what_decoding_takes(table, tmp_path, threads, monkeypatch):
    def slowly(*arguments):
        time.sleep(0.01)
        return decode(*arguments)

    decode = _recipe.decode
    monkeypatch.setattr(_recipe, "decode", slowly)
    plan = scenes.plan(table, tmp_path / "a.zarr", shard=4, chunk=4, max_failed=1)

    line = daskimg.build_store(plan, client=threads).timeline

    assert line.stages["decode"] >= 0.4  # forty pictures
    assert line.shares()["decode"] == max(line.shares().values())
