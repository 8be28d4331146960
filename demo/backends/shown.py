"""The backends beside the demonstration: started, filled by its agent, and where to look."""

import contextlib
import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from demo.backends import backends
from demo.backends.programs import programs
from demo.pod import Pod

ARRIVAL_LIMIT_S = 30
Step = Callable[[str], contextlib.AbstractContextManager[None]]


class Backends:
    """A context: collector (collector-config/sidecar.yaml), Jaeger and Prometheus; nothing is left of them."""

    def __init__(self, directory: Path, step: Step) -> None:
        self._step = step
        self._parent = directory
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Build what is absent and start all. Raises RuntimeError."""
        with contextlib.ExitStack() as cleanup:
            directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(dir=self._parent)))
            with self._step("making sure of collector, Jaeger and Prometheus (the first time: 20 minutes of building)"):
                found = programs()
            with self._step("starting them"):
                self.jaeger = backends.jaeger(found, directory)
                self.prometheus = backends.prometheus(found, directory)
                # There is no operator here; what goes to the bridge waits in the collector's queue, and goes with it.
                where = {"JAEGER_ENDPOINT": self.jaeger.otlp, "PROMETHEUS_ENDPOINT": self.prometheus.otlp}
                collector = backends.collector(
                    found, directory, "sidecar", {**where, "BRIDGE_ENDPOINT": "http://127.0.0.1:9"}
                )
                for service in (self.jaeger.service, self.prometheus.service, collector.service):
                    cleanup.enter_context(service)
            self.agent_settings = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_METRIC_EXPORT_INTERVAL": "2000",
            }
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cleanup.close()

    def show(self, pods: Sequence[Pod]) -> None:
        """Say where each birth and the metrics are, once they are there. Raises RuntimeError when they are not."""
        for pod in pods:
            url = f"{self.jaeger.url}/api/traces/{pod.uid.replace('-', '')}"
            with self._step(f"asking Jaeger for the birth of {pod.name}"):
                spans = _arrived(url, lambda answer: answer["data"][0]["spans"])
            print(f"  {len(spans)} spans: {url}")
            selector = quote(f'{{k8s_pod_uid="{pod.uid}"}}')
            url = f"{self.prometheus.url}/api/v1/query?query={selector}"
            with self._step(f"asking Prometheus for the metrics of {pod.name}"):
                series = _arrived(url, lambda answer: answer["data"]["result"])
            print(f"  {len({each['metric']['__name__'] for each in series})} metrics: {url}")
        print(f"  Jaeger: {self.jaeger.url}/search?service=otel-kernel   Prometheus: {self.prometheus.url}/query")
        print("  (both are built from their Go modules, which hold no pages: their APIs answer, as Grafana asks them)")


def _arrived(url: str, part: Callable[[Any], list[Any]]) -> list[Any]:
    deadline = time.monotonic() + ARRIVAL_LIMIT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - http, on loopback
                if found := part(json.load(answer)):
                    return found
        except (urllib.error.HTTPError, IndexError):
            pass  # not there yet
        time.sleep(0.2)
    raise RuntimeError(f"nothing arrived within {ARRIVAL_LIMIT_S} s: {url}")
