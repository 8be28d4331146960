"""Jaeger and Prometheus, asked as their pages ask them."""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import requests

from demo.backends.backends import Collector, Jaeger, Prometheus

Found = TypeVar("Found")
LIMIT_S = 60.0


def eventually(find: Callable[[], Found], limit_s: float = LIMIT_S) -> Found:
    """Return the first finding that is something. Raises AssertionError when there is none in time."""
    deadline = time.monotonic() + limit_s
    while not (found := find()):
        assert time.monotonic() < deadline, f"nothing after {limit_s} s: {found!r}"
        time.sleep(0.1)
    return found


def trace(jaeger: Jaeger, trace_id: str) -> dict[str, Any] | None:
    """Return a trace as Jaeger's page gets it, None when there is none."""
    answer = requests.get(f"{jaeger.url}/api/traces/{trace_id}", timeout=10)
    return dict(answer.json()["data"][0]) if answer.ok else None


def otlp_spans(jaeger: Jaeger, trace_id: str) -> list[dict[str, Any]]:
    """Return the spans of a trace as OTLP/JSON, to the nanosecond and with links' attributes."""
    answer = requests.get(f"{jaeger.url}/api/v3/traces/{trace_id}", timeout=10).json()
    scopes = (scope for group in answer["result"]["resourceSpans"] for scope in group["scopeSpans"])
    return [span for scope in scopes for span in scope["spans"]]


def search(jaeger: Jaeger, service: str, tags: dict[str, str] | None = None, **more: str) -> set[str]:
    """Return the ids of the traces that Jaeger's search page would list."""
    given = {"service": service, "limit": "1000", "lookback": "1h", **more}
    if tags:
        given["tags"] = json.dumps(tags)
    answer = requests.get(f"{jaeger.url}/api/traces", params=given, timeout=20)
    answer.raise_for_status()
    return {str(found["traceID"]) for found in answer.json()["data"]}


def tags(of: dict[str, Any]) -> dict[str, Any]:
    """Return the tags of a span, a process or a log."""
    return {each["key"]: each["value"] for each in of.get("tags", of.get("fields", ()))}


def query(prometheus: Prometheus, expression: str) -> list[dict[str, Any]]:
    """Return the series of an instant query. Raises AssertionError with Prometheus' words when it refuses."""
    answer = requests.get(f"{prometheus.url}/api/v1/query", params={"query": expression}, timeout=20).json()
    assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
    return list(answer["data"]["result"])


def label_values(prometheus: Prometheus, selector: str, label: str) -> set[str]:
    """Return the values of a label among the series of the last hour, as the list of a dashboard's variable gets it."""
    given = {"match[]": selector, "start": str(time.time() - 3600), "end": str(time.time() + 60)}
    answer = requests.get(f"{prometheus.url}/api/v1/label/{label}/values", params=given, timeout=20).json()
    assert answer["status"] == "success", f"{selector}: {answer.get('error')}"
    return set(answer["data"])


def number(prometheus: Prometheus, expression: str) -> float | None:
    """Return the value of a query's only series, None when there is none."""
    found = query(prometheus, expression)
    return float(found[0]["value"][1]) if found else None


def exemplars(prometheus: Prometheus, expression: str) -> list[dict[str, Any]]:
    """Return the labels of the exemplars of an expression's series in the last hour."""
    now = time.time()
    given = {"query": expression, "start": str(now - 3600), "end": str(now + 60)}
    answer = requests.get(f"{prometheus.url}/api/v1/query_exemplars", params=given, timeout=20).json()
    return [exemplar["labels"] for series in answer["data"] for exemplar in series["exemplars"]]


def own_metrics(collector: Collector) -> dict[str, float]:
    """Return the collector's own counters, summed by name and exporter or receiver, those of zero left out."""
    sums: dict[str, float] = {}
    for line in requests.get(collector.metrics, timeout=10).text.splitlines():
        if line.startswith("otelcol_"):
            head, _, value = line.rpartition(" ")
            name, _, labels = head.partition("{")
            whose = next((part.split('"')[1] for part in labels.split(",") if part.startswith(("exporter=",))), "")
            key = f"{name} {whose}".strip()
            sums[key] = sums.get(key, 0) + float(value)
    return {key: value for key, value in sums.items() if value}
