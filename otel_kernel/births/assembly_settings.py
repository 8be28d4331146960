"""How births are told apart and told."""

from dataclasses import dataclass
from typing import Literal

Arguments = Literal["off", "redacted", "full"]

_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class AssemblySettings:
    """How births are told apart and told."""

    quiet_ns: int = 5 * _SECOND
    timeout_ns: int = 600 * _SECOND
    calls: Literal["spans", "folded"] = "spans"
    services: Literal["component", "single", "workload"] = "component"
    arguments: Arguments = "off"
    service_name: str = "otel-kernel"
    node_name: str | None = None
    started_ns: int = 0  # boot time at which observation began; facts not younger tell what was there before
    answers_wait_ns: int = 2 * _SECOND  # how long a birth that is over waits for what Kubernetes is being asked
    asks_events: bool = False  # for each birth, Kubernetes' events of its pod
    cgroup_writes_known: bool = True
    daemon_calls_kept: int = 4096
