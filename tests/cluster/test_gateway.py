"""The gateway of a fleet asks the API server for what an agent does not know: collector-config/gateway.yaml."""

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from demo.agent import Agent
from demo.backends import backends
from demo.backends.backends import Collector, Jaeger, Prometheus
from demo.backends.programs import programs
from tests.bridge.operator_mock import Operator, operating
from tests.bridge.running import bridging
from tests.cluster import manifests, pods
from tests.cluster.cluster import Cluster
from tests.cluster.sameness import uid_of
from tests.pipeline.asking import eventually, query, tags, trace

pytestmark = [pytest.mark.kubernetes, pytest.mark.go]

AGENTS_NODE = "as-the-agent-says"  # other than the API server's word for it


@dataclass(frozen=True, slots=True)
class Fleet:
    """A gateway behind an agent that asks nobody, and what is behind the gateway."""

    gateway: Collector
    jaeger: Jaeger
    prometheus: Prometheus

    def process_tags(self, pod_uid: str) -> list[dict[str, Any]]:
        """Return the resource of every span of a birth."""
        found = eventually(lambda: trace(self.jaeger, pod_uid.replace("-", "")) or {})
        return [tags(process) for process in found["processes"].values()]


@pytest.fixture(scope="module")
def fleet(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a gateway with exactly the documented permissions, and an agent that sends to it."""
    directory = tmp_path_factory.mktemp("fleet")
    listen_token = directory / "listen-token"
    listen_token.write_text(secrets.token_hex(8))
    with cluster.network, contextlib.ExitStack() as stack:
        manifests.apply(cluster.api, "rbac-gateway.yaml")
        user = {"token": manifests.token(cluster.api, "otel-kernel-gateway")}
        kubeconfig = cluster.control_plane.kubeconfig(directory / "kubeconfig", user)
        operator = stack.enter_context(operating(Operator()))
        bridge = stack.enter_context(bridging(directory / "bridge", operator.url, LISTEN_TOKEN_FILE=listen_token))
        found = programs()
        jaeger, prometheus = backends.jaeger(found, directory), backends.prometheus(found, directory)
        environment = {
            "JAEGER_ENDPOINT": jaeger.otlp,
            "PROMETHEUS_ENDPOINT": prometheus.otlp,
            "BRIDGE_ENDPOINT": bridge.at,
            "BRIDGE_TOKEN_FILE": str(listen_token),
            "GATEWAY_PEERS": "127.0.0.1",
            "K8S_AUTH_TYPE": "kubeConfig",
            "KUBECONFIG": str(kubeconfig),
            "KEEP_PERCENTAGE": "100",
        }
        gateway = backends.gateway(found, directory, environment)
        for service in (jaeger.service, prometheus.service, gateway.service):
            stack.enter_context(service)
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": gateway.grpc,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_KERNEL_BIRTH_QUIET": "2",
            "OTEL_KERNEL_KUBERNETES": "off",
            "OTEL_KERNEL_CRI_SOCKET": str(cluster.lab.socket),
            "OTEL_KERNEL_NODE_NAME": AGENTS_NODE,
        }
        stack.enter_context(Agent(settings, directory / "agent.log"))
        yield Fleet(gateway, jaeger, prometheus)
        assert [line for line in gateway.service.said().splitlines() if "forbidden" in line] == []


def test_the_workload_of_a_pod_is_added(cluster: Cluster, fleet: Fleet) -> None:
    """To all spans of its birth and to its metrics, by nothing but its UID; what the agent said itself stands."""
    template_hash = "5d4f8c7b9"
    deployment = pods.reference(cluster.api, pods.workload("Deployment", "shop"))
    owner = pods.reference(cluster.api, pods.workload("ReplicaSet", f"shop-{template_hash}", deployment))
    metadata = {"ownerReferences": [owner], "labels": {"pod-template-hash": template_hash}}
    uid = uid_of(cluster.create(pods.pod("of-a-deployment", metadata=metadata)))
    cluster.wait_for_phase("of-a-deployment", "Running")
    resources = fleet.process_tags(uid)
    assert {resource["k8s.deployment.name"] for resource in resources} == {"shop"}
    assert {resource["k8s.pod.name"] for resource in resources} == {"of-a-deployment"}
    assert {resource["k8s.node.name"] for resource in resources} == {AGENTS_NODE}
    mine = f'{{k8s_deployment_name="shop",k8s_pod_uid="{uid}",k8s_node_name="{AGENTS_NODE}"}}'
    eventually(lambda: query(fleet.prometheus, f"container_cpu_time_seconds_total{mine}"))


def test_a_pod_without_a_workload(cluster: Cluster, fleet: Fleet) -> None:
    """It passes, and nothing is made up."""
    uid = uid_of(cluster.create(pods.pod("alone")))
    cluster.wait_for_phase("alone", "Running")
    told = {name for resource in fleet.process_tags(uid) for name in resource}
    assert "k8s.pod.name" in told
    assert not told & {"k8s.deployment.name", "k8s.statefulset.name", "k8s.daemonset.name", "k8s.job.name"}


def test_a_daemon_set_and_a_stateful_set(cluster: Cluster, fleet: Fleet) -> None:
    """Owners that a pod names itself."""
    for kind in ("DaemonSet", "StatefulSet"):
        name = kind.lower()
        owner = pods.reference(cluster.api, pods.workload(kind, f"a-{name}"))
        uid = uid_of(cluster.create(pods.pod(f"of-a-{name}", metadata={"ownerReferences": [owner]})))
        cluster.wait_for_phase(f"of-a-{name}", "Running")
        assert {resource[f"k8s.{name}.name"] for resource in fleet.process_tags(uid)} == {f"a-{name}"}
