"""A birth as files show it, as a trace: root and units, each from when it was noticed to when its end was."""

from otel_kernel.births import attributes, certificate, spans, workload
from otel_kernel.births.assembly import AssemblySettings
from otel_kernel.births.attributes import Bag
from otel_kernel.births.file_birth import FileBirth, FileUnit
from otel_kernel.births.model import Completion, Kind
from otel_kernel.births.steps import STEPS_MAX
from otel_kernel.births.trace import Span, SpanEvent, Trace
from otel_kernel.births.tree import Moment, Node

SCOPE = "otel_kernel.cgroupfs"
NOT_SEEN = "its own program was not seen: files show what lasts from one look to the next"


def build(birth: FileBirth, completed: Completion, settings: AssemblySettings) -> Trace:
    """Return the trace of a birth as far as it came. There are no counts in it: files do not tell any."""
    root = _tree(birth, settings.service_name)
    root.attributes |= _told(birth, completed)
    root.moments += _steps(birth)
    root.fit()
    pod = attributes.of_pod(birth.pod.identity, settings.node_name)
    containers = {
        unit.identity.container_id: attributes.of_container(unit.identity, pod, birth.pod.identity.runtime_name)
        for unit in birth.units
        if unit.identity.container_id and not birth.is_sandbox(unit)
    }
    identifier = _trace_id(birth)
    return Trace(identifier, SCOPE, _spans(root, birth, identifier), pod, containers)


def _tree(birth: FileBirth, service: str) -> Node:
    if not birth.is_whole_pod:
        root = _unit(birth.units[0], birth, service)
        root.name = str(birth.kind)
        return root
    root = Node(str(Kind.BIRTH), birth.first_ns, birth.first_ns, service, {"otel_kernel.level": "birth"}, key="birth")
    if not birth.units:
        root.end_ns = birth.last_ns
    for unit in sorted(birth.units, key=lambda unit: unit.first_ns):
        root.children.append(_unit(unit, birth, service))
        if unit.program is not None and unit.ended_ns is not None and not birth.is_sandbox(unit):
            root.children.append(_run(unit, birth, unit.ended_ns, service))
    return root


def _unit(unit: FileUnit, birth: FileBirth, service: str) -> Node:
    program, bag = unit.program, Bag({"otel_kernel.level": "unit"})
    if birth.is_sandbox(unit) and unit.identity.container_id:
        bag["otel_kernel.sandbox.id"] = unit.identity.container_id
    if program is None and unit.ended_ns is not None:
        bag["otel_kernel.unit.reason"] = NOT_SEEN
    end_ns = program.ns if program is not None else unit.ended_ns or birth.last_ns
    node = _node(unit, birth, (_name(unit, birth), unit.first_ns, end_ns), bag, service)
    if program is not None:
        entry: Bag = {"process.pid": program.pid, "process.executable.path": attributes.text(program.executable)}
        node.moments.append(Moment("entry point", program.ns, entry))
    return node


def _run(unit: FileUnit, birth: FileBirth, ended_ns: int, service: str) -> Node:
    # No exit code: it is the parent's to collect, and stands in no file.
    name = f"run {unit.identity.container_name}" if unit.identity.container_name else "run"
    start_ns = unit.program.ns if unit.program is not None else ended_ns
    return _node(unit, birth, (name, start_ns, ended_ns), {"otel_kernel.level": "unit"}, service)


def _node(unit: FileUnit, birth: FileBirth, told: tuple[str, int, int], bag: Bag, service: str) -> Node:
    name, start_ns, end_ns = told
    node = Node(name, start_ns, end_ns, service, bag, key=f"{name.partition(' ')[0]} {unit.identity.container_id}")
    node.container_id = None if birth.is_sandbox(unit) else unit.identity.container_id
    return node


def _name(unit: FileUnit, birth: FileBirth) -> str:
    if birth.is_sandbox(unit):
        return "sandbox"
    return f"container {unit.identity.container_name}" if unit.identity.container_name else "container"


def _told(birth: FileBirth, completed: Completion) -> Bag:
    told = certificate.completion(completed)
    started = [unit.program.ns for unit in birth.units if unit.program is not None]
    if started:
        told["otel_kernel.birth.duration"] = (max(started) - birth.first_ns) / 1e9
    sources = {source: None for unit in birth.units for source in unit.identity.sources}
    told["otel_kernel.birth.identity.source"] = tuple(sources or {"cgroup-path": None})
    told["otel_kernel.birth.events.seen"] = birth.sightings
    reasons = [*birth.missed, *(failure for unit in birth.units if (failure := unit.identity.failure))]
    if reasons:
        told["otel_kernel.birth.reason"] = attributes.text("; ".join(reasons))
    return told


def _steps(birth: FileBirth) -> list[Moment]:
    steps = [(birth.first_ns, "pod: cgroup mkdir")] if birth.is_whole_pod and not birth.half_seen else []
    for unit in birth.units:
        name = _name(unit, birth)
        steps.append((unit.first_ns, f"{name}: {'found' if unit.existing else 'cgroup mkdir'}"))
        if unit.program is not None:
            steps.append((unit.program.ns, f"{name}: entry point"))
        if unit.ended_ns is not None:
            steps.append((unit.ended_ns, f"{name}: ended"))
    return [
        Moment("otel_kernel.step", ns, {"otel_kernel.step.action": action}) for ns, action in sorted(steps)[:STEPS_MAX]
    ]


def _trace_id(birth: FileBirth) -> bytes:
    from_start = birth.is_whole_pod and not birth.half_seen
    first = birth.units[0].identity if birth.units else None
    sandboxes = (unit.identity.container_id for unit in birth.units if birth.is_sandbox(unit))
    sandbox_id = next(sandboxes, first.sandbox if first else None)
    container_id = first.container_id if first and not birth.is_whole_pod else None
    began = (sandbox_id, container_id, birth.first_ns)
    return spans.trace_id(birth.pod.identity.pod_uid, began, from_start=from_start)


def _spans(root: Node, birth: FileBirth, identifier: bytes) -> tuple[Span, ...]:
    root_id = spans.span_id(identifier, root.key, 0)
    of = workload.link(birth.pod.identity.trace_parent) if birth.is_whole_pod else birth.pod.root
    links = (of,) if of is not None else ()
    offset = birth.unix_offset_ns
    return tuple(
        Span(
            spans.span_id(identifier, node.key, 0),
            None if node is root else root_id,
            node.name,
            node.start_ns + offset,
            node.end_ns + offset,
            node.service,
            node.attributes,
            node.container_id,
            tuple(SpanEvent(moment.name, moment.ns + offset, moment.attributes) for moment in node.moments),
            links if node is root else (),
        )
        for node in root.walk()
    )
