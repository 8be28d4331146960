"""One Kubernetes node for all tests of this directory; each of them runs inside its network."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.leftovers import hierarchies
from tests.cluster.agent import Observed, observing
from tests.cluster.cluster import Cluster
from tests.cluster.kubelet import PLUGINS, TUNABLES


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Return a node that is ready; afterwards nothing of it may be left."""
    before = _machine()
    with Cluster() as started:
        yield started
    assert _machine() == before
    assert list(_left_of(started.directory)) == []


@pytest.fixture(scope="module")
def observed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """Return an agent on that node, with its account's permissions and no others."""
    with cluster.network, observing(cluster, tmp_path_factory.mktemp("agent")) as running:
        yield running


@pytest.fixture(autouse=True)
def _in_its_network(cluster: Cluster) -> Iterator[None]:
    """Let each test run inside the cluster's network, and let no pod outlive it."""
    with cluster.network:
        yield
        for pod in cluster.api.get("/api/v1/pods")["items"]:
            metadata = pod["metadata"]
            cluster.api.delete(cluster.pod(metadata["name"], metadata["namespace"]))


def _machine() -> dict[str, object]:
    """Return what a kubelet changes for the whole machine."""
    return {str(path): path.read_bytes() for path in TUNABLES if path.exists()} | {str(PLUGINS): PLUGINS.exists()}


def _left_of(directory: Path) -> Iterator[str]:
    """Yield what would be left of a cluster: files, mounts, cgroups, processes."""
    if directory.exists():
        yield str(directory)
    yield from (line for line in Path("/proc/self/mounts").read_text().splitlines() if f"{directory}/" in line)
    yield from (str(path) for root in hierarchies() for path in root.glob(f"kubelet-{directory.name}"))
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes()
        except OSError:
            continue
        if str(directory).encode() in command:
            yield command.decode(errors="replace")
