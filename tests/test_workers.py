"""Workers of a cluster that knows nothing of a run: what they are given, and what they forget."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time

import pytest
import scenes
from distributed import Client, LocalCluster
from web import serving

import daskimg
from daskimg import fetch, run
from daskimg.build._crew import Crew, Patience
from daskimg.build._workers import set_up
from daskimg.fetch._systems import remote, start

# gcsfs hands large bodies to aiohttp as bytes, and aiohttp would rather have a file.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

TOKEN = "ya29.a0-very-secret"


@pytest.fixture(scope="module")
def strangers():
    """A cluster of one worker process, started without a word about any storage."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client


@pytest.fixture(scope="module")
def bucket(gcs_server, pictures):
    """A bucket with the forty pictures and their table, which no variable leads to."""
    name = gcs_server.bucket()
    gcs_server.upload(pictures[0], f"{name}/in", pictures[1])
    table = scenes.table_of(*pictures).assign(path=pictures[1])
    gcs_server.system.pipe_file(f"{name}/in/labels.csv", table.to_csv(index=False).encode())
    return name


@pytest.fixture(scope="module")
def storage(gcs_server):
    """Storage options that lead there, a secret among them."""
    if not gcs_server.url:
        pytest.skip("needs a server of its own address, not Google's")
    return {"gs": {**gcs_server.storage_options, "secret_note": TOKEN}}


def crew(client, name):
    return Crew(client, Patience(), print, name=name)


def reads_of(client, name="run"):
    """What each worker gives to gcsfs for a run."""
    return list(client.run(_storage, name).values())


def _storage(name):
    with fetch.acting_for(name):
        return fetch.configured().storage_of("gs")


def test_a_foreign_cluster_builds_with_the_options_of_the_client(strangers, bucket, storage):
    manifest = f"gs://{bucket}/in/labels.csv"
    with fetch.using(fetch.Options(storage=storage)):
        samples = scenes.build(
            daskimg.read_manifest(manifest), f"gs://{bucket}/out.zarr", strangers, max_failed=1
        )

        assert len(samples) == 40
        assert samples.image[39].any()


def test_a_worker_that_joins_later_is_set_up_too_and_all_forget_in_the_end(strangers, storage):
    with fetch.using(fetch.Options(storage=storage, attempts=3)):
        with set_up(crew(strangers, "run")):
            strangers.cluster.scale(2)
            strangers.wait_for_workers(2)
            during = reads_of(strangers)
        after = reads_of(strangers)
    strangers.cluster.scale(1)
    while len(strangers.scheduler_info(n_workers=-1)["workers"]) > 1:
        time.sleep(0.1)

    assert during == [storage["gs"]] * 2
    assert after == [{}, {}]


def test_two_runs_on_one_cluster_keep_apart(strangers):
    def given(token):
        return fetch.using(fetch.Options(storage={"gs": {"token": token}}))

    with given("first"), set_up(crew(strangers, "a")):
        with given("second"), set_up(crew(strangers, "b")):
            both = [reads_of(strangers, name)[0] for name in ("a", "b", "nobody")]
        later = [reads_of(strangers, name)[0] for name in ("a", "b")]

    assert both == [{"token": "first"}, {"token": "second"}, {}]
    assert later == [{"token": "first"}, {}]


@pytest.fixture
def lent():
    """Two runs in this process, of which the second may send nine requests a second."""
    fetch.lend("a", {"attempts": 3})
    fetch.lend("b", {"attempts": 5, "requests_per_second": 9})
    yield
    for name in ("a", "b"):
        fetch.take_back(name)


def test_each_run_of_a_process_has_its_own_limit_connections_and_counts(lent):
    fetch.traffic(reset=True)
    with serving() as server:
        with fetch.acting_for("a"):
            fetch.read(f"{server.url}/1")
            fetch.limiter().slow({"read": 1.0})
            system = remote(server.url)[0]
        with fetch.acting_for("b"):
            others = fetch.limiter().paces(), remote(server.url)[0], fetch.traffic()
        with fetch.acting_for("a"):
            mine = fetch.limiter().paces(), remote(server.url)[0], fetch.traffic()

    assert others[0] == pytest.approx({"read": 4000, "write": 800, "all": 9}, rel=0.01)
    assert mine[0] == pytest.approx({"read": 2000, "write": 800}, rel=0.05)
    assert mine[1] is system
    assert others[1] is not system
    assert (mine[2].requests["read"], others[2].requests["read"]) == (1, 0)
    assert fetch.traffic().requests["read"] == 0


def test_threads_and_the_loop_know_for_whom_they_ask(lent):
    def attempts():
        return fetch.configured().attempts

    async def later():
        return await asyncio.to_thread(attempts)

    with fetch.acting_for("b"), fetch.threads(1) as pool:
        found = pool.submit(attempts).result(), start(later()).result()

    assert found == (5, 5)
    assert attempts() == fetch.Options().attempts


