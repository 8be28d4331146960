"""The spans of a birth as a tree, in boot time: levels, parents, groups and waits (design section 3)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from otel_kernel.births import attributes, status
from otel_kernel.births.arguments import Tool
from otel_kernel.births.assembly_settings import Arguments
from otel_kernel.births.attributes import Bag
from otel_kernel.births.model import Unit
from otel_kernel.births.process import Process
from otel_kernel.kernel.events import Call, Throttled, Wait

MOUNTS = frozenset(
    "mount umount2 pivot_root move_mount open_tree open_tree_attr fspick fsopen fsconfig fsmount mount_setattr".split()
)
_GAP_NS = 3_000_000
_IDLE = frozenset("futex futex_wait futex_waitv epoll_wait epoll_pwait epoll_pwait2 nanosleep clock_nanosleep".split())
_DRAWN_AS = {"clone3": "clone", "fork": "clone", "vfork": "clone", "execveat": "execve"}
_CLONE_PARENT = 0x8000


@dataclass(slots=True, eq=False)
class Moment:
    """A point in time on a node."""

    name: str
    ns: int
    attributes: Bag


@dataclass(slots=True, eq=False)
class Node:
    """A span that is being drawn."""

    name: str
    start_ns: int
    end_ns: int
    service: str
    attributes: Bag
    key: str = ""  # of what has its own spans: a unit or process; empty: part of the one above
    children: list["Node"] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    error: str | None = None
    container_id: str | None = None
    of_daemon: bool = False

    @property
    def level(self) -> str:
        """`otel_kernel.level`."""
        return str(self.attributes["otel_kernel.level"])

    def walk(self) -> Iterator["Node"]:
        """Yield this node and all below it, parents first."""
        open_ = [self]
        while open_:
            node = open_.pop()
            yield node
            open_ += reversed(node.children)

    def fit(self) -> None:
        """Make room for all that lies inside; nothing is shorter than a nanosecond."""
        self.end_ns = max(self.end_ns, self.start_ns + 1)
        for child in self.children:
            child.fit()
            self.start_ns = min(self.start_ns, child.start_ns)
            self.end_ns = max(self.end_ns, child.end_ns)


@dataclass(frozen=True, slots=True)
class Style:
    """How a tree is drawn."""

    folded: bool
    arguments: Arguments
    service_of_daemon: Callable[[Call], str | None]


def of_unit(unit: Unit, service: str, style: Style) -> Node:
    """Return a unit with its processes and the daemons' calls made for it; `service` is the unit's own."""
    node = Node(unit.name, unit.first_ns, unit.first_ns, service, {"otel_kernel.level": "unit"}, key=_unit_key(unit))
    stages_of = _stages(unit)
    nodes: dict[Process, Node] = {}
    for stages in stages_of:
        drawn = _process(stages, style)
        nodes.update(dict.fromkeys(stages, drawn))
    for stages in stages_of:
        _parent(stages, nodes, node).children.append(nodes[stages[0]])
    own = sorted(unit.daemon_calls, key=lambda call: call.start_ns)
    _draw(node, own, (), lambda call: _daemon_service(unit, call, style), style)
    for child in node.children:
        child.of_daemon = child.level != "process"
    _move_what_outlives(node, nodes.values())
    add_throttled(node, unit.throttled)
    container_id = unit.identity.container_id if unit.is_container else None
    for below in node.walk():
        below.children.sort(key=_start_ns)
        below.container_id = container_id
    return node


def add_throttled(node: Node, intervals: Iterable[Throttled]) -> None:
    """Add the intervals without CPU time that began before the node ends, as far as they lie in it, and their sum."""
    node.fit()
    inside = [each for each in intervals if each.start_ns < node.end_ns and each.end_ns > node.start_ns]
    if not inside:
        return
    for each in sorted(inside):
        start_ns, end_ns = max(each.start_ns, node.start_ns), min(each.end_ns, node.end_ns)
        node.children.append(Node("throttled", start_ns, end_ns, node.service, attributes.of_throttled(each)))
    node.attributes |= attributes.of_throttled_intervals(inside)


def service_of(process: Process) -> str:
    """Return the component that a process belongs to: a closed set."""
    command = process.command
    if command is None or command.tool is Tool.OTHER:
        return service_of(process.forker) if process.forker else "containerd"
    if command.tool is Tool.RUNTIME:
        return "crun" if "crun" in command.program else "runc"
    return {Tool.SHIM: "containerd-shim", Tool.CONMON: "crio", Tool.CNI: "cni", Tool.VOLUMES: "kubelet"}[command.tool]


def _unit_key(unit: Unit) -> str:
    return f"{unit.name.partition(' ')[0]} {unit.identity.container_id or unit.first_ns}"


def _daemon_service(unit: Unit, call: Call, style: Style) -> str:
    known = style.service_of_daemon(call)
    if unit.is_volumes:
        return known or "kubelet"
    if unit.identity.runtime_name == "cri-o":
        return "crio"
    return known or "containerd"


def _stages(unit: Unit) -> list[list[Process]]:
    """Return the unit's processes, the stages of each `runc init` together; by the time of the first fork."""
    groups: list[list[Process]] = []
    init_of: dict[Process, list[Process]] = {}
    for process in sorted(unit.processes, key=lambda process: process.first_ns):
        group = _init_group(process, init_of) if process.is_init else None
        if group is None:
            group = []
            groups.append(group)
        group.append(process)
        if process.is_init:
            init_of[process] = group
    return groups


