"""Clusters of others: how they are reached, what is asked of their workers, what breaks."""

import hashlib
import os
import re
import shutil
import subprocess
import time
from functools import partial

import numpy as np
import pytest
import scenes
import slow_resize
import strangers
from distributed import Client, LocalCluster, get_worker

import daskimg
from daskimg import fetch, run, store
from daskimg.build import _fitness
from daskimg.build._crew import Crew, Patience
from daskimg.build._jobs import Jobs
from daskimg.build._shards import mapped
from daskimg.errors import OptionError, PlanError, StoppedError
from daskimg.fetch import open_folder

SLOW = daskimg.Recipe((slow_resize.SlowResize(16, 16),))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A scheduler with two workers, which tests leave as they find it."""
    with strangers.running(tmp_path_factory.mktemp("foreign"), "a", "b") as cluster:
        yield cluster


@pytest.fixture
def labels(table, tmp_path):
    table.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "labels.csv"


@pytest.fixture(scope="module")
def expected(pictures, tmp_path_factory, threads):
    url = tmp_path_factory.mktemp("expected") / "out.zarr"
    scenes.build(scenes.table_of(*pictures), url, threads, max_failed=1)
    return hashes(url)


def hashes(url):
    images = daskimg.open_store(str(url)).image[:]
    return [hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in images]


def slow_plan(table, url):
    """Twenty shards of two pictures, which rest a little."""
    return scenes.plan(table, url, shard=2, chunk=1, recipe=SLOW, max_failed=1)


def build(plan, cluster, *, at=None, notes=None):
    """Build on a scheduler; call `at[n]` when n shards are done."""
    due = dict(at or {})

    def watch(tally):
        for number in [number for number in due if tally.shards >= number]:
            due.pop(number)()

    options = daskimg.ClusterOptions(scheduler=str(cluster.file))
    kept = [] if notes is None else notes
    return daskimg.build_store(plan, cluster=options, on_tally=watch, on_note=kept.append)


def finished(url):
    ledger = url / "daskimg/records/ledger"
    return len(list(ledger.glob("*.parquet"))) if ledger.is_dir() else 0


# How they are reached


@pytest.mark.parametrize("how", ["file", "address", "environment"])
def test_the_main_job_on_the_cluster_of_others(foreign, labels, tmp_path, expected, how):
    url = tmp_path / "out.zarr"
    named = {"file": ["--scheduler", foreign.file], "address": ["--scheduler", foreign.address]}
    environment = {"DASK_SCHEDULER_ADDRESS": foreign.address} if how == "environment" else {}

    found = scenes.daskimg_run(
        labels, url, "--size", "16", "--max-failed", "1", *named.get(how, []),
        env={**os.environ, **environment},
    )  # fmt: skip

    assert found.returncode == 0, found.stderr
    assert hashes(url) == expected


def test_a_cluster_object_of_python_will_do(table, tmp_path, expected):
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
    ) as cluster:  # fmt: skip
        plan = scenes.plan(table, tmp_path / "a.zarr", max_failed=1)

        assert daskimg.build_store(plan, cluster=cluster).committed

    assert hashes(tmp_path / "a.zarr") == expected


def test_a_local_cluster_grows_while_there_is_work(table, tmp_path):
    options = daskimg.ClusterOptions(adaptive=(1, 2), threads=1, dashboard=False)
    started = []
    daskimg.build_store(
        slow_plan(table, tmp_path / "a.zarr"),
        cluster=options,
        on_client=lambda client: started.append(len(client.nthreads())),
    )

    (log,) = store.read_runs(open_folder(str(tmp_path / "a.zarr")))
    assert started == [1]
    assert log["cluster"]["workers"] >= 1


def test_tls_by_files(labels, tmp_path, expected):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make certificates")
    made = tmp_path / "certificates"
    script = scenes.ROOT / "cluster" / "certificates.sh"
    subprocess.run([script, made], check=True, capture_output=True)

    def files(who, option="--tls-ca"):
        names = {option: "ca.pem", "--tls-cert": f"{who}.pem", "--tls-key": f"{who}.key"}
        return [word for name, file in names.items() for word in (name, made / file)]

    protocol = ["--protocol", "tls"]
    options = [*protocol, *files("scheduler", "--tls-ca-file")]
    with strangers.running(tmp_path / "cluster", options=options) as cluster:
        cluster.join("a", options=[*protocol, *files("worker", "--tls-ca-file")])
        ordinary = ["--size", "16", "--max-failed", "1", "--scheduler"]
        plain = cluster.address.replace("tls", "tcp")

        found = scenes.daskimg_run(
            labels, tmp_path / "a.zarr", *ordinary, cluster.address, *files("client")
        )
        without = scenes.daskimg_run(labels, tmp_path / "b.zarr", *ordinary, cluster.address)
        unencrypted = scenes.daskimg_run(labels, tmp_path / "b.zarr", *ordinary, plain)

    assert cluster.address.startswith("tls://")
    assert found.returncode == 0, found.stderr
    assert hashes(tmp_path / "a.zarr") == expected
    for refused, advice in ((without, "give --tls-ca"), (unencrypted, "TLS is tls://")):
        assert refused.returncode == 2, refused.stderr
        assert "no scheduler answers at" in refused.stderr
        assert advice in refused.stderr
        assert refused.stderr.count("\n") == 1, refused.stderr
    assert not (tmp_path / "b.zarr").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tls_ca": "x.pem"}, "--tls-ca is for --scheduler"),
        ({"scheduler": "tls://h:1", "tls_ca": "x.pem"}, "x.pem is no file"),
        ({"scheduler": "tls://h:1", "tls_cert": __file__}, "go together"),
        ({"scheduler": "tcp://h:1", "adaptive": (1, 2)}, "--adaptive is for a local cluster"),
        ({"adaptive": (2, 1)}, "try 2:4"),
        ({"adaptive": (0, 1)}, "at least 1"),
        ({"workers": 2, "adaptive": (1, 2)}, "--workers or --adaptive"),
        ({"wait": -1}, "--wait-workers"),
    ],
)
def test_what_does_not_go_together_is_refused(options, words):
    with pytest.raises(OptionError, match=words):
        daskimg.ClusterOptions(**options)


def test_certificates_are_not_for_a_scheduler_without_encryption():
    files = dict.fromkeys(("tls_ca", "tls_cert", "tls_key"), __file__)
    options = daskimg.ClusterOptions(scheduler="tcp://127.0.0.1:1", **files)

    with (
        pytest.raises(OptionError, match=r"is not encrypted.*try tls://127.0.0.1:1"),
        daskimg.build.connect(options),
    ):
        pass


def test_a_file_that_is_no_scheduler_file_is_refused(tmp_path):
    (tmp_path / "s.json").write_text("{}")

    with (
        pytest.raises(OptionError, match=r"s\.json .it is no scheduler file"),
        daskimg.build.connect(daskimg.ClusterOptions(scheduler=str(tmp_path / "s.json"))),
    ):
        pass


def test_a_cluster_without_workers_is_waited_for_and_then_left(labels, tmp_path):
    with strangers.running(tmp_path / "cluster") as cluster:
        found = scenes.daskimg_run(
            labels, tmp_path / "a.zarr", "--size", "16",
            "--scheduler", cluster.file, "--wait-workers", "4",
        )  # fmt: skip

    assert found.returncode == run.STOPPED, found.stderr
    assert "the cluster has no workers: waiting 4 seconds for one" in found.stderr
    assert "daskimg: the cluster has had no worker for 4 seconds" in found.stderr
    assert not (tmp_path / "a.zarr").exists()


# What is asked of their workers

OTHER = """
import importlib.metadata as metadata
true = metadata.version
metadata.version = lambda name: "1.2.3" if name == "numba" else true(name)
"""
NONE = """
import sys
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name == "daskimg":
            raise ModuleNotFoundError("No module named 'daskimg'")
