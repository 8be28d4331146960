"""A birth while it is open: the units that processes build, and the pod they are for. `spans` makes a trace of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from otel_kernel.births.arguments import BIRTH_VERBS, Tool
from otel_kernel.births.facts import Condition, PodEvents, PodFacts
from otel_kernel.births.identity import Identity
from otel_kernel.births.process import Process
from otel_kernel.births.trace import SpanLink
from otel_kernel.kernel.events import Call, End, Loss, Throttled

NO_LOSS = Loss(0, 0, 0)


class Completion(StrEnum):
    """Why a birth was exported (`otel_kernel.birth.completion`)."""

    KNOWN = "known"
    QUIET = "quiet"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"
    AGENT_STARTED = "agent_started"


class Kind(StrEnum):
    """What a trace tells; the value is the name of its root."""

    BIRTH = "pod birth"
    SANDBOX_RESTART = "sandbox restart"
    CONTAINER_START = "container start"
    CONTAINER_RESTART = "container restart"


@dataclass(slots=True, eq=False)
class Unit:
    """A sandbox, a container, or a pod's volumes while they are built."""

    identity: Identity
    first_ns: int
    unix_offset_ns: int
    loss_before: Loss
    is_volumes: bool = False
    birth: "Birth | None" = None
    last_ns: int = 0
    alive: int = 0  # processes whose end was not told
    entry: Process | None = None
    processes: list[Process] = field(default_factory=list)
    daemon_calls: list[Call] = field(default_factory=list)
    daemon_cgroup_writes: int = 0
    throttled: list[Throttled] = field(default_factory=list)
    late: int = 0  # records of processes whose end had been told
    records: int = 0
    dropped: int = 0  # calls and waits for which there was no room
    discarded: bool = False  # not a birth after all: its records are read and dropped
    tokens: list[str] = field(default_factory=list)  # by which daemons' calls are known to be its own

    @property
    def is_sandbox(self) -> bool:
        """Whether it is the pod's sandbox."""
        return not self.is_volumes and bool(self.identity.is_sandbox)

    @property
    def is_container(self) -> bool:
        """Whether it is one of the pod's containers, the sandbox not among them."""
        return not self.is_volumes and not self.is_sandbox

    @property
    def name(self) -> str:
        """The unit's span name."""
        if self.is_volumes:
            return "volumes"
        if self.is_sandbox:
            return "sandbox"
        return f"container {self.identity.container_name}" if self.identity.container_name else "container"

    @property
    def was_begun(self) -> bool:
        """Whether its making was seen, not only its start: else this agent came too late for it."""
        return any(
            image.command.tool in {Tool.SHIM, Tool.CNI} or image.command.verb in BIRTH_VERBS - {"start"}
            for process in self.processes
            for image in process.images
        )

    @property
    def was_created(self) -> bool:
        """Whether a runtime was told to make it."""
        return any(image.command.tool is Tool.RUNTIME for process in self.processes for image in process.images)

    @property
    def is_held_by_files(self) -> bool:
        """Whether it may be a sandbox without a process: CRI-O runs pause only where something needs it."""
        tools = {image.command.tool for process in self.processes for image in process.images}
        return self.is_sandbox and Tool.CNI in tools and not tools & {Tool.SHIM, Tool.RUNTIME}

    @property
    def has_ended(self) -> bool:
        """Whether it did something and nothing of it runs any more, without an entry point."""
        return self.entry is None and self.alive == 0 and bool(self.processes)

    @property
    def is_past_telling(self) -> bool:
        """Whether nothing more will be told of what it is."""
        return self.entry is not None or (self.has_ended and self.was_created)

    @property
    def is_open(self) -> bool:
        """Whether an entry point may still come of what runs."""
        return self.entry is None and self.alive > 0

    def takes(self, call: Call) -> None:
        """Make a daemon's call part of it."""
        self.daemon_calls.append(call)
        self.last_ns = max(self.last_ns, call.end_ns)
        self.begins(call.start_ns)

    def begins(self, ns: int) -> None:
        """Take in that something of it happened at this time, maybe before all that was known."""
        self.first_ns = min(self.first_ns, ns)
        if self.birth is not None:
            self.birth.first_ns = min(self.birth.first_ns, ns)


class CgroupStep(NamedTuple):
    """Something that happened to a pod's cgroups."""

    ns: int
    action: str
    container_id: str | None


