"""The files of cluster/: that Kubernetes, Docker and shells take them, and what they do."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import clusters
import pytest
import scenes

import daskimg

CLUSTER = Path(__file__).parents[1] / "cluster"
FILES = sorted(path for path in CLUSTER.rglob("*") if path.is_file())
KUBERNETES = [path for path in FILES if path.parent.name == "kubernetes"]
SCRIPTS = [path for path in FILES if path.read_bytes().startswith(b"#!")]
TRY_AGAIN = {**os.environ, "DASKIMG_PAUSE": "0", "DASKIMG_TRIES": "4"}


def named(paths):
    return [pytest.param(path, id=path.name) for path in paths]


def tool(name):
    """Return a program of this environment or of the machine, or skip the test."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return found or pytest.skip(f"needs {name}: pip install -e '.[deploy]', or Debian's package")


@pytest.fixture(scope="module")
def schemas():
    """What tells wrong objects from right ones; skips where the schemas are not there."""
    import kubernetes_schemas

    return kubernetes_schemas


@pytest.fixture(scope="module")
def shipped(threads, tmp_path_factory):
    """The manifest that ships with the project, and the hashes of its samples at size 16."""
    manifest = scenes.PICTURES / "labels.csv"
    url = tmp_path_factory.mktemp("shipped") / "out.zarr"
    scenes.build(daskimg.read_manifest(str(manifest)), url, threads, size=16)
    return manifest, scenes.sample_hashes(url)


# Kubernetes


@pytest.mark.parametrize("path", named(KUBERNETES))
def test_kubernetes_takes_each_file(schemas, path):
    assert schemas.problems(path.read_text()) == []


@pytest.mark.parametrize(
    ("right", "wrong", "found"),
    [
        ("serviceAccountName: daskimg", "serviceAcountName: daskimg", "serviceAcountName"),
        ("replicas: 16", "replicas: sixteen", "worker.replicas"),
        ("runAsNonRoot: true", "runAsNonRoot: maybe", "runAsNonRoot"),
        ("cluster-name: daskimg", "cluster-name: another", "selects cluster 'another'"),
    ],
)
def test_a_mistake_in_a_file_would_be_seen(schemas, right, wrong, found):
    content = (CLUSTER / "kubernetes" / "cluster.yaml").read_text()
    assert right in content

    assert any(found in line for line in schemas.problems(content.replace(right, wrong)))


@pytest.mark.parametrize("path", named(KUBERNETES))
def test_no_container_is_root_or_may_become_it(path):
    yaml = pytest.importorskip("yaml")
    held = [
        pod for given in yaml.safe_load_all(path.read_text()) for pod in clusters.pods_of(given)
    ]

    for pod in held:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert held or path.name == "namespace.yaml"


def test_kubernetes_starts_a_run_again_for_exit_status_3_alone():
    yaml = pytest.importorskip("yaml")
    run = yaml.safe_load((CLUSTER / "kubernetes" / "run.yaml").read_text())["spec"]
    job = yaml.safe_load((CLUSTER / "kubernetes" / "job.yaml").read_text())["spec"]["job"]["spec"]

    rules = run["podFailurePolicy"]["rules"]
    assert rules[0] == {
        "action": "FailJob",
        "onExitCodes": {"containerName": "run", "operator": "In", "values": [1, 2]},
    }
    assert run["template"]["spec"]["restartPolicy"] == job["restartPolicy"] == "Never"
    assert job["containers"][0]["args"][:4] == ["again", "python", "-m", "daskimg.run"]


