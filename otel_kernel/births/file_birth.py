"""A birth as files show it, while it is open: cgroups, and the first process in each. `file_spans` draws it."""

from dataclasses import dataclass, field

from otel_kernel.births.identity import Identity
from otel_kernel.births.model import Completion, Kind
from otel_kernel.births.sightings import Program
from otel_kernel.births.trace import SpanLink


@dataclass(slots=True, eq=False)
class FileUnit:
    """A sandbox or container."""

    identity: Identity
    first_ns: int
    existing: bool  # its cgroup was there before observation began
    birth: "FileBirth | None" = None
    was_told: bool = False  # it is in a trace that was exported
    program: Program | None = None  # its own
    emptied_ns: int | None = None  # between two stages of the runtime's a cgroup can be empty for a moment, too
    removed_ns: int | None = None

    @property
    def ended_ns(self) -> int | None:
        """When it was noticed that nothing of it ran any more."""
        return self.removed_ns if self.emptied_ns is None else self.emptied_ns

    @property
    def is_open(self) -> bool:
        """Whether its own program may still come."""
        return self.program is None and self.ended_ns is None


@dataclass(slots=True, eq=False)
class FilePod:
    """What is remembered of a pod."""

    identity: Identity
    existing: bool
    units: dict[str, FileUnit] = field(default_factory=dict)  # by container id, while their cgroups are there
    names_ran: set[str] = field(default_factory=set)
    birth: "FileBirth | None" = None  # the open one
    root: SpanLink | None = None  # of the birth that was exported
    was_born: bool = False


@dataclass(slots=True, eq=False)
class FileBirth:
    """What becomes one trace."""

    pod: FilePod
    first_ns: int
    last_ns: int
    unix_offset_ns: int
    is_whole_pod: bool  # else one unit of a pod that was born before
    half_seen: bool = False
    units: list[FileUnit] = field(default_factory=list)
    removed: bool = False
    sightings: int = 0
    missed: dict[str, None] = field(default_factory=dict)  # reasons, in their order

    @property
    def kind(self) -> Kind:
        """What the trace tells, as far as is known by now."""
        if self.is_whole_pod:
            return Kind.BIRTH
        identity = self.units[0].identity
        if identity.is_sandbox:
            return Kind.SANDBOX_RESTART
        return Kind.CONTAINER_RESTART if identity.container_name in self.pod.names_ran else Kind.CONTAINER_START

    def is_sandbox(self, unit: FileUnit) -> bool:
        """Whether a unit is a sandbox. Where no bundle could be read, that is a birth's first: nothing precedes it."""
        if unit.identity.is_sandbox is None:
            return self.is_whole_pod and not self.half_seen and unit is self.units[0]
        return unit.identity.is_sandbox

    def deadline_ns(self, quiet_ns: int, timeout_ns: int) -> tuple[int, Completion]:
        """Return when the birth is over if nothing more is noticed, and why it then is.

        As with eBPF, cgroup and sandbox alone never begin the quiet period, nor does a container in preparation.
        """
        timeout = (self.first_ns + timeout_ns, Completion.TIMEOUT)
        awaited = [unit for unit in self.units if not self.is_whole_pod or not self.is_sandbox(unit)]
        begun = any(not unit.is_open for unit in awaited) and not any(unit.is_open for unit in self.units)
        return min((self.last_ns + quiet_ns, Completion.QUIET), timeout) if begun or self.removed else timeout
