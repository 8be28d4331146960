"""Do two observers of one birth agree? Every difference as a line that a person can read."""

from collections.abc import Iterator
from difflib import unified_diff

from tests.agreement.expectation import Expectation, Opens, Step, Total
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
    drawn: set[int] = set()
    for span in birth.at("process"):
        pids = _pids(span)
        drawn.update(pids)
        totals = [expected.processes[pid] for pid in pids if pid in expected.processes]
        if len(totals) != len(pids):  # the serving shim, whose life is longer than the birth
            continue
        said = span.attributes.get("otel_kernel.process.syscalls")
        total = sum(totals, Total(0))
        if not total.allows(said):
            yield f"{span.name} {pids}: strace saw {total} calls, the agent says {said}"
        opens = sum((expected.opens[pid] for pid in pids), Opens())
        told = [span.attributes.get(f"otel_kernel.openat.{name}", 0) for name in ("count", "errors")]
        if not opens.allows(*told):
            yield f"{span.name} {pids}: strace saw {opens}, the agent says {told}"
    if missing := expected.processes.keys() - drawn:
        yield f"processes that the agent did not draw: {sorted(missing)}"


def _pids(span: Span) -> list[int]:
    return list(span.attributes.get("otel_kernel.process.pids") or [span.attributes["process.pid"]])


def _count_differences(expected: Expectation, birth: Birth) -> Iterator[str]:
    if not expected.syscalls.allows(birth.count("syscalls")):
        yield f"birth.syscalls: strace saw {expected.syscalls}, the agent says {birth.count('syscalls')}"
    for name, count in expected.counts.items():
        if birth.count(name) != count:
            yield f"birth.{name}: strace saw {count}, the agent says {birth.count(name)}"
