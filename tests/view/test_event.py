"""Log events in the terminal."""

import io

from otel_kernel.metrics.points import Attributes, LogEvent
from otel_kernel.view.event import tell


def told(body: str, resource: Attributes, encoding: str = "utf-8") -> bytes:
    """Return what an event writes."""
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding=encoding)
    tell(LogEvent("otel_kernel.oom_kill", 1, resource, "otel_kernel.ebpf", {}, body), stdout)
    return raw.getvalue()


def test_an_event_is_one_line() -> None:
    """What happened, to whom, and in words."""
    resource = {"k8s.pod.name": "web-0", "k8s.namespace.name": "shop", "k8s.container.name": "app", "k8s.pod.uid": "u"}
    assert told("killed: 12 MiB", resource) == b"otel_kernel.oom_kill shop/web-0/app - killed: 12 MiB\n"
    assert told("", {}) == b"otel_kernel.oom_kill\n"


def test_nothing_in_an_event_moves_the_cursor() -> None:
    """Control characters, line feeds and letters that the terminal lacks are shown as escapes."""
    assert told("a\x1b[2Jb\nc\udcff", {"k8s.pod.name": "x\ty"}) == (
        rb"otel_kernel.oom_kill x\ty - a\x1b[2Jb\nc\udcff" + b"\n"
    )
    assert told("é", {}, "ascii") == rb"otel_kernel.oom_kill - \xe9" + b"\n"
