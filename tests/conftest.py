"""Fixtures of all tests: real clusters, small pictures, the shared data where it is there."""

import gcs_server as gcs_protocol
import pytest
import scenes

from daskimg.build import ClusterOptions, connect


@pytest.fixture(scope="session", params=["threads", "processes"])
def client(request):
    """A real cluster of each kind: threads share memory, processes must pickle."""
    processes = request.param == "processes"
    with connect(
        ClusterOptions(workers=2, threads=1, processes=processes, dashboard=False)
    ) as client:
        yield client


@pytest.fixture(scope="session")
def threads():
    """A cluster in this process: quick, for what does not depend on the kind of cluster."""
    with connect(ClusterOptions(workers=1, threads=2, processes=False, dashboard=False)) as client:
        yield client


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Forty pictures; number 5 and number 17 are broken."""
    folder = tmp_path_factory.mktemp("pictures")
    return folder, scenes.make_pictures(folder, 40, broken=(5, 17))


@pytest.fixture
def table(pictures):
    """A manifest of the forty pictures."""
    return scenes.table_of(*pictures)


@pytest.fixture(scope="session")
def shared():
    """The real data beside the checkout."""
    if not scenes.SHARED.is_dir():
        pytest.skip("needs ../shared/data, the project's real pictures, beside the checkout")
    return scenes.SHARED


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory):
    """A server of the GCS protocol: our own, unless the environment names another or a bucket."""
    with gcs_protocol.serving(tmp_path_factory.mktemp("gcs")) as server:
        yield server
        server.clear()


@pytest.fixture(scope="module")
def gcs_environment(gcs_server):
    """The server as the one that ``gs://`` leads to, here and in processes started from now."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in gcs_server.environment.items():
            patch.setenv(name, value)
        yield gcs_server


@pytest.fixture
def gcs(gcs_environment):
    """The server for one test: it begins with nothing counted, and no faults outlive it."""
    gcs_environment.calm()
    gcs_environment.forget()
    yield gcs_environment
    gcs_environment.calm()
