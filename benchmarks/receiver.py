"""A real receiver of OTLP on loopback that notes which birth came when."""

import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.telemetry.collectors import Answer, Received, grpc_collector, http_collector

WAIT_LIMIT_S = 60
Protocol = Literal["grpc", "http/protobuf"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A birth's trace and when its first request was there. Times are Unix time in ns."""

    trace_id: bytes
    arrived_ns: int
    last_ns: int  # the latest time that any span or event of the trace tells


class _Noting(Received):
    """Answers as its base does, and notes when births came; metrics and events come to the same place."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: deque[tuple[int, bytes]] = deque()

    def answer(self, body: bytes, headers: dict[str, str]) -> Answer:
        if "trace" in headers["path"]:
            self.arrived.append((time.time_ns(), body))
        return super().answer(body, headers)


class Receiver:
    """A context: a receiver of OTLP by gRPC or HTTP."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._received = _Noting()
        self._stack = ExitStack()
        self._port = 0
        self._found: dict[bytes, Arrival] = {}

    def __enter__(self) -> Self:
        collector = grpc_collector if self._protocol == "grpc" else http_collector
        self._port = self._stack.enter_context(collector(self._received))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    @property
    def settings(self) -> dict[str, str]:
        """What an agent must be told to send here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": self._protocol,
        }

    def wait_for(self, uids: Iterable[str]) -> list[Arrival]:
        """Wait until the births of these pods have arrived and return their arrivals in that order.

        Raises RuntimeError when they do not arrive.
        """
        wanted = [bytes.fromhex(uid.replace("-", "")) for uid in uids]  # a birth seen from its start: the pod's UID
        deadline = time.monotonic() + WAIT_LIMIT_S
        while missing := sum(each not in self._arrivals() for each in wanted):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{missing} of {len(wanted)} births did not arrive within {WAIT_LIMIT_S} s")
            time.sleep(0.05)
        return [self._arrivals()[each] for each in wanted]

    def _arrivals(self) -> dict[bytes, Arrival]:
        while self._received.arrived:
            arrived_ns, body = self._received.arrived.popleft()
            for arrival in _read(body, arrived_ns):
                before = self._found.get(arrival.trace_id)
                self._found[arrival.trace_id] = arrival if before is None else _joined(before, arrival)
        return self._found


def _read(body: bytes, arrived_ns: int) -> list[Arrival]:
    request = ExportTraceServiceRequest.FromString(body)
    spans = [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]
    told: dict[bytes, int] = {}
    for span in spans:
        times = (span.end_time_unix_nano, *(event.time_unix_nano for event in span.events))
        told[span.trace_id] = max(told.get(span.trace_id, 0), *times)
    return [Arrival(trace_id, arrived_ns, last_ns) for trace_id, last_ns in told.items()]


def _joined(first: Arrival, second: Arrival) -> Arrival:
    """Return one arrival of a trace that came in several requests."""
    return Arrival(first.trace_id, min(first.arrived_ns, second.arrived_ns), max(first.last_ns, second.last_ns))
