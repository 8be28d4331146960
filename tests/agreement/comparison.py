"""Do two observers of one birth agree? Every difference as a line that a person can read."""

from collections.abc import Iterator
from difflib import unified_diff

from tests.agreement.expectation import Expectation, Step, total
from tests.agreement.otlp_birth import Birth, Span


def differences(expected: Expectation, birth: Birth) -> list[str]:
    """Return where the agent's trace differs from what strace saw; empty when they agree."""
    return [
        *_thread_differences(expected.threads, _threads(birth)),
        *_process_differences(expected, birth),
        *_count_differences(expected, birth),
    ]


def _threads(birth: Birth) -> dict[int, list[Step]]:
    threads: dict[int, list[Step]] = {}
    for call in birth.at("call"):
        step = (call.attributes["otel_kernel.syscall.name"], call.attributes.get("otel_kernel.syscall.return_value"))
        threads.setdefault(call.attributes["thread.id"], []).append(step)
    return threads


def _thread_differences(expected: dict[int, list[Step]], told: dict[int, list[Step]]) -> Iterator[str]:
    for thread in sorted(expected.keys() | told.keys()):
        seen = [_line(step) for step in expected.get(thread, [])]
        said = [_line(step) for step in told.get(thread, [])]
        yield from unified_diff(seen, said, f"thread {thread}, strace", f"thread {thread}, agent", n=2, lineterm="")


def _line(step: Step) -> str:
    name, value = step
    return f"{name} = {'?' if value is None else value}"


def _process_differences(expected: Expectation, birth: Birth) -> Iterator[str]:
    drawn = {pid: span for span in birth.at("process") for pid in _pids(span)}
    if drawn.keys() != expected.processes.keys():
        yield f"processes: strace saw {sorted(expected.processes)}, the agent drew {sorted(drawn)}"
        return
    for span in birth.at("process"):
        counts = [expected.processes[pid] for pid in _pids(span)]
        pairs = {
            "process.syscalls": total(count.syscalls for count in counts),
            "openat.count": total(count.opens for count in counts),
            "openat.errors": total(count.failed_opens for count in counts),
        }
        for name, count in pairs.items():
            said = span.attributes.get(f"otel_kernel.{name}", 0)
            if said not in count:
                doubtful = ", ".join(f"{call.thread} {call.name}" for of in counts for call in of.undetermined)
                because = f" (undetermined: {doubtful})" if doubtful else ""
                yield f"{span.name} {_pids(span)}, {name}: strace saw {count}{because}, the agent says {said}"


def _pids(span: Span) -> list[int]:
    return list(span.attributes.get("otel_kernel.process.pids") or [span.attributes["process.pid"]])


def _count_differences(expected: Expectation, birth: Birth) -> Iterator[str]:
    for name, count in expected.counts.items():
        if birth.count(name) not in count:
            yield f"birth.{name}: strace saw {count}, the agent says {birth.count(name)}"
    drawn = sum(span.attributes.get("otel_kernel.process.syscalls", 0) for span in birth.at("process"))
    if birth.count("syscalls") != drawn:  # and each of the processes is compared
        yield f"birth.syscalls: the processes make {drawn}, the agent says {birth.count('syscalls')}"
