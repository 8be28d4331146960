"""A birth that is over, as a trace: ids, names, times of the wall clock, status, resources (design section 3)."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from otel_kernel.births import attributes, certificate, steps, tree
from otel_kernel.births.attributes import Bag
from otel_kernel.births.model import Birth, Completion, Kind, Process, Unit
from otel_kernel.births.trace import Span, SpanEvent, SpanLink, Trace
from otel_kernel.births.tree import Moment, Node
from otel_kernel.kernel.events import Call, Loss

SCOPE = "otel_kernel.ebpf"
_RANDOM_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_CERTIFICATES_OF = frozenset(Completion) - {Completion.AGENT_STARTED}


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """How a trace is told."""

    folded: bool
    single_service: bool
    arguments: Literal["off", "redacted", "full"]
    service_name: str
    node_name: str | None
    cgroup_writes_known: bool
    loss: Loss
    service_of_daemon: Callable[[Call], str | None]


def trace_id(pod_uid: str | None, birth: tuple[str | None, str | None, int], *, from_start: bool) -> bytes:
    """Return the 16 bytes of a trace's id: the pod's UID when that is random and its birth was seen from the start.

    Else SHA-256 over UID, sandbox id, container id and the first event's boot time: `birth` is the last three.
    """
    if from_start and pod_uid and _RANDOM_UUID.fullmatch(pod_uid):
        return bytes.fromhex(pod_uid.replace("-", ""))
    sandbox_id, container_id, first_ns = birth
    told = "\0".join((pod_uid or "", sandbox_id or "", container_id or "", str(first_ns)))
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).digest()[:16]


def span_id(trace: bytes, key: str, sequence: int) -> bytes:
    """Return a span's id of 8 bytes; `key` names a unit, or a process by PID and start, `sequence` counts its spans."""
    return hashlib.sha256(b"%b\0%b\0%d" % (trace, key.encode("utf-8", "surrogatepass"), sequence)).digest()[:8]


def build(birth: Birth, completed: Completion, settings: TraceSettings) -> Trace:
    """Return the trace of a birth as far as it came."""
    style = tree.Style(settings.folded, settings.arguments, settings.service_of_daemon)
    units = [(unit, _unit(unit, birth, settings, style)) for unit in sorted(birth.units, key=lambda u: u.first_ns)]
    root = _root(birth, [node for _, node in units], settings)
    for unit in birth.units:
        for process in unit.runs():
            root.children.append(_run(unit, process, settings))
    root.fit()
    _tell(root, birth, completed, settings)
    _finish(root, birth, units)
    return _trace(root, birth, completed, settings)


def _unit(unit: Unit, birth: Birth, settings: TraceSettings, style: tree.Style) -> Node:
    node = tree.of_unit(unit, settings.service_name, style)
    if unit.is_sandbox and unit.identity.container_id:
        node.attributes["otel_kernel.sandbox.id"] = unit.identity.container_id
    lossy = settings.loss.lost > birth.loss_before.lost
    node.error = certificate.failure(unit, lossy=lossy)
    if unit.entry is not None and unit.entry.entry_ns is not None:
        node.moments.append(Moment("entry point", unit.entry.entry_ns, {"process.pid": unit.entry.key[0]}))
    return node


def _run(unit: Unit, process: Process, settings: TraceSettings) -> Node:
    """Return the life of a container's own program that ended within the birth; its inside is not traced."""
    ended = process.exit
    if ended is None:
        raise ValueError("the program has not ended")
    code = attributes.status_code(ended.exit_status)
    name = f"run {unit.identity.container_name}" if unit.identity.container_name else "run"
    bag: Bag = {"otel_kernel.level": "unit", "process.pid": process.key[0], "process.exit.code": code}
    start_ns = process.entry_ns or ended.ns
    node = Node(name, start_ns, ended.ns, settings.service_name, bag, key=f"run {process.key[0]} {process.key[1]}")
    node.container_id = unit.identity.container_id
    node.error = f"exit code {code}" if code else None
    return node


def _root(birth: Birth, units: list[Node], settings: TraceSettings) -> Node:
    if birth.kind is not Kind.BIRTH and len(units) == 1:
        root = units[0]
        root.name = str(birth.kind)
        return root
    root = Node(str(birth.kind), birth.first_ns, birth.first_ns, settings.service_name, {"otel_kernel.level": "birth"})
    root.key = "birth"
    root.children = units
    for changed in birth.cgroup_steps:
        if not birth.units:
            root.end_ns = max(root.end_ns, changed.ns)
    return root


