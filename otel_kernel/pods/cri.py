"""The containers of this node as the container runtime tells them, by Kubernetes' Container Runtime Interface.

In a thread of its own; what speaks gRPC is imported there. Runtimes that tell of changes (containerd since 1.7, CRI-O)
are listened to, of others everything is listed when a container has come.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.pods import cgroup_path, names
from otel_kernel.pods.asking import Backoff, Standing

log = logging.getLogger(__name__)

SOURCE = "cri"

ANSWER_LIMIT_S = 10.0
LONGEST_BYTES = 16 << 20  # as the kubelet takes (kubernetes, pkg/kubelet/cri/remote)
LOOK_AGAIN_S = 30.0  # what came unseen
GATHER_S = 0.05  # a pod's containers come together
SHORTEST_S = 0.5  # between two lists
TOLD_KEPT = 4096

_RUNTIMES = {"containerd": "containerd", "cri-o": "cri-o", "docker": "docker"}


class Cri:
    """Owns the thread. `find` returns where runtimes may be listening, the likeliest first."""

    def __init__(
        self, find: Callable[[], Iterable[Path]], tell: Callable[[ContainerFacts], None], standing: Standing
    ) -> None:
        self._find = find
        self._tell = tell
        self._standing = standing
        self._told: dict[str, ContainerFacts] = {}  # by container id: what the runtime has now
        self._wanted = threading.Event()
        self._ended = threading.Event()
        self._backoff = Backoff()
        self._thread = threading.Thread(target=self._run, name="cri", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def look(self) -> None:
        """Have it ask again soon: there is a new container."""
        self._wanted.set()

    def close(self) -> None:
        """Begin nothing more; an answer that is awaited is left behind."""
        self._ended.set()
        self._wanted.set()

    def _run(self) -> None:
        import grpc  # noqa: PLC0415 - see above

        while not self._ended.is_set():
            try:
                self._follow(grpc)
            except (grpc.RpcError, ValueError, OSError) as error:
                self._standing.failed(*_explained(error))
            self._ended.wait(self._backoff.next_s())

    def _follow(self, grpc: Any) -> None:  # noqa: ANN401 - imported above
        """Ask a runtime until it fails. Raises grpc.RpcError, FileNotFoundError when none is there."""
        socket = next(iter(self._find()), None)
        if socket is None:
            raise FileNotFoundError("no container runtime listens where one is known to")
        options = (("grpc.max_receive_message_length", LONGEST_BYTES), ("grpc.use_local_subchannel_pool", 1))
        with closing(grpc.insecure_channel(f"unix://{socket}", options)) as channel:
            ask = _Calls(channel)
            name = ask.runtime_name()
            self._list(ask, name)
            log.info("%s: %s at %s, %d containers", SOURCE, name, socket, len(self._told))
            try:
                self._listen(ask, name)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
            while not self._ended.is_set():
                self._wanted.wait(LOOK_AGAIN_S)
                self._ended.wait(GATHER_S)
                self._wanted.clear()
                self._list(ask, name)
                self._ended.wait(SHORTEST_S)

    def _list(self, ask: "_Calls", runtime_name: str) -> None:
        now = {facts.container_id: facts for facts in ask.containers(runtime_name) if facts.container_id}
        self._standing.answered()
        self._backoff.reset()
        before, self._told = self._told, now
        for container_id, facts in now.items():
            if before.get(container_id) != facts:
                self._tell(replace(facts, ns=boot_ns()))

    def _listen(self, ask: "_Calls", runtime_name: str) -> None:
        for changed in ask.changes(runtime_name):
            self._standing.answered()
            if self._ended.is_set():
                return
            for facts in changed:
                container_id = facts.container_id or ""
                if self._told.get(container_id) != facts:
                    self._told[container_id] = facts
                    self._tell(replace(facts, ns=boot_ns()))
            if len(self._told) > TOLD_KEPT:
                return  # removed ones are among them: what there is now is listed anew


class _Calls:
    """What is asked of one runtime."""

    def __init__(self, channel: Any) -> None:  # noqa: ANN401 - grpc is imported late
        from otel_kernel.pods import cri_pb2 as message  # noqa: PLC0415

        self._message = message
        self._version = _call(channel.unary_unary, "Version", message.VersionRequest, message.VersionResponse)
        self._sandboxes = _call(
            channel.unary_unary, "ListPodSandbox", message.ListPodSandboxRequest, message.ListPodSandboxResponse
        )
        self._containers = _call(
            channel.unary_unary, "ListContainers", message.ListContainersRequest, message.ListContainersResponse
        )
        self._events = _call(
            channel.unary_stream, "GetContainerEvents", message.GetEventsRequest, message.ContainerEventResponse
        )

    def runtime_name(self) -> str:
        """Return the runtime's name as `container.runtime.name` says it."""
        told = str(self._version(self._message.VersionRequest(), timeout=ANSWER_LIMIT_S).runtime_name)
        return _RUNTIMES.get(told, names.clean(told, names.LONGEST_LABEL) or "unknown")

    def containers(self, runtime_name: str) -> Iterator[ContainerFacts]:
        """Yield all sandboxes and containers of this moment."""
        sandboxes = self._sandboxes(self._message.ListPodSandboxRequest(), timeout=ANSWER_LIMIT_S).items
        containers = self._containers(self._message.ListContainersRequest(), timeout=ANSWER_LIMIT_S).containers
        pods = {sandbox.id: sandbox for sandbox in sandboxes}
        for sandbox in sandboxes:
            yield _of_sandbox(sandbox, runtime_name)
        for container in containers:
            if container.pod_sandbox_id in pods:
                yield _of_container(container, pods[container.pod_sandbox_id], runtime_name)

    def changes(self, runtime_name: str) -> Iterator[list[ContainerFacts]]:
        """Yield a pod's sandbox and containers each time something of it changes."""
        for event in self._events(self._message.GetEventsRequest()):
            sandbox = event.pod_sandbox_status
            if sandbox.id:
                containers = [_of_container(each, sandbox, runtime_name) for each in event.containers_statuses]
                yield [_of_sandbox(sandbox, runtime_name), *containers]


