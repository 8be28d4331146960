"""docs/signals.md, made from the catalogue: `python -m otel_kernel.metrics.reference > docs/signals.md`."""

import sys
from collections.abc import Iterator

from otel_kernel.metrics.catalogue import EVENTS, METRICS, Event, Metric
from otel_kernel.settings import METRIC_GROUPS

HEAD = """\
# Signals

Made from `otel_kernel/metrics/catalogue.py` by `python -m otel_kernel.metrics.reference`. Births are traces; what is
here are the metrics and log events, exported at the start, every `OTEL_METRIC_EXPORT_INTERVAL` and at the end. A pod's
are on its own resource, a container's on the container's, the agent's on the node's; `service.instance.id` is the pod's
UID, `<uid>/<container name>`, the node's name.

All are cumulative. What the kernel does not tell, or what has no limit, has no point: absent is not zero. A counter
starts when its cgroup was made if that was seen, else when it was first looked at (eBPF: when it was attached); the
start stays as long as the agent runs. A series that has ended gets one point without a value. The scope of each metric
is `otel_kernel.<source>`. `OTEL_KERNEL_METRICS` chooses groups. `otel-kernel check` says which rows a node has.
"""
LEVELS = {"pod": "pods", "container": "containers", "node": "the node"}


def page() -> str:
    """Return the page as markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield HEAD
    for group in METRIC_GROUPS:
        yield f"## {group}\n"
        yield "| metric | of | kind, unit | attributes | source | needs | cost | meaning |"
        yield "|---|---|---|---|---|---|---|---|"
        yield from (_row(metric) for metric in METRICS if metric.group == group)
        yield ""
    yield "## Log events\n"
    yield "| event | of | group | attributes | source | meaning |"
    yield "|---|---|---|---|---|---|"
    yield from (_event(event) for event in EVENTS)
    yield ""


def _row(metric: Metric) -> str:
    cells = (
        f"`{metric.name}`",
        LEVELS[metric.level],
        f"{metric.kind}, {metric.unit}",
        _listed(metric.attributes),
        metric.source,
        metric.needs,
        metric.cost,
        metric.description + (f" (only with `{metric.opt_in}`)" if metric.opt_in else ""),
    )
    return f"| {' | '.join(cells)} |"


def _event(event: Event) -> str:
    cells = (f"`{event.name}`", LEVELS[event.level], event.group, _listed(event.attributes), event.source)
    return f"| {' | '.join((*cells, event.description))} |"


def _listed(attributes: tuple[str, ...]) -> str:
    return ", ".join(f"`{attribute}`" for attribute in attributes)


if __name__ == "__main__":
    sys.stdout.write(page())
