"""The agent's own counters: what it received, what it could not use, what it lost, each way apart."""

from collections.abc import Mapping
from enum import Enum
from threading import Lock
from types import MappingProxyType


class Counter(Enum):
    """Everything that is counted, with the sentence that explains it. All counts are since the agent's start."""

    EVENTS_RECEIVED = "records of the kernel that reached the agent"
    EVENTS_LOST = "records the kernel side could not hand over: the ring or a map was full"
    EVENTS_MALFORMED = "records of a wrong size or kind, dropped"
    PROBE_MISSES = "times the kernel skipped a program because it was already running on that CPU"
    DROPS_MISSED = "packets dropped while that CPU was just counting another drop: counted for no pod"
    DROPS_UNKNOWN = "packets dropped of which nothing tells the network, as of those in a socket that is closed"
    NETWORKS_REFUSED = "networks of pods for which the kernel side had no room: their dropped packets are not counted"
    MAPS_UNREADABLE = "times the kernel refused to let one of its maps be read"
    CONTAINERS_UNCOUNTED = "containers for which the kernel side had no room: nothing of them is counted by eBPF"
    CGROUPS_UNCOUNTED = (
        "cgroups below a container's for which the kernel side had no room: what runs there is not counted"
    )
    WAITS_UNCOUNTED = "times a thread had no room to remember since when it waits: that wait is in no histogram"
    DURATIONS_UNCOUNTED = "system calls to be timed for which there was no room: their duration is in no histogram"
    ENDINGS_UNREAD = "containers whose cgroup was gone before their last values were read"
    THROTTLES_UNCOUNTED = "throttled intervals of containers and pods for which the kernel side had no room"
    THROTTLES_MISSED = "throttled intervals that the kernel did not let a program see: in no histogram"
    STRINGS_UNREAD = "paths and arguments that were readable neither at entry nor at exit of their call"
    WATCHES_LOST = "times the kernel dropped notices of changed directories, after which they were read anew"

    BIRTHS = "births exported"
    NOT_BIRTH = "processes of a runtime whose first exec begins no birth: exec, delete, kill, update, ..."
    NOT_KUBERNETES = "containers whose bundle carries no annotations of Kubernetes"
    UNRESOLVED = "births exported without the name of their pod"
    CONTRADICTED = "times Kubernetes' word on a pod was not believed: the node itself shows another"
    DAEMON_CALLS_UNMATCHED = "calls of runtime daemons that belong to no birth"
    DAEMON_CALLS_DROPPED = "calls of runtime daemons given up before it was known whose they are: too many at once"
    BUNDLES_UNREADABLE = "times a bundle was missing, too large or not JSON"

    EXPORT_RETRIES = "attempts to send a request with births that failed and will be repeated"
    EXPORT_REFUSED = "requests with births that the receiver refused for good"
    EXPORT_DROPPED = "requests with births dropped: the queue was full, or nothing answered at the end"
    SPANS_REJECTED = "spans the receiver did not take of requests it took"
    METRICS_RETRIES = "attempts to send a request with metrics that failed and will be repeated"
    METRICS_REFUSED = "requests with metrics that the receiver refused for good"
    METRICS_DROPPED = "requests with metrics dropped: the queue was full, or nothing answered at the end"
    METRICS_EXPIRED = "requests with metrics dropped because no receiver took them while they were young enough for it"
    POINTS_REJECTED = "points of metrics the receiver did not take of requests it took"
    LOGS_RETRIES = "attempts to send a request with log events that failed and will be repeated"
    LOGS_REFUSED = "requests with log events that the receiver refused for good"
    LOGS_DROPPED = "requests with log events dropped: the queue was full, or nothing answered at the end"
    RECORDS_REJECTED = "log events the receiver did not take of requests it took"
    FILE_FAILURES = "requests that could not be written to a file"
    RECORDING_FAILURES = "events that could not be recorded"


class Health:
    """Counts from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = dict.fromkeys(Counter, 0)
        self._answers: dict[str, int] = {}
        self._failures: dict[tuple[str, str], int] = {}

    def add(self, counter: Counter, count: int = 1) -> None:
        """Count further occurrences.

        Raises ValueError for a negative count: these counters only rise.
        """
        if count < 0:
            raise ValueError(f"{counter.name} cannot fall by {-count}")
        with self._lock:
            self._counts[counter] += count

    def reach(self, counter: Counter, total: int) -> None:
        """Raise a counter to a total kept elsewhere, such as in a map of the kernel. A smaller one changes nothing."""
        with self._lock:
            self._counts[counter] = max(self._counts[counter], total)

    def snapshot(self) -> Mapping[Counter, int]:
        """Return all counters as they stand at one moment."""
        with self._lock:
            return MappingProxyType(dict(self._counts))

    def answered(self, source: str) -> None:
        """Count an answer of a source of identity."""
        with self._lock:
            self._answers[source] = self._answers.get(source, 0) + 1

    def failed(self, source: str, kind: str) -> None:
        """Count that a source of identity did not answer, or was not believed; `kind` is one of a few words."""
        with self._lock:
            self._failures[source, kind] = self._failures.get((source, kind), 0) + 1

    def answers(self) -> Mapping[str, int]:
        """Return how often each source of identity answered."""
        with self._lock:
            return MappingProxyType(dict(self._answers))

    def failures(self) -> Mapping[tuple[str, str], int]:
        """Return how often sources of identity failed, by source and kind."""
        with self._lock:
            return MappingProxyType(dict(self._failures))
