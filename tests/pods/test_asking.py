"""How sources over the network are asked again, and what is said of their failures."""

import logging
from collections.abc import Iterator

import pytest

from otel_kernel.health import Health
from otel_kernel.pods.answers import Answers
from otel_kernel.pods.asking import Backoff, Standing, lines
from otel_kernel.pods.kube_lookups import Rate
from tests.births.story import pod_facts


def test_waits_double_up_to_a_limit_and_begin_anew() -> None:
    """Each is a random part of its limit."""
    backoff = Backoff(first_s=0.1, longest_s=5)
    waits = [backoff.next_s() for _ in range(40)]
    for number, wait_s in enumerate(waits):
        most_s = min(5, 0.1 * 2**number)
        assert most_s / 2 <= wait_s <= most_s
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_a_failure_is_said_once_and_counted_always(caplog: pytest.LogCaptureFixture) -> None:
    """Until the source answers again."""
    health = Health()
    standing = Standing("kube-api", health)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            standing.failed("forbidden", "403\nForbidden")
        standing.failed("timeout", "slow")
        standing.answered()
        standing.answered()
        standing.failed("forbidden", "403")
    assert [record.getMessage() for record in caplog.records] == [
        "kube-api: 403 Forbidden", "kube-api: slow", "kube-api answers again", "kube-api: 403",
    ]  # fmt: skip
    assert health.failures() == {("kube-api", "forbidden"): 4, ("kube-api", "timeout"): 1}
    assert health.answers() == {"kube-api": 2}


def test_lines_of_a_stream_come_whole() -> None:
    """However the stream was cut; an endless one is refused."""

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 10

    assert list(lines(iter([b"a", b"b\n\nc", b"d\ne"]), 100)) == [b"ab", b"cd"]
    with pytest.raises(ValueError, match="more than 100 bytes"):
        list(lines(endless(), 100))


def test_answers_wake_who_waits_for_them() -> None:
    """The descriptor is readable while something is there."""
    answers = Answers()
    assert answers.take() == []
    told = pod_facts("app")
    answers.put(told)
    answers.put(told)
    assert answers.take() == [told, told]
    assert answers.take() == []
    answers.close()


def test_answers_that_nobody_takes_are_counted() -> None:
    """The memory of a stuck agent does not grow."""
    answers = Answers()
    for _ in range(5000):
        answers.put(pod_facts("app"))
    assert answers.dropped == 5000 - len(answers.take())
    assert answers.dropped > 0
    answers.close()


def test_a_rate_allows_a_few_at_once() -> None:
    """And then so many a second."""
    rate = Rate(per_s=2, at_once=3)
    assert [rate.allows(100) for _ in range(4)] == [True, True, True, False]
    assert [rate.allows(101) for _ in range(3)] == [True, True, False]
