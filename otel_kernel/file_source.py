"""Births without eBPF: directories and /proc -> sightings -> traces. They say less, and say so by their scope."""

from otel_kernel.births.assembly import AssemblySettings
from otel_kernel.births.from_files import FileBirths
from otel_kernel.births.trace import Trace
from otel_kernel.health import Counter, Health
from otel_kernel.host_files import HostFiles
from otel_kernel.kernel.clock import boot_ns, unix_offset_ns
from otel_kernel.node import watch
from otel_kernel.pods.identity import Identifier
from otel_kernel.pods.sightings import LAYOUT, Sightings


class FileSource:
    """Watched directories and the births they tell of. Owns the watches."""

    def __init__(self, settings: AssemblySettings, host: HostFiles, health: Health) -> None:
        """Begin to watch. Raises OSError."""
        self._watch = watch.Watch(host.hierarchy, host.proc_root, LAYOUT)
        self._sightings = Sightings(Identifier(str(host.root)))
        self._births = FileBirths(settings, unix_offset_ns)
        self._health = health
        self._take()
        self.words = f"cgroup directories below {host.hierarchy}"

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when directories have changed."""
        return self._watch.fileno()

    @property
    def next_deadline_ns(self) -> int | None:
        """When a birth may be due or a program wants to be looked at, in boot time."""
        times = [at for at in (self._births.next_deadline_ns, self._watch.next_look_ns) if at is not None]
        return min(times, default=None)

    def traces(self) -> list[Trace]:
        """Take in what has changed and return the births that are over."""
        self._take()
        return self._births.due(boot_ns())

    def stop(self) -> list[Trace]:
        """Take in the rest, end the watches, and return the births that are open as far as they came."""
        traces = self.traces() + self._births.close()
        self._watch.close()
        return traces

    def _take(self) -> None:
        for noticed in self._watch.poll(0):
            if isinstance(noticed, watch.Missed):
                self._health.add(Counter.WATCHES_LOST)
            for told in self._sightings.of(noticed):
                self._births.feed(told)
