"""The bridge's own counts, as Prometheus scrapes them. Every message told to it is counted once under its outcome."""

import logging
import os
import time
from collections import Counter
from pathlib import Path

from otel_kernel.bridge.answers import Again, Outcome
from otel_kernel.bridge.ledger import Standing
from otel_kernel.bridge.messages import Kind, NotPosted

COMPLAINT_INTERVAL_S = 60.0
OUTCOMES: tuple[str, ...] = (*Outcome, *Standing, *NotPosted, "unwritten")
PREFIX = "otel_kernel_bridge"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

log = logging.getLogger(__name__)


class Counts:
    """Counts since the start."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # signal, status
        self.messages = Counter({(kind, outcome): 0 for kind in Kind for outcome in OUTCOMES})
        self.again: Counter[str] = Counter(dict.fromkeys(Again, 0))
        self.steps_cut = 0
        self._complained_at: dict[str, float] = {}

    def settled(self, kind: Kind, outcome: str, words: str = "", count: int = 1) -> None:
        """Count messages that will not be looked at again, and say so of what was not posted."""
        self.messages[kind, outcome] += count
        if outcome not in (Outcome.POSTED, Outcome.SKIPPED, Standing.DUPLICATE, NotPosted.SYSTEM_NAMESPACE):
            self.complain(f"{kind} {outcome}", f"{kind}: {outcome}, not posted again{': ' if words else ''}{words}")

    def later(self, reason: Again, words: str) -> None:
        """Count an attempt that will be repeated."""
        self.again[reason] += 1
        self.complain(reason, f"the operator takes nothing now ({reason}), messages wait with the sender: {words}")

    def complain(self, about: str, message: str) -> None:
        """Log a warning, at most once a minute about the same."""
        now = time.monotonic()
        if now - self._complained_at.get(about, -COMPLAINT_INTERVAL_S) >= COMPLAINT_INTERVAL_S:
            self._complained_at[about] = now
            log.warning("%s", message)

    def exposition(self, ids_kept: int, is_waiting: bool) -> str:
        """Return all of it in Prometheus' text format."""
        messages = {f'kind="{kind}",outcome="{outcome}"': count for (kind, outcome), count in self.messages.items()}
        requests = {f'signal="{signal}",code="{code}"': count for (signal, code), count in self.requests.items()}
        again = {f'reason="{reason}"': count for reason, count in self.again.items()}
        families = (
            _family("messages_total", "counter", "births and throttling events by what became of them", messages),
            _family("requests_total", "counter", "OTLP requests by signal and status answered", requests),
            _family("retries_total", "counter", "attempts to post that were refused and are repeated", again),
            _family(
                "steps_cut_total", "counter", "steps that a birth's timeline had no room for", {"": self.steps_cut}
            ),
            _family("ids", "gauge", "ids of messages kept so that none is posted twice", {"": ids_kept}),
            _family("waiting", "gauge", "1 while the operator is given a pause", {"": int(is_waiting)}),
            _process(),
        )
        return "".join(families)


def _family(name: str, kind: str, meaning: str, samples: dict[str, int]) -> str:
    head = f"# HELP {PREFIX}_{name} {meaning}\n# TYPE {PREFIX}_{name} {kind}\n"
    lines = (f"{PREFIX}_{name}{f'{{{labels}}}' if labels else ''} {value}\n" for labels, value in samples.items())
    return head + "".join(lines)


def _process() -> str:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    cpu_s = time.process_time()
    return (
        "# HELP process_resident_memory_bytes Resident memory size in bytes.\n"
        "# TYPE process_resident_memory_bytes gauge\n"
        f"process_resident_memory_bytes {pages * os.sysconf('SC_PAGE_SIZE')}\n"
        "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n"
        "# TYPE process_cpu_seconds_total counter\n"
        f"process_cpu_seconds_total {cpu_s:.3f}\n"
    )