def test_the_readme_fills_in_every_blank_of_the_files():
    """The command with which the README applies the files leaves no PLACEHOLDER."""
    readme = (CLUSTER / "README.md").read_text()
    command = re.search(r"^(sed .*kubernetes/job\.yaml) \|", readme, re.M)[1]
    filled = {**os.environ, "REGION": "europe-west4", "PROJECT": "p", "BUCKET": "b"}

    found = subprocess.run(
        ["sh", "-c", command], cwd=CLUSTER.parent, env=filled, capture_output=True, text=True
    )

    assert found.returncode == 0, found.stderr
    assert "image: europe-west4-docker.pkg.dev/p/daskimg/daskimg:" in found.stdout
    assert "- gs://b/labels.csv" in found.stdout
    assert not re.search(r"REGION|PROJECT|BUCKET", found.stdout)


# The image


def test_docker_takes_the_dockerfile():
    found = subprocess.run(
        [tool("hadolint"), CLUSTER / "Dockerfile"], capture_output=True, text=True
    )

    assert found.returncode == 0, found.stdout


def test_the_image_is_not_root_and_holds_what_its_files_name():
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    copied = [line.split()[1:-1] for line in lines if re.match("COPY (?!--from)", line)]

    assert users == ["1000"]
    for name in (name for names in copied for name in names if not name.startswith("--")):
        assert (CLUSTER.parent / name).exists(), name
        assert f"!{name}" in (CLUSTER.parent / ".dockerignore").read_text().split()


def test_the_lock_pins_every_dependency_with_its_hash():
    requirements = pytest.importorskip("packaging.requirements")
    text = (CLUSTER / "requirements.lock").read_text()
    pins = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.M))
    wanted = tomllib.loads((CLUSTER.parent / "pyproject.toml").read_text())["project"]

    for line in wanted["dependencies"]:
        each = requirements.Requirement(line)
        assert pins[each.name] in each.specifier, line
    blocks = re.split(r"\n(?=[a-z])", text.strip())
    assert all("--hash=sha256:" in block for block in blocks if not block.startswith("#"))


# Nobody's secrets, nobody's machine


@pytest.mark.parametrize("path", named(FILES))
def test_no_file_holds_a_secret(path):
    text = path.read_text()

    assert not re.search(r"-----BEGIN|AKIA[0-9A-Z]{16}|\"private_key|ya29\.|password *[:=]", text)


# Scripts


@pytest.mark.parametrize("path", named(SCRIPTS))
def test_shellcheck_finds_nothing_in_a_script(path):
    if path.suffix == ".py":
        pytest.skip("ruff's")
    found = subprocess.run([tool("shellcheck"), path], capture_output=True, text=True)

    assert found.returncode == 0, found.stdout


def test_yamllint_finds_nothing():
    rules = "{extends: relaxed, rules: {line-length: disable}}"
    found = subprocess.run(
        [tool("yamllint"), "-s", "-d", rules, CLUSTER], capture_output=True, text=True
    )

    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(("status", "tries"), [(0, 1), (1, 1), (2, 1), (3, 4)])
def test_again_runs_again_for_exit_status_3_alone(tmp_path, status, tries):
    count = tmp_path / "count"
    command = f"echo >> {count}; exit {status}"

    found = subprocess.run([CLUSTER / "again", "sh", "-c", command], env=TRY_AGAIN)

    assert found.returncode == status
    assert len(count.read_text().splitlines()) == tries


def test_again_ends_with_the_first_success(tmp_path):
    mark = tmp_path / "mark"
    command = f"[ -e {mark} ] || {{ touch {mark}; exit 3; }}"

    assert subprocess.run([CLUSTER / "again", "sh", "-c", command], env=TRY_AGAIN).returncode == 0


def test_again_hands_a_signal_on_and_tries_no_more(tmp_path):
    count = tmp_path / "count"
    command = f"trap 'exit 3' TERM; echo >> {count}; while :; do sleep 0.05; done"
    running = subprocess.Popen([CLUSTER / "again", "sh", "-c", command], env=TRY_AGAIN)
    clusters.wait_until(count.exists)

    time.sleep(0.1)  # its trap is set by then
    running.send_signal(signal.SIGTERM)

    assert running.wait(10) == 3
    assert len(count.read_text().splitlines()) == 1


