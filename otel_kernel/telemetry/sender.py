"""Keeps what is to be sent until the collector has it, and sends it in order."""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from otel_kernel.health import Counter, Health
from otel_kernel.telemetry.endpoint import Delivered, Outcome, Refused, Retry, Transport, one_line

BOUND_BYTES = 16 << 20  # some hundred births; what the memory of the agent allows for
COMPLAINT_INTERVAL_S = 60.0
RETRY_AFTER_LIMIT_S = 300.0

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


class Sender:
    """A bounded queue and the one thread that empties it. The caller never waits for the collector.

    Each request offered is in the end taken by the collector or counted: as refused, or as dropped.
    """

    def __init__(
        self, transport: Transport, health: Health, patience: Patience | None = None, *, bound_bytes: int = BOUND_BYTES
    ) -> None:
        self._transport = transport
        self._health = health
        self._patience = patience or Patience()
        self._bound_bytes = bound_bytes
        self._changed = threading.Condition()
        self._queue: deque[deque[bytes]] = deque()  # traces, each a queue of its requests
        self._busy = False  # the first request of the first trace is on its way
        self._bytes = 0
        self._ends_at: float | None = None  # time.monotonic(); set by flush
        self._complained_at: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name="otlp-sender", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """What the queue holds."""
        with self._changed:
            return self._bytes

    def offer(self, requests: Sequence[bytes]) -> None:
        """Queue the requests of one trace. When the bound is reached the oldest traces make room, whole and counted."""
        with self._changed:
            if self._ends_at is not None:
                self._health.add(Counter.EXPORT_DROPPED, len(requests))
            elif requests:
                self._queue.append(deque(requests))
                self._bytes += sum(map(len, requests))
                self._make_room()
                self._changed.notify_all()

    def flush(self, deadline_s: float) -> None:
        """Send what waits, for at most `deadline_s` seconds, and end. What is left then is dropped and counted."""
        with self._changed:
            self._ends_at = time.monotonic() + deadline_s
            self._changed.notify_all()
        self._thread.join(deadline_s)
        with self._changed:
            while self._queue:
                self._drop(0)
        self._transport.close()

    def _make_room(self) -> None:
        oldest = 1 if self._busy else 0  # what is on its way may arrive yet
        while self._bytes > self._bound_bytes and len(self._queue) > oldest:
            self._drop(oldest)

    def _drop(self, position: int) -> None:
        requests = self._queue[position]
        del self._queue[position]
        self._bytes -= sum(map(len, requests))
        self._health.add(Counter.EXPORT_DROPPED, len(requests))
        self._complain("dropped", "births that no collector took are dropped, the oldest first")

    def _run(self) -> None:
        while (request := self._next()) is not None:
            if self._deliver(request):
                self._done()

    def _next(self) -> bytes | None:
        """Wait for something to send; None when there is nothing more, or no more time."""
        with self._changed:
            self._busy = False
            while not self._queue and self._ends_at is None:
                self._changed.wait()
            if not self._queue or self._left_s() <= 0:
                return None
            self._busy = True
            return self._queue[0][0]

    def _done(self) -> None:
        with self._changed:
            if not self._queue:
                return  # flush gave up meanwhile, and counted it
            self._bytes -= len(self._queue[0].popleft())
            if not self._queue[0]:
                self._queue.popleft()

    def _deliver(self, request: bytes) -> bool:
        """Return whether the collector has decided on a request, however long it takes; False when the time is over."""
        failures = 0
        while (left_s := self._left_s()) > 0:
            outcome = self._attempt(request, min(self._patience.answer_s, left_s))
            if not isinstance(outcome, Retry):
                self._decided(outcome, failures)
                return True
            failures += 1
            self._health.add(Counter.EXPORT_RETRIES)
            self._complain("retry", f"the collector takes no births, they wait: {outcome.reason}")
            self._pause(self._patience.pause_s(failures) if outcome.after_s is None else outcome.after_s)
        return False

    def _attempt(self, request: bytes, timeout_s: float) -> Outcome:
        try:
            return self._transport.send(request, timeout_s)
        except Exception as error:  # noqa: BLE001 (the thread's boundary: one request must not end all sending)
            return Refused(one_line(f"{type(error).__name__}: {error}"))

    def _decided(self, outcome: Delivered | Refused, failures: int) -> None:
        if isinstance(outcome, Refused):
            self._health.add(Counter.EXPORT_REFUSED)
            self._complain("refused", f"the collector refuses births for good: {outcome.reason}")
            return
        if failures:
            log.info("the collector takes births again")
            self._complained_at.pop("retry", None)
        if outcome.rejected_spans or outcome.message:
            self._health.add(Counter.SPANS_REJECTED, outcome.rejected_spans)
            self._complain("rejected", f"the collector rejects {outcome.rejected_spans} spans: {outcome.message}")

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
