"""Requests a second: with a clock that is only told the time, and with two real workers."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web import Answer, serving

from daskimg import fetch, run
from daskimg.build import ClusterOptions, connect
from daskimg.build._crew import Crew, Patience
from daskimg.build._workers import set_up
from daskimg.errors import OptionError
from daskimg.fetch._rate import DOUBLING, Limiter, Pace


class Clock:
    """A time that passes only where somebody sleeps."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def limiter(clock):
    return Limiter(clock, clock.sleep)


def admitted(limiter, clock, count, kind="read"):
    """When each of so many requests that come at once went out."""

    async def one(when):
        await limiter.admit(kind)
        when.append(clock.now)

    async def all_of_them():
        when = []
        await asyncio.gather(*(one(when) for _ in range(count)))
        return when

    return asyncio.run(all_of_them())


# -- the ramp ---------------------------------------------------------------------------------


def test_a_run_begins_below_what_a_new_bucket_bears_and_doubles_in_twenty_minutes(limiter, clock):
    first = limiter.paces()
    clock.now += 1200
    later = limiter.paces()

    assert first["read"] < 5000
    assert first["write"] < 1000
    assert DOUBLING == 1200
    assert later == {side: pytest.approx(2 * pace) for side, pace in first.items()}


def test_reads_and_writes_do_not_wait_for_each_other(limiter, clock):
    with fetch.using(fetch.Options(writes_per_second=1)):
        admitted(limiter, clock, 5, "write")
        began = clock.now
        admitted(limiter, clock, 5, "meta")

    assert clock.now == began


@settings(max_examples=30, deadline=None)
@given(
    rate=st.integers(1, 300),
    batches=st.lists(st.tuples(st.integers(1, 60), st.floats(0, 3)), min_size=1, max_size=8),
)
def test_no_second_sees_more_requests_than_the_pace_and_its_burst(rate, batches):
    clock = Clock()
    limiter = Limiter(clock, clock.sleep)
    went = []

    with fetch.using(fetch.Options(requests_per_second=rate)):
        for count, pause in batches:
            went += admitted(limiter, clock, count)
            clock.now += pause

    for first in went:
        assert sum(first <= each < first + 1 for each in went) <= rate + max(1, 0.1 * rate) + 1


def test_what_is_let_through_is_all_that_the_pace_allows(limiter, clock):
    began = clock.now

    with fetch.using(fetch.Options(requests_per_second=50)):
        admitted(limiter, clock, 500)

    assert clock.now - began == pytest.approx(10, rel=0.05)


def test_a_limit_is_for_reads_and_writes_together(limiter, clock):
    began = clock.now

    with fetch.using(fetch.Options(requests_per_second=10)):
        for kind in ("read", "write", "list", "delete"):
            admitted(limiter, clock, 25, kind)

    assert clock.now - began == pytest.approx(10, rel=0.15)


def test_who_comes_first_goes_first(limiter, clock):
    order = []

    async def one(number):
        await limiter.admit("read")
        order.append(number)

    async def all_of_them():
        await asyncio.gather(*(one(number) for number in range(40)))

    with fetch.using(fetch.Options(requests_per_second=10)):
        asyncio.run(all_of_them())

    assert order == list(range(40))


def test_standing_in_line_is_not_counted_as_failing(monkeypatch):
    with serving() as server, fetch.using(fetch.Options(total_seconds=0.4, requests_per_second=4)):
        server.script["/9"] = [Answer(503)]

        found = [fetch.read(f"{server.url}/{i}") for i in range(10)]

    assert found[9] == b"/9"


# -- slowing down -----------------------------------------------------------------------------


def refusing(limiter, clock, seconds, capacity, wanted):
    """Ask for so many a second of a server that refuses all above its capacity.

    Returns the requests of each second, and how many of them were refused.
    """

    async def ask():
        found = []
        for _ in range(seconds):
            end, asked, served = clock.now + 1, 0, 0
            while clock.now < end and asked < wanted:
                await limiter.admit("read")
                asked += 1
                served += 1
                if served > capacity:
                    limiter.refused("read")
            found.append((asked, max(0, served - capacity)))
            clock.now = max(clock.now, end)
        return found

    return asyncio.run(ask())


def test_a_server_that_refuses_is_asked_about_as_much_as_it_serves(limiter, clock):
    with fetch.using(fetch.Options(reads_per_second=1600)):
        asked = refusing(limiter, clock, 90, capacity=100, wanted=5000)

    assert asked[0][0] > 1000
    last = [count for count, _ in asked[-20:]]
    assert 80 <= sum(last) / 20 <= 150


def test_a_few_errors_among_many_cost_little(limiter, clock):
    with fetch.using(fetch.Options(reads_per_second=1000)):
        for second in range(30):
            admitted(limiter, clock, 300)
            for _ in range(3):  # one in a hundred
                limiter.refused("read")
            clock.now = 1001.0 + second

        assert limiter.paces()["read"] > 900


def test_after_a_minute_a_pace_is_what_it_was():
    halved = Pace(4000, began=0).slower(10, share=1)

    assert halved.at(10) == pytest.approx(2000, rel=0.01)
    assert halved.at(25) == pytest.approx(3000, rel=0.02)
    assert halved.at(45) == halved.ceiling(45)


