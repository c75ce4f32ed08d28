"""What a run asks of storages: planned, priced, and counted afterwards."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pandas as pd
import pytest
import scenes

import daskimg
from daskimg import fetch, run
from daskimg.errors import OptionError
from daskimg.fetch import Bucket, _buckets
from daskimg.plan import Cost, Prices, cost_of, parse_prices

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


def test_prices_are_for_ten_thousand_requests_and_for_gigabytes():
    cost = Cost(20_000, 1_000_000, 5, 3_000_000_000, 10_000_000_000)
    prices = parse_prices(["class-a=0.05", "class-b=0.004", "read-gb=0.02", "stored-gb=0.1"])

    assert cost.priced(prices) == pytest.approx(
        {"class A": 0.1, "class B": 0.4, "read": 0.06, "stored a month": 1.0}
    )
    assert dict(cost.lines(prices))["price"].startswith("about 1.56 (class A 0.10, class B 0.40")
    assert "price" not in dict(cost.lines(None))


@pytest.mark.parametrize("word", ["class-a", "class-a=much", "egress=1", "class-a=-1", "=1"])
def test_what_is_no_price_is_refused_with_what_would_be(word):
    with pytest.raises(OptionError, match=r"try class-a=0\.05|must be 0 or more"):
        parse_prices([word])
    with pytest.raises(OptionError, match="price class-a must be 0 or more"):
        Prices(class_a=float("nan"))


@pytest.fixture
def table(gcs, pictures):
    """Forty pictures in a bucket of a region."""
    bucket = gcs.bucket(location="europe-west4", storageClass="NEARLINE")
    urls = gcs.upload(pictures[0], f"{bucket}/in", pictures[1])
    return bucket, pd.DataFrame({"path": urls})


@pytest.mark.parametrize("shard", [2, 8, 40])
def test_what_is_planned_is_what_is_asked_for(gcs, table, threads, shard):
    url = f"gs://{gcs.bucket()}/out.zarr"
    plan = scenes.plan(table[1], url, shard=shard, chunk=2, max_failed=1)

    report = daskimg.build_store(plan, client=threads)

    found, planned = report.traffic, report.planned
    assert abs(found.class_a - planned.class_a) <= 12
    assert abs(found.class_b - planned.class_b) <= 0.25 * found.class_b + 10
    assert planned.read_bytes == report.source_bytes
    assert f"(planned {planned.class_a:,}), class B" in repr(report)
    assert report.to_json()["planned"]["class_b"] == planned.class_b


def test_a_disk_costs_no_requests(pictures, tmp_path):
    plan = scenes.plan(scenes.table_of(*pictures), tmp_path / "out.zarr")

    cost = cost_of(plan, 1000)

    assert (cost.class_a, cost.class_b, cost.other) == (0, 0, 0)


def test_a_dry_run_tells_requests_bytes_money_and_where_the_buckets_are(gcs, table, capsys):
    bucket, _ = table
    out = f"gs://{gcs.bucket()}/out.zarr"
    words = [f"gs://{bucket}/in/*", out, "--dry-run", "--price", "class-b=1000"]

    assert run.main(words) == 0
    text = capsys.readouterr().out
    assert run.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert f"bucket  {bucket}: EUROPE-WEST4, NEARLINE" in text
    assert "class A, " in text
    assert "price  about " in text
    assert found["cost"]["class_b"] >= 40
    assert found["cost"]["price"]["class B"] == pytest.approx(found["cost"]["class_b"] / 10)
    assert [each["location"] for each in found["buckets"]] == ["EUROPE-WEST4", "US"]
    assert found["zone"] is None


def test_a_bucket_that_tells_nothing_of_itself_is_unknown_and_no_error(gcs, table):
    gcs.deny(table[0], "storage.buckets.get")

    found = fetch.find_bucket(f"gs://{table[0]}/in")

    assert str(found) == f"{table[0]}: location unknown"
    assert not found.is_far_from("us-east1-b")


@pytest.mark.parametrize(
    ("location", "zone", "far"),
    [
        ("EUROPE-WEST4", "europe-west4-a", False),
        ("EUROPE-WEST4", "europe-west1-b", True),
        ("EU", "europe-north1-c", False),
        ("US", "asia-east1-a", True),
        ("NAM4", "us-central1-a", False),
        ("EUR4", "us-central1-a", False),
        ("US", None, False),
    ],
)
def test_a_zone_is_far_where_it_surely_is(location, zone, far):
    assert Bucket("b", location, "STANDARD").is_far_from(zone) is far


@contextmanager
def metadata(zone):
    """A metadata server of a machine in a zone."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.headers["Metadata-Flavor"] == "Google" and self.path.endswith("/zone")
            self.send_response_only(200 if known else 403)
            self.end_headers()
            self.wfile.write(f"projects/1/zones/{zone}".encode())

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_machine_of_googles_elsewhere_is_warned_of(gcs, table, capsys, monkeypatch):
    out = f"gs://{gcs.bucket(location='europe-west4')}/out.zarr"
    with metadata("us-east1-b") as host:
        monkeypatch.setenv("GCE_METADATA_HOST", host)

        assert run.main([f"gs://{table[0]}/in/*", out, "--dry-run"]) == 0

    text = capsys.readouterr().out
    assert f"this machine is in us-east1-b and bucket {table[0]} in EUROPE-WEST4" in text


def test_no_other_machine_is_asked_for_a_zone(monkeypatch, tmp_path):
    monkeypatch.delenv("GCE_METADATA_HOST", raising=False)
    monkeypatch.setattr(_buckets, "_DMI", tmp_path / "product_name")
    asked = []
    monkeypatch.setattr(_buckets.urllib.request, "urlopen", lambda *a, **k: asked.append(a))

    assert fetch.own_zone() is None
    (tmp_path / "product_name").write_text("Some Other Computer\n")
    assert fetch.own_zone() is None
    assert asked == []


def test_a_metadata_server_that_says_nothing_costs_a_moment(monkeypatch):
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")

    assert fetch.own_zone() is None
