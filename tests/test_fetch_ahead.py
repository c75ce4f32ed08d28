import asyncio
import io
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web import Answer, serving

from daskimg import fetch
from daskimg.errors import SampleError, TransportError
from daskimg.fetch import _ahead
from daskimg.fetch._budget import BUDGET
from daskimg.fetch._ranges import opened

MIB = 1 << 20


class Line:
    """Remote objects of one size behind a latency; how many were under way at once."""

    def __init__(self, size, latency):
        self.size, self.latency = size, latency
        self.under_way = self.most = 0

    async def read(self, location, start, stop, limit):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(self.latency)
        self.under_way -= 1
        return location.encode().ljust(self.size)


@pytest.fixture
def line(monkeypatch):
    """Make a line that reading ahead reads from; the budget has forgotten all sizes."""

    def make(size=100, latency=0.0):
        made = Line(size, latency)
        monkeypatch.setattr(_ahead, "read_remote", made.read)
        return made

    monkeypatch.setattr(BUDGET, "mean", 4.0 * MIB)
    return make


def places(count):
    return [f"gs://bucket/{i}" for i in range(count)]


def test_latency_is_hidden_from_whoever_takes_time_over_each_object(line):
    line(latency=0.05)
    waited = 0.0
    ahead = fetch.read_ahead(places(200))
    next(ahead)

    for _ in range(150):
        began = time.perf_counter()
        next(ahead)
        waited += time.perf_counter() - began
        time.sleep(0.003)

    assert waited < 150 * 0.05 / 10  # one after the other would be 150 latencies


def test_so_many_objects_are_under_way_and_no_more(line):
    made = line(latency=0.01)

    with fetch.using(fetch.Options(objects_ahead=7)):
        found = list(fetch.read_ahead(places(50)))

    assert [f.decode().strip() for f in found] == places(50)
    assert made.most == 7


def test_so_many_bytes_are_under_way_once_sizes_are_known(line):
    made = line(size=MIB, latency=0.005)

    with fetch.using(fetch.Options(bytes_ahead=8 * MIB)):
        ahead = fetch.read_ahead(places(100))
        for _ in range(20):
            next(ahead)
        assert BUDGET.bytes <= 8 * MIB
        made.most = 0
        list(ahead)

    assert 4 <= made.most <= 8


def test_objects_over_the_whole_budget_come_one_by_one(line):
    made = line(size=2 * MIB)

    with fetch.using(fetch.Options(bytes_ahead=MIB)):
        assert len(list(fetch.read_ahead(places(5)))) == 5

    assert made.most == 1


def test_readers_of_one_process_share_its_budget_and_none_waits_for_another(line):
    made = line(latency=0.01)

    with fetch.using(fetch.Options(objects_ahead=8)):
        readers = [fetch.read_ahead(places(40)) for _ in range(4)]
        for reader in readers:
            next(reader)
        assert all(len(list(reader)) == 39 for reader in readers[1:])  # the first stands still
        assert len(list(readers[0])) == 39

    assert made.most <= 8 + 3  # each may begin one


def test_what_is_left_of_the_budget_comes_back(line):
    line()
    before = BUDGET.objects, BUDGET.bytes, BUDGET.readers

    left = fetch.read_ahead(places(40))
    next(left)
    during = BUDGET.objects
    left.close()
    list(fetch.read_ahead(places(10)))

    assert during > 0
    assert (BUDGET.objects, BUDGET.bytes, BUDGET.readers) == before == (0, 0, 0)


def test_a_fault_of_the_line_ends_the_reading_and_frees_the_budget():
    with serving() as server, fetch.using(fetch.Options(attempts=1)):
        server.script["/3"] = [Answer(503)]
        found = []

        with pytest.raises(TransportError, match="503"):
            found += fetch.read_ahead(f"{server.url}/{i}" for i in range(9))

    assert (BUDGET.objects, BUDGET.bytes, BUDGET.readers) == (0, 0, 0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["disk", "memory", "gone", "zip"]), max_size=30))
def test_sources_of_all_kinds_come_in_the_order_asked_for(tmp_path_factory, kinds):
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "a").write_bytes(b"disk")
    fetch.open_folder("memory://mixed").put("a", b"memory")
    where = {
        "disk": str(folder / "a"),
        "memory": "memory://mixed/a",
        "gone": "memory://mixed/b",
        "zip": "zip://a::memory://mixed/none.zip",
    }

    found = fetch.read_ahead(where[kind] for kind in kinds)

    assert [f if isinstance(f, bytes) else f.reason for f in found] == [
        kind.encode() if kind in ("disk", "memory") else "missing" for kind in kinds
    ]


def test_threads_that_read_at_once_each_get_their_own(line):
    line(latency=0.001)
    found = {}

    def work(name):
        found[name] = list(fetch.read_ahead(f"gs://{name}/{i}" for i in range(50)))

    threads = [threading.Thread(target=work, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for name, content in found.items():
        assert [c.decode().strip() for c in content] == [f"gs://{name}/{i}" for i in range(50)]


def test_a_picture_behind_a_slow_server_is_no_slower_than_its_latency_once():
    with serving() as server:
        server.latency = 0.05
        began = time.perf_counter()

        found = list(fetch.read_ahead(f"{server.url}/{i}.jpg" for i in range(100)))

    assert not any(isinstance(each, SampleError) for each in found)
    assert time.perf_counter() - began < 100 * 0.05 / 2


@settings(max_examples=25, deadline=None)
@given(
    content=st.binary(min_size=1, max_size=400_000),
    steps=st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 300_000)), max_size=8),
    knows_ranges=st.booleans(),
)
def test_a_file_over_ranges_reads_as_a_file_on_disk(content, steps, knows_ranges):
    def part(start, stop):
        return content[start:stop] if knows_ranges else content

    plain, file = io.BytesIO(content), opened(len(content), part)

    for place, count in steps:
        assert file.seek(place) == plain.seek(place)
        assert file.read(count) == plain.read(count)
        assert file.read(3) == plain.read(3)
