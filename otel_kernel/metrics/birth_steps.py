"""Which steps a birth consists of, and how long each took: its units, and the processes that built them."""

from collections.abc import Iterator
from typing import Final

from otel_kernel.births.trace import Trace

UNTRACED: Final = "untraced"  # in no process, wait or daemon's call
_LEVEL = "otel_kernel.level"
_UNTRACED_TIME = "otel_kernel.birth.untraced.time"


def of_birth(trace: Trace) -> Iterator[tuple[str, float]]:
    """Yield the name and the seconds of each step of a birth, a name as often as there were such steps.

    A unit by its kind (`volumes`, `sandbox`, `container`): a container's own name would be one more series for each. A
    process that hangs under a unit by its span's name (`runc create`, `ptp`); what hangs below it is part of it.
    """
    root = trace.spans[0]
    units = {span.span_id for span in trace.spans if span.attributes.get(_LEVEL) == "unit"}
    for span in trace.spans:
        seconds = (span.end_unix_ns - span.start_unix_ns) / 1e9
        kind = span.name.partition(" ")[0]
        if span.span_id in units and kind != "run":  # a program that had ended meanwhile is no step towards it
            yield kind, seconds
        elif span.parent_span_id in units and span.attributes.get(_LEVEL) == "process":
            yield span.name, seconds
    untraced = root.attributes.get(_UNTRACED_TIME)
    if isinstance(untraced, float):
        yield UNTRACED, untraced