@settings(max_examples=50, deadline=None)
@given(
    start=st.floats(1, 1e5),
    slowings=st.lists(st.tuples(st.floats(1, 100), st.floats(0, 1)), max_size=20),
)
def test_a_pace_is_never_nothing_and_never_above_the_ramp(start, slowings):
    pace, now = Pace(start, began=0.0), 0.0

    for after, share in slowings:
        now += after
        pace = pace.slower(now, share)

        assert 1 <= pace.at(now) <= pace.ceiling(now)
        assert pace.at(now + 60) >= pace.at(now)


def test_the_others_are_told_once_a_second_and_not_more(limiter, clock):
    told = []
    limiter.tell(told.append)

    for _ in range(5):
        admitted(limiter, clock, 10)
        for _ in range(10):
            limiter.refused("read")
        clock.now += 0.5

    assert len(told) == 2
    asked, refused = told[0]["read"]
    assert asked == pytest.approx(refused)


@pytest.mark.parametrize("status", [429, 503, 500])
def test_an_answer_slows_down_if_it_asks_for_that(status, monkeypatch):
    async def pause(seconds):
        pass

    monkeypatch.setattr("daskimg.fetch._retries.pause", pause)
    with serving() as server, fetch.using(fetch.Options()):
        server.script["/a"] = [Answer(status)]
        before = fetch.limiter().paces()["read"]

        fetch.read(f"{server.url}/a")
        time.sleep(0.3)
        fetch.read(f"{server.url}/b")

        assert (fetch.limiter().paces()["read"] < 0.9 * before) == (status != 500)


# -- dividing ---------------------------------------------------------------------------------


@given(parts=st.integers(1, 2000), slowed=st.booleans(), passed=st.floats(0, 5000))
def test_the_parts_of_all_workers_are_the_whole_on_any_clock(parts, slowed, passed):
    whole, clock = Limiter(Clock()), Clock()
    clock.now = 5.0  # another machine
    one = Limiter(clock)
    with fetch.using(fetch.Options(requests_per_second=1000)):
        if slowed:
            whole.slow({"read": 0.7})

        one.follow(whole.part(parts))
        clock.now += passed
        whole._clock.now += passed

        for name, pace in whole.paces().items():
            assert one.paces()[name] * parts == pytest.approx(pace)


@pytest.fixture(scope="module")
def workers():
    options = ClusterOptions(workers=2, threads=1, dashboard=False)
    with connect(options) as client:
        yield client


def crew(client, name):
    return Crew(client, Patience(), print, name=name)


def paces(client):
    return [each["read"] for each in client.run(_paces).values()]


def _paces():
    with fetch.acting_for("run"):
        return fetch.limiter().paces()


def _read_all(urls):
    with fetch.acting_for("run"):
        return [len(fetch.read(url)) for url in urls]


def eventually(condition, seconds=10.0):
    """Wait until something holds; return how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return time.monotonic() - began


def test_workers_share_a_limit_and_divide_it_anew_when_one_goes(workers):
    with fetch.using(fetch.Options(reads_per_second=100)), set_up(crew(workers, "run")):
        both = paces(workers)
        workers.cluster.scale(1)

        eventually(lambda: len(paces(workers)) == 1 and paces(workers)[0] > 95)

        workers.cluster.scale(2)
        workers.wait_for_workers(2)
        eventually(lambda: len(paces(workers)) == 2 and max(paces(workers)) < 55)

    assert both == pytest.approx([50, 50], rel=0.05)


def test_two_processes_together_keep_within_the_limit(workers):
    with serving() as server:
        urls = [[f"{server.url}/{side}{i}" for i in range(60)] for side in "ab"]
        with fetch.using(fetch.Options(requests_per_second=40)), set_up(crew(workers, "run")):
            began = time.monotonic()
            jobs = workers.map(_read_all, urls, pure=False)
            workers.gather(jobs)
            seconds = time.monotonic() - began

    assert len(server.asked) == 120
    assert 120 / seconds <= 40 * 1.1
    assert seconds < 10


def test_a_worker_that_is_refused_slows_the_other_down_within_seconds(workers):
    fast = fetch.Options(reads_per_second=1000)
    with serving() as server, fetch.using(fast), set_up(crew(workers, "run")):
        server.script = {f"/{i}": [Answer(429)] for i in range(12)}
        urls = [f"{server.url}/{i}" for i in range(12)]
        one, other = workers.scheduler_info(n_workers=-1)["workers"]

        workers.submit(_read_all, urls, workers=one, pure=False).result()
        took = eventually(lambda: workers.run(_paces, workers=[other])[other]["read"] < 499)

        assert took < 4
        assert fetch.limiter().paces()["read"] < 1000


def test_the_limit_of_the_command_line_is_checked_and_ends_with_it(tmp_path, capsys):
    code = run.main(["none.csv", str(tmp_path / "o"), "--max-requests-per-second", "0"])

    assert code == 2
    assert "--max-requests-per-second" in capsys.readouterr().err
    run.main(["none.csv", str(tmp_path / "o"), "--max-requests-per-second", "9"])
    assert fetch.configured().requests_per_second is None
    with pytest.raises(OptionError, match="requests_per_second must be a whole number"):
        fetch.Options(requests_per_second=0.5)
