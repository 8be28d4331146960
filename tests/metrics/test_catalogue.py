"""The catalogue and the page that is made from it."""

from pathlib import Path

import opentelemetry.semconv._incubating.metrics as conventions
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.semconv._incubating.metrics import container_metrics, k8s_metrics, process_metrics

from otel_kernel.metrics import reference
from otel_kernel.metrics.catalogue import EVENTS, METRICS, Metric
from otel_kernel.settings import METRIC_GROUPS

ROOT = Path(__file__).parent.parent.parent
CONVENTIONAL = [metric for metric in METRICS if not metric.name.startswith("otel_kernel.")]
FACTORIES = {
    name: getattr(module, name)
    for module in (container_metrics, k8s_metrics, process_metrics)
    for name in dir(module)
    if name.startswith("create_")
}
KINDS = {"Counter": "sum", "UpDownCounter": "updowncounter", "Histogram": "histogram"}


def test_the_page_is_current() -> None:
    """docs/signals.md is what the catalogue makes."""
    assert (ROOT / "docs/signals.md").read_text() == reference.page()


def test_names_are_given_once() -> None:
    """No two rows have one name, and the page has every row."""
    names = [metric.name for metric in METRICS] + [event.name for event in EVENTS]
    assert len(names) == len(set(names))
    page = reference.page()
    assert all(f"| `{name}` |" in page for name in names)


@pytest.mark.parametrize("metric", CONVENTIONAL, ids=lambda metric: metric.name)
def test_names_without_our_prefix_are_conventions(metric: Metric) -> None:
    """A name that is not ours is one of the semantic conventions, of the same kind and unit."""
    assert conventions
    instrument = FACTORIES["create_" + metric.name.replace(".", "_")](MeterProvider().get_meter("test"))
    kind = next(kind for name, kind in KINDS.items() if type(instrument).__name__.lstrip("_") == name)
    assert (kind, instrument.unit) == (metric.kind, metric.unit)


def test_names_follow_the_rules() -> None:
    """Lower case, dots and underscores; no unit and no `total` in a name; things that are counted in the plural."""
    for metric in METRICS:
        assert metric.name == metric.name.lower()
        assert not set(metric.name.split(".")) & {"total", "seconds", "bytes", "count"}
        assert metric.group in METRIC_GROUPS
        assert (metric.kind == "histogram") == bool(metric.bounds)
        assert list(metric.bounds) == sorted(set(metric.bounds))
        assert metric.description
        assert metric.cost


def test_every_group_has_rows() -> None:
    """A group that can be chosen has metrics."""
    assert {metric.group for metric in METRICS} == set(METRIC_GROUPS)


def test_events_are_on_the_level_of_containers() -> None:
    """Events belong to a group, and have names as events have."""
    for event in EVENTS:
        assert event.group in METRIC_GROUPS
        assert event.name.startswith("otel_kernel.")
        assert event.scope == f"otel_kernel.{event.source}"
