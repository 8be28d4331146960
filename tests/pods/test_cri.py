"""Containers as real runtimes tell them, and as a stand-in does where something must be wrong or exactly so."""

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from demo.containerd import Runtime
from demo.go_builds import containerd_2
from demo.go_builds import crio as crio_runtime
from demo.lab import Lab
from demo.pod import Container, Pod
from otel_kernel.births.facts import ContainerFacts
from otel_kernel.health import Health
from otel_kernel.pods import cri_pb2 as message
from otel_kernel.pods.asking import Standing
from otel_kernel.pods.cri import Cri

LIMIT_S = 20
UID = "11111111-2222-4333-8444-555555555555"
TRACE_PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


class Asked:
    """A source and what it told."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.told: list[ContainerFacts] = []
        self.health = Health()
        self.cri = Cri(self._find, self.told.append, Standing("cri", self.health))
        self.cri.start()

    def _find(self) -> Iterator[Path]:
        if self.socket.is_socket():
            yield self.socket

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds. Raises TimeoutError."""
        deadline = time.monotonic() + LIMIT_S
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"told: {self.told}, failures: {self.health.failures()}")
            time.sleep(0.02)

    def of(self, container_id: str) -> ContainerFacts | None:
        """Return what was told last of a container."""
        return next((facts for facts in reversed(self.told) if facts.container_id == container_id), None)


def assert_tells(lab: Lab, *, looks: bool, name: str = "containerd") -> Asked:
    """Assert that a source tells a pod that was there before it, one that comes later, and a restart; return it."""
    before = lab.bear(Pod("before"))
    asked = Asked(lab.socket)
    asked.until(lambda: asked.of(before.sandbox_id))
    later = lab.bear(Pod("later", (Container("app"),), namespace="shop"))
    if looks:
        asked.cri.look()
    asked.until(lambda: asked.of(later.container_ids["app"]))
    told = asked.of(later.container_ids["app"])
    assert told is not None
    assert (told.pod_uid, told.pod_name, told.namespace) == (later.pod.uid, "later", "shop")
    assert (told.container_name, told.sandbox_id, told.is_sandbox) == ("app", later.sandbox_id, False)
    assert (told.image_name, told.runtime_name) == ("registry.local/busybox:1", name)
    assert len((told.image_id or "").removeprefix("sha256:")) == 64
    assert told.restart_count == 0
    sandbox = asked.of(later.sandbox_id)
    assert sandbox is not None
    assert (sandbox.is_sandbox, sandbox.pod_name, sandbox.container_name) == (True, "later", None)
    again = lab.restart(later, later.pod.containers[0])
    if looks:
        asked.cri.look()
    asked.until(lambda: asked.of(again.container_ids["app"]))
    assert asked.of(again.container_ids["app"]).restart_count == 1  # type: ignore[union-attr]
    for born in (again, before):
        for container_id in born.container_ids.values():
            lab.cri.stop(container_id)
        lab.remove(born)
    return asked


@pytest.mark.containerd
def test_a_runtime_without_events_is_listed_when_a_container_has_come() -> None:
    """Debian's containerd 1.6 does not know them."""
    with Lab(Runtime()) as lab:
        asked = assert_tells(lab, looks=True)
        lab.restart_containerd()
        born = lab.bear(Pod("after-the-restart"))
        asked.cri.look()
        asked.until(lambda: asked.of(born.sandbox_id))
        asked.cri.close()


@pytest.mark.containerd
@pytest.mark.go
def test_a_runtime_with_events_tells_by_itself() -> None:
    """Containerd 2.x: nobody asks for a list."""
    with Lab(containerd_2()) as lab:
        assert_tells(lab, looks=False).cri.close()


@pytest.mark.crio
def test_crio_tells_by_itself() -> None:
    """Where its `enable_pod_events` is on."""
    with Lab(crio_runtime()) as lab:
        assert_tells(lab, looks=False, name="cri-o").cri.close()


@pytest.mark.crio
def test_crio_without_events_is_listed() -> None:
    """As it comes."""
    with Lab(replace(crio_runtime(), tells_events=False)) as lab:
        assert_tells(lab, looks=True, name="cri-o").cri.close()


def test_a_runtime_that_is_not_there_is_looked_for_again(tmp_path: Path) -> None:
    """Its socket may come later: the agent starts before the runtime does."""
    asked = Asked(tmp_path / "crio.sock")
    asked.until(lambda: asked.health.failures().get(("cri", "absent"), 0) > 1)
    server = crio(tmp_path / "crio.sock")
    asked.until(lambda: asked.of("b" * 64))
    assert asked.of("b" * 64) == ContainerFacts(
        asked.told[1].ns,
        "cri",
        "b" * 64,
        sandbox_id="a" * 64,
        is_sandbox=False,
        pod_uid=UID,
        pod_name="web",
        namespace="shop",
        container_name="app",
        image_name="shop/app:1",
        runtime_name="cri-o",
        image_id="c" * 64,
        image_digests=("shop/app@sha256:1",),
        restart_count=2,
        trace_parent=TRACE_PARENT,
    )
    asked.cri.close()
    server.stop(None)


def test_a_runtime_that_answers_nonsense_is_counted(tmp_path: Path) -> None:
    """And asked again."""
    server = crio(tmp_path / "crio.sock", nonsense=b"\xff\xff\xff")
    asked = Asked(tmp_path / "crio.sock")
    asked.until(asked.health.failures)
    assert asked.told == []
    asked.cri.close()
    server.stop(None)


def crio(socket: Path, nonsense: bytes | None = None) -> grpc.Server:
    """Return a server that says what CRI-O does: one pod with one container, and no further event."""
    sandbox = message.PodSandbox(
        id="a" * 64,
        metadata=message.PodSandboxMetadata(name="web", uid=UID, namespace="shop", attempt=1),
        annotations={"tracing.k8s.io/traceparent": TRACE_PARENT},
    )
    container = message.Container(
        id="b" * 64,
        pod_sandbox_id="a" * 64,
        metadata=message.ContainerMetadata(name="app", attempt=2),
        image=message.ImageSpec(image="sha256:1", user_specified_image="shop/app:1"),
        image_ref="shop/app@sha256:1",
        image_id="c" * 64,
    )
    answers: dict[str, Any] = {
        "Version": message.VersionResponse(runtime_name="cri-o"),
        "ListPodSandbox": message.ListPodSandboxResponse(items=[sandbox]),
        "ListContainers": message.ListContainersResponse(containers=[container]),
    }

    def handler(answer: Any) -> Any:  # noqa: ANN401 - any message
        return grpc.unary_unary_rpc_method_handler(lambda *_: nonsense or answer.SerializeToString())

    handlers = {name: handler(answer) for name, answer in answers.items()}
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("runtime.v1.RuntimeService", handlers)])
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    return server
