"""What stands above and below a picture: whose birth it is, how complete, what it did, what was lost."""

from collections.abc import Iterator, Mapping

from otel_kernel.births.trace import Attributes, Trace, Value
from otel_kernel.view import picture as pictures
from otel_kernel.view.picture import Picture
from otel_kernel.view.text import duration, fit, harmless, seconds_ns, wrap

LABEL_WIDTH = 11
BIRTH = "otel_kernel.birth."

COUNTS = {
    "syscalls": "syscalls",
    "processes": "processes",
    "threads": "threads",
    "clones": "clones",
    "execs": "execs",
    "mounts": "mounts",
    "namespaces": "new namespaces",
    "namespace_ops": "namespace calls",
    "cgroup_writes": "cgroup writes",
    "containers": "containers",
}
LEDGER = {
    "events.seen": "events seen",
    "events.lost": "lost",
    "probe_misses": "probe misses",
    "events.late": "late",
    "strings.unread": "strings unread",
    "processes.running": "processes still running",
}


def header(trace: Trace, picture: Picture) -> list[str]:
    """Return the lines above the waterfall. What the trace does not say has no line."""
    root = trace.spans[0]
    title = _text(root.name, picture)
    lines = [picture.paint(fit(title, picture.width, picture.signs.ellipsis).rstrip(), pictures.BOLD)]
    for label, items in _facts(trace, picture).items():
        separator = f" {picture.signs.dot} "
        wrapped = wrap(items, picture.width - LABEL_WIDTH, separator, picture.signs.ellipsis)
        for number, line in enumerate(wrapped):
            painted = picture.paint(line, pictures.RED) if _is_bad(label, root.attributes) else line
            lines.append(picture.paint(f"{'' if number else label:<{LABEL_WIDTH}}", pictures.DIM) + painted)
    return lines


def _is_bad(label: str, told: Attributes) -> bool:
    lost = told.get(f"{BIRTH}events.lost") or told.get(f"{BIRTH}probe_misses")
    return label == "reason" or (label == "ledger" and bool(lost))


def _facts(trace: Trace, picture: Picture) -> Mapping[str, list[str]]:
    root = trace.spans[0]
    told = root.attributes
    facts = {
        "pod": [*_pod(trace.pod, picture)],
        "trace": [trace.trace_id.hex(), f"scope {_text(trace.scope, picture)}"],
        "birth": [*_birth(told, root.end_unix_ns - root.start_unix_ns, picture)],
        "counts": [*_counts(told, COUNTS)],
        "ledger": [*_ledger(told, picture)],
        "slowest": [_text(value, picture) for value in _strings(told.get(f"{BIRTH}slowest"))],
        "reason": [_text(value, picture) for value in _strings(told.get(f"{BIRTH}reason")) or _strings(root.error)],
        "note": ["the root of this trace is not here"] if root.parent_span_id is not None else [],
    }
    return {label: list(dict.fromkeys(items)) for label, items in facts.items() if items}


def _pod(pod: Attributes, picture: Picture) -> Iterator[str]:
    name, namespace = pod.get("k8s.pod.name"), pod.get("k8s.namespace.name")
    if name is not None:
        yield _text(f"{namespace}/{name}" if namespace is not None else name, picture)
    else:
        yield "name not known"
    for key, label in (("k8s.pod.uid", "uid"), ("k8s.node.name", "node")):
        if key in pod:
            yield f"{label} {_text(pod[key], picture)}"


def _birth(told: Attributes, drawn_ns: int, picture: Picture) -> Iterator[str]:
    micro = picture.signs.micro
    took_ns = seconds_ns(told.get(f"{BIRTH}duration"))
    if took_ns is not None:
        yield f"{duration(took_ns, micro=micro)} to the last entry point"
    yield f"{duration(drawn_ns, micro=micro)} drawn"
    completion = told.get(f"{BIRTH}completion")
    if completion is not None:
        yield f"completion {_text(completion, picture)}"
    complete = told.get(f"{BIRTH}complete")
    if isinstance(complete, bool):
        yield "complete" if complete else "incomplete"


def _counts(told: Attributes, names: Mapping[str, str]) -> Iterator[str]:
    for name, label in names.items():
        count = told.get(BIRTH + name)
        if isinstance(count, int):
            yield f"{label} {count:,}"


def _ledger(told: Attributes, picture: Picture) -> Iterator[str]:
    yield from _counts(told, LEDGER)
    untraced_ns = seconds_ns(told.get(f"{BIRTH}untraced.time"))
    if untraced_ns is not None:
        yield f"untraced {duration(untraced_ns, micro=picture.signs.micro)}"
    sources = [_text(source, picture) for source in _strings(told.get(f"{BIRTH}identity.source"))]
    if sources:
        yield "identity from " + ", ".join(sources)


def legend(picture: Picture) -> list[str]:
    """Return the lines below the waterfall."""
    signs = picture.signs
    items = [
        f"{signs.full * 2} when it ran",
        "+ after the first kernel event",
        f"{signs.slowest}: the longest step of the longest unit",
        f"{signs.failed} failed",
    ]
    if picture.calls == "folded":
        items.append(f"clone 2 41.2{signs.micro}s: two calls and the time in them")
    lines = wrap(items, picture.width, "   ", signs.ellipsis)
    return [picture.paint(line, pictures.DIM) for line in lines]


def _strings(value: Value | None) -> tuple[Value, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, tuple) else (value,)


def _text(value: Value, picture: Picture) -> str:
    return harmless(str(value), ascii_only=picture.signs is pictures.ASCII)
