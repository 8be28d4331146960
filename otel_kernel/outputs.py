"""Where births, metrics and events go: OTLP, files, the terminal."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from otel_kernel.births.trace import Trace
from otel_kernel.exporters import Exporter
from otel_kernel.health import Counter, Health
from otel_kernel.metrics.points import LogEvent, ResourceMeasurements
from otel_kernel.settings import Settings
from otel_kernel.telemetry.encode import Host, encode
from otel_kernel.telemetry.encode_logs import LogsEncoder
from otel_kernel.telemetry.encode_metrics import MetricsEncoder
from otel_kernel.telemetry.endpoint import OtlpEndpoint, open_transport
from otel_kernel.telemetry.files import JsonLinesFile
from otel_kernel.telemetry.otlp_json import json_line
from otel_kernel.telemetry.otlp_json_logs import logs_line
from otel_kernel.telemetry.otlp_json_metrics import metrics_line
from otel_kernel.telemetry.sender import Patience, Sender
from otel_kernel.telemetry.signals import LOGS, METRICS, TRACES, Signal
from otel_kernel.values import Output
from otel_kernel.view.event import tell
from otel_kernel.view.show import draw

log = logging.getLogger(__name__)

METRICS_REQUEST_BYTES = 256 << 10  # of 1 MiB, gRPC's copies would be megabytes that stay with the process
METRICS_LINE_BYTES = 32 << 10  # made into JSON in one go, during which nobody attends to births: some 10 ms
FLUSH_LIMIT_S = 8.0  # `run` ends within 10 s of SIGTERM whether or not anybody answers


class Outputs:
    """All outputs that the settings name, for one thread. Owns their files, queues and threads."""

    def __init__(self, settings: Settings, host: Host, health: Health) -> None:
        """Open them. Raises FileError, EndpointError: one line each."""
        self._host = host
        self._health = health
        self._metrics = MetricsEncoder(host, settings.resource.service)
        self._logs = LogsEncoder(host, settings.resource.service)
        self._terminal = Output("terminal") in settings.outputs
        self._files = [JsonLinesFile(each.path, health) for each in settings.outputs if each.path]
        self._in_files = {signal for signal, exporter in exporters(settings) if exporter.wanted != "none"}
        self._senders = senders(settings, health) if Output("otlp") in settings.outputs else {}

    def send(self, trace: Trace) -> None:
        """Hand one birth to every output; never waits for a network."""
        self._health.add(Counter.BIRTHS)
        if self._is_taken(TRACES):
            self._hand_out(TRACES, encode(trace, self._host), json_line)
        if self._terminal:
            self._on_terminal(partial(draw, trace, sys.stdout))

    @property
    def take_metrics(self) -> bool:
        """Whether anything becomes of metrics."""
        return self._is_taken(METRICS)

    @property
    def take_events(self) -> bool:
        """Whether anything becomes of log events."""
        return self._is_taken(LOGS) or self._terminal

    def send_metrics(self, collected: Iterable[ResourceMeasurements | None]) -> Iterator[None]:
        """Hand what one collection measures to OTLP and the files; never waits for a network.

        Yields for each step of the collection: a full node's takes some 100 ms to make and as long to encode.
        """
        if not self.take_metrics:
            yield from (None for _ in collected)
            return
        requests = []
        limit_bytes = METRICS_LINE_BYTES if self._files and METRICS in self._in_files else METRICS_REQUEST_BYTES
        for request in self._metrics.encoding(collected, limit_bytes=limit_bytes):
            if request is not None:
                requests.append(request)
                self._write(METRICS, [request], metrics_line)
            yield
        if METRICS in self._senders:
            self._senders[METRICS].offer(requests)

    def send_events(self, events: Sequence[LogEvent]) -> None:
        """Hand events, observed now, to every output; never waits for a network."""
        if self._is_taken(LOGS):
            self._hand_out(LOGS, self._logs.encode(events, time.time_ns()), logs_line)
        for event in events:
            if self._terminal:
                self._on_terminal(partial(tell, event, sys.stdout))

    def _is_taken(self, signal: Signal) -> bool:
        return (bool(self._files) and signal in self._in_files) or signal in self._senders

    def _hand_out(self, signal: Signal, requests: Sequence[bytes], as_line: Callable[[bytes], bytes]) -> None:
        self._write(signal, requests, as_line)
        if signal in self._senders:
            self._senders[signal].offer(requests)

    def _write(self, signal: Signal, requests: Sequence[bytes], as_line: Callable[[bytes], bytes]) -> None:
        for file in self._files if signal in self._in_files else ():
            file.offer(requests, as_line)

    def _on_terminal(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self._terminal = False
            log.warning("the terminal is gone, births and events are no longer shown: %s", error.strerror)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def close(self) -> None:
        """Flush, all signals at once and for at most FLUSH_LIMIT_S, and close."""
        ends_at = time.monotonic() + FLUSH_LIMIT_S
        for sender in self._senders.values():
            sender.end(FLUSH_LIMIT_S)
        for sender in self._senders.values():
            sender.flush(max(0.0, ends_at - time.monotonic()))
        for file in self._files:
            file.close()


def senders(settings: Settings, health: Health) -> dict[Signal, Sender]:
    """Return one running sender for each signal that has somewhere to go. Raises EndpointError."""
    endpoints = {signal: endpoint(exporter, signal) for signal, exporter in exporters(settings) if exporter.endpoint}
    transports = {signal: open_transport(each) for signal, each in endpoints.items()}
    return {
        signal: Sender(transport, health, Patience(answer_s=endpoints[signal].timeout_s), signal)
        for signal, transport in transports.items()
    }


def exporters(settings: Settings) -> tuple[tuple[Signal, Exporter], ...]:
    """Return what the settings say of each signal."""
    otlp = settings.otlp
    return (TRACES, otlp.traces), (METRICS, otlp.metrics), (LOGS, otlp.logs)


def endpoint(exporter: Exporter, signal: Signal) -> OtlpEndpoint:
    """Return the OTLP endpoint of a signal."""
    return OtlpEndpoint(
        url=exporter.url(signal.http_path) or "",
        protocol=exporter.protocol,
        headers=dict(exporter.headers),
        certificate=exporter.certificate,
        client_certificate=exporter.client_certificate,
        client_key=exporter.client_key,
        compression=exporter.compression,
        timeout_s=exporter.timeout_ms / 1000,
        insecure=exporter.insecure,
        signal=signal,
    )
