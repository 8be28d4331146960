"""Where telemetry goes, and what can come of sending something there."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

from otel_kernel.telemetry.signals import TRACES, Answer, Signal

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
REASON_LIMIT = 200


class EndpointError(ValueError):
    """An endpoint that nothing can be sent to, said in one line."""


@dataclass(frozen=True, slots=True)
class OtlpEndpoint:
    """One OTLP receiver of one signal. For `http/protobuf` the URL is used as it is, with its path; for gRPC without.

    `insecure` counts only for gRPC to a bare `host:port`; a scheme says it by itself.
    """

    url: str
    protocol: Literal["grpc", "http/protobuf"] = "grpc"
    headers: Mapping[str, str] = field(default_factory=dict)
    certificate: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    compression: Literal["none", "gzip"] = "none"
    timeout_s: float = 10.0
    insecure: bool = False
    signal: Signal = TRACES


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it, but for `rejected` spans, points or log records of it (partial success)."""

    rejected: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """The receiver does not have it and may take it later: not before `after_s` seconds, when it said so."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The receiver will never take it."""

    reason: str


Outcome = Delivered | Retry | Refused


class Transport(Protocol):
    """A way to an endpoint, used by one thread."""

    def send(self, request: bytes, timeout_s: float) -> Outcome:
        """Send one serialised request and wait for the answer."""

    def close(self) -> None:
        """Let go of the connection."""


def open_transport(endpoint: OtlpEndpoint) -> Transport:
    """Return the way to an endpoint; connects when first used. Raises EndpointError on what can be seen to be wrong."""
    check(endpoint)
    # Imported late: gRPC costs 14 MiB of memory, requests 10, and only one of them is ever needed.
    if endpoint.protocol == "grpc":
        from otel_kernel.telemetry.otlp_grpc import GrpcTransport  # noqa: PLC0415

        return GrpcTransport(endpoint)
    from otel_kernel.telemetry.otlp_http import HttpTransport  # noqa: PLC0415

    return HttpTransport(endpoint)


def check(endpoint: OtlpEndpoint) -> None:
    """Raise EndpointError when the URL, a header or a TLS file cannot work: at start, not at the first birth."""
    _check_url(endpoint)
    for name, value in endpoint.headers.items():
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise EndpointError(
                f"OTLP header {name!r} has characters that no header may have"
            )  # its value may be secret
    if endpoint.client_key and not endpoint.client_certificate:
        raise EndpointError("an OTLP client key needs a client certificate")
    _check_tls_files(endpoint)


def _check_url(endpoint: OtlpEndpoint) -> None:
    try:
        parts = urlsplit(endpoint.url)
        has_host = bool(parts.hostname and (parts.port is None or parts.port))
    except ValueError:
        has_host = False
    schemes = ("http", "https") if endpoint.protocol == "http/protobuf" or "://" in endpoint.url else None
    if (schemes and (parts.scheme not in schemes or not has_host)) or not endpoint.url.strip():
        raise EndpointError(f"OTLP endpoint {endpoint.url!r} is not http(s)://host[:port]")


def _check_tls_files(endpoint: OtlpEndpoint) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if endpoint.certificate:
            context.load_verify_locations(endpoint.certificate)
        if endpoint.client_certificate:
            # The empty password keeps OpenSSL from asking for one at the terminal.
            context.load_cert_chain(endpoint.client_certificate, endpoint.client_key, password="")
    except OSError as error:  # ssl.SSLError is one
        files = [str(file) for file in (endpoint.certificate, endpoint.client_certificate, endpoint.client_key) if file]
        raise EndpointError(f"OTLP certificate files {', '.join(files)}: {one_line(str(error))}") from error


def delivered(answer: Answer, signal: Signal) -> Delivered:
    """Return what a receiver's response says of the request it took."""
    told = answer.partial_success
    return Delivered(getattr(told, signal.rejected_field), one_line(told.error_message))


def one_line(text: str) -> str:
    """Return foreign text as it may stand in a log line: printable, one line, not long."""
    return "".join(char if char.isprintable() else " " for char in text[:REASON_LIMIT]).strip()
