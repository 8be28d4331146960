"""How many events one core can take."""

import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from benchmarks import packing, replay
from benchmarks.results import Bar, Result, Row
from otel_kernel.births.assembly import Assembly, AssemblySettings
from otel_kernel.births.trace import Trace
from otel_kernel.kernel import records, syscalls
from otel_kernel.kernel.clock import unix_offset_ns
from otel_kernel.kernel.events import Call, Event, Throttled, Wait
from otel_kernel.pods.identity import Identifier
from otel_kernel.telemetry.encode import Host, encode

NEEDS = ()
ROUNDS = 7
BIRTHS = 40  # of a round
LIMIT_PER_S = 20_000
QUIET_NS = 5_000_000_000
STAGES = ("ring and decode", "identity", "assembly", "trace", "encode")


def measure(say: Callable[[str], None]) -> Result:
    """Replay copies of the recorded births through everything between the ring and the sender."""
    originals = replay.originals()
    numbers = syscalls.table()
    seconds: list[dict[str, float]] = []
    events = 0
    with tempfile.TemporaryDirectory() as directory:
        pipeline = Pipeline(Path(directory), records.Decoder(numbers))
        for round_number in range(ROUNDS + 1):  # the first fills caches and is not counted
            say(f"round {round_number} of {ROUNDS}")
            first = round_number * BIRTHS
            copies = [originals[number % len(originals)].copy(number) for number in range(first, first + BIRTHS)]
            events = sum(len(copy.events) for copy in copies)
            packed = [[packing.pack(event, numbers) for event in copy.events] for copy in copies]
            pipeline.place(copies)
            seconds.append(pipeline.run(copies, packed))
    return _result(seconds[1:], events, [original.name for original in originals])


class Pipeline:
    """Decoder, identity, assembly and encoder, as the agent holds them, for all rounds."""

    def __init__(self, host_root: Path, decoder: records.Decoder) -> None:
        self._host_root = host_root
        self._decoder = decoder
        self._identifier = Identifier(str(host_root))
        self._assembly = Assembly(AssemblySettings(quiet_ns=QUIET_NS), unix_offset_ns)
        self._host = Host("node")

    def place(self, copies: Sequence[replay.Copy]) -> None:
        """Put the bundles where the events say they are."""
        for copy in copies:
            for bundle, configuration in copy.bundles.items():
                directory = self._host_root / bundle.lstrip("/")
                directory.mkdir(parents=True, exist_ok=True)
                (directory / "config.json").write_bytes(configuration)

    def run(self, copies: Sequence[replay.Copy], packed: Sequence[Sequence[bytes]]) -> dict[str, float]:
        """Return the CPU time of each stage in seconds. Raises RuntimeError when a birth did not come out whole."""
        spent = dict.fromkeys(STAGES, 0.0)
        for copy, packed_records in zip(copies, packed, strict=True):
            with packing.ring_of(packed_records) as ring:
                clock = _clock(spent)
                next(clock)
                events = [self._decoder.decode(record) for record in ring.records()]
                clock.send("ring and decode")
                told = [(self._identifier.facts(event), event) for event in events]
                clock.send("identity")
                for facts, event in told:
                    for fact in facts:
                        self._assembly.feed(fact)
                    self._assembly.feed(event)
                clock.send("assembly")
                traces = self._assembly.due(_last_ns(events) + QUIET_NS + 1)
                clock.send("trace")
                requests = [request for trace in traces for request in encode(trace, self._host)]
                clock.send("encode")
            whole = [trace.pod.get("k8s.pod.uid") for trace in traces if _is_named(trace)]
            if whole != [copy.pod_uid] or not requests or tuple(events) != tuple(copy.events):
                raise RuntimeError(f"a replayed birth did not come out whole: {len(traces)} traces, whole: {whole}")
        return spent


def _is_named(trace: Trace) -> bool:
    """Whether the pod and each of its containers have their names: the latter only bundles tell."""
    names = [attributes.get("k8s.container.name") for attributes in trace.containers.values()]
    return "k8s.pod.name" in trace.pod and bool(names) and None not in names


def _clock(spent: dict[str, float]) -> Generator[None, str, None]:
    """Add the CPU time since the last stage to the stage that is sent."""
    before = time.process_time()
    while True:
        stage = yield
        now = time.process_time()
        spent[stage] += now - before
        before = now


def _last_ns(events: Sequence[Event]) -> int:
    return max(event.end_ns if isinstance(event, Call | Throttled | Wait) else event.ns for event in events)


def _result(seconds: Sequence[dict[str, float]], events: int, names: Sequence[str]) -> Result:
    rates = [events / sum(spent.values()) for spent in seconds]
    rows = [Row("all", rates, "events/s", bar=Bar(statistics.median(rates), LIMIT_PER_S, "events/s", at_least=True))]
    for stage in STAGES:
        share = statistics.median(spent[stage] / sum(spent.values()) for spent in seconds)
        each_us = [spent[stage] / events * 1e6 for spent in seconds]
        rows.append(Row(f"- {stage}", each_us, "us/event", f"{share:.0%} of all"))
    method = (
        f"{BIRTHS} births a round, made of the recordings {', '.join(names)} with other ids, processes and times: "
        f"{events} records read from a ring in memory, decoded, their bundles read, assembled, made into traces, "
        "encoded as OTLP requests. CPU time of one thread. It was checked that each birth came out under its own pod "
        "and that each record decoded to the recorded event."
    )
    return Result("How many events a second can one core take?", method, rows)
