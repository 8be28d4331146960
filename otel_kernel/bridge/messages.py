"""What the operator takes: one JSON object a message, exactly its fields, within the ranges it keeps.

As the operator was seen to behave: every field is required, integers are unsigned and never written as floats, system
calls and cgroup writes are cut to 32 bits, namespace operations to 255, and NaN is no JSON.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from otel_kernel.bridge.told import Attributes, Birth, Event, Scalar, Step

UINT32_MAX = 2**32 - 1
INT64_MAX = 2**63 - 1
NAMESPACE_OPS_MAX = 255
STEPS_MAX = 128  # as many as the agent sends; a longer timeline would not fit into the object that the operator keeps
LONGEST_ACTION = 256
THROTTLED = "otel_kernel.cpu.throttled"
# The operator shows births of these to nobody; asking it each time would only cost both sides.
SYSTEM_NAMESPACES = frozenset(
    "kube-system kube-public kube-node-lease gke-gmp-system gmp-system gke-managed-filestorecsi".split()
)
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_LABEL)
_POD_NAME = re.compile(rf"(?=.{{1,249}}\Z){_LABEL}(\.{_LABEL})*")  # the operator adds four characters to it
_ID = re.compile(r"[0-9a-f]{32}:[0-9a-f]{16}")


class Kind(StrEnum):
    """What a message is, as its one key."""

    POD_CREATION = "pod_creation"
    CPU_THROTTLE = "cpu_throttle"


class NotPosted(StrEnum):
    """Why something told makes no message."""

    INCOMPLETE = "incomplete"  # a name, or a count: nobody counted, or the birth was not seen from its start
    SYSTEM_NAMESPACE = "system_namespace"
    INVALID = "invalid"  # no pod has such a name, no count such a value


class Message(NamedTuple):
    """What is to be posted, once. `id` is the same however often it is delivered."""

    id: str
    kind: Kind
    subject: str  # namespace/pod
    unix_ns: int  # the birth's end, the event's time
    body: bytes


class Unpostable(NamedTuple):
    """Something that concerns the operator and cannot be told to it."""

    kind: Kind
    reason: NotPosted


def of_birth(birth: Birth) -> Message | Unpostable:
    """Return what the operator is told of a birth."""
    refused = _refused(birth.resource, system_too=False)
    identity = f"{birth.trace_id}:{birth.span_id}"
    if refused or not _ID.fullmatch(identity):
        return Unpostable(Kind.POD_CREATION, refused or NotPosted.INVALID)
    prefix = "otel_kernel.birth."
    counts = [birth.attributes.get(f"{prefix}{name}") for name in ("syscalls", "namespace_ops", "cgroup_writes")]
    duration_s = birth.attributes.get(f"{prefix}duration")
    if duration_s is None or None in counts:
        return Unpostable(Kind.POD_CREATION, NotPosted.INCOMPLETE)
    try:
        syscalls, namespace_ops, cgroup_writes = (_integer(count) for count in counts)
        fields = {
            **_names(birth.resource),
            "total_syscalls": min(syscalls, UINT32_MAX),
            "namespace_ops": min(namespace_ops, NAMESPACE_OPS_MAX),
            "cgroup_writes": min(cgroup_writes, UINT32_MAX),
            "duration_ns": min(round(_number(duration_s) * 1e9), INT64_MAX),
            "timeline": [_step(step) for step in birth.steps[:STEPS_MAX]],
            "ebpf_detection": True,
            "timestamp": _timestamp(birth.start_unix_ns),
        }
        return _message(identity, Kind.POD_CREATION, birth.end_unix_ns, fields)
    except ValueError:
        return Unpostable(Kind.POD_CREATION, NotPosted.INVALID)


def of_event(event: Event) -> Message | Unpostable | None:
    """Return what the operator is told of an event; None for events that do not concern it."""
    if event.name != THROTTLED:
        return None
    if refused := _refused(event.resource, system_too=True):
        return Unpostable(Kind.CPU_THROTTLE, refused)
    container = event.resource.get("k8s.container.name")
    names = ("percentage", "usage", "usage_60s", "period", "throttled_ns")
    values = [event.attributes.get(f"otel_kernel.throttling.{name}") for name in names]
    if not isinstance(container, str) or None in values:
        return Unpostable(Kind.CPU_THROTTLE, NotPosted.INCOMPLETE)
    try:
        percentage, usage, usage_60s, period_s = (_number(value) for value in values[:-1])
        fields = {
            **_names(event.resource),
            "container_name": container,
            "throttle_percentage": percentage,
            "actual_cpu_usage": usage,
            "reported_cpu_usage": usage_60s,
            "period_seconds": min(round(period_s), INT64_MAX),
            "ebpf_detection": False,  # the kernel's own account in cpu.stat, read from a file
            "throttle_ns": min(_integer(values[-1]), INT64_MAX),
            "timestamp": _timestamp(event.unix_ns),
        }
        uid = event.resource.get("k8s.pod.uid", "")
        return _message(f"{uid}/{container}@{event.unix_ns}", Kind.CPU_THROTTLE, event.unix_ns, fields)
    except ValueError:
        return Unpostable(Kind.CPU_THROTTLE, NotPosted.INVALID)


def _refused(resource: Attributes, *, system_too: bool) -> NotPosted | None:
    name, namespace = resource.get("k8s.pod.name"), resource.get("k8s.namespace.name")
    if not name or not namespace:
        return NotPosted.INCOMPLETE
    if not isinstance(name, str) or not isinstance(namespace, str):
        return NotPosted.INVALID
    if not _POD_NAME.fullmatch(name) or not _NAMESPACE.fullmatch(namespace):
        return NotPosted.INVALID
    return NotPosted.SYSTEM_NAMESPACE if namespace in SYSTEM_NAMESPACES and not system_too else None


def _names(resource: Attributes) -> dict[str, Scalar]:
    return {"pod_name": resource["k8s.pod.name"], "namespace": resource["k8s.namespace.name"]}


def _message(identity: str, kind: Kind, unix_ns: int, fields: Mapping[str, object]) -> Message:
    if unix_ns > INT64_MAX:
        raise ValueError
    body = json.dumps({kind: fields}, allow_nan=False).encode("ascii")
    return Message(identity, kind, f"{fields['namespace']}/{fields['pod_name']}", unix_ns, body)


def _step(step: Step) -> dict[str, object]:
    shown = "".join(char if char.isprintable() else " " for char in step.action[:LONGEST_ACTION])
    return {"timestamp_ms": step.unix_ns // 1_000_000, "action": shown}


def _integer(value: Scalar | None) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError
    return value


def _number(value: Scalar | None) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise ValueError
    return float(value)


def _timestamp(unix_ns: int) -> str:
    """Return RFC 3339 in UTC with milliseconds. Raises ValueError for a year that has five digits."""
    try:
        moment = datetime.fromtimestamp(unix_ns // 1_000_000 / 1000, UTC)
    except OverflowError:
        raise ValueError from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
