"""What was read of a cgroup, as samples of its pod or container."""

from collections.abc import Iterator
from dataclasses import dataclass

from otel_kernel.metrics.cgroups import Reading
from otel_kernel.metrics.samples import Sample, SeriesName
from otel_kernel.node.cpu import Throttling
from otel_kernel.node.pressure import RESOURCES


@dataclass(frozen=True, slots=True)
class _Names:
    cpu_time: SeriesName
    periods: SeriesName
    throttled_periods: SeriesName
    throttled_time: SeriesName
    cpu_limit: SeriesName
    usage: SeriesName
    working_set: SeriesName
    memory_limit: SeriesName
    pressures: tuple[tuple[SeriesName, SeriesName], ...]  # some, full


def _pressures(level: str) -> tuple[tuple[SeriesName, SeriesName], ...]:
    def name(resource: str, kind: str) -> SeriesName:
        attributes = (("otel_kernel.pressure.resource", resource), ("otel_kernel.pressure.type", kind))
        return SeriesName(f"otel_kernel.{level}.pressure.time", attributes)

    return tuple((name(resource, "some"), name(resource, "full")) for resource in RESOURCES)


_POD = _Names(
    SeriesName("k8s.pod.cpu.time"),
    SeriesName("otel_kernel.pod.cpu.periods"),
    SeriesName("otel_kernel.pod.cpu.throttled.periods"),
    SeriesName("otel_kernel.pod.cpu.throttled.time"),
    SeriesName("otel_kernel.pod.cpu.limit"),
    SeriesName("k8s.pod.memory.usage"),
    SeriesName("k8s.pod.memory.working_set"),
    SeriesName("otel_kernel.pod.memory.limit"),
    _pressures("pod"),
)
_CONTAINER = _Names(
    SeriesName("container.cpu.time"),
    SeriesName("otel_kernel.container.cpu.periods"),
    SeriesName("otel_kernel.container.cpu.throttled.periods"),
    SeriesName("otel_kernel.container.cpu.throttled.time"),
    SeriesName("k8s.container.cpu.limit.current"),
    SeriesName("container.memory.usage"),
    SeriesName("container.memory.working_set"),
    SeriesName("k8s.container.memory.limit.current"),
    _pressures("container"),
)
_OOM_KILLS = SeriesName("otel_kernel.container.oom_kills")


def of_pod(reading: Reading, throttling: Throttling | None) -> Iterator[Sample]:
    """Yield the samples of a pod; its throttling is not its own cgroup's alone."""
    return _samples(_POD, reading, throttling)


def of_container(reading: Reading) -> Iterator[Sample]:
    """Yield the samples of a container. Without a quota there is nothing that throttles."""
    yield from _samples(_CONTAINER, reading, reading.throttling if reading.limits.cpu is not None else None)
    if reading.oom_kills is not None:
        yield Sample(_OOM_KILLS, reading.oom_kills)


def _samples(names: _Names, reading: Reading, throttling: Throttling | None) -> Iterator[Sample]:
    if reading.usage_ns is not None:
        yield Sample(names.cpu_time, reading.usage_ns / 1e9)
    if throttling is not None:
        yield Sample(names.periods, throttling.periods)
        yield Sample(names.throttled_periods, throttling.throttled_periods)
        yield Sample(names.throttled_time, throttling.throttled_ns / 1e9)
    limits = reading.limits
    if limits.cpu is not None:
        yield Sample(names.cpu_limit, limits.cpu, limits.read_unix_ns)
    if reading.memory_bytes is not None:
        yield Sample(names.usage, reading.memory_bytes)
    if reading.working_set_bytes is not None:
        yield Sample(names.working_set, reading.working_set_bytes)
    if limits.memory_bytes is not None:
        yield Sample(names.memory_limit, limits.memory_bytes, limits.read_unix_ns)
    for (some, full), pressure in zip(names.pressures, reading.pressures, strict=False):
        if pressure is not None:
            yield Sample(some, pressure.some_us / 1e6)
            if pressure.full_us is not None:
                yield Sample(full, pressure.full_us / 1e6)
