"""What the sender promises, against real collectors that go down, are slow, or refuse."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import grpc
import pytest

from otel_kernel.health import Counter, Health
from otel_kernel.telemetry.endpoint import Delivered, OtlpEndpoint, Outcome, Refused, Retry, open_transport
from otel_kernel.telemetry.sender import Patience, Sender
from otel_kernel.telemetry.signals import LOGS, METRICS, TRACES, Signal
from tests.telemetry.collectors import Answer, Received, grpc_collector, http_collector, until

Protocol = Literal["grpc", "http/protobuf"]
IMPATIENT = Patience(answer_s=1.0, initial_s=0.02, maximum_s=0.1)


def request(number: int, size: int = 0) -> bytes:
    """Return bytes that are a valid request, large and recognisable: a field unknown to the protocol."""
    name = str(number).encode()
    body = name + b"." * max(0, size - len(name))
    length = len(body)
    return b"\xa2\x06" + bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14]) + body


@contextmanager
def sender_to(
    port: int, protocol: Protocol = "http/protobuf", signal: Signal = TRACES
) -> Iterator[tuple[Sender, Health]]:
    """Run a sender to a receiver on this port."""
    url = f"http://127.0.0.1:{port}" + ("/v1/traces" if protocol == "http/protobuf" else "")
    health = Health()
    sender = Sender(open_transport(OtlpEndpoint(url, protocol)), health, IMPATIENT, signal)
    try:
        yield sender, health
    finally:
        sender.flush(0)


class Scripted:
    """A transport that does what a test says."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self.outcomes = list(outcomes)
        self.sent: list[bytes] = []
        self.timeouts_s: list[float] = []
        self.closed = False

    def send(self, request: bytes, timeout_s: float) -> Outcome:
        """Give the next outcome, and success after the last."""
        self.timeouts_s.append(timeout_s)
        outcome = self.outcomes.pop(0) if self.outcomes else Delivered()
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, Delivered):
            self.sent.append(request)
        return outcome

    def close(self) -> None:
        """Note it."""
        self.closed = True


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_births_of_an_outage_arrive_in_order(protocol: Protocol) -> None:
    """What was offered while the collector was down is there once it is up, in order, each once."""
    collector = grpc_collector if protocol == "grpc" else http_collector
    first, second = Received(), Received()
    with collector(first) as port, sender_to(port, protocol) as (sender, _):
        sender.offer((request(0),))
        until(lambda: sender.waiting_bytes == 0)
    with sender_to(port, protocol) as (sender, health):
        for number in range(1, 11):
            sender.offer((request(number), request(number + 100)))
        until(lambda: health.snapshot()[Counter.EXPORT_RETRIES] >= 3)
        with collector(second, port):
            until(lambda: sender.waiting_bytes == 0)
    expected = [request(number + part) for number in range(1, 11) for part in (0, 100)]
    assert second.requests == expected
    assert health.snapshot()[Counter.EXPORT_DROPPED] == 0


def test_a_collector_that_goes_away_and_comes_back() -> None:
    """The same sender goes on after the collector was restarted between two births."""
    before, after = Received(), Received()
    with http_collector(before) as port:
        running = sender_to(port)
        sender, _ = running.__enter__()
        sender.offer((request(1),))
        until(lambda: sender.waiting_bytes == 0)
    sender.offer((request(2),))
    with http_collector(after, port):
        until(lambda: sender.waiting_bytes == 0)
    running.__exit__(None, None, None)
    assert after.requests == [request(2)]


def test_offering_never_waits_for_a_slow_collector() -> None:
    """A thousand births are taken in at once while the collector sits on the first."""
    with http_collector(Received([Answer(delay_s=2)])) as port, sender_to(port) as (sender, _):
        before_s = time.monotonic()
        for number in range(1000):
            sender.offer((request(number),))
        assert time.monotonic() - before_s < 1.5


def test_the_oldest_births_make_room_whole_and_counted() -> None:
    """Over the bound the oldest traces go, all requests of each, never half a trace, and every request is counted."""
    received = Received([Answer(503)] * 3)
    with (
        http_collector(received) as port,
        sender_to(port, signal=replace(TRACES, bound_bytes=100_000)) as (sender, health),
    ):
        sender.offer((request(0, 100),))
        until(lambda: received.attempts >= 1)  # on its way: it stays
        for number in range(1, 11):
            sender.offer((request(number, 10_000), request(number + 100, 10_000)))
        assert sender.waiting_bytes <= 100_000
        until(lambda: sender.waiting_bytes == 0)
    kept = [body[5:].rstrip(b".") for body in received.requests]
    assert kept == [b"0"] + [str(number + part).encode() for number in range(7, 11) for part in (0, 100)]
    assert health.snapshot()[Counter.EXPORT_DROPPED] == 2 * 6


