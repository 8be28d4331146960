"""What failed, and why: by exit codes and missing entry points, never by an errno alone (design section 3).

Masked-path mounts fail in every healthy birth, and an entry point that does not exist never shows a failed execve.
"""

from otel_kernel.births.model import Birth, Unit
from otel_kernel.births.process import Process
from otel_kernel.kernel.events import Ending


def code_of(exit_status: int) -> int:
    """Return an exit status of wait(2) as shells tell it: 128 + N for signal N."""
    signal = exit_status & 0x7F
    return 128 + signal if signal else exit_status >> 8 & 0xFF


def exited(exit_status: int) -> str | None:
    """Return what an exit status says of a failure, None for success."""
    signal = exit_status & 0x7F
    if signal:
        return f"killed by signal {signal}"
    return f"exit code {code_of(exit_status)}" if code_of(exit_status) else None


def exit_status(stages: list[Process]) -> int | None:
    """Return the last stage's exit status, else the first that is not zero; None while none says."""
    told = [
        process.end.exit_status if process.end is not None and process.end.ending is Ending.EXIT else None
        for process in stages
    ]
    return told[-1] if told[-1] is not None else next((status for status in told if status), None)


def failures(birth: Birth, *, lossy: bool) -> dict[Unit, str]:
    """Return why units ended without an entry point. When events were lost only an exit code proves that."""
    told = {}
    for unit in birth.units:
        if unit.is_volumes or not unit.has_ended or not unit.was_begun:
            continue
        blamed = _blamed(unit)
        if blamed is not None:
            told[unit] = f"ended without an entry point: {blamed}"
        elif not lossy and not (unit.is_held_by_files and _is_followed(birth, unit)):
            told[unit] = "ended without an entry point"
    return told


def of_birth(birth: Birth, failed: dict[Unit, str]) -> str | None:
    """Return why a birth failed: the last attempt at its sandbox, or at one of its containers."""
    last: dict[object, Unit] = {}
    for unit in birth.in_order:
        if not unit.is_volumes:
            last[unit if unit.is_container and not unit.identity.container_name else unit.name] = unit
    reasons = [f"{unit.name} {failed[unit]}" for unit in last.values() if unit in failed]
    for unit, _, ended in birth.runs():
        # Who deletes a pod has its programs killed: that is no failure of its birth.
        killed = birth.taken_down and ended.exit_status & 0x7F
        if last.get(unit.name, unit) is unit and ended.exit_status and not killed:
            reasons.append(f"{unit.name}: {exited(ended.exit_status)}")
    return "; ".join(reasons) or None


def unresolved(birth: Birth) -> str:
    """Return why nobody could tell the pod."""
    reasons = (unit.identity.failure for unit in birth.units)
    return f"unresolved: {next((reason for reason in reasons if reason), 'no source named its pod')}"


def _is_followed(birth: Birth, sandbox: Unit) -> bool:
    """Whether a container ran after this sandbox, and no other sandbox had come between."""
    after = [unit for unit in birth.in_order if unit.first_ns > sandbox.first_ns and not unit.is_volumes]
    return bool(after) and after[0].is_container and any(unit.entry for unit in after if unit.is_container)


def _blamed(unit: Unit) -> str | None:
    """Return the process that failed last: the runtime that waited rather than its init."""
    failed = [process for process in unit.processes if exit_status([process])]
    if not failed:
        return None
    process = max(failed, key=lambda process: process.end_ns)
    name = process.command.display_name if process.command else "a process"
    return f"{name}: {exited(exit_status([process]) or 0)}"
