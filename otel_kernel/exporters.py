"""The settings of sending by OTLP: the same for each signal, each with variables of its own that win.

OpenTelemetry specification, protocol/exporter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from otel_kernel import values
from otel_kernel.declaration import SettingsError, for_each_of, optional, setting
from otel_kernel.values import one_of, shown

Protocol = Literal["grpc", "http/protobuf"]

GRPC_PORT = 4317


def _otlp(name: str) -> tuple[str, str]:
    return f"OTEL_EXPORTER_OTLP_{{}}_{name}", f"OTEL_EXPORTER_OTLP_{name}"


@dataclass(frozen=True)
class Exporter:
    """Sending one signal by OTLP; births are traces."""

    wanted: Literal["otlp", "none"] = setting(
        "OTEL_{}_EXPORTER",
        one_of("otlp", "none"),
        "otlp",
        "none: this signal is neither sent by OTLP nor written to files",
    )
    own_endpoint: str | None = optional(
        "OTEL_EXPORTER_OTLP_{}_ENDPOINT",
        values.ENDPOINT,
        "the receiver of this signal, used as it is",
        "as OTEL_EXPORTER_OTLP_ENDPOINT says",
    )
    common_endpoint: str | None = optional(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        values.ENDPOINT,
        "the receiver; HTTP adds /v1/traces, /v1/metrics, /v1/logs to it",
    )
    chosen_protocol: Protocol | None = optional(
        _otlp("PROTOCOL"),
        one_of("grpc", "http/protobuf"),
        "how to speak to the receiver",
        f"grpc to port {GRPC_PORT}, else http/protobuf",
    )
    headers: tuple[tuple[str, str], ...] = setting(
        _otlp("HEADERS"), values.SECRET_PAIRS, "", "headers or gRPC metadata, such as credentials"
    )
    certificate: Path | None = optional(
        _otlp("CERTIFICATE"), values.READABLE_FILE, "PEM: whom to trust", "the system's authorities"
    )
    client_certificate: Path | None = optional(_otlp("CLIENT_CERTIFICATE"), values.READABLE_FILE, "PEM: who we are")
    client_key: Path | None = optional(
        _otlp("CLIENT_KEY"), values.READABLE_FILE, "PEM: the key of the client certificate"
    )
    compression: Literal["gzip", "none"] = setting(_otlp("COMPRESSION"), one_of("gzip", "none"), "none", "of requests")
    timeout_ms: int = setting(_otlp("TIMEOUT"), values.MILLISECONDS, "10000", "for one attempt to send, milliseconds")
    insecure: bool = setting(
        _otlp("INSECURE"), values.TRUE_FALSE, "false", "no TLS for a gRPC endpoint given without scheme"
    )

    @property
    def endpoint(self) -> str | None:
        """The receiver as somebody wrote it; None when nothing is to be sent."""
        return (self.own_endpoint or self.common_endpoint) if self.wanted == "otlp" else None

    @property
    def protocol(self) -> Protocol:
        """The protocol set, else the one whose port the endpoint names."""
        endpoint = self.endpoint or ""
        port = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").port
        return self.chosen_protocol or ("grpc" if port == GRPC_PORT else "http/protobuf")

    def url(self, http_path: str) -> str | None:
        """Return where the signal goes: a URL whose path is complete for HTTP, or HOST:PORT; None: nowhere."""
        if not self.endpoint or self.own_endpoint or self.protocol == "grpc":
            return self.endpoint
        return self.endpoint.rstrip("/") + http_path

    def refuse_contradictions(self) -> None:
        """Raise SettingsError for what is right alone and wrong together."""
        endpoint = self.endpoint
        if endpoint and self.protocol != "grpc" and "://" not in endpoint:
            wrong = f"the endpoint '{shown(endpoint)}' is not allowed for http/protobuf"
            raise SettingsError(f"{wrong}: http:// or https:// must precede it")
        if (self.client_certificate is None) != (self.client_key is None):
            raise SettingsError(
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY: one is not allowed without the other"
            )


@dataclass(frozen=True)
class Otlp:
    """Sending by OTLP."""

    disabled: bool = setting("OTEL_SDK_DISABLED", values.TRUE_FALSE, "false", "true: send nothing by OTLP")
    traces: Exporter = for_each_of(Exporter, "TRACES")
    metrics: Exporter = for_each_of(Exporter, "METRICS")
    logs: Exporter = for_each_of(Exporter, "LOGS")

    @property
    def exporters(self) -> Mapping[str, Exporter]:
        """The signals by the name that their variables have."""
        return {"TRACES": self.traces, "METRICS": self.metrics, "LOGS": self.logs}

    @property
    def has_endpoint(self) -> bool:
        """Whether anything can be sent."""
        return any(exporter.endpoint for exporter in self.exporters.values())
