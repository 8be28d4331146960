"""Every panel's every query, asked of the Prometheus and the Jaeger that a real run filled."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.pod import Container, Pod
from deploy.grafana import panels
from deploy.grafana.dashboards import DASHBOARDS
from otel_kernel.metrics.catalogue import METRICS
from tests.pipeline.asking import eventually, label_values, query, search
from tests.pipeline.conftest import Pipeline, name
from tests.pipeline.prometheus_names import label, series

pytestmark = [pytest.mark.containerd, pytest.mark.go]

HERE = Path(panels.__file__).parent
FILES = sorted(HERE.glob("*.json"))
VARIABLES = {"$__rate_interval": "1m", "$namespace": ".*", "$pod": ".*", "$node": ".*"}


def shown(dashboard: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield every panel with each of its queries, as Grafana would import them."""
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel, target


def filled_in(text: str) -> str:
    """Return a query as Grafana would send it."""
    for variable, value in VARIABLES.items():
        text = text.replace(variable, value)
    assert "$" not in text
    return text


# Panels with words about emptiness that have no excuse here.
ALWAYS_THERE = (
    "Start duration",
    "By namespace, p95",
    "Duration of steps, p95",
    "Time of a birth, by step",
    "Throttled periods",
    "Use and limit",
    "Traffic",
    "Pressure: cpu",
    "Pressure: memory",
    "Pressure: io",
    "Waits for a CPU without being throttled",
    "Run queue, p99",
    "By container",
    "By name",
    "Context switches",
    "Files opened",
    "Programs begun",
    "Dropped packets",
    "Memory",
    "Events",
    "Bridge: messages",
    "Collector: waiting",
    "Time to a pod's name, p95",
)
EVERY = [(file, panel, target) for file in FILES for panel, target in shown(file)]


def test_the_files_are_what_the_code_writes() -> None:
    """Committed and generated are the same, and none is left over."""
    assert {file.stem for file in FILES} == {dashboard.uid for dashboard in DASHBOARDS}
    for dashboard in DASHBOARDS:
        assert (HERE / f"{dashboard.uid}.json").read_text() == panels.as_json(dashboard)
    assert len(EVERY) > 35


@pytest.mark.parametrize(
    ("panel", "target"),
    [(panel, target) for _, panel, target in EVERY],
    ids=[f"{file.stem}: {panel['title']} {target['refId']}" for file, panel, target in EVERY],
)
def test_a_query(pipeline: Pipeline, panel: dict[str, Any], target: dict[str, Any]) -> None:
    """It is understood and returns data, or the panel says why it may be empty."""

    def found() -> bool:
        if target["datasource"]["type"] == "jaeger":
            least = {"operation": target["operation"], "minDuration": target["minDuration"]}
            return bool(search(pipeline.jaeger, target["service"], **least))
        return bool(query(pipeline.prometheus, filled_in(target["expr"])))

    if "Empty: " in panel["description"]:
        found()  # it is at least understood
    else:
        eventually(found, 40)


def test_names_and_labels_exist() -> None:
    """Every name in a query is a series or a label that something exports: a typo is no reason for emptiness."""
    histograms = [series(metric).removesuffix("_count") for metric in METRICS if metric.kind == "histogram"]
    known = {series(metric) for metric in METRICS} | {f"{name}_{of}" for name in histograms for of in ("bucket", "sum")}
    known |= {label(attribute) for metric in METRICS for attribute in metric.attributes}
    known |= {"k8s_namespace_name", "k8s_pod_name", "k8s_container_name", "k8s_node_name"}
    ours = re.compile(r"\b(?:otel_kernel|k8s|container|process|network)_[a-z0-9_]+")
    for _, panel, target in EVERY:
        found = {name for name in ours.findall(target.get("expr", "")) if "_bridge_" not in name}
        assert found <= known, panel["title"]


def test_most_queries_return_data(pipeline: Pipeline) -> None:
    """Words about emptiness are not an excuse for a query that can never return anything here."""
    pipeline.lab.bear(Pod(name("shown"), (Container("app"),), namespace="shop"))  # some show the last minute only
    for title in ALWAYS_THERE:
        targets = [target for _, panel, target in EVERY if panel["title"] == title]
        assert targets, title
        for target in targets:
            eventually(lambda target=target: query(pipeline.prometheus, filled_in(target["expr"])), 40)  # type: ignore[misc]


def test_traces_are_linked() -> None:
    """Wherever traces are listed each leads to itself, and exemplars lead to theirs."""
    listed = [panel for _, panel, target in EVERY if target["datasource"]["type"] == "jaeger"]
    assert len(listed) >= 4
    for panel in listed:
        (link,) = panel["fieldConfig"]["defaults"]["links"]
        assert "traceID" in link["url"]
    exemplified = [target for _, panel, target in EVERY if panel["title"] == "Start duration"]
    assert all(target["exemplar"] for target in exemplified)
    assert "exemplarTraceIdDestinations" in (HERE / "provisioning" / "datasources.yaml").read_text()


def test_variables_list_what_there_is(pipeline: Pipeline) -> None:
    """What a person chooses from, asked as Grafana asks: a pod that nobody could name is in no list."""
    there = {
        "namespace": {"shop"},
        "pod": {pipeline.throttled.pod.name, pipeline.quiet.pod.name},
        "node": {"node-1"},
    }
    listed = [
        variable
        for file in FILES
        for variable in json.loads(file.read_text())["templating"]["list"]
        if variable["type"] == "query"
    ]
    assert {variable["name"] for variable in listed} == there.keys()
    for variable in listed:
        selector, _, of = variable["query"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
        found = label_values(pipeline.prometheus, filled_in(selector), of)
        assert found >= there[variable["name"]], variable["query"]
        assert "" not in found
