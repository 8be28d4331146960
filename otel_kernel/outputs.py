"""Where traces go: OTLP, files, the terminal."""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from otel_kernel.births.trace import Trace
from otel_kernel.health import Counter, Health
from otel_kernel.settings import Settings
from otel_kernel.telemetry.encode import Host, encode
from otel_kernel.telemetry.endpoint import OtlpEndpoint, open_transport
from otel_kernel.telemetry.files import JsonLinesFile
from otel_kernel.telemetry.sender import Patience, Sender
from otel_kernel.values import Output
from otel_kernel.view.show import draw

log = logging.getLogger(__name__)

FLUSH_LIMIT_S = 8.0  # `run` ends within 10 s of SIGTERM whether or not anybody answers


class _Requests(Protocol):
    def offer(self, requests: Sequence[bytes]) -> None: ...


class Outputs:
    """All outputs that the settings name. Owns their files, queue and thread."""

    def __init__(self, settings: Settings, host: Host, health: Health) -> None:
        """Open them. Raises FileError, EndpointError: one line each."""
        self._host = host
        self._health = health
        self._terminal = Output("terminal") in settings.outputs
        self._files = [JsonLinesFile(each.path, health) for each in settings.outputs if each.path]
        self._sender = (
            Sender(open_transport(endpoint(settings)), health, patience(settings))
            if Output("otlp") in settings.outputs
            else None
        )

    def send(self, trace: Trace) -> None:
        """Hand one birth to every output; never waits for a network."""
        self._health.add(Counter.BIRTHS)
        takers: list[_Requests] = [*self._files, *([self._sender] if self._sender else [])]
        if takers:
            requests = encode(trace, self._host)
            for taker in takers:
                taker.offer(requests)
        if self._terminal:
            self._draw(trace)

    def _draw(self, trace: Trace) -> None:
        try:
            draw(trace, sys.stdout)
        except OSError as error:
            self._terminal = False
            log.warning("the terminal is gone, births are no longer drawn: %s", error.strerror)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def close(self) -> None:
        """Flush for at most FLUSH_LIMIT_S and close."""
        if self._sender:
            self._sender.flush(FLUSH_LIMIT_S)
        for file in self._files:
            file.close()


def endpoint(settings: Settings) -> OtlpEndpoint:
    """Return the OTLP endpoint that the settings name."""
    otlp = settings.otlp
    return OtlpEndpoint(
        url=otlp.traces_url or "",
        protocol=otlp.protocol,
        headers=dict(otlp.headers),
        certificate=otlp.certificate,
        client_certificate=otlp.client_certificate,
        client_key=otlp.client_key,
        compression=otlp.compression,
        timeout_s=otlp.timeout_ms / 1000,
        insecure=otlp.insecure,
    )


def patience(settings: Settings) -> Patience:
    """Return how long one attempt to send may take, as the settings say."""
    return Patience(answer_s=settings.otlp.timeout_ms / 1000)
