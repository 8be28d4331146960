"""How many pods were born and how long that took, from the traces of their births; and where each birth's trace is."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from otel_kernel.births.model import Completion
from otel_kernel.births.trace import Span, Trace
from otel_kernel.metrics.node_rows import START_BOUNDS_S
from otel_kernel.metrics.points import Exemplar, Value
from otel_kernel.metrics.samples import Distribution, Sample, SeriesName

# Pods of several full nodes: events of a pod are told in the trace of its birth for as long as it is remembered.
_BIRTHS_REMEMBERED = 2048

_COMPLETION = "otel_kernel.birth.completion"
_NAMESPACE = "k8s.namespace.name"
_DURATION = "otel_kernel.pod.start.duration"


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(START_BOUNDS_S) + 1))
    sum_s: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)  # the latest of each bucket since the last collection

    def add(self, duration_s: float, exemplar: Exemplar) -> None:
        bucket = bisect_left(START_BOUNDS_S, duration_s)  # a bound belongs to the bucket below it
        self.counts[bucket] += 1
        self.sum_s += duration_s
        self.exemplars[bucket] = exemplar

    def take(self) -> Distribution:
        exemplars, self.exemplars = tuple(self.exemplars.values()), {}
        return Distribution(tuple(self.counts), self.sum_s, exemplars)


class BirthCounts:
    """Counts births since the agent's start."""

    def __init__(self) -> None:
        self._births = {str(completion): 0 for completion in Completion}
        self._durations: dict[tuple[tuple[str, Value], ...], _Histogram] = {}
        self._roots: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()

    def add(self, trace: Trace) -> None:
        """Count a birth. A restart, or a container that came later, is none."""
        root = trace.spans[0]
        if root.attributes.get("otel_kernel.level") != "birth":
            return
        self._remember(trace, root)
        completion = str(root.attributes.get(_COMPLETION))
        self._births[completion] = self._births.get(completion, 0) + 1
        duration_s = root.attributes.get("otel_kernel.birth.duration")
        # Of a birth that began before the agent nobody knows how long it took.
        if not isinstance(duration_s, float) or completion == Completion.AGENT_STARTED:
            return
        attributes: tuple[tuple[str, Value], ...] = ((_COMPLETION, completion),)
        namespace = trace.pod.get(_NAMESPACE)
        if isinstance(namespace, str):
            attributes = ((_NAMESPACE, namespace), *attributes)
        self._durations.setdefault(attributes, _Histogram()).add(duration_s, _exemplar(trace, root, duration_s))

    def trace_of(self, pod_uid: str) -> tuple[bytes | None, bytes | None]:
        """Return the ids of the trace and the root span of a pod's birth; None when it was not seen or is forgotten."""
        return self._roots.get(pod_uid, (None, None))

    def samples(self) -> Iterator[Sample]:
        """Yield what was counted, with exemplars of what came since the last call."""
        for completion, count in self._births.items():
            yield Sample(SeriesName("otel_kernel.births", ((_COMPLETION, completion),)), count)
        for attributes, histogram in self._durations.items():
            yield Sample(SeriesName(_DURATION, attributes), histogram.take())

    def _remember(self, trace: Trace, root: Span) -> None:
        uid = trace.pod.get("k8s.pod.uid")
        if isinstance(uid, str):
            self._roots[uid] = (trace.trace_id, root.span_id)
            if len(self._roots) > _BIRTHS_REMEMBERED:
                self._roots.popitem(last=False)


def _exemplar(trace: Trace, root: Span, duration_s: float) -> Exemplar:
    # With a name that is not too long it keeps within the 128 characters that Prometheus allows an exemplar's labels.
    # The trace's id is nearly always the pod's UID.
    name = trace.pod.get("k8s.pod.name")
    attributes: dict[str, Value] = {"k8s.pod.name": name} if isinstance(name, str) else {}
    return Exemplar(root.end_unix_ns, duration_s, trace.trace_id, root.span_id, attributes)
