"""Permissions and credentials: a refusal is one line that names bucket and permission."""

import json

import pandas as pd
import pytest
import scenes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

import daskimg
from daskimg import build, fetch, run
from daskimg.errors import AccessError, StoppedError
from daskimg.fetch import Options
from daskimg.fetch._permissions import RefusedError
from daskimg.fetch._systems import remote

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

STORE = ("storage.objects.list", "storage.objects.get", "storage.objects.create")
STORE += ("storage.objects.delete",)


@pytest.fixture
def job(gcs, pictures):
    """The bucket of four pictures, the one of the store, and the table."""
    source, target = gcs.bucket(), gcs.bucket()
    urls = gcs.upload(pictures[0], f"{source}/in", pictures[1][:4])
    return source, target, pd.DataFrame({"path": urls})


def contents(gcs, bucket):
    """What is in a bucket, which has granted it first."""
    gcs.deny(bucket)
    return gcs.objects(bucket)


@pytest.mark.parametrize("told", [True, False], ids=["asked", "tried"])
@pytest.mark.parametrize("permission", STORE)
def test_what_the_stores_bucket_refuses_is_named_before_any_work(gcs, job, permission, told):
    _, target, _ = job
    gcs.deny(target, permission, told=told)

    with pytest.raises(AccessError, match=f"bucket {target} refuses {permission} to ") as caught:
        build.standing_of(f"gs://{target}/out.zarr")

    assert "roles/storage.object" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(gcs, target) == {}


def test_all_that_is_refused_is_named_at_once(gcs, job):
    gcs.deny(job[1], *STORE[2:])

    with pytest.raises(
        AccessError, match=r"objects\.create and storage\.objects\.delete to Anonymous caller"
    ):
        build.standing_of(f"gs://{job[1]}/out.zarr")


@pytest.mark.parametrize("told", [True, False], ids=["asked", "tried"])
def test_a_bucket_that_grants_all_is_asked_little_and_left_as_it_was(gcs, job, told):
    gcs.deny(job[1], told=told)
    gcs.forget()

    fetch.check_access(f"gs://{job[1]}/out.zarr", fetch.STORE)

    stats = gcs.stats()
    assert stats.count("bucket") == 1
    assert stats.count("list|info|put|delete") == stats.count() - 1 == (0 if told else 4)
    assert contents(gcs, job[1]) == {}


def test_a_bucket_that_is_not_there_is_named(gcs_environment):
    with pytest.raises(AccessError, match="there is no bucket nowhere-at-all; create it"):
        build.standing_of("gs://nowhere-at-all/out.zarr")
    with pytest.raises(AccessError, match="there is no bucket nowhere-at-all"):
        daskimg.read_manifest("gs://nowhere-at-all/in/*.jpg")


def test_a_source_that_may_not_be_read_is_refused_before_the_build(gcs, job, threads):
    source, target, table = job
    plan = scenes.plan(table, f"gs://{target}/out.zarr")
    gcs.deny(source, "storage.objects.get")

    with pytest.raises(AccessError, match=f"bucket {source} refuses storage.objects.get to "):
        daskimg.build_store(plan, client=threads)

    assert gcs.objects(target) == {}


def test_one_bucket_of_many_that_may_not_be_read_is_found(gcs, job, pictures, threads):
    _, target, table = job
    other = gcs.bucket()
    more = pd.DataFrame({"path": gcs.upload(pictures[0], f"{other}/in", pictures[1][6:8])})
    plan = scenes.plan(pd.concat([table, more]), f"gs://{target}/out.zarr")
    gcs.deny(other, "storage.objects.get")

    with pytest.raises(AccessError, match=f"bucket {other} refuses"):
        daskimg.build_store(plan, client=threads)


def test_a_listing_that_is_refused_names_the_permission(gcs, job):
    gcs.deny(job[0], "storage.objects.list")

    for address in (f"gs://{job[0]}/in/*.jpg", f"gs://{job[0]}/in"):
        with pytest.raises(AccessError, match=r"refuses storage\.objects\.list to "):
            daskimg.read_manifest(address)


def test_a_table_is_read_where_nothing_may_be_listed(gcs, job):
    gcs.system.pipe_file(f"{job[0]}/t.csv", b"path\na.jpg\n")
    gcs.deny(job[0], "storage.objects.list")

    assert daskimg.read_manifest(f"gs://{job[0]}/t.csv").scan().rows == 1


