"""Amazon's protocol through s3fs, on a server in this process; where both are installed."""

import re

import buckets
import pytest
import scenes

import daskimg
from daskimg import fetch
from daskimg.errors import SampleError, TransportError

pytest.importorskip("s3fs", reason="needs s3fs: pip install 'daskimg[clouds]'")
pytest.importorskip("moto.server", reason="needs moto: pip install 'daskimg[clouds]'")

# botocore and moto use what the standard library is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def server():
    """The storage options that lead to a server with an empty bucket."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        made = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        made.start()
        host, port = made.get_host_and_port()
        yield {"s3": {"endpoint_url": f"http://{host}:{port}"}}
        made.stop()


@pytest.fixture
def bucket(server, request):
    """A bucket of one test, reached by the options alone."""
    import s3fs

    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:62].strip("-")
    s3fs.S3FileSystem(**server["s3"]).mkdir(name)
    with fetch.using(fetch.Options(storage=server)):
        yield f"s3://{name}"


def test_objects_go_in_and_out_of_s3(bucket):
    buckets.check_objects(bucket)


def test_a_listing_comes_in_pages_and_pins_what_it_has_seen(bucket):
    folder = fetch.open_folder(f"{bucket}/in")
    for number in range(1005):
        folder.put(f"{number:04d}.jpg", b"%d" % number)
    folder.put("sub/c.jpg", b"c")

    pages = list(fetch.list_below(f"{bucket}/in"))
    flat = [each for page in fetch.list_matches(f"{bucket}/in/*.jpg") for each in page]
    first = fetch.pinned(pages[0][0].location, pages[0][0].generation)
    before = fetch.read(first)
    folder.put("0000.jpg", b"other")

    assert [len(page) for page in pages] == [1000, 6]
    found = [each for page in pages for each in page]
    names = [each.location.removeprefix(f"{bucket}/in/") for each in found]
    assert names == [*(f"{number:04d}.jpg" for number in range(1005)), "sub/c.jpg"]
    assert [each.location for each in flat] == [each.location for each in found[:1005]]
    assert [each.size for each in found[8:12]] == [1, 1, 2, 2]
    assert before == b"0"
    with pytest.raises(SampleError, match="changed"):
        fetch.read(first)
    assert folder.names()[-1] == "sub"


# From 100 MiB on s3fs sends parts.
@pytest.mark.parametrize("size", [1, 100 << 20], ids=["small", "large"])
def test_only_the_writing_that_was_looked_at_is_replaced(bucket, size):
    buckets.check_replacement(bucket, bytes(size))


@pytest.fixture
def overlapping(monkeypatch):
    """Refusals as of S3 while another conditional write of an object is under way."""
    from moto.s3.responses import S3Response

    def put(response):
        if not left:
            return stored(response)
        left.pop()
        return 409, {}, "<Error><Code>ConditionalRequestConflict</Code></Error>"

    left, stored = [], S3Response.put_object
    monkeypatch.setattr(S3Response, "put_object", put)
    return left


def test_a_conditional_write_that_overlaps_another_is_sent_again(bucket, overlapping):
    folder = fetch.open_folder(bucket)
    fetch.traffic(reset=True)

    overlapping.append("creation")
    folder.put_once("a", b"1", lambda: pytest.fail("there is nothing to replace"))
    overlapping.extend(["creation", "replacement"])
    folder.put_once("a", b"2", lambda: None)

    assert folder.read("a") == b"2"
    assert fetch.traffic().retries == {"conflict": 3}


def test_every_request_says_that_the_requester_pays(bucket, server, monkeypatch):
    import s3fs

    def sent(system, method, *given, **named):
        """Return what is sent as s3fs 2026.6 does: no defaults, but what each call names."""
        parts = [system.s3_additional_kwargs, *given, named]
        words = {name: value for part in parts for name, value in part.items()}
        found = system._filter_kwargs(method, words)
        said.setdefault(method.__name__, []).append(found.get("RequestPayer"))
        return found

    said = {}
    monkeypatch.setattr(s3fs.S3FileSystem, "_get_s3_method_kwargs", sent)
    paying = {"s3": {**server["s3"], "requester_pays": True}}
    with fetch.using(fetch.Options(storage=paying)):
        folder = fetch.open_folder(bucket)
        folder.put("a", b"1")
        folder.put_once("a", b"2", lambda: None)
        ((listed,),) = fetch.list_below(bucket)
        fetch.read(fetch.pinned(listed.location, listed.generation))
        folder.remove("a")

    assert {"put_object", "head_object", "list_objects_v2", "get_object"} <= said.keys()
    assert {payer for payers in said.values() for payer in payers} == {"requester"}


def test_a_store_in_s3_equals_the_one_on_disk(bucket, pictures, tmp_path, threads):
    folder, names = pictures
    source = fetch.open_folder(f"{bucket}/in")
    for name in names:
        source.put(name, (folder / name).read_bytes())
    table = scenes.table_of(folder, names)
    remote = table.assign(path=[f"{bucket}/in/{name}" for name in names])
    settings = {"shard": 8, "chunk": 4, "max_failed": 1}

    samples = scenes.build(remote, f"{bucket}/out.zarr", threads, **settings)
    on_disk = scenes.build(table, tmp_path / "out.zarr", threads, **settings)

    assert (samples.image[...] == on_disk.image[...]).all()
    assert samples.failures["reason"].tolist() == on_disk.failures["reason"].tolist()
    assert daskimg.verify_store(f"{bucket}/out.zarr", rows=5).findings == ()


def test_an_endpoint_that_is_not_there_is_no_missing_picture(bucket):
    nowhere = {"s3": {"endpoint_url": "http://127.0.0.1:1"}}

    with (
        fetch.using(fetch.Options(storage=nowhere, attempts=2)),
        pytest.raises(TransportError, match=r"s3://.*127\.0\.0\.1.*attempt 2"),
    ):
        fetch.read(f"{bucket}/in/a.jpg")