def _call(kind: Any, name: str, request: Any, response: Any) -> Any:  # noqa: ANN401 - grpc is imported late
    path = f"/runtime.v1.RuntimeService/{name}"
    return kind(path, request_serializer=request.SerializeToString, response_deserializer=response.FromString)


def _of_sandbox(sandbox: Any, runtime_name: str) -> ContainerFacts:  # noqa: ANN401 - PodSandbox or PodSandboxStatus
    metadata = sandbox.metadata
    return ContainerFacts(
        0,
        SOURCE,
        names.clean(sandbox.id, names.LONGEST_SUBDOMAIN),
        sandbox_id=names.clean(sandbox.id, names.LONGEST_SUBDOMAIN),
        is_sandbox=True,
        pod_uid=cgroup_path.valid_uid(metadata.uid),
        pod_name=names.clean(metadata.name, names.LONGEST_SUBDOMAIN),
        namespace=names.clean(metadata.namespace, names.LONGEST_LABEL),
        runtime_name=runtime_name,
        trace_parent=names.trace_parent(sandbox.annotations),
    )


def _of_container(container: Any, sandbox: Any, runtime_name: str) -> ContainerFacts:  # noqa: ANN401 - or the Status
    # What containerd calls the reference is the digest of the repository in one answer and the image's id in another.
    reference, image_id = container.image_ref, container.image_id
    image_name = container.image.user_specified_image or container.image.image
    return replace(
        _of_sandbox(sandbox, runtime_name),
        container_id=names.clean(container.id, names.LONGEST_SUBDOMAIN),
        is_sandbox=False,
        container_name=names.clean(container.metadata.name, names.LONGEST_LABEL),
        image_name=None if image_name.startswith("sha256:") else names.clean(image_name, names.LONGEST_IMAGE),
        image_id=names.clean(image_id or ("" if "@" in reference else reference), names.LONGEST_IMAGE),
        image_digests=(reference[: names.LONGEST_IMAGE],) if "@" in reference and reference.isprintable() else (),
        restart_count=container.metadata.attempt,
    )


def _explained(error: Exception) -> tuple[str, str]:
    """Return the kind of a failure, and a line for the operator."""
    if isinstance(error, FileNotFoundError):
        return "absent", str(error)
    code = getattr(error, "code", None)
    if code is None:
        return "malformed", f"the runtime's answer cannot be read: {error}"
    details = getattr(error, "details", lambda: "")()
    return str(code().name).lower(), f"the runtime does not answer: {code().name} {details}"
