"""The figures on a birth's root: what was done, exactly (the certificate), and how well it was seen (the ledger)."""

from collections.abc import Iterable, Iterator

from otel_kernel.births import flags
from otel_kernel.births.attributes import Bag
from otel_kernel.births.model import Birth, Completion
from otel_kernel.births.process import CLONES, Process
from otel_kernel.births.tree import Node
from otel_kernel.kernel.events import Call, Loss

_OPEN_TREE_CLONE = 1
_PREFIX = "otel_kernel.birth."


def certificate(birth: Birth, *, cgroup_writes_known: bool) -> Bag:
    """Return what was done for a birth: lineages' calls to their end or hand-over, and the daemons' matched calls."""
    processes = [process for unit in birth.units for process in unit.processes]
    ends = [process.end for process in processes if process.end is not None]
    counts: Bag = {
        "syscalls": sum(end.syscalls for end in ends),
        "processes": len(processes),
        "threads": sum(end.threads for end in ends),
        "execs": sum(process.execs for process in processes),
        "containers": len(birth.containers),
        **_of_calls(_calls(birth)),
    }
    if cgroup_writes_known:
        by_daemons = birth.daemon_cgroup_writes + sum(unit.daemon_cgroup_writes for unit in birth.units)
        counts["cgroup_writes"] = by_daemons + sum(end.cgroup_writes for end in ends)
    return {_PREFIX + name: count for name, count in counts.items()}


def ledger(birth: Birth, loss: Loss, root: Node) -> Bag:
    """Return how well a birth was seen, and where its time went."""
    before = birth.loss_before
    sources = dict.fromkeys(birth.pod.identity.sources)
    for unit in birth.units:
        sources.update(unit.identity.sources)
    told: Bag = {
        "events.seen": _seen(birth),
        "events.lost": max(0, loss.lost - before.lost) + sum(unit.dropped for unit in birth.units),
        "events.late": sum(unit.late for unit in birth.units),
        "probe_misses": max(0, loss.probe_misses - before.probe_misses),
        "untraced.time": _untraced_ns(root) / 1e9,
        "identity.source": tuple(sources),
    }
    unread = sum(call.unread for call in _calls(birth))
    if unread:
        told["strings.unread"] = unread
    running = sum(unit.alive for unit in birth.units)
    if running:
        told["processes.running"] = running
    slowest = _slowest(root)
    if slowest:
        told["slowest"] = slowest
    return {_PREFIX + name: value for name, value in told.items()}


def completion(completed: Completion) -> Bag:
    """Return why a birth was exported and whether it is complete: true, false, or absent where nobody knows."""
    told: Bag = {_PREFIX + "completion": str(completed)}
    if completed is not Completion.QUIET:
        told[_PREFIX + "complete"] = completed is Completion.KNOWN
    return told


def duration(birth: Birth) -> Bag:
    """Return the time from the first event to the last entry point's execve, in seconds; nothing while none has run."""
    entries = [unit.entry.entry_ns for unit in birth.units if unit.entry is not None and unit.entry.entry_ns]
    return {_PREFIX + "duration": (max(entries) - birth.first_ns) / 1e9} if entries else {}


def since_scheduled(birth: Birth) -> Bag:
    """Return the time from the pod's binding to this node to its first event, in seconds.

    Kubernetes tells the first in whole seconds: so much of it is not known. Nothing where it was not bound by the API
    (a static pod, one that was created with its node's name): then the kubelet sets that condition, later.
    """
    conditions = birth.pod.word.conditions if birth.pod.word is not None else ()
    bound = next((each.unix_ns for each in conditions if each.type == "PodScheduled" and each.status == "True"), None)
    first_unix_ns = birth.first_ns + birth.unix_offset_ns
    if bound is None or bound > first_unix_ns:
        return {}
    return {_PREFIX + "scheduled_to_first_event": (first_unix_ns - bound) / 1e9}


def _calls(birth: Birth) -> Iterator[Call]:
    for unit in birth.units:
        for process in unit.processes:
            yield from process.calls
        yield from unit.daemon_calls


def _of_calls(calls: Iterable[Call]) -> dict[str, int]:
    counts = dict.fromkeys(("clones", "mounts", "namespaces", "namespace_ops"), 0)
    for call in calls:
        name, result = call.name, call.return_value
        if result is None or result < 0:
            continue
        made = flags.new_namespaces(name, call.arguments)
        counts["clones"] += name in CLONES
        counts["mounts"] += _is_mount(call)
        counts["namespaces"] += made
        counts["namespace_ops"] += bool(made) or name == "setns"
    return counts


def _is_mount(call: Call) -> bool:
    if call.name in {"open_tree", "open_tree_attr"}:
        return bool(call.arguments[2] & _OPEN_TREE_CLONE)
    return call.name in {"mount", "fsmount"}


def _seen(birth: Birth) -> int:
    daemons = sum(len(unit.daemon_calls) + unit.daemon_cgroup_writes for unit in birth.units)
    lineages = sum(_records(process) for unit in birth.units for process in unit.processes)
    return daemons + lineages + len(birth.cgroup_steps) + birth.daemon_cgroup_writes


def _records(process: Process) -> int:
    return process.records + len(process.calls) + len(process.waits)


def _untraced_ns(root: Node) -> int:
    """Return the time that lies in no process, wait or daemon's call."""
    traced = sorted((node.start_ns, node.end_ns) for node in root.walk() if node.level == "process" or node.of_daemon)
    free, at = 0, root.start_ns
    for start_ns, end_ns in traced:
        free += max(0, start_ns - at)
        at = max(at, end_ns)
    return free + max(0, root.end_ns - at)


def _slowest(root: Node) -> str | None:
    """Return the longest unit, and in it the longest of what lies below: `container web: runc init: wait read`."""
    units = [node for node in (root, *root.children) if node.level == "unit" and not node.name.startswith("run ")]
    unit = max(units, key=lambda node: node.end_ns - node.start_ns, default=None)
    if unit is None:
        return None
    step = max(_steps(unit, ""), key=lambda pair: pair[1], default=None)
    return f"{unit.name}: {step[0]}" if step else unit.name


def _steps(node: Node, path: str) -> Iterator[tuple[str, int]]:
    for child in node.children:
        name = f"{path}{child.name}"
        if child.level != "process":
            yield name, child.end_ns - child.start_ns
            continue
        yield from _steps(child, f"{name}: ")
        yield name, _own_ns(child)


def _own_ns(node: Node) -> int:
    own, at = 0, node.start_ns
    for start_ns, end_ns in sorted((child.start_ns, child.end_ns) for child in node.children):
        own += max(0, start_ns - at)
        at = max(at, end_ns)
    return own + max(0, node.end_ns - at)
