"""cluster/slurm under a real SLURM: a run, a run stopped before its time is up, a lost worker."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import clusters
import pytest
import scenes
import slurm as slurm_of_tests

import daskimg

FOLDER = Path(__file__).parents[1] / "cluster" / "slurm"
SMALL = ("--nodes=1", "--cpus-per-task=2", "--mem-per-cpu=0", "--time=10")
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A SLURM of one node."""
    if reason := slurm_of_tests.missing():
        pytest.skip(reason)
    with slurm_of_tests.running(tmp_path_factory.mktemp("slurm")) as found:
        yield found


@pytest.fixture(scope="module")
def expected(threads, tmp_path_factory):
    """The hashes of the shipped pictures at size 16."""
    url = tmp_path_factory.mktemp("expected") / "out.zarr"
    manifest = daskimg.read_manifest(str(scenes.PICTURES / "labels.csv"))
    scenes.build(manifest, url, threads, size=16)
    return scenes.sample_hashes(url)


def submit(slurm, folder, *words, options=()):
    """Hand the script in as a person does, from a folder; return the job's number."""
    found = subprocess.run(
        ["sbatch", "--parsable", *SMALL, *options, FOLDER / "run.sbatch", *map(str, words)],
        cwd=folder,
        env={**slurm.environment, "DASKIMG_PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def said(folder):
    return "".join(path.read_text() for path in folder.glob("daskimg-*.log"))


def test_a_job_makes_the_same_samples(slurm, tmp_path, expected):
    job = submit(slurm, tmp_path, scenes.PICTURES / "labels.csv", "out.zarr", "--size", 16)
    clusters.wait_until(lambda: slurm.state(job) in ENDED, lambda: said(tmp_path))

    assert slurm.state(job) == "COMPLETED", said(tmp_path)
    assert scenes.sample_hashes(tmp_path / "out.zarr") == expected
    assert list(tmp_path.glob(".daskimg-*")) == []


def test_a_job_whose_time_is_nearly_up_stops_and_goes_on_when_it_is_queued_again(slurm, tmp_path):
    """SLURM's signal before the time limit is sent by hand: a limit is a minute at the least."""
    shutil.copy(scenes.ROOT / "tests" / "slow_resize.py", tmp_path)
    recipe = tmp_path / "slow.toml"
    recipe.write_text('[[transform]]\nname = "slow_resize:SlowResize"\nheight = 16\nwidth = 16\n')
    ledger = tmp_path / "out.zarr" / "daskimg" / "records" / "ledger"
    table = scenes.repeated(scenes.PICTURES / "labels.csv", tmp_path / "table.csv", 6)
    job = submit(
        slurm, tmp_path, table, "out.zarr", "--recipe", recipe, "--shard-samples", 16,
        "--chunk-samples", 16, options=["--export=ALL,PYTHONPATH=" + str(tmp_path)],
    )  # fmt: skip
    clusters.wait_until(lambda: any(ledger.glob("*")), lambda: said(tmp_path))

    slurm.ask("scancel", "--batch", "--signal=USR1", job)
    clusters.wait_until(lambda: slurm.field(job, "Restarts") == "1", lambda: said(tmp_path))
    clusters.wait_until(lambda: slurm.state(job) in ENDED, lambda: said(tmp_path))

    assert slurm.state(job) == "COMPLETED", said(tmp_path)
    assert "queued again" in said(tmp_path)
    assert re.search(r"[\d,]+ were finished before this run", said(tmp_path))
    assert not daskimg.open_store(str(tmp_path / "out.zarr")).failures.size


def test_a_refused_job_is_not_queued_again(slurm, tmp_path):
    job = submit(slurm, tmp_path, "nothing.csv", "out.zarr")
    clusters.wait_until(lambda: slurm.state(job) in ENDED, lambda: said(tmp_path))

    assert slurm.field(job, "ExitCode") == "2:0"
    assert slurm.field(job, "Restarts") == "0"
    assert "nothing.csv" in said(tmp_path)


def test_workers_that_slurm_starts_one_by_one_make_the_same_samples(slurm, tmp_path, expected):
    pytest.importorskip("dask_jobqueue", reason="needs pip install -e '.[deploy]'")
    cluster = "--cores", "1", "--memory", "1GB", "--jobs", "1:2"
    run = map(str, (scenes.PICTURES / "labels.csv", tmp_path / "out.zarr", "--size", 16))
    made = subprocess.run(
        [sys.executable, FOLDER / "jobs.py", *cluster, "--", *run],
        env=slurm.environment, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert made.returncode == 0, made.stderr
    assert scenes.sample_hashes(tmp_path / "out.zarr") == expected
    clusters.wait_until(lambda: slurm.ask("squeue", "-h") == "")
