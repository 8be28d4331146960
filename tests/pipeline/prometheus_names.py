"""What Prometheus calls our metrics and attributes (OTLP translation: underscores, with suffixes)."""

import re

from otel_kernel.metrics.catalogue import Metric

UNITS = {"s": "seconds", "By": "bytes"}


def label(attribute: str) -> str:
    """Return the label of an attribute."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", attribute)


def series(metric: Metric) -> str:
    """Return the name of a metric's series, of a histogram that of its count."""
    name = label(metric.name)
    unit = UNITS.get(metric.unit, "")
    if unit and unit not in name.split("_"):
        name += f"_{unit}"
    if metric.kind == "histogram":
        return f"{name}_count"
    return f"{name}_total" if metric.kind == "sum" else name
