"""At most once, whatever the operator answers and the disk allows."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_kernel.bridge.answers import Again, Answer, Outcome
from otel_kernel.bridge.counts import Counts
from otel_kernel.bridge.delivery import Delivery
from otel_kernel.bridge.ledger import Ledger, LedgerError
from otel_kernel.bridge.messages import Kind, Message
from tests.bridge.test_ledger import birth


class Script:
    """An operator that answers by a script, for answers that a server cannot be made to give in time."""

    def __init__(self, *answers: Outcome | Again) -> None:
        self._answers = list(answers)
        self.bodies: list[bytes] = []

    async def post(self, body: bytes) -> Answer:
        """Return the next answer, and POSTED after all of them."""
        self.bodies.append(body)
        await asyncio.sleep(0)
        return Answer(self._answers.pop(0) if self._answers else Outcome.POSTED)


def message(name: str) -> Message:
    """Return a message whose body tells whose it is."""
    return birth(name)._replace(body=name.encode())


async def delivered(delivery: Delivery, *names: str) -> list[bool]:
    """Deliver in turn, without the pauses; return which are done with."""
    results = []
    for name in names:
        results.append(await delivery.deliver(message(name)) is None)
        delivery.pause.ends_at = 0
    return results


def counted(counts: Counts) -> dict[str, int]:
    """Return how many births came to what."""
    return {outcome: count for (kind, outcome), count in counts.messages.items() if count and kind is Kind.POD_CREATION}


@pytest.mark.parametrize("outcome", list(Outcome))
def test_an_end_is_an_end(tmp_path: Path, outcome: Outcome) -> None:
    """What ended, however, is not posted again."""
    with Ledger(tmp_path) as ledger:
        operator, counts = Script(outcome), Counts()
        assert asyncio.run(delivered(Delivery(ledger, operator, counts), "a", "a", "a")) == [True] * 3
        assert operator.bodies == [b"a"]
        assert counted(counts) == {str(outcome): 1, "duplicate": 2}


@pytest.mark.parametrize("reason", [Again.UNREACHABLE, Again.API_DOWN, Again.BUSY, Again.MISCONFIGURED])
def test_what_was_not_taken_comes_again(tmp_path: Path, reason: Again) -> None:
    """It is posted until it is taken, and then no more."""
    with Ledger(tmp_path) as ledger:
        operator, counts = Script(reason, reason), Counts()
        found = asyncio.run(delivered(Delivery(ledger, operator, counts), "a", "a", "a", "a"))
        assert found == [False, False, True, True]
        assert operator.bodies == [b"a"] * 3
        assert counted(counts) == {"posted": 1, "duplicate": 1}
        assert counts.again[reason] == 2


def test_a_conflict_is_tried_at_once(tmp_path: Path) -> None:
    """About every second one conflicts; the sender need not hear of it."""
    with Ledger(tmp_path) as ledger:
        operator, counts = Script(*[Again.CONFLICT] * 6), Counts()
        assert asyncio.run(delivered(Delivery(ledger, operator, counts), "a")) == [True]
        assert len(operator.bodies) == 7
        assert counted(counts) == {"posted": 1}


def test_the_same_message_twice_at_once(tmp_path: Path) -> None:
    """A collector that did not wait brings it again while it is under way."""

    async def both(delivery: Delivery) -> None:
        await asyncio.gather(*(delivery.deliver(message("a")) for _ in range(5)))

    with Ledger(tmp_path) as ledger:
        operator, counts = Script(), Counts()
        asyncio.run(both(Delivery(ledger, operator, counts)))
        assert operator.bodies == [b"a"]
        assert counted(counts) == {"posted": 1, "duplicate": 4}


def test_an_operator_that_hangs_does_not_cost_all(tmp_path: Path) -> None:
    """After an ambiguous end the others wait with the sender, ever longer; a good answer ends it."""
    with Ledger(tmp_path) as ledger:
        operator, counts = Script(Outcome.AMBIGUOUS, Outcome.AMBIGUOUS, Outcome.AMBIGUOUS), Counts()
        delivery = Delivery(ledger, operator, counts)
        waits = []
        for name in "abc":
            assert asyncio.run(delivery.deliver(message(name))) is None
            waits.append(asyncio.run(delivery.deliver(message("others"))))
            delivery.pause.ends_at = 0
        assert operator.bodies == [b"a", b"b", b"c"]
        assert waits == sorted(waits, key=lambda wait: wait or 0)
        assert waits[0] is not None
        assert 0 < waits[0] <= 1
        assert waits[2] is not None
        assert waits[2] > 2
        assert asyncio.run(delivery.deliver(message("others"))) is None
        assert delivery.pause.failures == 0


def test_told_to_end_while_the_operator_has_it(tmp_path: Path) -> None:
    """Nobody knows whether it was taken, so it is not posted again."""

    class Hanging(Script):
        async def post(self, body: bytes) -> Answer:
            self.bodies.append(body)
            await asyncio.sleep(60)
            raise AssertionError

    async def ended(delivery: Delivery) -> None:
        task = asyncio.ensure_future(delivery.deliver(message("a")))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Ledger(tmp_path) as ledger:
        counts = Counts()
        asyncio.run(ended(Delivery(ledger, Hanging(), counts)))
        assert counted(counts) == {"ambiguous": 1}
        assert asyncio.run(delivered(Delivery(ledger, operator := Script(), counts), "a")) == [True]
        assert operator.bodies == []


def failing(method: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let one method of ledgers fail as on a full disk; call the result to end that."""

    def full(*_: object) -> None:
        raise LedgerError("database or disk is full")

    monkeypatch.setattr(Ledger, method, full)
    return monkeypatch.undo


def test_no_post_without_an_intent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk everything waits with the sender, and goes on when there is room."""
    with Ledger(tmp_path) as ledger:
        operator, counts = Script(), Counts()
        delivery = Delivery(ledger, operator, counts)
        room = failing("intend", monkeypatch)
        assert asyncio.run(delivered(delivery, "a", "b")) == [False, False]
        assert [delivery.is_writable] == [False]
        assert operator.bodies == []
        room()
        assert asyncio.run(delivered(delivery, "a", "b")) == [True, True]
        assert [delivery.is_writable] == [True]
        assert counted(counts) == {"posted": 2}


def test_an_outcome_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The intent stands: it was posted and is not posted again."""
    with Ledger(tmp_path) as ledger:
        operator, counts = Script(), Counts()
        room = failing("settle", monkeypatch)
        assert asyncio.run(delivered(Delivery(ledger, operator, counts), "a")) == [True]
        room()
        assert asyncio.run(delivered(Delivery(ledger, operator, counts), "a")) == [True]
        assert operator.bodies == [b"a"]


def test_an_intent_that_cannot_be_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not posted and never will be: lost, and counted."""
    with Ledger(tmp_path) as ledger:
        operator, counts = Script(Again.UNREACHABLE), Counts()
        failing("withdraw", monkeypatch)
        assert asyncio.run(delivered(Delivery(ledger, operator, counts), "a", "a")) == [True, True]
        assert operator.bodies == [b"a"]
        assert counted(counts) == {"unwritten": 1, "duplicate": 1}
