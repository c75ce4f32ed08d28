"""A build over several hosts, by TLS, through a bucket, while hosts are lost in three ways."""

import signal
import subprocess
import sys
from pathlib import Path

import clusters
import hosts as hosts_of_tests
import pytest
import scenes

import daskimg

CLUSTER = Path(__file__).parents[1] / "cluster"
FAULTS = """\
distributed:
  scheduler:
    worker-ttl: 10s
  comm:
    timeouts: {connect: 30s, tcp: 12s}  # under 11 s nothing starts
"""
RECIPE = '[[transform]]\nname = "slow_resize:SlowResize"\nheight = 16\nwidth = 16\n'
HASHES = "import scenes, sys; print(*scenes.sample_hashes(sys.argv[1]))"


@pytest.fixture
def hosts():
    """A host for storage, one for scheduler and client, four for workers."""
    if reason := hosts_of_tests.missing():
        pytest.skip(reason)
    with hosts_of_tests.several(6) as found:
        yield found


@pytest.fixture
def settings(tmp_path):
    """A folder of Dask's settings: TLS, and faults that are noticed soon."""
    folder = tmp_path / "settings"
    subprocess.run([CLUSTER / "certificates.sh", folder], check=True, capture_output=True)
    (folder / "faults.yaml").write_text(FAULTS)
    return folder


def test_a_killed_a_frozen_and_a_cut_off_host_change_no_sample(hosts, settings, tmp_path, threads):
    storage, head, *others = hosts
    manifest = scenes.repeated(scenes.PICTURES / "labels.csv", tmp_path / "labels.csv", 4)
    recipe = tmp_path / "slow.toml"
    recipe.write_text(RECIPE)
    meeting = tmp_path / "scheduler.json"
    environment = {
        "DASK_CONFIG": str(settings),
        "PYTHONPATH": f"{scenes.ROOT / 'tests'}",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "NO_GCE_CHECK": "true",
    }

    with clusters.processes(tmp_path, environment=environment) as started:
        serve_bucket(started, storage, tmp_path)
        clusters.start_scheduler(
            started,
            meeting,
            "--host",
            head.address,
            "--dashboard-address",
            ":0",
            prefix=head.prefix,
        )
        workers = [
            clusters.start_worker(
                started, meeting, "--host", host.address, "--no-nanny",
                name=f"worker{i}", prefix=host.prefix,
            )
            for i, host in enumerate(others)
        ]  # fmt: skip
        clusters.wait_until(
            lambda: started.said("scheduler").count("Register worker") == len(others),
            lambda: started.said("scheduler"),
        )
        words = "--recipe", recipe, "--shard-samples", 4, "--chunk-samples", 4, "--scheduler"
        run = clusters.run_command(manifest, "gs://b/out.zarr", *words, meeting)
        building = started.start("run", *run, prefix=head.prefix)
        clusters.wait_until(lambda: has_begun(started, head), lambda: started.said("run"))

        clusters.kill_group(workers[1])
        clusters.kill_group(workers[2], signal.SIGSTOP)
        others[3].cut()

        assert building.wait(120) == 0, started.said("run")
        found = ask(started, head, sys.executable, "-c", HASHES, "gs://b/out.zarr").split()
        ask(started, head, sys.executable, "-m", "daskimg.cli", "verify", "gs://b/out.zarr")

    assert '"address": "tls://' in meeting.read_text()
    assert f"Remove worker addr: tls://{others[1].address}" in started.said("scheduler")
    assert found == local_hashes(manifest, recipe, tmp_path, threads)


def serve_bucket(started, storage, folder):
    """Start the bucket's server on its host, with a bucket; name it in the environment."""
    place = folder / "port"
    words = [sys.executable, "-m", "gcs_server", place, storage.address]
    started.start("storage", *words, prefix=storage.prefix)
    clusters.wait_until(place.exists, lambda: started.said("storage"))
    started.environment["STORAGE_EMULATOR_HOST"] = f"http://{storage.address}:{place.read_text()}"
    make = "import gcsfs; gcsfs.GCSFileSystem(token='anon', project='p').mkdir('b')"
    ask(started, storage, sys.executable, "-c", make)


def ask(started, host, *words):
    """Run a command on a host, and return what it prints."""
    found = subprocess.run(
        [*host.prefix, *map(str, words)], env=started.environment, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def has_begun(started, head):
    """Tell whether a few shards are finished: their ledger entries are in the bucket."""
    count = (
        "import json, os, urllib.request as u;"
        "r = u.Request(os.environ['STORAGE_EMULATOR_HOST'] + '/_stats', b'{}', method='POST');"
        "calls = json.load(u.urlopen(r))['calls'];"
        "print(sum('/ledger/' in c[3] for c in calls if c[1] == 'create'))"
    )
    return int(ask(started, head, sys.executable, "-c", count)) >= 4


def local_hashes(manifest, recipe, folder, client):
    """Return what a build on this host alone gives."""
    scenes.build(
        daskimg.read_manifest(str(manifest)), folder / "local.zarr", client,
        recipe=daskimg.recipes.read_recipe(str(recipe)), shard=64, chunk=4,
    )  # fmt: skip
    return scenes.sample_hashes(folder / "local.zarr")
