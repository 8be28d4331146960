"""OTLP over gRPC: requests are bytes already, so the call is made without the generated stub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from otel_kernel import __version__
from otel_kernel.telemetry.endpoint import OtlpEndpoint, Outcome, Refused, Retry, delivered, one_line

OPTIONS: Sequence[tuple[str, str | int]] = (
    ("grpc.primary_user_agent", f"otel-kernel/{__version__}"),
    ("grpc.enable_retries", 0),  # the sender's business, which knows what is waiting
    # gRPC's own back-off grows to two minutes, in which a collector that is back would be taken for one that is down.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5000),
)
# opentelemetry.io/docs/specs/otlp/#failures. RESOURCE_EXHAUSTED only with RetryInfo: without, a message was too large.
RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class GrpcTransport:
    """A channel to one endpoint."""

    def __init__(self, endpoint: OtlpEndpoint) -> None:
        self._metadata = tuple((name.lower(), value) for name, value in endpoint.headers.items())
        self._channel = _channel(endpoint)
        self._signal = endpoint.signal
        self._export = self._channel.unary_unary(self._signal.grpc_method, bytes, self._signal.read_answer)

    def send(self, request: bytes, timeout_s: float) -> Outcome:
        """Send one serialised request and wait for the answer."""
        try:
            answer = self._export(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            return _failure(error)
        return delivered(answer, self._signal)

    def close(self) -> None:
        """Close the channel; a call under way is cancelled."""
        self._channel.close()


def _channel(endpoint: OtlpEndpoint) -> grpc.Channel:
    parts = urlsplit(endpoint.url) if "://" in endpoint.url else None
    target = parts.netloc.rpartition("@")[2] if parts else endpoint.url
    plain = parts.scheme == "http" if parts else endpoint.insecure
    compression = grpc.Compression.Gzip if endpoint.compression == "gzip" else grpc.Compression.NoCompression
    if plain:
        return grpc.insecure_channel(target, OPTIONS, compression)
    credentials = grpc.ssl_channel_credentials(
        _read(endpoint.certificate),
        _read(endpoint.client_key or endpoint.client_certificate),
        _read(endpoint.client_certificate),
    )
    return grpc.secure_channel(target, credentials, OPTIONS, compression)


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path else None


def _failure(error: grpc.RpcError) -> Outcome:
    code = error.code()
    reason = one_line(f"{code.name}: {error.details() or ''}")
    after_s = _retry_after_s(error)
    if code in RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and after_s is not None):
        return Retry(reason, after_s)
    return Refused(reason)


def _retry_after_s(error: grpc.RpcError) -> float | None:
    # The stubs do not know that metadata are pairs.
    metadata: Sequence[Any] = error.trailing_metadata() or ()
    details = dict(metadata).get("grpc-status-details-bin")
    return _retry_info_s(details) if details else None


def _retry_info_s(status: bytes) -> float | None:
    info = RetryInfo()
    try:
        found = any(detail.Unpack(info) for detail in Status.FromString(status).details)
    except DecodeError:
        return None
    return float(info.retry_delay.ToTimedelta().total_seconds()) if found else None
