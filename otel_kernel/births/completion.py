"""When a birth is over: known, quiet, or at the timeout (design section 3)."""

from otel_kernel.births.arguments import Tool
from otel_kernel.births.model import Birth, Completion, Kind, Unit

_JUST_STARTED_NS = 10_000_000_000


def is_known(birth: Birth) -> bool:
    """Return whether every container of the pod's spec has started."""
    expected = birth.pod.expected if birth.kind is Kind.BIRTH else None
    if not expected:
        return False
    started = {unit.identity.container_name for unit in birth.containers if unit.entry is not None}
    return expected <= started and all(unit.alive == 0 for unit in birth.units)


def may_be_quiet(birth: Birth, *, lossy: bool) -> bool:
    """Return whether the quiet period counts: cgroup, volumes and sandbox alone never begin it.

    What still runs without an entry point keeps a birth open, unless events were lost: then the end may be among them.
    """
    if any(unit.is_open and not unit.is_volumes for unit in birth.units) and not lossy:
        return False
    if birth.cgroup_removed:
        return True
    failed = any(unit.has_ended for unit in birth.containers)
    if birth.kind is Kind.BIRTH and birth.pod.expected and not is_known(birth):
        return failed
    begun = birth.units if birth.kind is Kind.SANDBOX_RESTART else birth.containers
    return failed or any(unit.entry is not None or unit.has_ended for unit in begun)


def is_half_seen(birth: Birth, started_ns: int, *, lossy: bool) -> bool:
    """Return whether a birth had begun before this agent did (boot time): its counts say nothing then."""
    if birth.kind is Kind.BIRTH and birth.pod.had_cgroup:
        return True
    # What lacks later on, or when events were lost, was not missed for that reason.
    early = [unit for unit in birth.units if unit.processes and unit.first_ns < started_ns + _JUST_STARTED_NS]
    alone = not birth.sandboxes
    return not lossy and any(_lacks_beginning(unit, alone=alone) for unit in early if not unit.is_volumes)


def _lacks_beginning(unit: Unit, *, alone: bool) -> bool:
    """Return whether the first of a unit went by: a runtime, or what containerd calls before it.

    It begins each sandbox with CNI or a shim. A container it begins with a shim up to version 1.7, and later with the
    runtime at once: that tells only where the sandbox's birth was not seen, and then in doubt against us.
    """
    if not unit.was_begun:
        return True
    tools = {image.command.tool for process in unit.processes for image in process.images}
    begins = unit.is_sandbox or alone
    return begins and unit.identity.runtime_name == "containerd" and not tools & {Tool.SHIM, Tool.CNI}


def last_ns(birth: Birth) -> int:
    """Return the time of the last thing that happened in a birth."""
    return max((birth.last_ns, birth.first_ns, *(unit.last_ns for unit in birth.units)))


def deadline_ns(birth: Birth, quiet_ns: int, timeout_ns: int, *, lossy: bool) -> tuple[int, Completion]:
    """Return when a birth is over if nothing more happens, and why it then is."""
    timeout = (birth.first_ns + timeout_ns, Completion.TIMEOUT)
    if is_known(birth):
        return last_ns(birth), Completion.KNOWN
    if may_be_quiet(birth, lossy=lossy):
        return min((last_ns(birth) + quiet_ns, Completion.QUIET), timeout)
    return timeout
