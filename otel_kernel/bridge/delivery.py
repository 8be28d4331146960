"""At most once: a message is posted when the ledger allows, and again only when it certainly was not taken."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from otel_kernel.bridge.answers import Again, Answer, Outcome
from otel_kernel.bridge.counts import Counts
from otel_kernel.bridge.ledger import Ledger, LedgerError
from otel_kernel.bridge.messages import Message

# About every second update of an existing object met a conflict, whatever the pause.
CONFLICT_ATTEMPTS = 12
CONFLICT_PAUSE_S = 0.02
SHORTEST_PAUSE_S = 1.0
REFUSED_PAUSE_S = 5.0  # at most, while nothing is lost by trying
AMBIGUOUS_PAUSE_S = 60.0


class Posts(Protocol):
    """What takes messages: the operator."""

    async def post(self, body: bytes) -> Answer:
        """Post one message and return what came of it."""


@dataclass(slots=True)
class Pause:
    """For how long the operator is left alone after it went wrong: from a second on, doubling.

    An operator that hangs makes every message ambiguous that it is sent: so it costs one a minute, not all of them.
    """

    ends_at: float = 0.0
    failures: int = 0

    def left_s(self) -> float:
        """Return the seconds until the next attempt is due."""
        return max(0.0, self.ends_at - time.monotonic())

    def begin(self, longest_s: float, wanted_s: float | None = None) -> float:
        """Begin one after a further failure. Returns its seconds: those wanted, or what is due and not too long."""
        pause_s = wanted_s or min(longest_s, SHORTEST_PAUSE_S * 2 ** min(self.failures, 10))
        self.failures += 1
        self.ends_at = time.monotonic() + pause_s
        return pause_s

    def end(self) -> None:
        """The operator answered as it should."""
        self.failures = 0
        self.ends_at = 0.0


class Delivery:
    """Posts messages one after the other: two at a time would only make conflicts of each other."""

    def __init__(self, ledger: Ledger, operator: Posts, counts: Counts, pause: Callable[[], Pause] = Pause) -> None:
        self._ledger = ledger
        self._operator = operator
        self._counts = counts
        self._one_at_a_time = asyncio.Lock()
        self.pause = pause()
        self.is_writable = True  # whether the ledger could be written the last time

    async def deliver(self, message: Message) -> float | None:
        """Post a message unless it was posted before.

        Returns None when it is done with, for good or bad and counted; else the seconds after which to come again.
        """
        async with self._one_at_a_time:
            try:
                if standing := self._ledger.standing(message):
                    self._counts.settled(message.kind, standing)
                    return None
                if left_s := self.pause.left_s():
                    return left_s
                self._ledger.intend(message)
            except LedgerError as error:
                return self._cannot_write(error)
            self.is_writable = True
            return await self._post(message)

    async def _post(self, message: Message) -> float | None:
        try:
            answer = await self._attempts(message)
        except asyncio.CancelledError:  # we are told to end while the operator has it
            self._settle(message, Answer(Outcome.AMBIGUOUS, "ended while the operator had not answered"))
            raise
        if isinstance(answer.verdict, Outcome):
            self._settle(message, answer)
            return None
        return self._withdraw(message, answer)

    async def _attempts(self, message: Message) -> Answer:
        for attempt in range(CONFLICT_ATTEMPTS):
            answer = await self._operator.post(message.body)
            if answer.verdict is not Again.CONFLICT:
                break
            self._counts.again[Again.CONFLICT] += 1
            await asyncio.sleep(CONFLICT_PAUSE_S * attempt)
        return answer

    def _settle(self, message: Message, answer: Answer) -> None:
        self._counts.settled(message.kind, str(answer.verdict), f"{message.subject}: {answer.words}")
        if answer.verdict is Outcome.AMBIGUOUS:
            self.pause.begin(AMBIGUOUS_PAUSE_S)
        else:
            self.pause.end()
        try:
            self._ledger.settle(message, Outcome(answer.verdict))
        except LedgerError as error:  # the intent stands, so it is not posted again all the same
            self._cannot_write(error)

    def _withdraw(self, message: Message, answer: Answer) -> float | None:
        self._counts.later(Again(answer.verdict), answer.words)
        pause_s = self.pause.begin(REFUSED_PAUSE_S, answer.retry_after_s)
        try:
            self._ledger.withdraw(message)
        except LedgerError as error:  # the intent stands: it was not posted and never will be
            self._cannot_write(error)
            self._counts.settled(message.kind, "unwritten", message.subject)
            return None
        return pause_s

    def _cannot_write(self, error: LedgerError) -> float:
        self.is_writable = False
        self._counts.complain("ledger", f"nothing is posted without a ledger: {error}")
        return SHORTEST_PAUSE_S
