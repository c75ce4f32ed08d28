"""Signatures, tokens and passwords in addresses: used, and nowhere to be found."""

import io
import json
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy.testing as npt
import pandas as pd
import pytest
import scenes
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import daskimg
from daskimg import fetch, run
from daskimg.errors import ManifestError, StoreError
from daskimg.manifest import _sealed

SECRET = "hunter2hunter2"


@contextmanager
def serving(answer):
    """A web server whose status and body are what a function of path, query and headers says."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            status, body = answer(path, query, self.headers)
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# -- what is secret ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("location", "public"),
    [
        ("https://h/a.jpg?X-Goog-Algorithm=R&X-Goog-Signature=1&generation=7", "?generation=7"),
        ("https://h/a.jpg?X-Amz-Date=2&X-Amz-Security-Token=x&versionId=3", "?versionId=3"),
        ("https://h/a.jpg?GoogleAccessId=me&Expires=1&Signature=s", ""),
        ("https://h/a.jpg?sv=2&se=1&sr=b&sp=r&sig=s&snapshot=9", "?snapshot=9"),
        ("https://h/a.jpg?sr=7&page=2", "?sr=7&page=2"),
        ("https://h/a.jpg?id=7&access_token=x&size=2", "?id=7&size=2"),
        ("https://user:word@h/a.jpg", ""),
        ("https://h/a.jpg?api_key=x#top", "#top"),
        ("https://user:w@rd@h/a.jpg", ""),
        ("https://h/a.jpg?access_key=s&id=2", "?id=2"),
        ("https://h/a.jpg?hmac=s&st=s&md5=s&hash=s", ""),
        ("https://h/a.jpg?X%2DAmz%2DSignature=s&id=2", "?id=2"),
        ("https://h/a.jpg?token=s/s=;id=2", "?id=2"),
        ("https://h/a.jpg?text=a;b;id=2", "?text=a;b;id=2"),
        ("https://h/a.jpg;token=s?id=2", "?id=2"),
        ("https://h/a.jpg;v=1;token=s#token=s&t=2", ";v=1#t=2"),
        ("https://h/a.jpg#token=s", ""),
    ],
)
def test_what_a_thing_is_called_stays_and_what_opens_it_goes(location, public):
    assert fetch.public(location) == f"https://h/a.jpg{public}"
    assert fetch.public(f"filecache::{location}") == f"filecache::https://h/a.jpg{public}"
    assert re.search(fetch.MAY_HOLD, location)
    assert fetch.shown(location) == re.split("[?#]", f"https://h/a.jpg{public}")[0]


@pytest.mark.parametrize(
    ("location", "public"),
    [
        ("HTTP://h/a.jpg?token=s", "HTTP://h/a.jpg"),
        ("simplecache::http://me:p@s@h/a.jpg?token=s", "simplecache::http://h/a.jpg"),
        (
            "zip://a.jpg::simplecache::http://h/x.zip?token=s",
            "zip://a.jpg::simplecache::http://h/x.zip",
        ),
    ],
)
def test_secrets_are_found_however_an_address_begins(location, public):
    assert fetch.public(location) == fetch.shown(location) == public
    assert re.search(fetch.MAY_HOLD, location)


@given(st.text(), st.sampled_from(["", "gs://b/", "/a/", "s3://b/", "az://c@account/"]))
def test_paths_and_names_of_objects_hold_no_secrets(name, before):
    assert fetch.public(before + name.replace("://", "")) == before + name.replace("://", "")


def test_sealed_cells_open_with_their_key_and_no_other():
    key = _sealed.new_key()
    urls = ["https://h/a?token=1", "https://h/b", None]

    column = _sealed.sealed({"path": pd.array(urls, object).to_numpy()}, 3, key)

    assert b"token" not in column[0].as_py()
    assert column.null_count == 2
    assert list(_sealed.unsealed(column.to_pylist(), key)) == [{"path": urls[0]}, {}, {}]
    with pytest.raises(StoreError, match="another call"):
        list(_sealed.unsealed(column.to_pylist(), _sealed.new_key()))


# -- a whole build ----------------------------------------------------------------------------


@pytest.fixture
def signed(pictures, tmp_path):
    """A server that gives pictures to those with the token, and a table of their addresses."""
    folder, names = pictures[0], pictures[1][6:14]

    def answer(path, query, headers):
        if f"token={SECRET}" not in query:
            return 403, b""
        file = folder / path.rpartition("/")[2]
        if not file.exists():
            return 404, b""
        return 200, grey(file) if "/mask/" in path else file.read_bytes()

    with serving(answer) as server:
        urls = [f"{server}/in/{name}?id={i}&token={SECRET}{i}" for i, name in enumerate(names)]
        table = tmp_path / "t.csv"
        masks = [url.replace("/in/", "/mask/") for url in urls]
        frame = pd.DataFrame({"path": urls, "mask": masks, "label": list("abababab")})
        frame.to_csv(table, index=False)
        yield server, table, names


def grey(file):
    """A picture as a mask of the same size."""
    sink = io.BytesIO()
    Image.open(file).convert("L").save(sink, "PNG")
    return sink.getvalue()


def leaks(folder):
    """Files in which the secret is, in any of the ways that Parquet and JSON write text."""
    found = []
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += pd.read_parquet(io.BytesIO(content)).to_csv().encode()
        if SECRET.encode() in content:
            found.append(path.name)
    return found


def test_a_token_in_addresses_is_used_and_nowhere_to_be_found(signed, tmp_path, capfd):
    server, table, names = signed
    out = tmp_path / "out.zarr"

    code = run.main([str(table), str(out), "--size", "16", "--workers", "1", "--json"])

    seen = "".join(capfd.readouterr())
    samples = daskimg.open_store(out)
    assert code == 0
    assert samples.status.tolist() == [1] * 8
    assert samples.rows["path"].tolist() == [
        f"{server}/in/{n}?id={i}" for i, n in enumerate(names)
    ]
    assert samples.rows["key"].tolist() == samples.rows["path"].tolist()
    assert "daskimg_sealed" not in samples.rows
    assert leaks(out) == []
    assert SECRET not in seen


def test_a_run_goes_on_with_new_signatures_and_the_same_fingerprint(signed, tmp_path, threads):
    _, table, _ = signed
    frame = pd.read_csv(table)
    wrong = frame.assign(path=frame["path"].str.replace(SECRET, "expired"))
    out = tmp_path / "out.zarr"
    first = scenes.plan(wrong, out, shard=4, chunk=2, max_failed=1)
    second = scenes.plan(frame, out, shard=4, chunk=2)

    assert first.pixels() == second.pixels()
    assert first.labels() == second.labels()

    begun = scenes.plan(frame[:8], out, shard=4, chunk=2)
    report = daskimg.build_store(begun, client=threads)
    (out / "image/c/1/0/0/0").unlink()
    again = daskimg.build_store(second, client=threads)

    assert (report.outcome, again.outcome) == ("committed", "repaired")
    assert leaks(out) == []


def test_what_is_staged_in_an_unfinished_store_is_sealed(signed, tmp_path, threads):
    _, table, _ = signed
    frame = pd.read_csv(table)
    frame["path"] = frame["path"].where(frame.index < 6, frame["path"].str.replace("/p", "/gone"))
    out = tmp_path / "out.zarr"

    report = daskimg.build_store(scenes.plan(frame, out, shard=4, chunk=2), client=threads)

    assert report.outcome == "refused"
    assert list((out / "daskimg/records/input").iterdir())
    assert leaks(out) == []
    assert SECRET not in repr(report) + json.dumps(report.to_json())


def test_a_user_in_the_root_is_not_stored(pictures, tmp_path, threads):
    asked = []

    def answer(path, query, headers):
        asked.append(headers.get("Authorization"))
        return 200, (pictures[0] / path.rpartition("/")[2]).read_bytes()

    with serving(answer) as server:
        root = server.replace("http://", f"http://me:{SECRET}@")
        frame = pd.DataFrame({"path": pictures[1][6:8]})
        manifest = daskimg.read_manifest(frame, root=root)
        daskimg.build_store(scenes.plan(manifest, tmp_path / "out.zarr"), client=threads)

    assert all(asked)
    assert leaks(tmp_path) == []
    assert (
        json.loads((tmp_path / "out.zarr/daskimg/records/plan.json").read_text())["root"] == server
    )


def test_a_missing_table_with_a_signed_address_is_named_without_its_signature():
    missing = pytest.raises(ManifestError, match=r"/t\.csv")
    with serving(lambda path, query, headers: (404, b"")) as server, missing as caught:
        daskimg.read_manifest(f"{server}/t.csv?X-Goog-Signature={SECRET}")

    assert SECRET not in str(caught.value)


def test_a_masks_signature_is_sealed_as_the_pictures_is(signed, tmp_path, threads):
    _, table, _ = signed
    manifest = daskimg.read_manifest(table)
    recipe = daskimg.recipes.masked(daskimg.recipes.resize(16), "mask")

    samples = scenes.build(manifest, tmp_path / "out.zarr", threads, recipe=recipe)

    assert samples.status.tolist() == [1] * 8
    assert leaks(tmp_path / "out.zarr") == []


def test_a_signed_table_of_picture_bytes_keeps_its_signature_out(pictures, tmp_path, threads):
    held = [(pictures[0] / name).read_bytes() for name in pictures[1][6:10]]
    sink = io.BytesIO()
    pd.DataFrame({"image": held}).to_parquet(sink)

    def answer(path, query, headers):
        return (200, sink.getvalue()) if SECRET in query else (403, b"")

    with serving(answer) as server:
        manifest = daskimg.read_manifest(f"{server}/t.parquet?sig={SECRET}")
        samples = scenes.build(manifest, tmp_path / "out.zarr", threads)

    assert samples.status.tolist() == [1] * 4
    npt.assert_array_equal(samples.rows["bytes_file"], [f"{server}/t.parquet"] * 4)
    assert leaks(tmp_path) == []


def test_the_import_of_the_reader_needs_no_cryptography():
    code = "import sys, daskimg.read; sys.exit('cryptography' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_token_is_not_shown_by_an_error_that_ends_the_command(monkeypatch, capsys):
    def refuse(*_, **__):
        raise ConnectionError("no answer at /info?access_token=ya29.SECRET for ya29.SECRET")

    monkeypatch.setattr("daskimg.build.standing_of", refuse)
    words = ["gs://b/a.csv", "gs://b/a.zarr", "--storage-option", "gs.token=ya29.SECRET"]

    codes = [run.main(words), run.main([*words, "--debug"])]

    printed = "".join(capsys.readouterr())
    assert codes == [3, 3]
    assert "no answer at /info?access_token=*** for ***" in printed
    assert "Traceback" in printed
    assert "SECRET" not in printed


def test_a_file_of_credentials_that_is_not_there_is_no_token(tmp_path, capsys):
    words = ["gs://b/a.csv", "gs://b/a.zarr", "--storage-option", f"gs.token={tmp_path}/nix.json"]

    assert run.main(words) == 2

    assert "gs.token names is not there: no such file" in capsys.readouterr().err
