"""The harness itself: a real node runs real pods, and is gone afterwards."""

import pytest

from tests.cluster import pods
from tests.cluster.cluster import Cluster

pytestmark = [pytest.mark.kubernetes]


def test_a_pod_runs(cluster: Cluster) -> None:
    """What the API server is told, the kubelet does."""
    pod = cluster.create(pods.pod("harness"))
    running = cluster.wait_for_phase("harness", "Running")
    assert running["metadata"]["uid"] == pod["metadata"]["uid"]
    assert running["status"]["containerStatuses"][0]["containerID"].startswith("containerd://")
    cluster.api.delete(cluster.pod("harness"))
