"""How long a cgroup's tasks were held up for want of a resource. Source: Documentation/accounting/psi.rst."""

from typing import NamedTuple

from otel_kernel.node.fields import number

RESOURCES = ("cpu", "memory", "io")


class Pressure(NamedTuple):
    """Microseconds in which some, or all, tasks that had work waited. None: this kernel does not tell it."""

    some_us: int
    full_us: int | None  # of the CPU only since 5.13


def parse(content: bytes) -> Pressure:
    """Return the totals of a pressure file. Raises ValueError."""
    some_us = _total(content, b"some ")
    if some_us is None:
        raise ValueError("a pressure file does not tell `some`")
    return Pressure(some_us, _total(content, b"full "))


def _total(content: bytes, kind: bytes) -> int | None:
    at = content.find(kind)
    if at < 0 or (at > 0 and content[at - 1] != ord("\n")):
        return None
    text, newline, _ = content[at:].partition(b"\n")
    _, _, total = text.rpartition(b" total=")
    return number(total) if newline else None