def test_options_that_are_lent_while_others_are_put_together_hold_afterwards():
    other = threading.Thread(target=fetch.lend, args=("other", {"attempts": 3}))

    class Slow(dict):
        def get(self, *names):
            if other.ident is None:
                other.start()
                other.join(0.2)  # it waits, or it has changed what is being gone through
            return super().get(*names)

    fetch.lend("slow", Slow(read_seconds=5))
    try:
        with fetch.acting_for("slow"):
            first = fetch.configured()
            other.join()
            second = fetch.configured()
        with fetch.acting_for("other"):
            third = fetch.configured()
    finally:
        fetch.take_back("slow")
        fetch.take_back("other")

    assert first == second
    assert (first.read_seconds, third.attempts) == (5, 3)


def test_what_a_worker_was_started_with_stands_where_the_client_says_nothing(monkeypatch):
    monkeypatch.setenv("DASKIMG_STORAGE", '{"gs": {"token": "own"}, "http": {"headers": 1}}')
    monkeypatch.setenv("DASKIMG_ATTEMPTS", "3")
    fetch.configure(None)

    fetch.lend("run", {"storage": {"gs": {"project": "p"}}, "read_seconds": 5})
    with fetch.acting_for("run"):
        lent = fetch.configured()
    fetch.take_back("run")

    assert lent.storage_of("gs") == {"token": "own", "project": "p"}
    assert (lent.storage_of("http"), lent.attempts, lent.read_seconds) == ({"headers": 1}, 3, 5)
    assert fetch.configured().read_seconds == fetch.Options().read_seconds
    monkeypatch.undo()
    fetch.configure(None)


def test_threads_of_the_client_keep_its_own_options(threads):
    with fetch.using(fetch.Options(attempts=3)), set_up(crew(threads, "run")):
        fetch.configure(fetch.Options(attempts=5))

        assert fetch.configured().attempts == 5


def test_a_secret_of_the_options_is_on_no_page_in_no_log_and_no_object(
    strangers, bucket, storage, gcs_server, tmp_path
):
    out = f"gs://{bucket}/secret.zarr"
    with fetch.using(fetch.Options(storage=storage)):
        manifest = daskimg.read_manifest(f"gs://{bucket}/in/labels.csv")
        scenes.build(manifest, out, strangers, max_failed=1)
        with set_up(crew(strangers, "run")):
            told = [
                strangers.get_scheduler_logs(), strangers.get_worker_logs(),
                strangers.get_events(), strangers.scheduler_info(n_workers=-1),
            ]  # fmt: skip
            strangers.dump_cluster_state(str(tmp_path / "state"), format="yaml")

    stored = gcs_server.objects(f"{bucket}/secret.zarr")
    assert len(stored) > 5
    assert not [name for name, content in stored.items() if TOKEN.encode() in content]
    assert TOKEN not in str(told)
    assert TOKEN not in (tmp_path / "state.yaml").read_text()


# -- the command line -------------------------------------------------------------------------


def run_apart(arguments, **variables):
    """Run the main job as somebody does whose machine knows of no bucket."""
    foreign = ("STORAGE_EMULATOR_HOST", "DASKIMG_STORAGE", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT")
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    return subprocess.run(
        [sys.executable, "-m", "daskimg.run", *arguments, "--json", "--max-failed", "1"],
        env={**environment, **variables}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("means", ["options", "variables", "the usual variable"])
def test_the_main_job_goes_from_a_bucket_to_a_bucket_with_nothing_but(
    gcs_server, bucket, storage, means
):
    out = f"gs://{bucket}/{means.replace(' ', '-')}.zarr"
    arguments = [f"gs://{bucket}/in/labels.csv", out, "--size", "16"]
    variables = {}
    if means == "options":
        for name in ("endpoint_url", "token", "secret_note"):
            arguments += ["--storage-option", f"gs.{name}={storage['gs'][name]}"]
    elif means == "variables":
        variables = {"DASKIMG_STORAGE": json.dumps(storage)}
    else:
        variables = gcs_server.environment

    done = run_apart(arguments, **variables)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "committed"
    assert TOKEN not in done.stdout + done.stderr


def test_a_storage_option_in_another_form_is_refused_and_not_repeated(capsys, tmp_path):
    code = run.main(["a.csv", str(tmp_path / "o"), "--storage-option", f"token={TOKEN}"])

    told = capsys.readouterr()
    assert code == 2
    assert "scheme.name=value" in told.err
    assert TOKEN not in told.out + told.err


def test_storage_options_of_a_command_end_with_it(tmp_path):
    before = fetch.configured()

    code = run.main(["none.csv", str(tmp_path / "o"), "--storage-option", "gs.token=anon"])

    assert code == 2
    assert fetch.configured() == before