def _tell(root: Node, birth: Birth, completed: Completion, settings: TraceSettings) -> None:
    told = certificate.completion(completed) | certificate.duration(birth)
    if completed in _CERTIFICATES_OF:
        told |= certificate.certificate(birth, cgroup_writes_known=settings.cgroup_writes_known)
    told |= certificate.ledger(birth, settings.loss, root)
    reason = _reason(birth, settings)
    if reason:
        told["otel_kernel.birth.reason"] = attributes.text(reason)
        if not birth.unresolved:
            root.error = attributes.text(reason)
    root.attributes |= told


def _reason(birth: Birth, settings: TraceSettings) -> str | None:
    """Return why a birth failed: its last attempt at the sandbox, or at one of its containers."""
    if birth.unresolved:
        told = (unit.identity.failure for unit in birth.units)
        return f"unresolved: {next((why for why in told if why), 'no source named its pod')}"
    lossy = settings.loss.lost > birth.loss_before.lost
    last: dict[str, Unit] = {}
    for unit in sorted((unit for unit in birth.units if not unit.is_volumes), key=lambda unit: unit.first_ns):
        last[unit.name if unit.identity.container_name or unit.is_sandbox else str(id(unit))] = unit
    failed = [f"{unit.name} {why}" for unit in last.values() if (why := certificate.failure(unit, lossy=lossy))]
    runs = [(unit, process.exit) for unit in last.values() for process in unit.runs()]
    for unit, ended in runs:
        code = attributes.status_code(ended.exit_status) if ended else 0
        if code:
            failed.append(f"{unit.name} exited with {code}")
    return "; ".join(failed) or None


def _finish(root: Node, birth: Birth, units: list[tuple[Unit, Node]]) -> None:
    moments, dropped = steps.of(birth, units)
    root.moments += moments
    if dropped:
        root.attributes["otel_kernel.birth.steps.dropped"] = dropped


def _trace(root: Node, birth: Birth, completed: Completion, settings: TraceSettings) -> Trace:
    pod = attributes.of_pod(birth.pod.identity, settings.node_name)
    runtime = birth.pod.identity.runtime_name
    containers = {
        unit.identity.container_id: attributes.of_container(unit.identity, pod, runtime)
        for unit in birth.containers
        if unit.identity.container_id
    }
    from_start = birth.kind is Kind.BIRTH and completed is not Completion.AGENT_STARTED and not birth.unresolved
    first = birth.sandboxes[0].identity.container_id if birth.sandboxes else None
    container_id = birth.units[0].identity.container_id if birth.kind is not Kind.BIRTH or birth.unresolved else None
    sandbox_id = first or (birth.units[0].identity.sandbox if birth.units else None)
    identifier = trace_id(birth.pod.identity.pod_uid, (sandbox_id, container_id, birth.first_ns), from_start=from_start)
    links = (birth.pod.root,) if birth.kind is not Kind.BIRTH and birth.pod.root else ()
    spans = _Writer(identifier, birth.unix_offset_ns, settings).spans(root, links)
    return Trace(identifier, SCOPE, tuple(spans), pod, containers)


class _Writer:
    """Writes nodes as spans of one trace, counting each unit's and process's own."""

    def __init__(self, identifier: bytes, unix_offset_ns: int, settings: TraceSettings) -> None:
        self._trace_id = identifier
        self._offset_ns = unix_offset_ns
        self._single = settings.service_name if settings.single_service else None
        self._sequences: dict[str, int] = {}

    def spans(self, root: Node, links: tuple[SpanLink, ...]) -> list[Span]:
        """Return the root's span and all below it, parents first."""
        written: list[Span] = []
        open_: list[tuple[Node, bytes | None, str]] = [(root, None, root.key)]
        while open_:
            node, parent, owner = open_.pop()
            key = node.key or owner
            span = self._span(node, parent, key, links if parent is None else ())
            written.append(span)
            open_ += [(child, span.span_id, key) for child in reversed(node.children)]
        return written

    def _span(self, node: Node, parent: bytes | None, key: str, links: tuple[SpanLink, ...]) -> Span:
        sequence = self._sequences.get(key, 0)
        self._sequences[key] = sequence + 1
        offset = self._offset_ns
        return Span(
            span_id(self._trace_id, key, sequence),
            parent,
            node.name,
            node.start_ns + offset,
            node.end_ns + offset,
            self._single or node.service,
            node.attributes,
            node.container_id,
            tuple(SpanEvent(moment.name, moment.ns + offset, moment.attributes) for moment in node.moments),
            links,
            node.error,
        )
