"""Which network namespace is a pod in? That of its containers' processes: pause's first, which lives as long as it."""

from contextlib import closing, suppress
from pathlib import Path

from otel_kernel.node.cgroup_members import CgroupMembers
from otel_kernel.node.process_directory import ProcessDirectory
from otel_kernel.pods import cgroup_path
from otel_kernel.pods.directory import Container, Pod


def open_namespace(members: CgroupMembers, pod: Pod) -> int | None:
    """Return a descriptor of the pod's network namespace, the caller's to close; None when no process can be asked.

    A process that still is the runtime's may be in the node's: ask again later.
    """
    for container in sorted(pod.containers, key=lambda each: not each.is_sandbox):
        for pid in members.of(container.cgroup.path):
            found = _open(members.proc_root, pid, container)
            if found is not None:
                return found
    return None


def _open(proc_root: Path, pid: int, container: Container) -> int | None:
    # Between two readings a PID may have gone to another: it is held first, and then asked whose it is.
    with suppress(OSError), closing(ProcessDirectory(proc_root, pid)) as process:
        found = (cgroup_path.parse(path) for path in process.cgroups())
        if any(path is not None and path.container_id == container.id for path in found):
            return process.open_network_namespace()
    return None
