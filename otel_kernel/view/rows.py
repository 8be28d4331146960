"""Which rows the picture of a trace has, and what each of them sums up."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from otel_kernel.births.trace import Span, SpanEvent, Trace
from otel_kernel.view.text import seconds_ns

DEEPEST = 40  # a birth is six levels deep; a file may say otherwise

Walked = tuple[Span, Span | None, tuple[bool, ...]]  # a span, its parent, its guides


@dataclass(frozen=True, slots=True)
class CallSum:
    """The calls of one name that one span made."""

    name: str
    count: int
    failed: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `guides` tells of the span and of each ancestor below the root, from the top, whether it is the last."""

    span: Span
    guides: tuple[bool, ...]
    parent_service: str | None
    calls: tuple[CallSum, ...]
    slowest: bool


def rows(trace: Trace, *, fold: bool) -> list[Row]:
    """Return the rows of a trace from top to bottom. With `fold`, calls are not rows but summed up where they belong.

    Calls may be spans or events of their process (`OTEL_KERNEL_CALLS=folded`); both are drawn alike.
    """
    spans = {span.span_id: span for span in trace.spans}  # sent twice, it is the same span
    calls = _calls(spans)
    if fold:
        hidden = {call.span_id for made in calls.values() for call in made}
        drawn = [span for span in spans.values() if span.span_id not in hidden]
    else:
        drawn = [*spans.values(), *(call for made in calls.values() for call in made if call.span_id not in spans)]
    walked = [*_walk(drawn)]
    slowest = _slowest(walked)
    return [
        Row(
            span,
            guides,
            parent.service if parent else None,
            tuple(_sums(calls.get(span.span_id, ()))) if fold else (),
            slowest=span is slowest,
        )
        for span, parent, guides in walked
    ]


def _slowest(walked: Sequence[Walked]) -> Span | None:
    # The root says it, as `container web: runc init: wait read`. A step that has no row stands out by the row it is in.
    paths: dict[bytes, str] = {}
    for span, parent, _ in walked:
        above = (
            paths.get(parent.span_id, "") if parent and parent.attributes.get("otel_kernel.level") != "birth" else ""
        )
        paths[span.span_id] = f"{above}: {span.name}" if above else span.name
    told = str(walked[0][0].attributes.get("otel_kernel.birth.slowest", ""))
    while told:
        at_it = [span for span, _, _ in walked if paths[span.span_id] == told]
        if at_it:
            return max(at_it, key=lambda span: span.end_unix_ns - span.start_unix_ns)
        told = told.rpartition(": ")[0]
    return None


def _calls(spans: Mapping[bytes, Span]) -> dict[bytes, list[Span]]:
    # By the span that made them. A call that has children, or no parent in this trace, cannot be folded into anything.
    parents = {span.parent_span_id for span in spans.values()}
    calls: dict[bytes, list[Span]] = defaultdict(list)
    for span in spans.values():
        calls[span.span_id] += [
            _as_span(span, number, event) for number, event in enumerate(span.events) if _is_call(event)
        ]
        is_leaf = span.attributes.get("otel_kernel.level") == "call" and span.span_id not in parents
        if is_leaf and span.parent_span_id is not None and span.parent_span_id in spans:
            calls[span.parent_span_id].append(span)
    return {span_id: sorted(made, key=_start) for span_id, made in calls.items() if made}


def _is_call(event: SpanEvent) -> bool:
    return "otel_kernel.syscall.name" in event.attributes


def _as_span(parent: Span, number: int, event: SpanEvent) -> Span:
    took_ns = seconds_ns(event.attributes.get("otel_kernel.call.time")) or 0
    span_id = parent.span_id + number.to_bytes(8, "big")  # no span has an id so long
    return Span(
        span_id, parent.span_id, event.name, event.unix_ns, event.unix_ns + took_ns, parent.service, event.attributes
    )


def _sums(calls: Iterable[Span]) -> Iterator[CallSum]:
    by_name: dict[str, list[Span]] = {}
    for call in calls:
        by_name.setdefault(call.name, []).append(call)
    for name, made in by_name.items():
        failed = sum("error.type" in call.attributes for call in made)
        yield CallSum(name, len(made), failed, sum(call.end_unix_ns - call.start_unix_ns for call in made))


def _children(spans: Iterable[Span]) -> dict[bytes | None, list[Span]]:
    children: dict[bytes | None, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=_start):
        children[span.parent_span_id].append(span)
    return children


def _start(span: Span) -> int:
    return span.start_unix_ns


def _walk(spans: Sequence[Span]) -> Iterator[Walked]:
    # Every span once, parents before children. One whose parent is not there stands at the left, as the root does; so
    # does the first one of a circle.
    known = {span.span_id for span in spans}
    children = _children(spans)
    tops = [span for span in spans if span.parent_span_id not in known]
    seen: set[bytes] = set()
    for top in (*tops, *spans):
        stack: list[Walked] = [(top, None, ())]
        while stack:
            span, parent, guides = stack.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            yield span, parent, guides
            below = children.get(span.span_id, [])
            deeper = guides[: DEEPEST - 1]
            stack += [(child, span, (*deeper, child is below[-1])) for child in reversed(below)]
