"""Fixtures of all tests: real clusters, small pictures, the shared data where it is there."""

import pytest
from distributed import Client, LocalCluster

import scenes


@pytest.fixture(scope="session", params=["threads", "processes"])
def client(request):
    """A real cluster of each kind: threads share memory, processes must pickle."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=request.param == "processes",
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def threads():
    """A cluster in this process: quick, for what does not depend on the kind of cluster."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
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