def test_the_newest_stays_whatever_its_size() -> None:
    """What is larger than the bound by itself is sent if nothing newer comes before that, and is counted otherwise."""
    received = Received([Answer(503)] * 3)
    signal = replace(METRICS, bound_bytes=1000)
    with http_collector(received) as port, sender_to(port, signal=signal) as (sender, health):
        sender.offer((request(0),))
        until(lambda: received.attempts >= 1)  # on its way: it stays
        sender.offer((request(1, 600), request(2, 600)))
        sender.offer((request(3, 600), request(4, 600)))
        until(lambda: sender.waiting_bytes == 0)
    assert received.requests == [request(0), request(3, 600), request(4, 600)]
    assert health.snapshot()[Counter.METRICS_DROPPED] == 2


def test_metrics_that_have_become_too_old_are_not_sent() -> None:
    """After their lifetime metrics are counted instead of sent, what came later arrives, and births wait on."""
    received = Received()
    signal = replace(METRICS, lifetime_s=0.5)
    with http_collector(received) as port:
        pass  # from now on nobody answers there
    with sender_to(port, signal=signal) as (sender, health), sender_to(port) as (births, births_health):
        sender.offer((request(1), request(2)))
        births.offer((request(10),))
        until(lambda: health.snapshot()[Counter.METRICS_EXPIRED] == 2)
        with http_collector(received, port):
            sender.offer((request(3),))
            until(lambda: sender.waiting_bytes == births.waiting_bytes == 0)
    assert set(received.requests) == {request(3), request(10)}
    assert health.snapshot()[Counter.METRICS_RETRIES] > 0
    assert births_health.snapshot()[Counter.EXPORT_DROPPED] == 0


def test_the_rest_of_an_old_collection_is_dropped() -> None:
    """When the lifetime ends between two requests of one collection, the second is counted and not sent."""
    received = Received([Answer(delay_s=0.5)])
    with http_collector(received) as port, sender_to(port, signal=replace(METRICS, lifetime_s=0.3)) as (sender, health):
        sender.offer((request(1), request(2)))
        until(lambda: health.snapshot()[Counter.METRICS_EXPIRED] == 1)
        assert sender.waiting_bytes == 0
    assert received.requests == [request(1)]