@dataclass(slots=True, eq=False)
class Pod:
    """What is remembered of a pod, from its first event until it is gone."""

    identity: Identity
    sandbox_ids: set[str] = field(default_factory=set)
    names_ran: set[str] = field(default_factory=set)
    birth: "Birth | None" = None  # the open one
    root: SpanLink | None = None  # of the birth that was exported
    was_born: bool = False  # its birth was exported, or over before this agent began
    had_cgroup: bool = False  # its cgroup was there before this agent began
    had_containers: bool = False
    is_gone: bool = False  # its cgroup was removed
    told: PodFacts | None = None  # by Kubernetes
    doubt: str | None = None  # why that is not believed
    expected: frozenset[str] | None = None  # names of the containers in its spec, once known and believed
    conditions_told: frozenset[Condition] = frozenset()  # on the root, or since
    waits_from_ns: int | None = None  # since when its birth, which is over, waits for answers
    wants_events: bool = False  # they have been asked for
    events: PodEvents | None = None

    @property
    def word(self) -> PodFacts | None:
        """What Kubernetes says of it, as far as it is believed."""
        return self.told if self.doubt is None else None

    @property
    def is_old(self) -> bool:
        """Whether its birth has begun, or was over before this agent looked."""
        return self.birth is not None or self.was_born or self.had_cgroup

    def had(self, container: Identity) -> None:
        """Remember a container that was there before this agent."""
        self.had_containers = True
        if container.container_name is not None:
            self.names_ran.add(container.container_name)


@dataclass(slots=True, eq=False)
class Birth:
    """What becomes one trace."""

    kind: Kind
    pod: Pod
    first_ns: int
    unix_offset_ns: int
    loss_before: Loss
    last_ns: int = 0
    units: list[Unit] = field(default_factory=list)
    cgroup_steps: list[CgroupStep] = field(default_factory=list)
    throttled: list[Throttled] = field(default_factory=list)  # by the pod's own limit
    cgroup_removed: bool = False
    daemon_cgroup_writes: int = 0  # to the pod's own cgroup
    unresolved: bool = False

    @property
    def is_seen(self) -> bool:
        """Whether more was seen of the pod's beginning than its volumes."""
        return bool(self.sandboxes) or any(
            step.action == "mkdir" and not step.container_id for step in self.cgroup_steps
        )

    @property
    def sandboxes(self) -> list[Unit]:
        """The attempts at the sandbox, in the order of their beginning."""
        return [unit for unit in self.units if unit.is_sandbox]

    @property
    def containers(self) -> list[Unit]:
        """The containers' units."""
        return [unit for unit in self.units if unit.is_container]

    @property
    def in_order(self) -> list[Unit]:
        """All units, in the order of their beginning."""
        return sorted(self.units, key=lambda unit: unit.first_ns)

    @property
    def taken_down(self) -> bool:
        """Whether its pod was ended on purpose: the sandbox's own program ends last of all."""
        sandbox = self.sandboxes[-1:]
        return self.cgroup_removed or any(process.exit is not None for unit in sandbox for process in unit.processes)

    def runs(self) -> Iterator[tuple[Unit, Process, End]]:
        """Yield the containers' own programs that have ended, with their ends."""
        for unit in self.in_order:
            for process in unit.processes if unit.is_container else ():
                if process.exit is not None:
                    yield unit, process, process.exit

    def adds(self, unit: Unit) -> None:
        """Make a unit part of it."""
        unit.birth = self
        self.units.append(unit)
        if unit.first_ns < self.first_ns:
            self.first_ns, self.unix_offset_ns = unit.first_ns, unit.unix_offset_ns
        self.loss_before = min(self.loss_before, unit.loss_before)

    def volumes(self, ns: int) -> Unit:
        """Return its volumes' unit, begun at this time if there is none."""
        unit = next((unit for unit in self.units if unit.is_volumes), None)
        if unit is None:
            unit = Unit(Identity(), ns, self.unix_offset_ns, self.loss_before, is_volumes=True, last_ns=ns)
            self.adds(unit)
        return unit

    def steps(self, step: CgroupStep) -> None:
        """Note what happened to the pod's cgroups."""
        self.cgroup_steps.append(step)
        self.cgroup_removed = self.cgroup_removed or (step.action == "rmdir" and step.container_id is None)
        # Probes and `exec` attach for as long as the pod lives: that is not part of being born.
        if step.action != "attach":
            self.last_ns = max(self.last_ns, step.ns)

    def absorbs(self, other: "Birth") -> None:
        """Take over what is not of a unit from another birth of the same pod."""
        self.cgroup_steps += other.cgroup_steps
        self.throttled += other.throttled
        self.cgroup_removed = self.cgroup_removed or other.cgroup_removed
        self.daemon_cgroup_writes += other.daemon_cgroup_writes
        self.first_ns = min(self.first_ns, other.first_ns)