def test_a_table_that_may_not_be_read_names_the_permission(gcs, job):
    gcs.system.pipe_file(f"{job[0]}/t.csv", b"path\na.jpg\n")
    gcs.deny(job[0], "storage.objects.get")

    with pytest.raises(AccessError, match=r"t\.csv: bucket .* refuses storage\.objects\.get"):
        daskimg.read_manifest(f"gs://{job[0]}/t.csv")


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry run"])
def test_the_command_line_refuses_with_2_and_one_line(gcs, job, capsys, dry):
    source, target, _ = job
    gcs.deny(target, "storage.objects.create")

    code = run.main([f"gs://{source}/in/*", f"gs://{target}/out.zarr", "--json", *dry])

    out, err = capsys.readouterr()
    assert code == 2
    assert err.count("\n") == 1
    assert f"bucket {target} refuses storage.objects.create" in err
    assert json.loads(out)["exit"] == 2
    assert contents(gcs, target) == {}


def test_a_permission_that_is_lost_in_the_middle_stops_a_run_that_can_go_on(gcs, job, threads):
    _, target, table = job
    plan = scenes.plan(table, f"gs://{target}/out.zarr", shard=2, chunk=2)
    denied = "anonymous caller does not have storage.objects.create access"
    fault = {"fault": "status", "status": 403, "kind": "put|create", "name": "image/c/1"}
    gcs.faults({**fault, "message": denied})

    with pytest.raises(StoppedError, match=r"refuses storage\.objects\.create .* to go on"):
        daskimg.build_store(plan, client=threads)
    gcs.calm()

    assert daskimg.build_store(plan, client=threads).resumed == 2


def test_a_refusal_names_whom_the_bucket_names():
    said = "robot@project does not have storage.objects.get access to the object."

    told = fetch.access_error("gs://b/a.jpg", RefusedError("storage.objects.get", said))

    assert "refuses storage.objects.get to robot@project;" in str(told)


@pytest.mark.parametrize(
    ("token", "who"),
    [("anon", "anonymous users"), ({"type": "service_account"}, "the given credentials")],
)
def test_a_refusal_says_whose_credentials_they_are(token, who):
    with fetch.using(Options(storage={"gs": {"token": token}})):
        refusal = RefusedError("storage.objects.get", "no")
        told = fetch.access_error("gs://b/a.jpg", refusal)

    assert f"to {who};" in str(told)


@pytest.mark.parametrize(
    ("token", "default", "kind"),
    [
        ("anon", None, "google.auth.credentials.AnonymousCredentials"),
        ("key.json", None, "google.oauth2.service_account.Credentials"),
        (None, "key.json", "google.oauth2.service_account.Credentials"),
        ("google_default", "workload.json", "google.auth.identity_pool.Credentials"),
    ],
    ids=["anonymous", "service account", "application default", "workload identity"],
)
def test_credentials_are_those_that_gcsfs_finds(credentials, monkeypatch, token, default, kind):
    if default:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials / default))
    given = str(credentials / token) if token and token.endswith(".json") else token
    address = {"endpoint_url": "https://storage.googleapis.com"}

    with fetch.using(Options(storage={"gs": {"token": given, **address}})):
        system, _ = remote("gs://bucket/a")
        found = system.system.credentials.credentials

    told = "google.auth.credentials.AnonymousCredentials"
    assert (f"{type(found).__module__}.{type(found).__name__}" if found else told) == kind


@pytest.fixture
def credentials(tmp_path, monkeypatch):
    """A folder of credentials: a service account's key, and a workload's identity."""
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    account = {
        "type": "service_account", "client_email": "me@project.iam.gserviceaccount.com",
        "private_key": key.decode(), "token_uri": "https://oauth2.googleapis.com/token",
        "project_id": "project", "private_key_id": "1",
    }  # fmt: skip
    pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"
    workload = {
        "type": "external_account", "audience": pool,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(tmp_path / "token")},
    }  # fmt: skip
    (tmp_path / "key.json").write_text(json.dumps(account))
    (tmp_path / "workload.json").write_text(json.dumps(workload))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    return tmp_path
