"""Many births out of one recording: each copy with its own pod, containers, processes and times."""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from benchmarks.packing import Record
from otel_kernel.births import arguments, recording
from otel_kernel.births.facts import ContainerFacts, PodEvents, PodFacts
from otel_kernel.kernel.events import Exec, Loss, Throttled

RECORDINGS = Path(__file__).resolve().parent.parent / "tests" / "births" / "recordings"
_ID = re.compile(r"[0-9a-f]{64}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LAB = re.compile(r"/tmp/otel-kernel-lab-\w+/")  # noqa: S108 - text in a recording
_TIMES = frozenset({"ns", "start_ns", "end_ns", "process_start_ns", "parent_start_ns"})
_PIDS = frozenset("pid parent_pid thread_id entry_thread_id parent_thread_id old_thread_id child_pid".split())
_BETWEEN_NS = 60_000_000_000  # a copy's birth is over before the next begins
_PID_STEP = 4096


@dataclass(frozen=True, slots=True)
class Copy:
    """One birth: its events, and for each container the bundle's directory and what its config.json says."""

    events: Sequence[Record]
    bundles: Mapping[str, bytes]
    pod_uid: str


class Original:
    """A recording, of which any number of births can be made."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises OSError, ValueError for a malformed line or a recording without a named pod."""
        self.name = path.stem
        self._lines = [json.loads(line) for line in path.read_text().splitlines()]
        if not any(_is_of_bundle(recording.decode(json.dumps(line))) for line in self._lines):
            raise ValueError(f"{path.name} tells of no bundle")

    def copy(self, number: int) -> Copy:
        """Return one birth that differs from all of other numbers in every id, process and time."""
        told = [recording.decode(json.dumps(_changed(line, number))) for line in self._lines]
        events = [
            each for each in told if not isinstance(each, ContainerFacts | PodFacts | PodEvents | Throttled | Loss)
        ]
        facts = {each.container_id: each for each in told if _is_of_bundle(each)}
        found = [(facts[container_id], bundle) for container_id, bundle in _bundles(events) if container_id in facts]
        uid = next(each.pod_uid for each in facts.values() if each.pod_uid)
        return Copy(events, {bundle: _configuration(each) for each, bundle in found}, uid)


def _is_of_bundle(told: recording.Recorded) -> TypeGuard[ContainerFacts]:
    return isinstance(told, ContainerFacts) and told.source == "oci-bundle"


def originals() -> list[Original]:
    """Return all recordings that the tests have."""
    return [Original(path) for path in sorted(RECORDINGS.glob("*.jsonl"))]


def _bundles(events: Sequence[Record]) -> Iterator[tuple[str | None, str]]:
    """Yield container id and bundle: runc is told the bundle, a shim works in it."""
    for event in events:
        if isinstance(event, Exec):
            command = arguments.command(event)
            bundle = command.bundle or (event.working_directory if command.tool is arguments.Tool.SHIM else None)
            if bundle:
                yield command.container_id, bundle


def _changed(line: Mapping[str, Any], number: int) -> dict[str, Any]:
    return {name: _value(name, value, number) for name, value in line.items()}


def _value(name: str, value: Any, number: int) -> Any:  # noqa: ANN401 - whatever JSON holds
    if isinstance(value, str):
        return _LAB.sub("/run/lab/", _ID.sub(lambda match: _other_id(match[0], number), value))
    if isinstance(value, list):
        return [_value("", each, number) for each in value]
    if isinstance(value, int) and not isinstance(value, bool) and value:
        if name in _TIMES:
            return value + number * _BETWEEN_NS
        if name in _PIDS:
            return value + number % 512 * _PID_STEP
        if name == "cgroup_id":
            return value + number * 1000 if value > 1 else value
    return value


def _other_id(known: str, number: int) -> str:
    digest = hashlib.sha256(f"{known} {number}".encode()).digest()
    return digest.hex() if len(known) == 64 else str(uuid.UUID(bytes=digest[:16], version=4))  # noqa: PLR2004 - a container's


def _configuration(facts: ContainerFacts) -> bytes:
    """Return a config.json as containerd writes it: what was read of it, and as much besides as is usual."""
    kind = "sandbox" if facts.is_sandbox else "container"
    annotations = {
        "container-type": kind,
        "container-name": facts.container_name,
        "image-name": facts.image_name,
        "sandbox-id": facts.sandbox_id,
        "sandbox-name": facts.pod_name,
        "sandbox-namespace": facts.namespace,
        "sandbox-uid": facts.pod_uid,
    }
    capabilities = [f"CAP_NUMBER_{number}" for number in range(14)]
    mount = {"type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "nodev", "relatime"]}
    network = {"type": "network", "path": facts.network_namespace or "/proc/1/ns/net"}
    configuration = {
        "ociVersion": "1.1.0",
        "process": {"capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities)},
        "mounts": [{"destination": f"/mount/{at}", **mount} for at in range(12)],
        "annotations": {f"io.kubernetes.cri.{key}": value for key, value in annotations.items() if value},
        "linux": {
            "cgroupsPath": f"/kubepods/burstable/pod{facts.pod_uid}/{facts.container_id}",
            "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, network],
            "maskedPaths": [f"/proc/masked/{at}" for at in range(9)],
        },
    }
    return json.dumps(configuration).encode()
