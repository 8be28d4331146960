"""Every configuration, judged and run by the real collector."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from demo.backends import backends
from demo.backends.programs import CONFIGURATIONS, Programs
from otel_kernel.births.trace import Trace, Value
from tests.bridge.births import PROTOBUF, as_protobuf, birth
from tests.bridge.operator_mock import Operator, operating
from tests.bridge.running import bridging
from tests.pipeline.asking import eventually, query, search, trace

pytestmark = pytest.mark.go

FILES = sorted(path.stem for path in CONFIGURATIONS.glob("*.yaml") if path.stem != "builder")
SECTIONS = ("receivers", "processors", "connectors", "exporters", "extensions")
# Component types whose module is called otherwise: modules kept their names when components were renamed.
MODULES = {"otlp_grpc": "otlp", "otlp_http": "otlphttp", "file_storage": "filestorage", "health_check": "healthcheck"}


def parsed(name: str) -> dict[str, Any]:
    """Return a configuration."""
    found = yaml.safe_load((CONFIGURATIONS / f"{name}.yaml").read_text())
    assert isinstance(found, dict)
    return found


def validated(programs: Programs, path: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Return what the collector says of a configuration."""
    arguments: list[str | Path] = [programs.collector, "validate", "--config", path, backends.GATEWAY_GATES]
    environment = {"QUEUE_DIRECTORY": str(tmp_path / "queue")}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_there_are_configurations() -> None:
    """What is judged below."""
    assert FILES == ["gateway", "sidecar", "sidecar-to-gateway"]


@pytest.mark.parametrize("name", FILES)
def test_the_collector_takes_it(programs: Programs, name: str, tmp_path: Path) -> None:
    """Its own validation has nothing to say, with no environment set."""
    said = validated(programs, CONFIGURATIONS / f"{name}.yaml", tmp_path)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("otlp_grpc/jaeger:\n", "otlp_grpc/jaeger:\n    endpiont: x\n"), ("sizer: bytes", "sizer: bites")],
)
def test_the_collector_would_complain(programs: Programs, tmp_path: Path, right: str, wrong: str) -> None:
    """What it takes means something: it does not take a wrong one."""
    broken = tmp_path / "broken.yaml"
    text = (CONFIGURATIONS / "sidecar.yaml").read_text()
    assert right in text
    broken.write_text(text.replace(right, wrong))
    assert validated(programs, broken, tmp_path).returncode == 1


def test_the_manifest_holds_what_is_used() -> None:
    """Exactly the components of the configurations are built in."""
    used = {
        f"{MODULES.get(kind, kind).replace('_', '')}{section.removesuffix('s')}"
        for name in FILES
        for section in SECTIONS
        for kind in (component.partition("/")[0] for component in parsed(name).get(section) or {})
    }
    manifest = parsed("builder")
    modules = {line["gomod"].split()[0].rpartition("/")[2] for section in SECTIONS for line in manifest[section]}
    renamed = {"filestorage": "filestorageextension"}
    assert {renamed.get(module, module) for module in modules} == used


@pytest.mark.parametrize("name", FILES)
def test_nothing_defined_is_unused_and_limits_hold(name: str) -> None:
    """What validation does not see: the limiter first, every component in use, who gives up and who never does."""
    configuration = parsed(name)
    pipelines = configuration["service"]["pipelines"]
    used = {each for pipeline in pipelines.values() for list_ in pipeline.values() for each in list_}
    for section in ("receivers", "processors", "connectors", "exporters"):
        assert set(configuration.get(section) or {}) <= used
    for pipeline in pipelines.values():
        if any(receiver.startswith("otlp") for receiver in pipeline["receivers"]):
            assert pipeline["processors"][0] == "memory_limiter"
    for exporter, settings in configuration["exporters"].items():
        is_for_metrics = exporter.endswith(("prometheus", "metrics"))
        assert settings["retry_on_failure"]["max_elapsed_time"] == ("15m" if is_for_metrics else "0s"), exporter
        assert ("storage" in settings["sending_queue"]) is not is_for_metrics, exporter


def changed(trace: Trace, end_later_ns: int = 0, error: str | None = None, **told: Value) -> Trace:
    """Return a birth whose root says something else."""
    root, *others = trace.spans
    attributes = {f"otel_kernel.birth.{name.replace('__', '.')}": value for name, value in told.items()}
    end_ns = root.end_unix_ns + end_later_ns
    root = replace(root, end_unix_ns=end_ns, error=error, attributes={**root.attributes, **attributes})
    return replace(trace, spans=(root, *others))


def test_the_gateway_runs(programs: Programs, tmp_path: Path) -> None:
    """A sidecar before a gateway: the bridge and the metrics get every birth, Jaeger those that somebody may ask about.

    The API server is away: what the agent said passes. (A real one: tests/cluster/test_gateway.py.)
    """
    token = tmp_path / "token"
    token.write_text("to-the-bridge")
    jaeger = backends.jaeger(programs, tmp_path)
    prometheus = backends.prometheus(programs, tmp_path)
    with operating(Operator()) as operator, bridging(tmp_path / "b", operator.url, LISTEN_TOKEN_FILE=token) as bridge:
        environment = {
            "JAEGER_ENDPOINT": jaeger.otlp,
            "PROMETHEUS_ENDPOINT": prometheus.otlp,
            "BRIDGE_ENDPOINT": bridge.at,
            "BRIDGE_TOKEN_FILE": str(token),
            "GATEWAY_PEERS": "127.0.0.1",
            "K8S_AUTH_TYPE": "none",
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": "1",
            "SLOW_BIRTH_MS": "1000",
            "KEEP_PERCENTAGE": "0",
        }
        gateway = backends.gateway(programs, tmp_path / "gateway", environment)
        to_gateway = {"GATEWAY_ENDPOINT": gateway.grpc.removeprefix("http://")}
        sidecar = backends.collector(programs, tmp_path / "sidecar", "sidecar-to-gateway", to_gateway)
        with jaeger.service, prometheus.service, gateway.service, sidecar.service:
            healthy = birth(0)  # the recorded birth took 0.3 s; it is sent, and so decided on, first
            kept = [
                changed(birth(1), end_later_ns=2_000_000_000),
                changed(birth(2), error="container app ended without its program"),
                changed(birth(3), complete=False),
                changed(birth(4), events__lost=1),
            ]
            for each in (healthy, *kept):
                sent = requests.post(f"{sidecar.http}/v1/traces", data=as_protobuf(each), headers=PROTOBUF, timeout=20)
                assert sent.status_code == 200
            eventually(lambda: len(operator.pods()) > len(kept))
            assert sorted(operator.pods()) == [f"web-{number}" for number in range(5)]
            for each in kept:
                eventually(lambda each=each: trace(jaeger, each.trace_id.hex()))  # type: ignore[misc]
                assert len((trace(jaeger, each.trace_id.hex()) or {})["spans"]) == len(each.spans)
            assert search(jaeger, "otel-kernel") == {each.trace_id.hex() for each in kept}
            calls = 'sum by (service_name, span_name) (traces_span_metrics_calls_total{k8s_namespace_name="shop"})'
            (series,) = eventually(lambda: query(prometheus, f"{calls} >= {1 + len(kept)}"))
            assert series["metric"] == {"service_name": "otel-kernel", "span_name": "pod birth"}
            assert float(series["value"][1]) == 1 + len(kept)