sys.meta_path.insert(0, Refusing())
"""


def another(folder, text):
    """Return an environment in which Python begins with some lines."""
    (folder / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": f"{folder}:{scenes.ROOT / 'tests'}:{scenes.ROOT}"}


@pytest.mark.parametrize(
    ("text", "words"),
    [(OTHER, "has numba 1.2.3, and the client"), (NONE, "cannot import this daskimg")],
    ids=["other", "none"],
)
def test_workers_of_other_versions_are_refused(table, tmp_path, text, words):
    with strangers.running(tmp_path / "cluster") as cluster:
        cluster.join("odd", **another(tmp_path, text))

        with pytest.raises(PlanError, match=rf"worker tcp://127.0.0.1:\d+ {words}"):
            build(scenes.plan(table, tmp_path / "a.zarr"), cluster)

    assert not (tmp_path / "a.zarr").exists()
    assert not list(tmp_path.glob(".daskimg-*"))


def needs(**changed):
    known = {
        "versions": _fitness.versions(), "recipe": _fitness.dumps(daskimg.recipes.resize(8)),
        "source": __file__, "store": "a.zarr", "mark": __file__,
    }  # fmt: skip
    return _fitness.Needs(**{**known, **changed})


@pytest.mark.parametrize(
    ("lack", "words"),
    [
        ({}, None),
        ({"versions": {"numba": "9"}}, "has numba .*, and the client 9"),
        ({"recipe": b"cnowhere\nthing\n."}, "cannot load the recipe .*No module named 'nowhere'"),
        ({"source": "/gone/a.jpg"}, r"cannot read /gone/a.jpg .*and the client can"),
        ({"mark": "/gone/.daskimg-1"}, "does not see the client's /gone; write to a bucket"),
        ({"mark": None, "store": "http://127.0.0.1:1/a"}, "cannot reach the store"),
    ],
)
def test_a_worker_says_what_it_lacks(lack, words):
    with fetch.using(fetch.Options(attempts=1)):
        found = _fitness.fault_of(needs(**lack))

    if words is None:
        assert found is None
    else:
        assert re.search(words, found)


def test_a_frozen_worker_is_named_before_anything_is_written(
    foreign, table, tmp_path, monkeypatch
):
    monkeypatch.setattr("daskimg.build._run.Patience", lambda **_: Patience(scheduler=2.0))
    with Client(foreign.address) as client:
        (address,) = [
            address
            for address, facts in client.scheduler_info(n_workers=-1)["workers"].items()
            if facts["name"] == "b"
        ]
    foreign.freeze("b")
    try:
        # Resumable, not refused: the scheduler drops it, and the next try goes on without it.
        with pytest.raises(StoppedError, match=f"worker {address} has not answered for 2 seconds"):
            build(scenes.plan(table, tmp_path / "a.zarr"), foreign)
    finally:
        foreign.thaw("b")

    assert not (tmp_path / "a.zarr").exists()


def test_workers_without_the_memory_for_their_threads_are_refused(table, tmp_path):
    plan = scenes.plan(table, tmp_path / "a.zarr", size=224, shard=40, chunk=10)
    cluster = daskimg.ClusterOptions(
        workers=1, threads=40, memory_limit="200MB", processes=False, dashboard=False
    )

    with pytest.raises(
        PlanError, match=r"has 200.0 MB of memory for 40 threads, and a task .*give"
    ):
        daskimg.build_store(plan, cluster=cluster)

    assert not (tmp_path / "a.zarr").exists()


def test_an_unfit_worker_that_joins_later_is_not_used(table, tmp_path, expected):
    notes = []
    with strangers.running(tmp_path / "cluster", "good") as cluster:
        gate = tmp_path / "gate"  # else the good one is done before the other is there
        recipe = daskimg.Recipe((slow_resize.GatedResize(16, 16, gate=str(gate)),))
        plan = scenes.plan(
            table, tmp_path / "a.zarr", shard=2, chunk=1, recipe=recipe, max_failed=1
        )
        late = {2: lambda: (cluster.join("odd", **another(tmp_path, OTHER)), gate.touch())}
        report = build(plan, cluster, at=late, notes=notes)
        with Client(cluster.address) as client:
            there = {each["name"] for each in client.scheduler_info()["workers"].values()}

    assert report.committed
    assert there == {"good", "odd"}, "it is somebody else's: it was not to be closed"
    assert hashes(tmp_path / "a.zarr") == expected
    (log,) = store.read_runs(open_folder(str(tmp_path / "a.zarr")))
    assert any("has numba 1.2.3" in note and note.endswith("it is not used") for note in notes)
    assert log["cluster"]["workers"] == 2


def where(number, run):
    """A task that says which worker did it, late where that is one of the first."""
    time.sleep(1.0 if number in (1, 2) else 0.02)
    return get_worker().address


def test_tasks_are_kept_from_an_unfit_worker_also_when_the_fit_ones_change(monkeypatch):
    monkeypatch.setattr("daskimg.build._crew._LOOK", 0.1)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        crew = Crew(client, Patience(), print)
        crew.wait()
        odd, first = crew.threads
        crew.leave_out(odd, "it is odd")
        results = Jobs(crew, partial(mapped, client, where, "run")).results(range(9))

        places = [next(results)[1]]
        cluster.scale(3)
        client.wait_for_workers(3)
        client.retire_workers([first])
        places += [place for _, place in results]

        (other,) = crew.threads

    assert len(places) == 9
    assert set(places) == {first, other}
    assert odd not in places


# What breaks


def test_a_worker_lost_with_its_nanny_costs_time_only(table, tmp_path, expected):
    with strangers.running(tmp_path / "cluster", "a", "b", nannies=True) as cluster:
        report = build(
            slow_plan(table, tmp_path / "a.zarr"), cluster, at={4: lambda: cluster.kill("b")}
        )

    assert report.committed
    assert hashes(tmp_path / "a.zarr") == expected
    (log,) = store.read_runs(open_folder(str(tmp_path / "a.zarr")))
    assert log["cluster"]["lost"] == 1


def test_a_frozen_worker_is_dropped_when_the_scheduler_has_missed_it(table, tmp_path, expected):
    with strangers.running(
        tmp_path / "cluster", "a", "b", DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="2s"
    ) as cluster:
        freeze = {4: lambda: cluster.freeze("b")}
        began = time.monotonic()
        report = build(slow_plan(table, tmp_path / "a.zarr"), cluster, at=freeze)
        took = time.monotonic() - began

    assert report.committed
    assert hashes(tmp_path / "a.zarr") == expected
    assert took < 60


def test_the_last_tasks_are_given_to_idle_workers_too(table, tmp_path, expected, monkeypatch):
    monkeypatch.setattr(
        "daskimg.build._run.Patience", lambda **_: Patience(straggler=1.0, result=2.0)
    )
    notes = []
    with strangers.running(
        tmp_path / "cluster", "a", "b"
    ) as cluster:  # the scheduler waits for minutes
        freeze = {4: lambda: cluster.freeze("b")}
        report = build(slow_plan(table, tmp_path / "a.zarr"), cluster, at=freeze, notes=notes)

    assert report.committed
    assert hashes(tmp_path / "a.zarr") == expected
    (log,) = store.read_runs(open_folder(str(tmp_path / "a.zarr")))
    assert log["cluster"]["doubled"] >= 1


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_lost_scheduler_ends_the_run_and_another_resumes_it(
    foreign, table, tmp_path, expected, monkeypatch, how
):
    monkeypatch.setattr(
        "daskimg.build._run.Patience", lambda **_: Patience(scheduler=2.0, result=2.0)
    )
    url = tmp_path / "a.zarr"
    lost = []
    with strangers.running(tmp_path / "cluster", "a") as cluster:
        lose_it = cluster.kill if how == "killed" else cluster.freeze

        def lose():
            lose_it("scheduler")
            lost.append(time.monotonic())

        with pytest.raises(StoppedError, match=r"scheduler .*run the same command again"):
            build(slow_plan(table, url), cluster, at={4: lose})
        took = time.monotonic() - lost[0]
    done = finished(url)
    report = build(slow_plan(table, url), foreign)

    assert 4 <= done < 20
    assert took < 60
    assert report.resumed >= 2 * 4
    assert hashes(url) == expected
    stopped, committed = store.read_runs(open_folder(str(url)))
    assert (stopped["outcome"], committed["outcome"]) == ("stopped", "committed")
    assert "127.0.0.1" not in str(stopped)


CLIENT = """
import sys
import daskimg, scenes, slow_resize