# Real schedulers and workers


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder of certificates, as the script makes them."""
    tool("openssl")
    folder = tmp_path_factory.mktemp("tls") / "certificates"
    subprocess.run([CLUSTER / "certificates.sh", folder], check=True, capture_output=True)
    return folder


def test_certificates_are_not_made_over_others(certificates):
    before = (certificates / "ca.key").read_bytes()

    again = subprocess.run(
        [CLUSTER / "certificates.sh", certificates], capture_output=True, text=True
    )

    assert again.returncode == 2
    assert "there already" in again.stderr
    assert (certificates / "ca.key").read_bytes() == before
    assert (certificates / "ca.key").stat().st_mode & 0o077 == 0


def test_a_run_over_tls_gives_the_same_samples_and_plain_connections_are_refused(
    certificates, shipped, tmp_path
):
    manifest, expected = shipped
    settings = tmp_path / "dask"
    settings.mkdir()
    for path in (certificates / "tls.yaml", CLUSTER / "dask.yaml"):
        shutil.copy(path, settings)
    meeting = tmp_path / "scheduler.json"

    def run(store, scheduler):
        return clusters.run_command(
            manifest, tmp_path / store, "--size", 16, "--scheduler", scheduler
        )

    with clusters.processes(tmp_path, environment={"DASK_CONFIG": str(settings)}) as started:
        clusters.start_scheduler(started, meeting)
        clusters.start_worker(started, meeting)
        safe = started.start("run", *run("out.zarr", meeting))
        assert safe.wait(clusters.PATIENCE) == 0, started.said("run")
        address = re.search(r"tls://([\d.:]+)", meeting.read_text())[1]
        plain = subprocess.run(
            run("plain.zarr", f"tcp://{address}"), capture_output=True, text=True
        )

    assert scenes.sample_hashes(tmp_path / "out.zarr") == expected
    assert plain.returncode == 2
    assert f"no scheduler answers at tcp://{address}" in plain.stderr
    assert not (tmp_path / "plain.zarr").exists()


def test_dask_knows_every_setting_that_is_shipped():
    from dask.config import get
    from yaml import safe_load

    def names(given, above=""):
        for name, value in given.items():
            if isinstance(value, dict) and "environ" not in name:
                yield from names(value, f"{above}{name}.")
            else:
                yield f"{above}{name}"

    import distributed  # noqa: F401  # its defaults

    for name in names(safe_load((CLUSTER / "dask.yaml").read_text())):
        assert get(name, "unknown") != "unknown", name


def test_a_run_by_ssh_gives_the_same_samples_and_leaves_nobody_behind(shipped, tmp_path):
    manifest, expected = shipped
    stand_in = tmp_path / "ssh"  # "ssh HOST COMMAND...": runs it here, and notes the host
    stand_in.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/hosts\nshift\nexec "$@"\n')
    stand_in.chmod(0o755)
    variables = {
        "HOSTS": "one two", "SSH": str(stand_in), "DASKIMG_HOST": "127.0.0.1",
        "DASKIMG_PYTHON": sys.executable,
    }  # fmt: skip

    with clusters.processes(tmp_path) as started:
        words = manifest, tmp_path / "out.zarr", "--size", 16
        run = started.start("run", CLUSTER / "ssh.sh", *words, **variables)
        assert run.wait(clusters.PATIENCE) == 0, started.said("run")
        clusters.wait_until(lambda: not clusters.members(run), lambda: str(clusters.members(run)))

    assert sorted((tmp_path / "hosts").read_text().split()) == ["one", "two"]
    assert scenes.sample_hashes(tmp_path / "out.zarr") == expected


def test_the_ssh_script_says_how_it_is_called():
    found = subprocess.run([CLUSTER / "ssh.sh"], capture_output=True, text=True)

    assert found.returncode == 2
    assert "HOSTS=" in found.stderr