def _init_group(process: Process, init_of: dict[Process, list[Process]]) -> list[Process] | None:
    if process.forker in init_of:
        return init_of[process.forker]
    siblings = (other for other in init_of if other.parent_key == process.parent_key)
    return next((init_of[other] for other in siblings), None) if process.clone_flags & _CLONE_PARENT else None


def _process(stages: list[Process], style: Style) -> Node:
    last = stages[-1]
    command = last.command
    ends = max(process.end_ns for process in stages)
    node = Node(
        command.display_name if command else "fork",
        stages[0].first_ns,
        ends,
        service_of(last),
        attributes.of_processes(stages, style.arguments),
        key=f"{stages[0].key[0]} {stages[0].key[1]}",
    )
    node.error = status.exited(status.exit_status(stages) or 0)
    calls = sorted((call for process in stages for call in process.calls), key=lambda call: call.start_ns)
    waits = [wait for process in stages for wait in process.waits if wait.name not in _IDLE]
    _draw(node, calls, waits, lambda _: node.service, style)
    return node


def _parent(stages: list[Process], nodes: dict[Process, Node], unit: Node) -> Node:
    """Return the span of the forking process when that is in the same unit and not outlived; else the unit."""
    first = stages[0]
    parent = nodes.get(first.forker) if first.forker else None
    own = nodes[first]
    if parent is None or parent is own or any(process.is_init for process in stages):
        return unit
    return parent if own.end_ns <= parent.end_ns and own.start_ns >= parent.start_ns else unit


def _draw(node: Node, calls: list[Call], waits: Iterable[Wait], service: Callable[[Call], str], style: Style) -> None:
    for run in _runs(calls):
        drawn = [_call(call, service(call)) for call in run]
        holder = node
        if len(run) > 1:
            holder = _group(run, service(run[0]))
            node.children.append(holder)
        if style.folded:
            holder.moments += [_moment(call) for call in drawn]
        else:
            holder.children += drawn
    for wait in sorted(waits, key=lambda wait: wait.start_ns):
        node.children.append(
            Node(f"wait {wait.name}", wait.start_ns, wait.end_ns, node.service, attributes.of_wait(wait))
        )


def _runs(calls: list[Call]) -> list[list[Call]]:
    """Return the calls, each alone but for runs of the mount family of one thread with gaps of less than 3 ms."""
    runs: list[list[Call]] = []
    running: dict[tuple[int, int], list[Call]] = {}
    for call in calls:
        thread = (call.pid, call.thread_id)
        run = running.get(thread)
        if call.name in MOUNTS and run is not None and call.start_ns - run[-1].end_ns < _GAP_NS:
            run.append(call)
            continue
        runs.append([call])
        if call.name in MOUNTS:
            running[thread] = runs[-1]
    return runs


def _call(call: Call, service: str) -> Node:
    return Node(_DRAWN_AS.get(call.name, call.name), call.start_ns, call.end_ns, service, attributes.of_call(call))


def _group(run: list[Call], service: str) -> Node:
    bag: Bag = {
        "otel_kernel.level": "group",
        "otel_kernel.calls.count": len(run),
        "otel_kernel.calls.failed": sum(1 for call in run if call.return_value is not None and call.return_value < 0),
        "otel_kernel.calls.time": sum(call.end_ns - call.start_ns for call in run) / 1e9,
        "process.pid": run[0].pid,
        "thread.id": run[0].thread_id,
    }
    return Node("mounts", run[0].start_ns, max(call.end_ns for call in run), service, bag)


def _moment(node: Node) -> Moment:
    return Moment(
        node.name, node.start_ns, node.attributes | {"otel_kernel.call.time": (node.end_ns - node.start_ns) / 1e9}
    )


def _start_ns(node: Node) -> int:
    return node.start_ns


def _move_what_outlives(unit: Node, processes: Iterable[Node]) -> None:
    """Move what a shim's other threads were still calling at its hand-over to the unit: its span ends before."""
    for process in [node for node in processes if node.attributes.get("otel_kernel.process.handed_over")]:
        inside = [child for child in process.children if child.end_ns <= process.end_ns]
        moved = [child for child in process.children if child.end_ns > process.end_ns]
        process.children = inside
        unit.children += moved
