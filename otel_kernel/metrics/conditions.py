"""A condition of a pod that came after its birth was told, as a log event in the trace of that birth."""

from otel_kernel.births.attributes import Bag
from otel_kernel.births.kubernetes_view import ConditionChange
from otel_kernel.metrics.catalogue import POD_CONDITION
from otel_kernel.metrics.points import LogEvent, Value


def condition_event(change: ConditionChange) -> LogEvent:
    """Return the event. Its time is Kubernetes' own, in whole seconds."""
    condition, root = change.condition, change.root
    attributes: dict[str, Value] = {
        "otel_kernel.pod.condition.type": condition.type,
        "otel_kernel.pod.condition.status": condition.status,
    }
    if condition.reason is not None:
        attributes["otel_kernel.pod.condition.reason"] = condition.reason
    pod = change.resource.get("k8s.pod.name", change.pod_uid)
    reason = f" ({condition.reason})" if condition.reason else ""
    return LogEvent(
        POD_CONDITION.name,
        condition.unix_ns,
        _strings(change.resource) | {"service.instance.id": change.pod_uid},
        POD_CONDITION.scope,
        attributes,
        f"pod {pod}: {condition.type} is {condition.status}{reason}",
        "info",
        root.trace_id,
        root.span_id,
    )


def _strings(bag: Bag) -> dict[str, str]:
    return {key: value for key, value in bag.items() if isinstance(value, str)}