if __name__ == "__main__":
    table, url, scheduler = sys.argv[1:]
    recipe = daskimg.Recipe((slow_resize.SlowResize(16, 16),))
    manifest = daskimg.read_manifest(table)
    plan = scenes.plan(manifest, url, shard=2, chunk=1, recipe=recipe, max_failed=1)
    daskimg.build_store(plan, cluster=daskimg.ClusterOptions(scheduler=scheduler))
"""


def runs_of(dask_scheduler):
    """What a scheduler keeps of runs, for workers that join and for itself."""
    kept = [*dask_scheduler.worker_plugins, *dask_scheduler.plugins]
    return [name for name in kept if name.startswith("daskimg-")]


def test_workers_stop_when_the_client_is_lost_and_a_new_one_resumes_at_once(
    foreign, labels, table, tmp_path, expected
):
    url = tmp_path / "a.zarr"
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    secret = {"DASKIMG_STORAGE": '{"gs": {"token": "very-secret"}}'}

    client = scenes.start(script, labels, url, foreign.file, **secret)
    scenes.kill_when(client, lambda: finished(url) >= 4)
    time.sleep(2.0)  # what was begun is finished: a shard takes a tenth of that
    done = finished(url)
    with Client(foreign.address) as other:
        left = other.run_on_scheduler(runs_of), *other.run(fetch.lenders).values()
    time.sleep(1.0)
    later = finished(url)
    report = build(slow_plan(table, url), foreign)

    assert 4 <= done < 20
    assert left == ([], [], []), "keys of a client that is gone"
    assert later == done
    assert report.resumed == 2 * done
    assert hashes(url) == expected


def test_one_picture_that_kills_its_worker_costs_one_sample_on_any_cluster(
    table, tmp_path, expected
):
    import killers

    recipe = daskimg.Recipe((killers.Killer(16, 16, rows=(11,)),))
    plan = scenes.plan(table, tmp_path / "a.zarr", shard=4, chunk=2, recipe=recipe, max_failed=1)
    with strangers.running(tmp_path / "cluster", "a", "b", nannies=True) as cluster:
        report = build(plan, cluster)

    assert report.reasons == {"format": 2, "killed its worker": 1}
    mine = hashes(tmp_path / "a.zarr")
    assert [i for i in range(40) if mine[i] != expected[i]] == [11]
