"""How many pods were born and how long that took, from the traces of their births; and where each birth's trace is."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from otel_kernel.births.model import Completion
from otel_kernel.births.trace import Span, Trace
from otel_kernel.metrics import birth_steps
from otel_kernel.metrics.node_rows import START_BOUNDS_S, STEP_BOUNDS_S
from otel_kernel.metrics.points import Exemplar, Value
from otel_kernel.metrics.samples import Distribution, Sample, SeriesName

# Pods of several full nodes: events of a pod are told in the trace of its birth for as long as it is remembered.
_BIRTHS_REMEMBERED = 2048
# A step is called as its program is: some ten on a node, but wrappers and CNI plugins may have any name.
_STEPS_KEPT = 24
_OTHER = "_OTHER"

_COMPLETION = "otel_kernel.birth.completion"
_NAMESPACE = "k8s.namespace.name"
_STEP = "otel_kernel.step.name"
_DURATION = "otel_kernel.pod.start.duration"
_STEP_DURATION = "otel_kernel.pod.start.step.duration"


@dataclass(slots=True)
class _Histogram:
    bounds_s: tuple[float, ...]
    counts: list[int] = field(init=False)
    sum_s: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)  # the latest of each bucket since the last collection

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds_s) + 1)

    def add(self, duration_s: float, exemplar: Exemplar) -> None:
        bucket = bisect_left(self.bounds_s, duration_s)  # a bound belongs to the bucket below it
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
        self._steps: dict[str, _Histogram] = {}
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
        histogram = self._durations.setdefault(attributes, _Histogram(START_BOUNDS_S))
        histogram.add(duration_s, _exemplar(trace, root, duration_s))
        self._add_steps(trace, root)

    def trace_of(self, pod_uid: str) -> tuple[bytes | None, bytes | None]:
        """Return the ids of the trace and the root span of a pod's birth; None when it was not seen or is forgotten."""
        return self._roots.get(pod_uid, (None, None))

    def samples(self) -> Iterator[Sample]:
        """Yield what was counted, with exemplars of what came since the last call."""
        for completion, count in self._births.items():
            yield Sample(SeriesName("otel_kernel.births", ((_COMPLETION, completion),)), count)
        for attributes, histogram in self._durations.items():
            yield Sample(SeriesName(_DURATION, attributes), histogram.take())
        for step, histogram in self._steps.items():
            yield Sample(SeriesName(_STEP_DURATION, ((_STEP, step),)), histogram.take())

    def _add_steps(self, trace: Trace, root: Span) -> None:
        for step, duration_s in birth_steps.of_birth(trace):
            name = step if step in self._steps or len(self._steps) < _STEPS_KEPT else _OTHER
            histogram = self._steps.setdefault(name, _Histogram(STEP_BOUNDS_S))
            histogram.add(duration_s, _exemplar(trace, root, duration_s))

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
