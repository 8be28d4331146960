"""The timeline on a birth's root: at most 128 steps, the important ones first when there is not room for all."""

from collections.abc import Iterator
from typing import NamedTuple

from otel_kernel.births.model import Birth, Kind, Unit
from otel_kernel.births.process import CLONES, EXECS
from otel_kernel.births.tree import MOUNTS, Moment, Node

STEPS_MAX = 128
_LONGEST_LINE = 120
_MOUNTS = MOUNTS - {"pivot_root"}


class _Step(NamedTuple):
    rank: int
    ns: int
    action: str


def of(birth: Birth, units: list[tuple[Unit, Node]]) -> tuple[list[Moment], int]:
    """Return the steps of a birth in the order of time, and how many there was no room for."""
    steps = [step for unit, node in units for step in _of_unit(unit, node)]
    steps += _of_kubernetes(birth)
    names = {unit.identity.container_id: unit.name for unit in birth.units}
    for changed in birth.cgroup_steps:
        whose = names.get(changed.container_id, "container") if changed.container_id else "pod"
        steps.append(_Step(3 if changed.action == "attach" else 1, changed.ns, f"{whose}: cgroup {changed.action}"))
    kept = sorted(steps)[:STEPS_MAX]
    moments = [
        Moment("otel_kernel.step", step.ns, {"otel_kernel.step.action": step.action[:_LONGEST_LINE]}) for step in kept
    ]
    moments.sort(key=lambda moment: moment.ns)
    return moments, len(steps) - len(kept)


def _of_unit(unit: Unit, node: Node) -> Iterator[_Step]:
    yield _Step(0, node.start_ns, f"{unit.name}: start")
    yield _Step(0, node.end_ns, f"{unit.name}: end")
    if unit.entry is not None and unit.entry.entry_ns is not None:
        yield _Step(0, unit.entry.entry_ns, f"{unit.name}: entry point")
    first: dict[str, int] = {}
    for call in (call for process in unit.processes for call in process.calls):
        family = _family(call.name)
        first[family] = min(first.get(family, call.start_ns), call.start_ns)
    for family, ns in first.items():
        yield _Step(2, ns, f"{unit.name}: {family}")


def _of_kubernetes(birth: Birth) -> Iterator[_Step]:
    """Yield what Kubernetes itself says, in its whole seconds."""
    word, events, offset_ns = birth.pod.word, birth.pod.events, birth.unix_offset_ns
    if birth.kind is not Kind.BIRTH or word is None:
        return
    for condition in word.conditions:
        reason = f" ({condition.reason})" if condition.reason else ""
        yield _Step(1, condition.unix_ns - offset_ns, f"condition {condition.type}: {condition.status}{reason}")
    for event in events.events if events is not None else ():
        times = f" ({event.times} times)" if event.times > 1 else ""
        yield _Step(1, event.unix_ns - offset_ns, f"event {event.reason}: {event.message}{times}")


def _family(name: str) -> str:
    if name in CLONES:
        return "clone"
    if name in EXECS:
        return "execve"
    return "mount" if name in _MOUNTS else name
