"""What is remembered of messages, and for how long."""

import sqlite3
from pathlib import Path

import pytest

from otel_kernel.bridge.answers import Outcome
from otel_kernel.bridge.ledger import KEEP_S, NAME, Ledger, LedgerError, Standing
from otel_kernel.bridge.messages import Kind, Message

DAY_NS = 86_400 * 10**9
NOW_NS = 100 * DAY_NS


def birth(name: str, unix_ns: int = NOW_NS) -> Message:
    """Return a birth's message."""
    return Message(name, Kind.POD_CREATION, f"shop/{name}", unix_ns, b"{}")


def throttle(pod: str, unix_ns: int) -> Message:
    """Return a throttling event's message."""
    return Message(f"{pod}@{unix_ns}", Kind.CPU_THROTTLE, f"shop/{pod}", unix_ns, b"{}")


def posted(ledger: Ledger, message: Message) -> None:
    """Note that a message was posted."""
    assert ledger.standing(message) is None
    ledger.intend(message)
    ledger.settle(message, Outcome.POSTED)


def test_a_message_is_known_from_its_intent_on(tmp_path: Path) -> None:
    """Also to the next process; taken back it is free again."""
    with Ledger(tmp_path) as ledger:
        ledger.intend(birth("a"))
        ledger.intend(birth("b"))
        ledger.withdraw(birth("b"))
        posted(ledger, birth("c"))
    with Ledger(tmp_path) as ledger:
        assert ledger.standing(birth("a")) is Standing.DUPLICATE
        assert ledger.standing(birth("b")) is None
        assert ledger.settle_intents() == {Kind.POD_CREATION: 1}
        assert ledger.settle_intents() == {}
        assert ledger.standing(birth("a")) is Standing.DUPLICATE
        assert ledger.count() == 2


def test_one_bridge_for_one_directory(tmp_path: Path) -> None:
    """A second one would not see what the first is about to post."""
    with Ledger(tmp_path), pytest.raises(LedgerError, match="another bridge uses it"), Ledger(tmp_path):
        pass
    with Ledger(tmp_path):
        pass


def test_throttling_goes_forward_only(tmp_path: Path) -> None:
    """The operator keeps the last it was told of a pod, so nothing older may follow; other pods are apart."""
    with Ledger(tmp_path) as ledger:
        posted(ledger, throttle("web", 20))
        assert ledger.standing(throttle("web", 10)) is Standing.STALE
        assert ledger.standing(throttle("db", 10)) is None
        assert ledger.standing(throttle("web", 30)) is None
        ledger.intend(throttle("web", 40))
        ledger.settle(throttle("web", 40), Outcome.SKIPPED)
        assert ledger.standing(throttle("web", 30)) is None


def test_ids_are_kept_for_seven_days(tmp_path: Path) -> None:
    """What was forgotten, and all that is as old, is never posted again."""
    with Ledger(tmp_path) as ledger:
        for day in range(10):
            posted(ledger, birth(f"day {day}", NOW_NS - day * DAY_NS))
        ledger.prune(NOW_NS)
        assert ledger.count() == KEEP_S // 86_400 + 1
        assert ledger.standing(birth("day 9", NOW_NS - 9 * DAY_NS)) is Standing.EXPIRED
        assert ledger.standing(birth("another", NOW_NS - 8 * DAY_NS)) is Standing.EXPIRED
        assert ledger.standing(birth("day 7", NOW_NS - 7 * DAY_NS)) is Standing.DUPLICATE
        assert ledger.standing(birth("another", NOW_NS - 7 * DAY_NS)) is None
    with Ledger(tmp_path) as ledger:
        assert ledger.standing(birth("day 9", NOW_NS - 9 * DAY_NS)) is Standing.EXPIRED


def test_the_number_of_ids_is_bounded(tmp_path: Path) -> None:
    """The oldest go first, and what is as old as they were is never posted again."""
    with Ledger(tmp_path, keep_rows=100) as ledger:
        for at in range(150):
            posted(ledger, birth(f"{at}", NOW_NS + at))
        ledger.prune(NOW_NS)
        assert ledger.count() == 100
        assert ledger.standing(birth("49", NOW_NS + 49)) is Standing.EXPIRED
        assert ledger.standing(birth("50", NOW_NS + 50)) is Standing.DUPLICATE


def test_a_clock_that_jumped_forgets_only_what_it_kept(tmp_path: Path) -> None:
    """Once the clock is right again, births are posted as ever."""
    with Ledger(tmp_path) as ledger:
        posted(ledger, birth("before"))
        ledger.prune(NOW_NS * 50)
        assert ledger.standing(birth("before")) is Standing.EXPIRED
        assert ledger.standing(birth("after", NOW_NS + 1)) is None


def test_it_prunes_by_itself(tmp_path: Path) -> None:
    """Whoever posts keeps it bounded."""
    with Ledger(tmp_path, keep_rows=10) as ledger:
        for at in range(1001):
            ledger.intend(birth(f"{at}", NOW_NS * 500 + at))
            ledger.settle(birth(f"{at}"), Outcome.POSTED)
        assert ledger.count() <= 12


def test_what_cannot_be_a_ledger(tmp_path: Path) -> None:
    """Each is one line, whatever is wrong with the directory."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / NAME).write_bytes(b"no database " * 1000)
    (tmp_path / "newer").mkdir()
    database = sqlite3.connect(tmp_path / "newer" / NAME)
    database.execute("PRAGMA user_version = 9")
    database.close()
    for name in ("file", "garbage", "newer"):
        with pytest.raises(LedgerError) as caught, Ledger(tmp_path / name):
            pass
        assert "\n" not in str(caught.value)
