"""Who takes part? Processes by lineage, and the records that are theirs."""

from collections import OrderedDict
from collections.abc import Callable

from otel_kernel.births.arguments import Command, Tool, command
from otel_kernel.births.model import Unit
from otel_kernel.births.process import Image, Process, ProcessKey
from otel_kernel.kernel.events import Call, Decision, End, Ending, Exec, Fork, Wait

_CANDIDATES_KEPT = 1024
_CALLS_OF_CANDIDATE = 256
_DAEMONS_KEPT = 1024
_CALLS_OF_UNIT = 16384  # a hook that mounts in a loop must not eat the node's memory
_BEGINNINGS = frozenset({Decision.SHIM_START, Decision.RUNTIME, Decision.CNI_ADD, Decision.VOLUMES})
_SERVED = {
    Decision.SHIM_START: "containerd",
    Decision.CNI_ADD: "containerd",
    Decision.RUNTIME: "containerd-shim",
    Decision.VOLUMES: "kubelet",
}


class Lineages:
    """The processes of open births. `unit_for` says which unit a command line begins or continues."""

    def __init__(self, unit_for: Callable[[Exec, Command], Unit], unit_in_cgroup: Callable[[int], Unit | None]) -> None:
        self._unit_for = unit_for
        self._unit_in_cgroup = unit_in_cgroup
        self._processes: dict[ProcessKey, Process] = {}
        self._roots: dict[int, Process] = {}  # by PID: the youngest process that a daemon forked
        self._candidates: OrderedDict[ProcessKey, list[Call]] = OrderedDict()
        self._daemons: OrderedDict[ProcessKey, str] = OrderedDict()
        self.unattributed = 0  # records of processes that nobody told about, or of births that are over
        self.not_birth = 0
        self.candidates_dropped = 0

    def __len__(self) -> int:
        return len(self._processes)

    def fork(self, event: Fork) -> None:
        """A process was forked inside a lineage."""
        forker = self._processes.get((event.parent_pid, event.parent_start_ns))
        unit = forker.unit if forker else self._unit_in_cgroup(event.cgroup_id)
        if unit is None:
            self.unattributed += 1
            return
        key = (event.pid, event.process_start_ns)
        process = Process(key, (event.parent_pid, event.parent_start_ns), unit, event.process_start_ns, forker)
        process.vpid, process.clone_flags, process.records = event.vpid, event.clone_flags, 1
        process.inherited = forker.command if forker else None
        self._join(process, event.ns)

    def exec(self, event: Exec) -> Process | None:
        """A process was given a program. Returns it when a daemon forked it, that is, when a lineage begins with it."""
        process = self._processes.get((event.pid, event.process_start_ns))
        begins = process is None and event.decision in _BEGINNINGS
        process = process or (self._begin(event) if begins else self._adopt(event))
        if process is None:
            self.unattributed += 1
            return None
        process.records += 1
        process.execs += 1
        process.last_exec_ns = event.ns
        process.vpid = event.vpid or process.vpid
        unit = process.unit
        unit.last_ns = max(unit.last_ns, event.ns)
        if event.decision is Decision.ENTRY_POINT:
            process.entry = event
            unit.entry = unit.entry or process
        elif not begins:
            self._image(process, event)
        return process if begins else None

    def end(self, event: End) -> Process | None:
        """A process left its birth. Returns it, when it took part in one."""
        key = (event.pid, event.process_start_ns)
        if event.ending is Ending.NOT_BIRTH:
            self.not_birth += 1
            self._candidates.pop(key, None)
            return None
        process = self._processes.get(key)
        if process is None:
            # Most are containers' own programs, which outlive their birth by days: an end alone is nothing lost.
            return None
        process.records += 1
        if process.end is not None:
            process.exit = event if event.ending is Ending.EXIT and process.entry else process.exit
            return process
        process.end = event
        unit = process.unit
        unit.alive -= 1
        unit.last_ns = max(unit.last_ns, event.ns)
        if event.ending is Ending.HANDED_OVER:
            self._is_daemon(key, "containerd-shim")
        if unit.discarded:
            self.remove(process)
        return process

    def call(self, event: Call) -> None:
        """A drawn call of a lineage's process."""
        process = self._processes.get((event.pid, event.process_start_ns))
        if process is None:
            self.unattributed += 1
            return
        if self._notes(process, event.end_ns):
            process.calls.append(event)

    def wait(self, event: Wait) -> None:
        """A long call of a lineage's process."""
        process = self._processes.get((event.pid, event.process_start_ns))
        if process is None:
            self.unattributed += 1
            return
        if self._notes(process, event.end_ns):
            process.waits.append(event)

    def candidate_call(self, event: Call) -> None:
        """A call of a process that has yet to show by its first exec what it is."""
        key = (event.pid, event.process_start_ns)
        if key in self._processes:
            self.call(event)
            return
        calls = self._candidates.setdefault(key, [])
        if len(calls) < _CALLS_OF_CANDIDATE:
            calls.append(event)
        else:
            self.candidates_dropped += 1
        if len(self._candidates) > _CANDIDATES_KEPT:
            self._candidates.popitem(last=False)
            self.candidates_dropped += 1

    def takes_hand_over(self, call: Call) -> bool:
        """Take a daemon's call if a shim made its first runtime child by it: it began as part of the birth."""
        process = self._processes.get((call.pid, call.process_start_ns))
        if process is None or process.end is None or not process.handed_over:
            return False
        known = process.hand_over_call()
        if call.start_ns > process.end.ns or not call.child_pid or (known and known.start_ns > call.start_ns):
            return False
        process.calls.append(call)
        return True

    def root(self, call: Call) -> Process | None:
        """Return the lineage's first process that this clone of a daemon made."""
        process = self._roots.get(call.child_pid)
        return process if process and call.start_ns <= process.key[1] <= call.end_ns else None

    def service_of(self, call: Call) -> str | None:
        """Return which component a daemon is, as far as what it started tells."""
        return self._daemons.get((call.pid, call.process_start_ns))

    def remove(self, process: Process) -> None:
        """Forget a process whose birth is over."""
        self._processes.pop(process.key, None)
        if self._roots.get(process.key[0]) is process:
            del self._roots[process.key[0]]

    def _notes(self, process: Process, end_ns: int) -> bool:
        """Note that a call was told of, and return whether there is room for it."""
        unit = process.unit
        unit.last_ns = max(unit.last_ns, end_ns)
        if process.end is not None and not process.handed_over:
            unit.late += 1
        if unit.records == _CALLS_OF_UNIT:
            unit.dropped += 1
            return False
        unit.records += 1
        return True

    def _begin(self, event: Exec) -> Process:
        told = command(event)
        key = (event.pid, event.process_start_ns)
        unit = self._unit_for(event, told)
        process = Process(key, (event.parent_pid, event.parent_start_ns), unit, event.process_start_ns)
        process.images.append(Image(told, event.filename, event.arguments))
        process.calls = self._candidates.pop(key, [])
        self._join(process, event.ns)
        self._roots[event.pid] = process
        self._is_daemon(process.parent_key, _SERVED[event.decision])
        return process

    def _adopt(self, event: Exec) -> Process | None:
        """Take in a process whose fork was lost, when its parent or its container's cgroup says whose it is."""
        forker = self._processes.get((event.parent_pid, event.parent_start_ns))
        unit = forker.unit if forker else self._unit_in_cgroup(event.cgroup_id)
        if unit is None:
            return None
        key = (event.pid, event.process_start_ns)
        process = Process(key, (event.parent_pid, event.parent_start_ns), unit, event.process_start_ns, forker)
        process.inherited = forker.command if forker else None
        self._join(process, event.ns)
        return process

    def _image(self, process: Process, event: Exec) -> None:
        by_shim = process.forker is not None and process.forker.is_shim
        if not by_shim and event.decision is Decision.RUNTIME and process.forker is not None:
            # A plugin's or hook's helper with a runtime's verb (`ipset create`): the lineage's first arguments count.
            event = event._replace(decision=Decision.INHERITED)
        told = command(event)
        process.images.append(Image(told, event.filename, event.arguments))
        if by_shim and told.tool is Tool.RUNTIME and told.names_container:
            self._move(process, self._unit_for(event, told))

    def _join(self, process: Process, ns: int) -> None:
        self._processes[process.key] = process
        unit = process.unit
        unit.processes.append(process)
        unit.alive += 1
        unit.begins(process.first_ns)
        unit.last_ns = max(unit.last_ns, ns)

    def _move(self, process: Process, unit: Unit) -> None:
        if unit is process.unit:
            return
        process.unit.processes.remove(process)
        process.unit.alive -= 1
        process.unit = unit
        self._join(process, process.last_exec_ns)

    def _is_daemon(self, key: ProcessKey, service: str) -> None:
        self._daemons[key] = service
        self._daemons.move_to_end(key)
        if len(self._daemons) > _DAEMONS_KEPT:
            self._daemons.popitem(last=False)
