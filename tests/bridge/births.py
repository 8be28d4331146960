"""Real births, recorded and replayed through the assembly and the encoder: what a collector would bring."""

import hashlib
import time
import uuid
from dataclasses import replace
from functools import cache
from pathlib import Path

from otel_kernel.births.assembly import AssemblySettings
from otel_kernel.births.trace import Span, Trace
from otel_kernel.metrics.points import LogEvent
from otel_kernel.telemetry.encode import Host, encode
from otel_kernel.telemetry.encode_logs import LogsEncoder
from otel_kernel.telemetry.otlp_json import json_line
from tests.births.test_replay import RECORDINGS, replayed

HOST = Host("node-1")
JSON = {"Content-Type": "application/json"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
_LOADED_NS = time.time_ns()  # the same birth is the same birth each time


@cache
def recorded(stem: str = "two-containers-runc-1.1") -> Trace:
    """Return the trace of a recorded birth."""
    (path,) = [path for path in RECORDINGS if path.stem == stem]
    _, (trace, *_) = replayed(Path(path), AssemblySettings())
    return trace


def birth(number: int) -> Trace:
    """Return the recorded birth as that of another pod, `web-<number>`, born a moment ago."""
    trace = recorded()
    uid = uuid.UUID(bytes=hashlib.sha256(f"pod {number}".encode()).digest()[:16], version=4)
    pod = {**trace.pod, "k8s.pod.name": f"web-{number}", "k8s.namespace.name": "shop", "k8s.pod.uid": str(uid)}
    return replace(trace, trace_id=uid.bytes, pod=pod, spans=tuple(map(_recent, trace.spans)))


def _recent(span: Span) -> Span:
    shift_ns = _LOADED_NS - recorded().spans[0].end_unix_ns
    events = tuple(replace(event, unix_ns=event.unix_ns + shift_ns) for event in span.events)
    start_ns, end_ns = span.start_unix_ns + shift_ns, span.end_unix_ns + shift_ns
    return replace(span, start_unix_ns=start_ns, end_unix_ns=end_ns, events=events)


def as_protobuf(trace: Trace) -> bytes:
    """Return a birth as one OTLP request."""
    (request,) = encode(trace, HOST)
    return request


def as_json(trace: Trace) -> bytes:
    """Return a birth as one OTLP/JSON request."""
    return json_line(as_protobuf(trace))


def throttled(pod: str, unix_ns: int, percentage: float = 62.5, **changed: object) -> bytes:
    """Return a throttling event of a container as the agent encodes it, as one OTLP request."""
    attributes = {
        "state": "crossed",
        "percentage": percentage,
        "throttled_ns": 1_234_567,
        "periods": 150,
        "throttled_periods": 94,
        "period": 15.004,
        "usage": 0.52,
        "usage_60s": 0.31,
        "limit": 0.5,
    }
    told = {f"otel_kernel.throttling.{name}": value for name, value in {**attributes, **changed}.items()}
    resource = {
        "k8s.pod.uid": str(uuid.uuid5(uuid.NAMESPACE_DNS, pod)),
        "k8s.pod.name": pod,
        "k8s.namespace.name": "shop",
        "k8s.container.name": "app",
    }
    event = LogEvent("otel_kernel.cpu.throttled", unix_ns, resource, "otel_kernel.cgroupfs", told, "throttled", "warn")  # type: ignore[arg-type]
    (request,) = LogsEncoder(HOST, "otel-kernel").encode([event], unix_ns)
    return request
