"""A log event as one line in the terminal."""

from collections.abc import Iterator
from typing import TextIO

from otel_kernel.metrics.points import LogEvent
from otel_kernel.view.picture import ASCII, picture_for
from otel_kernel.view.text import harmless

WHERE = ("k8s.namespace.name", "k8s.pod.name", "k8s.container.name")


def tell(event: LogEvent, stdout: TextIO) -> None:
    """Write an event to a stream: what happened, where, and in words. One line, whatever its words hold."""
    ascii_only = picture_for(stdout, "folded").signs is ASCII
    stdout.write(harmless(" ".join(_words(event)), ascii_only=ascii_only) + "\n")
    stdout.flush()


def _words(event: LogEvent) -> Iterator[str]:
    yield event.name
    where = [str(event.resource[key]) for key in WHERE if key in event.resource]
    if where:
        yield "/".join(where)
    if event.body:
        yield f"- {event.body}"
