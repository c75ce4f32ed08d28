import asyncio
import base64
import gzip
import hashlib
import pickle
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web import Answer, serving

from daskimg import fetch
from daskimg.errors import OptionError, TransportError
from daskimg.fetch import _retries
from daskimg.fetch._retries import Fault, fault_of, seconds_of, status_fault


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Seconds that would have been waited; the tally begins at nothing."""
    found = []

    async def pause(seconds):
        found.append(seconds)

    monkeypatch.setattr(_retries, "pause", pause)
    fetch.traffic(reset=True)
    return found


def failing(*errors):
    """A call that raises each of the errors, then returns."""
    left = list(errors)

    async def once():
        if left:
            raise left.pop(0)
        return "done"

    return once


@settings(max_examples=25, deadline=None)
@given(attempt=st.integers(1, 60), asked=st.none() | st.floats(0, 1000))
def test_a_wait_is_drawn_up_to_its_bound_on_top_of_what_the_server_asks(attempt, asked):
    wait = _retries._wait(attempt, Fault("throttled", "", asked))

    assert (asked or 0) <= wait <= (asked or 0) + min(8, 0.25 * 2 ** min(attempt - 1, 10))


def test_waits_differ_so_that_workers_do_not_come_back_together():
    drawn = {_retries._wait(5, Fault("server", "")) for _ in range(20)}

    assert len(drawn) == 20


def test_retry_after_is_a_number_of_seconds_or_a_date():
    later = datetime.now(UTC) + timedelta(seconds=90)

    assert seconds_of("7") == 7
    assert seconds_of(format_datetime(later, usegmt=True)) == pytest.approx(90, abs=2)
    assert seconds_of("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert seconds_of("soon") is None
    assert seconds_of(None) is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError(), "reset"),
        (ConnectionRefusedError(), "connect"),
        (TimeoutError(), "timeout"),
        (asyncio.IncompleteReadError(b"", 1), "truncated"),
        (OSError(5, "Input/output error"), "other"),
        (TypeError("no such keyword"), "refused"),
        (status_fault(429, ""), "throttled"),
        (status_fault(408, ""), "timeout"),
        (status_fault(503, ""), "server"),
        (status_fault(400, ""), "refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_faults_are_told_by_kind(error, kind):
    assert fault_of(error).kind == kind


def test_each_repeated_attempt_is_counted_once():
    once = failing(ConnectionResetError(), TimeoutError(), ConnectionResetError())

    assert asyncio.run(_retries.retried(once, "gs://bucket/a", "read")) == "done"

    assert fetch.traffic().retries == {"reset": 2, "timeout": 1}
    assert fetch.traffic(reset=True).retries.total() == 3
    assert not fetch.traffic().retries


def test_the_last_fault_and_the_endpoint_are_named(waits):
    once = failing(*[status_fault(503, "Backend Error")] * 3)

    with (
        fetch.using(fetch.Options(attempts=3)),
        pytest.raises(
            TransportError,
            match=r"reach gs://bucket/a: 503 Backend Error, from http://host \(attempt 3, after",
        ),
    ):
        asyncio.run(_retries.retried(once, "gs://bucket/a", "read", "http://me:secret@host?key=1"))

    assert len(waits) == 2


def test_a_server_that_asks_for_more_time_than_there_is_is_not_waited_for(waits):
    once = failing(status_fault(429, "slow down", "3600"))

    with pytest.raises(TransportError, match=r"which asks to wait 3600 s$"):
        asyncio.run(_retries.retried(once, "gs://bucket/a", "read"))

    assert waits == []


def test_retry_after_is_honoured(server, waits):
    server.script["/a"] = [Answer(429, headers={"Retry-After": "7"})]

    assert fetch.read(f"{server.url}/a") == b"/a"

    assert 7 <= waits[0] <= 7.25
    assert fetch.traffic().retries == {"throttled": 1}


def test_a_stalled_connection_costs_one_retry(server):
    server.script["/a"] = [Answer(after=2)]

    with fetch.using(fetch.Options(read_seconds=0.2)):
        assert fetch.read(f"{server.url}/a") == b"/a"

    assert fetch.traffic().retries == {"timeout": 1}


def test_a_body_that_breaks_off_is_fetched_again(server):
    server.files["/a"] = b"x" * 1000
    server.script["/a"] = [Answer(cut=10), Answer(cut=1000)]

    assert fetch.read(f"{server.url}/a") == b"x" * 1000

    assert fetch.traffic().retries == {"truncated": 2}


# Hashes


def google(content):
    crc32c = base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()
    return {"x-goog-hash": f"crc32c={crc32c},md5={md5(content)}"}


def md5(content):
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def amazon(content):
    tag = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return {"Server": "AmazonS3", "ETag": f'"{tag}"'}


HASHES = {
    "Google's": google,
    "its MD5": lambda content: {"x-goog-hash": f"md5={md5(content)}"},
    "Content-MD5": lambda content: {"Content-MD5": md5(content)},
    "Amazon's": amazon,
}


@pytest.mark.parametrize("hashes", HASHES.values(), ids=HASHES)
def test_damaged_bytes_are_fetched_again(server, hashes):
    good = b"a picture"
    server.script["/a"] = [
        Answer(body=b"a pikture", headers=hashes(good)),
        Answer(body=good, headers=hashes(good)),
    ]

    assert fetch.read(f"{server.url}/a") == good

    assert fetch.traffic().retries == {"corrupt": 1}


def test_bytes_that_stay_damaged_are_a_fault_of_the_line(server):
    server.script["/a"] = [
        Answer(body=b"b", headers=google(b"a")) for _ in range(fetch.Options().attempts)
    ]

    with pytest.raises(TransportError, match="crc32c of what arrived is not the server's"):
        fetch.read(f"{server.url}/a")


def test_a_short_body_is_seen_although_its_length_agrees(server):
    good = {"x-goog-stored-content-length": "9"}
    server.script["/a"] = [Answer(body=b"a pict", headers=good)]
    server.files["/a"] = b"a picture"

    assert fetch.read(f"{server.url}/a") == b"a picture"

    assert fetch.traffic().retries == {"truncated": 1}


def test_hashes_of_other_bytes_than_these_are_not_looked_at(server):
    stored = gzip.compress(b"text", mtime=0)
    packed = {"Content-Encoding": "gzip", **google(stored)}
    unpacked = {"x-goog-stored-content-encoding": "gzip", **google(stored)}
    tagged = {"ETag": f'"{"0" * 32}"'}  # of a server whose ETags are no MD5
    whole = google(b"/part")
    server.script = {
        "/packed": [Answer(body=stored, headers=packed)],
        "/unpacked": [Answer(body=b"text", headers=unpacked)],
        "/tagged": [Answer(body=b"text", headers=tagged)],
        "/part": [Answer(headers=whole)],
    }

    for name in ("packed", "unpacked", "tagged"):
        assert fetch.read(f"{server.url}/{name}") == b"text"
    assert fetch.read_part(f"{server.url}/part", 0, 3) == b"/pa"
    assert not fetch.traffic().retries


def test_a_part_that_is_the_whole_is_checked(server):
    server.script["/part"] = [Answer(headers=google(b"other"))]

    assert fetch.read_part(f"{server.url}/part", 0, 64) == b"/part"

    assert fetch.traffic().retries == {"corrupt": 1}


# Options and secrets

TOKEN = "ya29.a0-very-secret"


def test_no_secret_is_in_an_error(server):
    url = f"{server.url}/a?X-Goog-Signature={TOKEN}".replace("://", f"://me:{TOKEN}@")
    server.script = {f"/a?X-Goog-Signature={TOKEN}": [Answer(500) for _ in range(11)]}
    storage = {"gs": {"token": TOKEN}}

    with (
        fetch.using(fetch.Options(attempts=2, storage=storage)),
        pytest.raises(TransportError) as caught,
    ):
        fetch.read(url)

    told = "".join(traceback.format_exception(caught.value))
    assert f"cannot reach {server.url}/a: 500" in told
    assert TOKEN not in told + repr(caught.value) + str(pickle.dumps(caught.value))


def test_no_secret_of_the_options_is_shown_by_them_or_in_messages_of_others():
    options = fetch.Options(storage={"gs": {"token": {"private_key": TOKEN}, "project": "p"}})

    with fetch.using(options):
        assert fetch.scrubbed(f"bad key {TOKEN}") == "bad key ***"

    assert TOKEN not in repr(options) + str(options)
    assert pickle.loads(pickle.dumps(options)) == options


def test_addresses_are_shown_without_queries_and_users():
    shown = {
        "https://u:p@host:80/a b.jpg?sig=1#x": "https://host:80/a b.jpg",
        "gs://bucket/a#1 100%?.jpg": "gs://bucket/a#1 100%?.jpg",
        "az://container/a.jpg?sv=1&sig=x": "az://container/a.jpg",
        "zip://a?b=1.jpg::https://u:p@host/x.zip?t=1": "zip://a?b=1.jpg::https://host/x.zip",
        "a?b=c.jpg": "a?b=c.jpg",
    }

    assert {url: fetch.shown(url) for url in shown} == shown


def test_options_come_from_the_environment():
    options = fetch.read_environment(
        {
            "DASKIMG_READ_SECONDS": "2.5",
            "DASKIMG_ATTEMPTS": "3",
            "DASKIMG_STORAGE": '{"gcs": {"token": "anon"}}',
        }
    )

    assert (options.read_seconds, options.attempts) == (2.5, 3)
    assert options.storage_of("gs") == options.storage_of("gcs") == {"token": "anon"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"DASKIMG_READ_SECONDS": "long"}, "a number of seconds, got 'long'; try 30"),
        ({"DASKIMG_ATTEMPTS": "0"}, "attempts must be a whole number of at least 1, got 0"),
        ({"DASKIMG_CONNECT_SECONDS": "-1"}, "connect_seconds must be over 0 seconds, got -1"),
        ({"DASKIMG_STORAGE": f"{{{TOKEN}"}, "DASKIMG_STORAGE is not JSON"),
        ({"DASKIMG_STORAGE": f'["{TOKEN}"]'}, "storage must hold options by scheme"),
    ],
    ids=["word", "none", "negative", "no JSON", "no mapping"],
)
def test_options_that_nothing_could_be_read_with_are_refused(given, message):
    with pytest.raises(OptionError, match=message) as caught:
        fetch.read_environment(given)

    assert TOKEN not in str(caught.value)


def test_storage_options_are_written_with_their_scheme():
    with pytest.raises(OptionError, match=r"scheme\.name=value.*try gs\.token=anon") as caught:
        fetch.parse_storage([f"token={TOKEN}"])

    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "advice"), [("s3://bucket/a", "s3fs"), ("az://container/a", "adlfs")]
)
def test_a_missing_package_is_named(monkeypatch, url, advice):
    def absent(scheme):
        raise ImportError(f"Please install {scheme}")

    monkeypatch.setattr("fsspec.get_filesystem_class", absent)

    with pytest.raises(OptionError, match=f"^cannot open {url}: .* needs pip install {advice}$"):
        fetch.open_folder(url)


def test_every_kind_of_storage_is_given_time_outs_and_its_options():
    storage = {"gs": {"token": "anon"}, "s3": {"anon": True}}

    with fetch.using(fetch.Options(read_seconds=5, storage=storage)):
        google, amazon = map(fetch.storage_options, ("gs://bucket/a", "s3://bucket/a"))

    assert google["token"] == "anon"
    assert google["requests_timeout"].sock_read == 5
    assert amazon["anon"]
    assert amazon["config_kwargs"]["read_timeout"] == 5