def test_metrics_wait_a_quarter_of_an_hour_and_births_without_end() -> None:
    """Only metrics have a lifetime: 15 minutes."""
    assert METRICS.lifetime_s == 15 * 60
    assert TRACES.lifetime_s is LOGS.lifetime_s is None


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_refusal_is_counted_told_once_and_does_not_hold_up_the_rest(
    protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests that the collector will never take are counted, logged once a minute, and the others arrive."""
    no = Answer(grpc.StatusCode.INVALID_ARGUMENT if protocol == "grpc" else 400, b"bad data")
    received = Received([no, no, Answer(), no])
    collector = grpc_collector if protocol == "grpc" else http_collector
    with collector(received) as port, sender_to(port, protocol) as (sender, health), caplog.at_level(logging.WARNING):
        for number in range(5):
            sender.offer((request(number),))
        until(lambda: len(received.requests) == 2)
        until(lambda: sender.waiting_bytes == 0)
    assert received.requests == [request(2), request(4)]
    assert health.snapshot()[Counter.EXPORT_REFUSED] == 3
    (line,) = [record.getMessage() for record in caplog.records]
    assert "refuses" in line
    assert "bad data" in line


def test_partial_success_is_counted() -> None:
    """Spans that the collector rejected of a request it took are counted."""
    health = Health()
    sender = Sender(Scripted(Delivered(3, "too old"), Delivered(0, "only a hint"), Delivered(2)), health, IMPATIENT)
    for number in range(3):
        sender.offer((request(number),))
    sender.flush(1)
    assert health.snapshot()[Counter.SPANS_REJECTED] == 5


def test_a_partial_success_that_makes_no_sense_does_not_end_the_sending() -> None:
    """A negative number of rejected points counts as none, and the next request goes."""
    transport, health = Scripted(Delivered(-3, "what")), Health()
    sender = Sender(transport, health, IMPATIENT, METRICS)
    sender.offer((b"1", b"2"))
    sender.flush(1)
    assert transport.sent == [b"1", b"2"]
    assert health.snapshot()[Counter.POINTS_REJECTED] == 0


@pytest.mark.parametrize("signal", [TRACES, METRICS, LOGS])
def test_every_signal_has_counters_of_its_own(signal: Signal, caplog: pytest.LogCaptureFixture) -> None:
    """What becomes of a signal is counted and told under its own name."""
    health = Health()
    sender = Sender(Scripted(Retry("busy"), Delivered(2, "odd"), Refused("no")), health, IMPATIENT, signal)
    with caplog.at_level(logging.INFO):
        sender.offer((b"1", b"2"))
        sender.flush(1)
    sender.offer((b"late",))
    counters = signal.counters
    expected = {counters.retries: 1, counters.rejected: 2, counters.refused: 1, counters.dropped: 1}
    assert {counter: count for counter, count in health.snapshot().items() if count} == expected
    assert len(caplog.records) == 4
    assert all(signal.subject in line or f"2 {signal.items}" in line for line in caplog.messages)


def test_an_unforeseen_failure_of_the_transport_does_not_end_the_sending() -> None:
    """An exception while sending costs that request, counted, and no other."""
    transport, health = Scripted(RuntimeError("what\nis this")), Health()
    sender = Sender(transport, health, IMPATIENT)
    sender.offer((b"1", b"2"))
    sender.flush(1)
    assert transport.sent == [b"2"]
    assert health.snapshot()[Counter.EXPORT_REFUSED] == 1


def test_the_servers_wish_beats_the_back_off() -> None:
    """After Retry-After the next attempt comes no earlier than asked."""
    received = Received([Answer(503, headers=(("Retry-After", "1"),))])
    with http_collector(received) as port, sender_to(port) as (sender, _):
        sender.offer((request(1),))
        until(lambda: len(received.requests) == 1)
    assert received.times_s[1] - received.times_s[0] >= 0.95


def test_attempts_become_rarer_up_to_a_limit() -> None:
    """The pause doubles with each failure, varies by a fifth at most, and never passes the maximum."""
    patience = Patience(initial_s=1, maximum_s=30)
    for failures, middle_s in ((1, 1), (2, 2), (5, 16), (6, 30), (100_000, 30)):
        pauses = {patience.pause_s(failures) for _ in range(20)}
        assert len(pauses) > 1
        assert all(0.8 * middle_s <= pause_s <= 1.2 * middle_s for pause_s in pauses)


def test_flush_sends_what_waits() -> None:
    """At the end everything offered is sent, and the connection closed."""
    transport = Scripted()
    sender = Sender(transport, Health(), IMPATIENT)
    for number in range(100):
        sender.offer((request(number),))
    sender.flush(5)
    assert transport.sent == [request(number) for number in range(100)]
    assert transport.closed


def test_flush_cuts_a_pause_short() -> None:
    """The wish to end is followed by one more attempt at once, whatever the server asked for."""
    transport = Scripted(Retry("busy", 200.0))
    sender = Sender(transport, Health(), IMPATIENT)
    sender.offer((b"1",))
    until(lambda: bool(transport.timeouts_s))
    before_s = time.monotonic()
    sender.flush(5)
    assert transport.sent == [b"1"]
    assert time.monotonic() - before_s < 2


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_flush_keeps_its_deadline_when_nobody_answers(protocol: Protocol) -> None:
    """With a collector that says nothing, or a closed port, the end comes in time and the rest is counted."""
    collector = grpc_collector if protocol == "grpc" else http_collector
    with collector(Received([Answer(delay_s=1.5)])) as port, sender_to(port, protocol) as (sender, health):
        sender.offer((request(1), request(2)))
        sender.offer((request(3),))
        time.sleep(0.1)
        before_s = time.monotonic()
        sender.flush(0.3)
        assert time.monotonic() - before_s < 1.2
        assert health.snapshot()[Counter.EXPORT_DROPPED] == 3
    with sender_to(port, protocol) as (sender, health):
        sender.offer((request(1),))
        before_s = time.monotonic()
        sender.flush(0.3)
        assert time.monotonic() - before_s < 1.2
        assert health.snapshot()[Counter.EXPORT_DROPPED] == 1


def test_what_is_offered_after_the_end_is_counted() -> None:
    """A birth that comes too late is dropped and counted."""
    health = Health()
    sender = Sender(Scripted(), health, IMPATIENT)
    sender.flush(1)
    sender.offer((b"1", b"2"))
    assert health.snapshot()[Counter.EXPORT_DROPPED] == 2


def test_every_request_is_accounted_for() -> None:
    """Under a flood from many threads: offered = taken + refused + dropped, exactly."""
    refusals = [Refused("no") if number % 7 == 0 else Delivered() for number in range(300)]
    transport, health = Scripted(*refusals), Health()
    sender = Sender(transport, health, IMPATIENT, replace(TRACES, bound_bytes=5_000))

    def flood() -> None:
        for _ in range(500):
            sender.offer((bytes(50), bytes(50)))

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sender.flush(5)
    counts = health.snapshot()
    assert counts[Counter.EXPORT_REFUSED] > 0
    assert len(transport.sent) + counts[Counter.EXPORT_REFUSED] + counts[Counter.EXPORT_DROPPED] == 4 * 500 * 2
    assert sender.waiting_bytes == 0
