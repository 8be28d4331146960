"""What a container's OCI bundle says of it: the annotations that its runtime writes into `config.json`.

Sources: the OCI runtime specification (config.md), containerd pkg/cri/annotations, CRI-O pkg/annotations and the
kubelet's labels (kubernetes pkg/kubelet/types/labels.go), which CRI-O and cri-dockerd hand on.
"""

import errno
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.node import host_files
from otel_kernel.pods import cgroup_path, names

SOURCE = "oci-bundle"
MISSING = "missing"
LARGEST_BYTES = 4 << 20

_Annotations = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Dialect:
    """Which annotations one runtime writes; of several keys the first that is there counts."""

    runtime_name: str
    type: str
    sandbox_type: str
    sandbox_id: str
    pod_uid: tuple[str, ...]
    pod_name: tuple[str, ...]
    namespace: tuple[str, ...]
    container_name: tuple[str, ...]
    image_name: tuple[str, ...]


_CONTAINERD = _Dialect(
    runtime_name="containerd",
    type="io.kubernetes.cri.container-type",
    sandbox_type="sandbox",
    sandbox_id="io.kubernetes.cri.sandbox-id",
    pod_uid=("io.kubernetes.cri.sandbox-uid",),  # since containerd 1.6.11
    pod_name=("io.kubernetes.cri.sandbox-name",),
    namespace=("io.kubernetes.cri.sandbox-namespace",),
    container_name=("io.kubernetes.cri.container-name",),
    image_name=("io.kubernetes.cri.image-name",),
)
_CRI_O = _Dialect(
    runtime_name="cri-o",
    type="io.kubernetes.cri-o.ContainerType",
    sandbox_type="sandbox",
    sandbox_id="io.kubernetes.cri-o.SandboxID",
    pod_uid=("io.kubernetes.pod.uid",),
    pod_name=("io.kubernetes.pod.name", "io.kubernetes.cri-o.KubeName"),
    namespace=("io.kubernetes.pod.namespace", "io.kubernetes.cri-o.Namespace"),
    container_name=("io.kubernetes.container.name",),
    image_name=("io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.Image"),
)
_DOCKER = _Dialect(
    runtime_name="docker",
    type="io.kubernetes.docker.type",
    sandbox_type="podsandbox",
    sandbox_id="io.kubernetes.sandbox.id",
    pod_uid=("io.kubernetes.pod.uid",),
    pod_name=("io.kubernetes.pod.name",),
    namespace=("io.kubernetes.pod.namespace",),
    container_name=("io.kubernetes.container.name",),
    image_name=(),
)


def read(bundle: str, container_id: str | None, ns: int, host_root: str = "/") -> ContainerFacts:
    """Return what `<bundle>/config.json` says of the container. Processes under `host_root` see the bundle there.

    A bundle that cannot be read gives facts with `failure`: MISSING, `too large`, `not a regular file`, `not a path`,
    `unreadable: EACCES`, or what `parse` tells.
    """
    try:
        content = host_files.read(posixpath.join(bundle, "config.json"), host_root, LARGEST_BYTES)
    except ValueError:
        return _failed(container_id, ns, "not a path")
    except OSError as error:
        return _failed(container_id, ns, _reason(error))
    return parse(content, container_id, ns)


def parse(content: bytes, container_id: str | None, ns: int) -> ContainerFacts:
    """Return what a bundle's configuration says of the container.

    One that says nothing gives facts with `failure`: `not JSON`, `not an object`, `annotations are not an object`, or
    that it is another container's or another pod's. Without Kubernetes annotations: `not_kubernetes`.
    """
    try:
        configuration = json.loads(content)
    except (ValueError, RecursionError):
        return _failed(container_id, ns, "not JSON")
    if not isinstance(configuration, dict):
        return _failed(container_id, ns, "not an object")
    annotations = configuration.get("annotations") or {}
    if not isinstance(annotations, dict):
        return _failed(container_id, ns, "annotations are not an object")
    cgroup = _cgroup(configuration)
    dialect = _dialect(annotations, cgroup)
    if dialect is None:
        return ContainerFacts(ns, SOURCE, container_id, not_kubernetes=True)
    facts = _told(dialect, annotations, container_id, ns)
    if facts.is_sandbox:
        facts = replace(facts, network_namespace=_network_namespace(configuration))
    return facts if cgroup is None else confirm(facts, cgroup)


