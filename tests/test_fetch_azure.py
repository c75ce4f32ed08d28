"""Azure's protocol through adlfs, on Azurite, its own emulator; where both are installed."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import buckets
import pytest
import scenes

import daskimg
from daskimg import fetch
from daskimg.errors import SampleError

pytest.importorskip("adlfs", reason="needs adlfs: pip install 'daskimg[clouds]'")

KEY = (  # Azurite's, in its documentation: no secret
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
LISTENS = re.compile(r"listens on (http://\S+)|listening at (http://\S+)")


def azurite():
    """Where the emulator's program is, beside the virtual environment or on the path; or None."""
    beside = Path(os.environ.get("DASKIMG_AZURITE", scenes.ROOT / ".venv/node_modules/.bin"))
    return shutil.which("azurite-blob", path=f"{beside}:{os.environ.get('PATH', '')}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The storage options that lead to a server of its own."""
    program = azurite()
    if program is None:
        pytest.skip("needs Azurite: npm install --prefix .venv azurite")
    log = tmp_path_factory.mktemp("azure") / "log"
    words = ["--inMemoryPersistence", "--blobPort", "0", "--skipApiVersionCheck"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, *words, "--disableTelemetry"], stdout=out, stderr=out, cwd=log.parent
        )
    try:
        deadline = time.monotonic() + 60
        while not (found := LISTENS.search(log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        account = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={KEY}"
        place = f"BlobEndpoint={found[1] or found[2]}/devstoreaccount1"
        yield {"az": {"connection_string": f"{account};{place};"}}
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def bucket(server, request):
    """A container of one test, reached by the options alone."""
    import adlfs

    name = re.sub("[^a-z]+", "-", request.node.name.lower())[:60].strip("-")
    with fetch.using(fetch.Options(storage=server)):
        adlfs.AzureBlobFileSystem(**server["az"], skip_instance_cache=True).makedir(name)
        yield f"az://{name}"


def test_objects_go_in_and_out_of_azure(bucket):
    buckets.check_objects(bucket)


def test_a_listing_is_sorted_and_pins_what_it_has_seen(bucket):
    folder = fetch.open_folder(f"{bucket}/in")
    for name in ("b.jpg", "a.jpg", "sub/c.jpg"):
        folder.put(name, name.encode())

    (page,) = fetch.list_below(f"{bucket}/in")
    (flat,) = fetch.list_matches(f"{bucket}/in/*.jpg")
    first = fetch.pinned(page[0].location, page[0].generation)
    before = fetch.read(first)
    folder.put("a.jpg", b"other")

    names = [each.location.removeprefix(f"{bucket}/in/") for each in page]
    assert names == ["a.jpg", "b.jpg", "sub/c.jpg"]
    assert [each.location for each in flat] == [each.location for each in page[:2]]
    assert [each.size for each in page] == [5, 5, 9]
    assert before == b"a.jpg"
    with pytest.raises(SampleError, match="changed"):
        fetch.read(first)


def test_a_blob_that_was_removed_after_it_was_listed_costs_one_sample(bucket, monkeypatch):
    from azure.storage.blob.aio import BlobClient

    def unconditional(self, **asked):
        # Of a blob that is not there Azure says 404, whatever the condition; Azurite says 412.
        asked = {name: asked[name] for name in ("offset", "length")}
        return download(self, **asked)

    download = BlobClient.download_blob
    folder = fetch.open_folder(bucket)
    folder.put("a.jpg", b"1")
    ((listed,),) = fetch.list_below(bucket)
    pinned = fetch.pinned(listed.location, listed.generation)
    folder.remove("a.jpg")
    monkeypatch.setattr(BlobClient, "download_blob", unconditional)

    with pytest.raises(SampleError, match="missing: no such object"):
        fetch.read(pinned)


def test_a_blob_that_is_removed_while_it_is_looked_at_is_created_anew(bucket, monkeypatch):
    folder = fetch.open_folder(bucket)
    folder.put("a", b"1")
    creates = []

    def removed(self, name, content):
        creates.append(name)
        if len(creates) == 1:
            folder.remove(name)  # just after the service has said that it is there
            return False
        return create(self, name, content)

    create = type(folder).create
    monkeypatch.setattr(type(folder), "create", removed)
    folder.put_once("a", b"2", lambda: pytest.fail("there is nothing to replace"))

    assert folder.read("a") == b"2"


@pytest.mark.usefixtures("bucket")
def test_a_container_that_is_not_there_is_missing_and_no_fault_of_the_line():
    folder = fetch.open_folder("az://not-there/in")

    assert folder.names() == []
    with pytest.raises(FileNotFoundError, match="no such object or container: not-there"):
        list(fetch.list_below("az://not-there"))
    with pytest.raises(FileNotFoundError, match="no such object or container: not-there/in/a"):
        folder.put("a", b"1")


def test_only_the_writing_that_was_looked_at_is_replaced(bucket):
    buckets.check_replacement(bucket, b"2")


def test_a_store_in_azure_equals_the_one_on_disk(bucket, pictures, tmp_path, threads):
    folder, names = pictures
    source = fetch.open_folder(f"{bucket}/in")
    for name in names[:16]:
        source.put(name, (folder / name).read_bytes())
    settings = {"shard": 8, "chunk": 4, "max_failed": 1}
    listed = daskimg.read_manifest(f"{bucket}/in/p*")

    samples = scenes.build(listed, f"{bucket}/out.zarr", threads, **settings)
    table = scenes.table_of(folder, names[:16])
    on_disk = scenes.build(table, tmp_path / "out.zarr", threads, **settings)

    assert (samples.image[...] == on_disk.image[...]).all()
    assert samples.failures["reason"].tolist() == on_disk.failures["reason"].tolist()
    assert daskimg.verify_store(f"{bucket}/out.zarr", rows=5).findings == ()
