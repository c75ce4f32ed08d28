"""Fixtures of all tests: real clusters, small pictures, the shared data where it is there."""

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
