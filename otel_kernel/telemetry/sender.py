"""Keeps what is to be sent until the collector has it, and sends it in order."""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from otel_kernel.health import Health
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.telemetry.endpoint import Delivered, Outcome, Refused, Retry, Transport, one_line
from otel_kernel.telemetry.signals import TRACES, Signal

COMPLAINT_INTERVAL_S = 60.0
RETRY_AFTER_LIMIT_S = 300.0
NS_PER_S = 1_000_000_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for an answer, and between attempts: from `initial_s`, doubling, to `maximum_s`, each +-20 %."""

    answer_s: float = 10.0
    initial_s: float = 0.5
    maximum_s: float = 15.0

    def pause_s(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row, at least one."""
        spread = random.uniform(0.8, 1.2)  # noqa: S311 (to keep many agents from knocking at once, not for secrecy)
        return spread * float(min(self.maximum_s, self.initial_s * 2 ** min(failures - 1, 30)))


@dataclass(frozen=True, slots=True)
class _Offered:
    """What was offered together and is dropped together: the requests of one trace, or of one collection of metrics."""

    requests: deque[bytes]
    at_ns: int  # boot time: the collector's clock goes on while this machine sleeps

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.requests))


class Sender:
    """A bounded queue for one signal, and the one thread that empties it. The caller never waits for the collector.

    Each request offered is in the end taken by the collector or counted: as refused, as dropped, or as expired.
    """

    def __init__(
        self, transport: Transport, health: Health, patience: Patience | None = None, signal: Signal = TRACES
    ) -> None:
        self._transport = transport
        self._health = health
        self._patience = patience or Patience()
        self._signal = signal
        self._changed = threading.Condition()
        self._queue: deque[_Offered] = deque()
        self._busy = False  # the first request of the first offer is on its way
        self._bytes = 0
        self._ends_at: float | None = None  # time.monotonic(); set by end
        self._complained_at: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name=f"otlp-{signal.subject}", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """What the queue holds."""
        with self._changed:
            return self._bytes

    def offer(self, requests: Sequence[bytes]) -> None:
        """Queue what belongs together. Over the bound the oldest offers make room, whole and counted, never this."""
        with self._changed:
            if self._ends_at is not None:
                self._health.add(self._signal.counters.dropped, len(requests))
            elif requests:
                self._queue.append(_Offered(deque(requests), boot_ns()))
                self._bytes += sum(map(len, requests))
                self._make_room()
                self._changed.notify_all()

    def end(self, deadline_s: float) -> None:
        """Take no more, and stop trying after `deadline_s` seconds. Does not wait."""
        with self._changed:
            if self._ends_at is None:
                self._ends_at = time.monotonic() + deadline_s
                self._changed.notify_all()

    def flush(self, deadline_s: float) -> None:
        """Send what waits, for at most `deadline_s` seconds, and end. What is left then is dropped and counted."""
        self.end(deadline_s)
        self._thread.join(deadline_s)
        with self._changed:
            while self._queue:
                self._drop(0)
        self._transport.close()

    def _make_room(self) -> None:
        oldest = 1 if self._busy else 0  # what is on its way may arrive yet
        # The newest stays, whatever its size: it would be of no use to lose each one that is larger than the bound.
        while self._bytes > self._signal.bound_bytes and len(self._queue) > oldest + 1:
            self._drop(oldest)

    def _drop(self, position: int) -> None:
        offered = self._taken_out(position)
        self._health.add(self._signal.counters.dropped, len(offered.requests))
        self._complain("dropped", f"{self._signal.subject} that no collector took are dropped, the oldest first")

    def _drop_expired(self) -> None:
        while self._queue and self._is_expired(self._queue[0]):
            offered = self._taken_out(0)
            self._health.add(self._signal.counters.expired, len(offered.requests))
            self._complain("expired", f"{self._signal.subject} that no collector took are too old now and dropped")

    def _taken_out(self, position: int) -> _Offered:
        offered = self._queue[position]
        del self._queue[position]
        self._bytes -= offered.size_bytes
        return offered

    def _is_expired(self, offered: _Offered) -> bool:
        lifetime_s = self._signal.lifetime_s
        return lifetime_s is not None and boot_ns() - offered.at_ns > lifetime_s * NS_PER_S

    def _run(self) -> None:
        while (offered := self._next()) is not None:
            if self._deliver(offered):
                self._done()

    def _next(self) -> _Offered | None:
        """Wait for something to send; None when there is nothing more, or no more time."""
        with self._changed:
            self._busy = False
            self._drop_expired()
            while not self._queue and self._ends_at is None:
                self._changed.wait()
            if not self._queue or self._left_s() <= 0:
                return None
            self._busy = True
            return self._queue[0]

    def _done(self) -> None:
        with self._changed:
            if not self._queue:
                return  # flush gave up meanwhile, and counted it
            requests = self._queue[0].requests
            self._bytes -= len(requests.popleft())
            if not requests:
                self._queue.popleft()

    def _deliver(self, offered: _Offered) -> bool:
        """Return whether the collector has decided on the first request; False when its time or ours is over."""
        request = offered.requests[0]
        failures = 0
        while (left_s := self._left_s()) > 0 and not self._is_expired(offered):
            outcome = self._attempt(request, min(self._patience.answer_s, left_s))
            if not isinstance(outcome, Retry):
                self._decided(outcome, failures)
                return True
            failures += 1
            self._health.add(self._signal.counters.retries)
            self._complain("retry", f"the collector takes no {self._signal.subject}, they wait: {outcome.reason}")
            self._pause(self._patience.pause_s(failures) if outcome.after_s is None else outcome.after_s)
        return False

    def _attempt(self, request: bytes, timeout_s: float) -> Outcome:
        try:
            return self._transport.send(request, timeout_s)
        except Exception as error:  # noqa: BLE001 (the thread's boundary: one request must not end all sending)
            return Refused(one_line(f"{type(error).__name__}: {error}"))

    def _decided(self, outcome: Delivered | Refused, failures: int) -> None:
        if isinstance(outcome, Refused):
            self._health.add(self._signal.counters.refused)
            self._complain("refused", f"the collector refuses {self._signal.subject} for good: {outcome.reason}")
            return
        if failures:
            log.info("the collector takes %s again", self._signal.subject)
            self._complained_at.pop("retry", None)
        if outcome.rejected or outcome.message:
            self._health.add(self._signal.counters.rejected, max(0, outcome.rejected))
            rejected = f"{outcome.rejected} {self._signal.items}"
            self._complain("rejected", f"the collector rejects {rejected}: {outcome.message}")

    def _left_s(self) -> float:
        with self._changed:  # reentrant
            return self._patience.answer_s if self._ends_at is None else self._ends_at - time.monotonic()

    def _pause(self, pause_s: float) -> None:
        """Wait before the next attempt; the wish to end cuts it short, so that one more attempt is made at once."""
        with self._changed:
            if self._ends_at is None:
                self._changed.wait_for(lambda: self._ends_at is not None, min(pause_s, RETRY_AFTER_LIMIT_S))
                return
        time.sleep(max(0.0, min(pause_s, self._left_s())))

    def _complain(self, kind: str, message: str) -> None:
        now = time.monotonic()
        if now - self._complained_at.get(kind, -COMPLAINT_INTERVAL_S) >= COMPLAINT_INTERVAL_S:
            self._complained_at[kind] = now
            log.warning("%s", message)
