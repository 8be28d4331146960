"""The attributes of calls, waits and processes (design section 3; semantic conventions 1.44 where they have a name)."""

from collections.abc import Sequence

from otel_kernel.births import flags, status
from otel_kernel.births.arguments import redacted
from otel_kernel.births.assembly_settings import Arguments
from otel_kernel.births.identity import Identity
from otel_kernel.births.process import Process
from otel_kernel.births.trace import Value
from otel_kernel.kernel.events import THROTTLED_TOLD, Call, Throttled, Wait

Bag = dict[str, Value]

_LONGEST_BYTES = 256
_MOUNTPOINT = "system.filesystem.mountpoint"
_PATHS: dict[str, tuple[str | None, str | None]] = {
    "mount": ("otel_kernel.mount.source", _MOUNTPOINT),
    "umount2": (None, _MOUNTPOINT),
    "pivot_root": ("otel_kernel.pivot_root.new_root", "otel_kernel.pivot_root.put_old"),
    "move_mount": ("otel_kernel.mount.source", _MOUNTPOINT),
    "open_tree": (None, "otel_kernel.mount.source"),
    "open_tree_attr": (None, "otel_kernel.mount.source"),
    "mount_setattr": (None, _MOUNTPOINT),
    "fsconfig": ("otel_kernel.fsconfig.key", None),
    "openat": (None, "file.path"),
    "openat2": (None, "file.path"),
    "execve": (None, "process.executable.path"),
    "execveat": (None, "process.executable.path"),
}
# File systems take passwords by fsconfig, too.
_SHOWN_KEYS = frozenset(
    "source mode size gid uid hidepid ptmxmode newinstance nr_inodes lowerdir lowerdir+ upperdir workdir subset".split()
)


def text(value: str) -> str:
    """Return a string of at most 256 bytes of UTF-8; what was longer ends in an ellipsis."""
    if len(value) * 4 <= _LONGEST_BYTES:
        return value
    encoded = value.encode("utf-8", "surrogatepass")
    if len(encoded) <= _LONGEST_BYTES:
        return value
    end = _LONGEST_BYTES - len("…".encode())
    while encoded[end] & 0xC0 == 0x80:  # within a character  # noqa: PLR2004
        end -= 1
    return encoded[:end].decode("utf-8", "surrogatepass") + "…"


def of_call(call: Call) -> Bag:
    """Return what is told of a drawn call."""
    bag: Bag = {
        "otel_kernel.level": "call",
        "otel_kernel.syscall.name": call.name,
        "process.pid": call.pid,
        "thread.id": call.thread_id,
    }
    if call.entry_thread_id != call.thread_id:
        bag["otel_kernel.thread.entry_id"] = call.entry_thread_id
    _add_result(bag, call.return_value)
    names = flags.names(call.name, call.arguments)
    if names:
        bag["otel_kernel.syscall.flags"] = names
    if call.source is not None or call.target is not None:
        _add_paths(bag, call)
    if call.filesystem_type:
        bag["system.filesystem.type"] = text(call.filesystem_type)
    if call.namespaces:
        bag["otel_kernel.namespace.types"] = tuple(kind for kind, _ in call.namespaces)
        bag["otel_kernel.namespace.inodes"] = tuple(inode for _, inode in call.namespaces)
    if call.unread:
        bag["otel_kernel.strings.unread"] = call.unread
    return bag


def of_wait(wait: Wait) -> Bag:
    """Return what is told of a long call."""
    bag: Bag = {
        "otel_kernel.level": "wait",
        "otel_kernel.syscall.name": wait.name,
        "process.pid": wait.pid,
        "thread.id": wait.thread_id,
    }
    _add_result(bag, wait.return_value)
    if wait.path is not None:
        bag["file.path"] = text(wait.path)
    return bag


def of_throttled(interval: Throttled) -> Bag:
    """Return the attributes of an interval without CPU time; its whole length, of which the span may be a part."""
    return {
        "otel_kernel.level": "wait",
        "otel_kernel.throttled.time": (interval.end_ns - interval.start_ns) / 1e9,
        "cpu.logical_number": interval.cpu,
    }


