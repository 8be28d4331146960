"""Collector, Jaeger and Prometheus on loopback, configured as collector-config/ and deploy/prometheus/ say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from demo.backends.programs import CONFIGURATIONS, Programs
from demo.backends.service import Service, free_ports

JAEGER_CONFIGURATION = Path(__file__).with_name("jaeger.yaml")
PROMETHEUS_DIRECTORY = CONFIGURATIONS.parent / "deploy" / "prometheus"
GATES = "--feature-gates=telemetry.newPipelineTelemetry"
GATEWAY_GATES = f"{GATES},connector.spanmetrics.excludeResourceMetrics"


@dataclass(frozen=True, slots=True)
class Jaeger:
    """A Jaeger, and where it is reached."""

    service: Service
    otlp: str  # host:port, gRPC
    url: str  # of its page and API


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A Prometheus, and where it is reached."""

    service: Service
    url: str

    @property
    def otlp(self) -> str:
        """Where it takes OTLP metrics."""
        return f"{self.url}/api/v1/otlp"


@dataclass(frozen=True, slots=True)
class Collector:
    """A collector, and where it is reached."""

    service: Service
    grpc: str  # http://host:port
    http: str
    metrics: str  # its own
    queue: Path


def jaeger(programs: Programs, directory: Path) -> Jaeger:
    """Return a Jaeger that is not started yet."""
    health, query_grpc, query_http, otlp = (f"127.0.0.1:{port}" for port in free_ports(4))
    environment = {
        "JAEGER_HEALTH": health,
        "JAEGER_QUERY_GRPC": query_grpc,
        "JAEGER_QUERY_HTTP": query_http,
        "JAEGER_OTLP": otlp,
    }
    arguments: list[str | Path] = [programs.jaeger, "--config", JAEGER_CONFIGURATION]
    service = Service(arguments, environment, directory / "jaeger.log", f"http://{health}/status")
    return Jaeger(service, otlp, f"http://{query_http}")


def prometheus(programs: Programs, directory: Path, changed: Mapping[str, str] | None = None) -> Prometheus:
    """Return a Prometheus that is not started yet. `changed`: words of prometheus.yml, as the addresses it scrapes."""
    (port,) = free_ports(1)
    configuration = directory / "prometheus.yml"
    text = (PROMETHEUS_DIRECTORY / "prometheus.yml").read_text()
    for word, other in (changed or {}).items():
        text = text.replace(word, other)
    configuration.write_text(text)
    (directory / "rules.yml").write_text((PROMETHEUS_DIRECTORY / "rules.yml").read_text())
    url = f"http://127.0.0.1:{port}"
    arguments: list[str | Path] = [
        programs.prometheus,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-otlp-receiver",
        "--enable-feature=exemplar-storage",
    ]
    return Prometheus(Service(arguments, {}, directory / "prometheus.log", f"{url}/-/ready"), url)


def collector(
    programs: Programs, directory: Path, configuration: str, environment: Mapping[str, str], gates: str = GATES
) -> Collector:
    """Return a collector of that configuration, not started yet. `environment` tells it where the backends are."""
    directory.mkdir(parents=True, exist_ok=True)
    grpc, http, health = (f"127.0.0.1:{port}" for port in free_ports(3))
    own = environment.get("TELEMETRY_PORT") or str(free_ports(1)[0])
    queue = Path(environment.get("QUEUE_DIRECTORY", directory / "queue"))
    given = {
        "OTLP_GRPC_LISTEN": grpc,
        "OTLP_HTTP_LISTEN": http,
        "HEALTH_LISTEN": health,
        "TELEMETRY_HOST": "127.0.0.1",
        "TELEMETRY_PORT": own,
        "QUEUE_DIRECTORY": str(queue),
        **environment,
    }
    started: list[str | Path] = [programs.collector, "--config", CONFIGURATIONS / f"{configuration}.yaml", gates]
    service = Service(started, given, directory / "collector.log", f"http://{health}/")
    return Collector(service, f"http://{grpc}", f"http://{http}", f"http://127.0.0.1:{own}/metrics", queue)


def gateway(programs: Programs, directory: Path, environment: Mapping[str, str]) -> Collector:
    """Return a gateway that is its own only peer, not started yet."""
    (port,) = free_ports(1)
    peers = {"PEERS_LISTEN": f"127.0.0.1:{port}", "PEERS_PORT": str(port)}
    return collector(programs, directory, "gateway", {**environment, **peers}, GATEWAY_GATES)
