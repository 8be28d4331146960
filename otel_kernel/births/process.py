"""A process of a lineage while its birth is open."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from otel_kernel.births.arguments import Command, Tool
from otel_kernel.kernel.events import Call, End, Ending, Exec, Wait

if TYPE_CHECKING:
    from otel_kernel.births.model import Unit

ProcessKey = tuple[int, int]  # host PID, time of its fork: PIDs are reused

CLONES = frozenset({"clone", "clone3", "fork", "vfork"})
EXECS = frozenset({"execve", "execveat"})


class Image(NamedTuple):
    """A program that a process was, before the entry point."""

    command: Command
    path: str
    arguments: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Process:
    """A process of a lineage."""

    key: ProcessKey
    parent_key: ProcessKey
    unit: "Unit"
    first_ns: int
    forker: "Process | None" = None  # the parent, when that takes part too
    vpid: int = 0
    clone_flags: int = 0
    inherited: Command | None = None  # what its parent was when it was forked
    images: list[Image] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    records: int = 0  # forks, execs and ends
    execs: int = 0
    last_exec_ns: int = 0
    entry: Exec | None = None
    end: End | None = None
    exit: End | None = None  # of the container's own program, after the entry point

    @property
    def command(self) -> Command | None:
        """The last image's command line before the entry point."""
        return self.images[-1].command if self.images else self.inherited

    @property
    def is_shim(self) -> bool:
        """Whether it is a shim that serves, not one that starts another."""
        command = self.command
        return command is not None and command.tool is Tool.SHIM and command.verb is None

    @property
    def is_init(self) -> bool:
        """Whether it is a stage of `runc init`."""
        command = self.command
        return command is not None and command.tool is Tool.RUNTIME and command.verb == "init"

    @property
    def handed_over(self) -> bool:
        """Whether it is a shim that became a daemon."""
        return self.end is not None and self.end.ending is Ending.HANDED_OVER

    def hand_over_call(self) -> Call | None:
        """Return the clone that made a shim's first runtime child, if it was told."""
        if not self.handed_over or self.end is None:
            return None
        told = [c for c in self.calls if c.name in CLONES and c.child_pid and c.start_ns <= self.end.ns]
        return max(told, key=lambda call: call.start_ns, default=None)

    @property
    def end_ns(self) -> int:
        """When its span ends: exit, return of the entry point's execve, hand-over; while it runs its last event."""
        last = max((*(c.end_ns for c in self.calls), *(w.end_ns for w in self.waits), self.first_ns, self.last_exec_ns))
        if self.end is None:
            return last
        if self.handed_over:
            call = self.hand_over_call()
            return call.end_ns if call else self.end.ns
        if self.entry is not None:
            return max(self.entry_ns or 0, last)
        return max(self.end.ns, last)

    @property
    def entry_call(self) -> Call | None:
        """The execve of the container's program, if its return was told."""
        if self.entry is None:
            return None
        ns = self.entry.ns
        calls = reversed(self.calls)
        return next(
            (c for c in calls if c.name in EXECS and c.return_value == 0 and c.start_ns <= ns <= c.end_ns), None
        )

    @property
    def entry_ns(self) -> int | None:
        """When the execve of the container's program returned."""
        if self.entry is None:
            return None
        call = self.entry_call
        return call.end_ns if call else self.entry.ns