def of_throttled_intervals(intervals: Sequence[Throttled]) -> Bag:
    """Return how often and how long a unit or a pod had no CPU time, summed over CPUs, while it was born."""
    told: Bag = {
        "otel_kernel.throttled.intervals": len(intervals),
        "otel_kernel.throttled.time": sum(each.end_ns - each.start_ns for each in intervals) / 1e9,
    }
    if any(each.number + 1 >= THROTTLED_TOLD for each in intervals):
        told["otel_kernel.throttled.truncated"] = True  # further ones are not told one by one
    return told


def of_processes(stages: list[Process], arguments: Arguments) -> Bag:
    """Return what is told of a process, or of the stages of `runc init` taken together; the last one gives its name."""
    last = stages[-1]
    pid, _ = last.key
    bag: Bag = {"otel_kernel.level": "process", "process.pid": pid, "process.parent_pid": last.parent_key[0]}
    if last.vpid:
        bag["process.vpid"] = last.vpid
    if len(stages) > 1:
        bag["otel_kernel.process.pids"] = tuple(process.key[0] for process in stages)
    _add_image(bag, stages, arguments)
    _add_counts(bag, stages)
    exited = status.exit_status(stages)
    if exited is not None:
        bag["process.exit.code"] = status.code_of(exited)
    if last.handed_over:
        bag["otel_kernel.process.handed_over"] = True
    return bag


def of_pod(pod: Identity, node_name: str | None) -> Bag:
    """Return the resource attributes of a pod; what is not known is left out."""
    told = {
        "k8s.pod.uid": pod.pod_uid,
        "k8s.pod.name": pod.pod_name,
        "k8s.namespace.name": pod.namespace,
        "k8s.node.name": node_name,
    }
    return {name: text(value) for name, value in told.items() if value}


def of_container(container: Identity, pod: Bag, runtime_name: str | None) -> Bag:
    """Return the resource attributes of a container, its pod's among them."""
    told = {
        "k8s.container.name": container.container_name,
        "container.id": container.container_id,
        "container.image.name": container.image_name,
        "container.image.id": container.image_id,
        "container.runtime.name": container.runtime_name or runtime_name,
    }
    bag = pod | {name: text(value) for name, value in told.items() if value}
    if container.image_digests:
        bag["container.image.repo_digests"] = tuple(text(digest) for digest in container.image_digests)
    if container.restart_count is not None:
        bag["k8s.container.restart_count"] = container.restart_count
    return bag


def _add_result(bag: Bag, return_value: int | None) -> None:
    if return_value is None:
        return
    bag["otel_kernel.syscall.return_value"] = return_value
    error = flags.error_name(return_value)
    if error:
        bag["error.type"] = error


def _add_paths(bag: Bag, call: Call) -> None:
    source, target = _PATHS.get(call.name, (None, None))
    if source and call.source is not None:
        bag[source] = text(call.source)
    if target and call.target is not None:
        bag[target] = text(call.target)
    if call.name == "fsconfig" and call.target is not None and call.source in _SHOWN_KEYS:
        bag["otel_kernel.fsconfig.value"] = text(call.target)


def _add_image(bag: Bag, stages: list[Process], arguments: Arguments) -> None:
    images = [image for process in stages for image in process.images]
    if not images:
        return
    last = images[-1]
    bag["process.executable.name"] = last.command.program
    bag["process.executable.path"] = text(last.path)
    if len(images) > 1:
        bag["otel_kernel.process.images"] = tuple(image.command.display_name for image in images[:-1])
    if arguments != "off":
        told = last.arguments if arguments == "full" else redacted(last.arguments)
        bag["process.command_args"] = tuple(text(argument) for argument in told)


def _add_counts(bag: Bag, stages: list[Process]) -> None:
    ends = [process.end for process in stages if process.end is not None]
    if not ends:
        return
    bag["otel_kernel.process.syscalls"] = sum(end.syscalls for end in ends)
    bag["otel_kernel.process.threads"] = sum(end.threads for end in ends)
    bag["otel_kernel.openat.count"] = sum(end.openat for end in ends)
    bag["otel_kernel.openat.errors"] = sum(end.openat_errors for end in ends)
