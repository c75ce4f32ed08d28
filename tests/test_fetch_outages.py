"""When an endpoint is taken to be down, so that no request waits for it any more; and when not."""

import asyncio
import pickle
import socket
import threading
import time

import pytest
from web import Answer, serving

from daskimg import fetch
from daskimg.errors import TransportError
from daskimg.fetch import _retries
from daskimg.fetch._outages import OUTAGES

A, B = "https://a.example/1.jpg", "https://a.example/2.jpg"


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Options with three attempts, no waits but those asked for, nothing known of any endpoint."""
    monkeypatch.setattr(_retries, "_wait", lambda attempt, fault: fault.wait or 0.0)
    with fetch.using(fetch.Options(attempts=3)):
        yield


async def asked(location, *outcomes):
    """Return how many attempts a request takes whose attempts end so: an error, or an answer."""
    left = list(outcomes)

    async def once():
        outcome = left.pop(0)
        if callable(outcome):
            await outcome()
        elif isinstance(outcome, Exception):
            raise outcome

    try:
        await _retries.retried(once, location, "read")
    except TransportError as error:
        return len(outcomes) - len(left), error.outage
    return len(outcomes) - len(left), None


def reset(times=3):
    return [ConnectionResetError() for _ in range(times)]


def test_where_nothing_is_answered_the_next_request_has_one_attempt():
    first = asyncio.run(asked(A, *reset()))
    second = asyncio.run(asked(B, *reset()))

    assert first == (3, "https://a.example")
    assert second == (1, "https://a.example")


def test_an_answer_ends_an_outage():
    asyncio.run(asked(A, *reset()))

    assert asyncio.run(asked(B, None)) == (1, None)
    assert asyncio.run(asked(B, *reset(2), None)) == (3, None)


def test_that_there_is_no_such_object_is_an_answer():
    asyncio.run(asked(A, *reset()))

    with pytest.raises(FileNotFoundError):
        asyncio.run(asked(B, FileNotFoundError()))
    assert asyncio.run(asked(B, *reset(2), None)) == (3, None)


def test_an_object_that_cannot_be_had_is_no_outage_while_others_are_answered():
    async def both():
        async def meanwhile():
            assert await asked(B, None) == (1, None)

        return await asked(A, ConnectionResetError(), TimeoutError(), _failing_after(meanwhile))

    assert asyncio.run(both()) == (3, "")
    assert asyncio.run(asked(B, *reset(2), None)) == (3, None)


def later(seconds):
    return _retries.status_fault(429, "slow down", f"{seconds}")


def test_one_request_that_is_told_to_come_back_too_late_is_no_outage():
    assert asyncio.run(asked(A, later(60))) == (1, "")
    assert asyncio.run(asked(B, *reset(2), None)) == (3, None)


def test_where_all_are_told_to_come_back_too_late_for_a_deadline_nothing_is_waited_for():
    with fetch.using(fetch.Options(attempts=3, total_seconds=0.2)):
        first = asyncio.run(asked(A, later(60)))
        time.sleep(0.25)

        assert first == (1, "")
        assert asyncio.run(asked(A, later(60))) == (1, "https://a.example")
        assert asyncio.run(asked(B, *reset())) == (1, "https://a.example")


def test_an_answer_ends_the_silence_in_which_all_are_told_to_come_back_too_late():
    with fetch.using(fetch.Options(attempts=3, total_seconds=0.2)):
        asyncio.run(asked(A, later(60)))
        time.sleep(0.25)
        asyncio.run(asked(B, None))

        assert asyncio.run(asked(A, later(60))) == (1, "")


def test_a_server_that_refuses_all_attempts_is_down_as_one_that_says_nothing():
    busy = [_retries.status_fault(503, "busy", "0") for _ in range(3)]

    assert asyncio.run(asked(A, *busy)) == (3, "https://a.example")


def _failing_after(call):
    async def attempt():
        await call()
        raise ConnectionResetError

    return attempt


def test_requests_that_are_under_way_give_up_with_the_first():
    async def together():
        gone = asyncio.Event()

        async def until_the_first_is_gone():
            await gone.wait()
            raise ConnectionResetError

        waiting = asyncio.create_task(asked(B, until_the_first_is_gone, *reset()))
        first = await asked(A, *reset())
        gone.set()
        return first, await waiting

    assert asyncio.run(together()) == ((3, "https://a.example"), (1, "https://a.example"))


def test_endpoints_fail_each_for_itself():
    asyncio.run(asked(A, *reset()))

    assert asyncio.run(asked("https://b.example/1.jpg", *reset(2), None)) == (3, None)


def test_what_was_down_gets_a_chance_again_after_a_while(monkeypatch):
    asyncio.run(asked(A, *reset()))

    monkeypatch.setattr("daskimg.fetch._outages._MEMORY", 0.0)

    assert asyncio.run(asked(B, *reset(2), None)) == (3, None)


def test_a_first_attempt_however_long_is_followed_by_a_second():
    async def slow():
        await asyncio.sleep(0.2)
        raise TimeoutError

    with fetch.using(fetch.Options(total_seconds=0.1)):
        assert asyncio.run(asked(A, slow, None)) == (2, None)


def test_an_outage_that_others_met_is_one_here_too_and_travels_with_its_error():
    error = pickle.loads(pickle.dumps(TransportError(A, "reset", "https://a.example")))

    fetch.note_outage(error.outage)

    assert OUTAGES.is_down("https://a.example")
    assert asyncio.run(asked(B, *reset())) == (1, "https://a.example")


def test_of_many_servers_the_last_ones_are_remembered():
    for number in range(2000):
        OUTAGES.answered(f"https://{number}.example")

    assert len(OUTAGES._answered) == 1024


def test_a_server_that_answers_slowly_is_not_down():
    with serving() as server, fetch.using(fetch.Options(attempts=3, read_seconds=0.3)):
        server.script["/slow"] = [Answer(after=0.2) for _ in range(3)]
        server.script["/lost"] = [Answer(after=2)]

        assert fetch.read(f"{server.url}/slow") == b"/slow"
        assert fetch.read(f"{server.url}/lost") == b"/lost"


# -- uploads ----------------------------------------------------------------------------------


@pytest.fixture
def deaf():
    """A port that takes connections and a little of what is sent, and never reads on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        taken = []

        def take():
            while True:
                try:
                    taken.append(listener.accept())
                except OSError:
                    return

        thread = threading.Thread(target=take)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection, _ in taken:
            connection.close()


def test_an_upload_of_which_nothing_is_taken_any_more_ends_before_its_size_would_allow(deaf):
    storage = {"gs": {"endpoint_url": deaf, "token": "anon", "project": "test"}}
    hasty = fetch.Options(attempts=1, connect_seconds=0.4, read_seconds=0.4, storage=storage)
    content = bytes(32 << 20)  # for which a slow line has 64 seconds

    with fetch.using(hasty):
        folder = fetch.open_folder("gs://b/out")
        began = time.monotonic()
        with pytest.raises(TransportError, match=f"TimeoutError, from {deaf}"):
            folder.put("a", content)

    assert time.monotonic() - began < 10
