"""A birth that is over, as a trace: ids, names, times of the wall clock, status, resources (design section 3)."""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from otel_kernel.births import attributes, certificate, status, steps, tree, workload
from otel_kernel.births.assembly_settings import AssemblySettings
from otel_kernel.births.attributes import Bag
from otel_kernel.births.model import Birth, Completion, Kind, Unit
from otel_kernel.births.process import Process
from otel_kernel.births.trace import Span, SpanEvent, SpanLink, Trace
from otel_kernel.births.tree import Moment, Node
from otel_kernel.kernel.events import Call, End, Loss

SCOPE = "otel_kernel.ebpf"
_RANDOM_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Seen(NamedTuple):
    """What the assembly knows beside the birth."""

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


def build(birth: Birth, completed: Completion, settings: AssemblySettings, seen: Seen) -> Trace:
    """Return the trace of a birth as far as it came."""
    style = tree.Style(settings.calls == "folded", settings.arguments, seen.service_of_daemon)
    failures = status.failures(birth, lossy=seen.loss.lost > birth.loss_before.lost)
    units = [(unit, _unit(unit, failures, settings.service_name, style)) for unit in birth.in_order]
    runs = [_run(unit, process, ended, settings.service_name) for unit, process, ended in birth.runs()]
    root = _root(birth, [node for _, node in units], settings.service_name)
    root.children += runs
    tree.add_throttled(root, birth.throttled)
    root.fit()
    root.attributes |= certificate.completion(completed) | certificate.duration(birth)
    if completed is not Completion.AGENT_STARTED:
        root.attributes |= certificate.certificate(birth, cgroup_writes_known=settings.cgroup_writes_known)
    root.attributes |= certificate.ledger(birth, seen.loss, root)
    _add_reason(root, birth, failures)
    _add_steps(root, birth, units)
    return _trace(root, birth, completed, settings)


def _unit(unit: Unit, failures: dict[Unit, str], service: str, style: tree.Style) -> Node:
    node = tree.of_unit(unit, service, style)
    node.error = failures.get(unit)
    if unit.is_sandbox and unit.identity.container_id:
        node.attributes["otel_kernel.sandbox.id"] = unit.identity.container_id
    if unit.entry is not None and unit.entry.entry_ns is not None:
        node.moments.append(Moment("entry point", unit.entry.entry_ns, {"process.pid": unit.entry.key[0]}))
    return node


def _run(unit: Unit, process: Process, ended: End, service: str) -> Node:
    """Return the life of a container's own program that ended within the birth; its inside is not traced."""
    code = status.code_of(ended.exit_status)
    name = f"run {unit.identity.container_name}" if unit.identity.container_name else "run"
    bag: Bag = {"otel_kernel.level": "unit", "process.pid": process.key[0], "process.exit.code": code}
    key = f"run {process.key[0]} {process.key[1]}"
    node = Node(name, process.entry_ns or ended.ns, ended.ns, service, bag, key)
    node.container_id = unit.identity.container_id
    node.error = status.exited(ended.exit_status)
    return node


def _root(birth: Birth, units: list[Node], service: str) -> Node:
    if birth.kind is not Kind.BIRTH:
        (root,) = units
        root.name = str(birth.kind)
        return root
    end_ns = birth.first_ns if units else max((step.ns for step in birth.cgroup_steps), default=birth.first_ns)
    owner = workload.owner_name(birth.pod.word)
    name = f"{birth.kind} {owner}" if owner else str(birth.kind)
    bag = {"otel_kernel.level": "birth"} | certificate.since_scheduled(birth)
    return Node(name, birth.first_ns, end_ns, service, bag, "birth", children=units)


def _add_reason(root: Node, birth: Birth, failures: dict[Unit, str]) -> None:
    reason = status.unresolved(birth) if birth.unresolved else status.of_birth(birth, failures)
    if reason is None:
        return
    root.attributes["otel_kernel.birth.reason"] = attributes.text(reason)
    if not birth.unresolved:
        root.error = attributes.text(reason)


def _add_steps(root: Node, birth: Birth, units: list[tuple[Unit, Node]]) -> None:
    moments, dropped = steps.of(birth, units)
    root.moments += moments
    if dropped:
        root.attributes["otel_kernel.birth.steps.dropped"] = dropped


def _trace(root: Node, birth: Birth, completed: Completion, settings: AssemblySettings) -> Trace:
    pod, containers = _resources(birth, settings)
    identifier = _trace_id(birth, completed)
    service = settings.service_name if settings.services == "single" else None
    if settings.services == "workload":
        service = str(pod.pop("service.name", settings.service_name))
        for container in containers.values():
            container.pop("service.name", None)
    spans = _Writer(identifier, birth.unix_offset_ns, service).spans(root, tuple(_links(birth)))
    return Trace(identifier, SCOPE, tuple(spans), pod, containers)


def _resources(birth: Birth, settings: AssemblySettings) -> tuple[Bag, dict[str, Bag]]:
    word, identity = birth.pod.word, birth.pod.identity
    pod = attributes.of_pod(identity, settings.node_name) | (workload.of_pod(word) if word is not None else {})
    containers = {
        unit.identity.container_id: attributes.of_container(unit.identity, pod, identity.runtime_name)
        for unit in birth.containers
        if unit.identity.container_id
    }
    if settings.services == "workload":
        containers = {each: bag | workload.service(word, bag) for each, bag in containers.items()}
        pod |= workload.service(word, pod)
    return pod, containers


def _links(birth: Birth) -> Iterator[SpanLink]:
    if birth.kind is not Kind.BIRTH:
        if birth.pod.root is not None:
            yield birth.pod.root
        return
    word = birth.pod.word
    told = word.trace_parent if word is not None else birth.pod.identity.trace_parent
    created_in = workload.link(told)
    if created_in is not None:
        yield created_in


def _trace_id(birth: Birth, completed: Completion) -> bytes:
    whole = birth.kind is Kind.BIRTH and not birth.unresolved
    first = birth.in_order[0].identity if birth.units else None
    sandboxes = (unit.identity.container_id for unit in birth.sandboxes)
    sandbox_id = next(sandboxes, first.sandbox if first else None)
    container_id = first.container_id if first and not whole else None
    from_start = whole and completed is not Completion.AGENT_STARTED
    return trace_id(birth.pod.identity.pod_uid, (sandbox_id, container_id, birth.first_ns), from_start=from_start)


class _Writer:
    """Writes nodes as spans of one trace, counting each unit's and process's own."""

    def __init__(self, identifier: bytes, unix_offset_ns: int, single_service: str | None) -> None:
        self._trace_id = identifier
        self._offset_ns = unix_offset_ns
        self._single = single_service
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
            tuple([SpanEvent(moment.name, moment.ns + offset, moment.attributes) for moment in node.moments]),
            links,
            node.error,
        )
