"""The agent's own counters."""

from threading import Thread

import pytest

from otel_kernel.health import Counter, Health


def test_every_counter_begins_at_zero() -> None:
    """What never happened is counted too: as 0."""
    assert set(Health().snapshot().items()) == {(counter, 0) for counter in Counter}


def test_add_from_threads() -> None:
    """No occurrence is lost when several threads count at once."""
    health = Health()

    def count() -> None:
        for _ in range(1000):
            health.add(Counter.BIRTHS)

    threads = [Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert health.snapshot()[Counter.BIRTHS] == 4000


def test_counters_never_fall() -> None:
    """A total that was read late does not lower a counter, and a negative count is refused."""
    health = Health()
    health.reach(Counter.EVENTS_LOST, 7)
    health.reach(Counter.EVENTS_LOST, 5)
    assert health.snapshot()[Counter.EVENTS_LOST] == 7
    with pytest.raises(ValueError, match="EVENTS_LOST"):
        health.add(Counter.EVENTS_LOST, -1)


def test_snapshot_stands_still() -> None:
    """A snapshot does not change when counting goes on."""
    health = Health()
    before = health.snapshot()
    health.add(Counter.BIRTHS)
    assert before[Counter.BIRTHS] == 0