def confirm(facts: ContainerFacts, cgroup: cgroup_path.PodPath) -> ContainerFacts:
    """Return the facts as far as they agree with the container's cgroup: the one place that decides between the two.

    The cgroup proves the pod. Annotations do not: CRI-O hands those of the pod's author on beside its own.
    """
    if facts.failure is not None or facts.not_kubernetes:
        return facts
    if cgroup.container_id is not None and facts.container_id is not None and cgroup.container_id != facts.container_id:
        return _failed(facts.container_id, facts.ns, f"the bundle is that of container {cgroup.container_id}")
    if facts.pod_uid is not None and facts.pod_uid != cgroup.pod_uid:
        refused = _failed(facts.container_id, facts.ns, f"the annotations name pod {facts.pod_uid}, not the cgroup's")
        return replace(refused, pod_uid=cgroup.pod_uid)
    return facts if facts.pod_uid else replace(facts, pod_uid=cgroup.pod_uid)


def _failed(container_id: str | None, ns: int, reason: str) -> ContainerFacts:
    return ContainerFacts(ns, SOURCE, container_id, failure=reason)


def _reason(error: OSError) -> str:
    if isinstance(error, host_files.TooLargeError | host_files.NotRegularError):
        return str(error.strerror)
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return MISSING
    return f"unreadable: {errno.errorcode.get(error.errno or 0, 'unknown')}"


def _cgroup(configuration: Mapping[str, object]) -> cgroup_path.PodPath | None:
    linux = configuration.get("linux")
    path = linux.get("cgroupsPath") if isinstance(linux, dict) else None
    if not isinstance(path, str):
        return None
    # systemd's driver: `slice:prefix:name` (runc, libcontainer/specconv).
    slice_, colon, scope = path.partition(":")
    return cgroup_path.parse(f"/{slice_}/{scope.replace(':', '-', 1)}.scope" if colon else path)


def _dialect(annotations: _Annotations, cgroup: cgroup_path.PodPath | None) -> _Dialect | None:
    spoken = [dialect for dialect in (_CONTAINERD, _CRI_O, _DOCKER) if dialect.type in annotations]
    # A pod's author may write the other runtimes' annotations; the cgroup's prefix is the runtime's own.
    for dialect in spoken:
        if cgroup is not None and dialect.runtime_name == cgroup.runtime_name:
            return dialect
    return spoken[0] if spoken else None


def _told(dialect: _Dialect, annotations: _Annotations, container_id: str | None, ns: int) -> ContainerFacts:
    def told(keys: tuple[str, ...], longest: int) -> str | None:
        return next((name for key in keys if (name := names.clean(annotations.get(key), longest))), None)

    is_sandbox = annotations.get(dialect.type) == dialect.sandbox_type
    sandbox_id = told((dialect.sandbox_id,), names.LONGEST_SUBDOMAIN)
    return ContainerFacts(
        ns,
        SOURCE,
        container_id,
        sandbox_id=container_id if is_sandbox and container_id else sandbox_id,
        is_sandbox=is_sandbox,
        pod_uid=cgroup_path.valid_uid(told(dialect.pod_uid, names.LONGEST_LABEL) or ""),
        pod_name=told(dialect.pod_name, names.LONGEST_SUBDOMAIN),
        namespace=told(dialect.namespace, names.LONGEST_LABEL),
        container_name=None if is_sandbox else told(dialect.container_name, names.LONGEST_LABEL),
        image_name=told(dialect.image_name, names.LONGEST_IMAGE),
        runtime_name=dialect.runtime_name,
        trace_parent=names.trace_parent(annotations),
    )


def _network_namespace(configuration: Mapping[str, object]) -> str | None:
    linux = configuration.get("linux")
    namespaces = linux.get("namespaces") if isinstance(linux, dict) else None
    for namespace in namespaces if isinstance(namespaces, list) else ():
        if isinstance(namespace, dict) and namespace.get("type") == "network":
            return names.clean(namespace.get("path"), names.LONGEST_PATH)
    return None
