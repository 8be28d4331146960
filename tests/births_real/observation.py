"""What the agent said of the pods that the tests bear, and what holds for every birth."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from demo.agent import Agent
from demo.lab import BornPod
from tests.agreement.otlp_birth import Birth, Span, read_births

QUIET_S = 3  # two steps of one test are never that far apart
LIMIT_S = 120  # emulated, all takes its time
COUNTS = (
    "syscalls", "processes", "threads", "clones", "execs", "mounts", "namespaces", "namespace_ops", "cgroup_writes",
    "containers",
)  # fmt: skip


class Observation:
    """The births that one agent writes to a file."""

    def __init__(self, agent: Agent, output: Path) -> None:
        self.agent = agent
        self._output = output

    def births(self, uid: str) -> list[Birth]:
        """Return the traces of a pod so far."""
        return read_births(self._output, uid)

    def wait(self, uid: str, count: int = 1, limit_s: float = LIMIT_S) -> list[Birth]:
        """Return the traces of a pod once there are that many. Raises TimeoutError."""
        deadline = time.monotonic() + limit_s
        while len(found := self.births(uid)) < count:
            if time.monotonic() > deadline:
                said = "\n".join(self.agent.messages()[-5:])
                raise TimeoutError(
                    f"{len(found)} of {count} traces of {uid} within {limit_s} s; the agent said: {said}"
                )
            time.sleep(0.1)
        return found

    def settled(self, uid: str) -> list[Birth]:
        """Return the traces of a pod after a time in which any further one would have come."""
        time.sleep(2 * QUIET_S + 0.5)
        return self.births(uid)

    def the_birth(self, born: BornPod) -> Birth:
        """Return the only trace of a pod that was born whole, once it is there and is sound."""
        (birth,) = self.wait(born.pod.uid)
        assert_whole(birth, born)
        return birth


@contextlib.contextmanager
def observing(directory: Path, quiet_s: float = QUIET_S, **settings: str) -> Iterator[Observation]:
    """Run an agent that writes births to a file, and end it; it must end well and without a complaint."""
    output = directory / "births.jsonl"
    mine = {"OUTPUT": f"file:{output}", "BIRTH_QUIET": str(quiet_s), "KUBERNETES": "off", "EBPF": "require", **settings}
    environment = {f"OTEL_KERNEL_{name}": value for name, value in mine.items()}
    with Agent(environment, directory / "agent.log") as agent:
        yield Observation(agent, output)
        assert agent.stop() == 0
    assert [line for line in agent.messages() if "Traceback" in line or "Error" in line] == []


def units(birth: Birth) -> list[str]:
    """Return the names of a birth's units in the order of their start."""
    return [unit.name for unit in birth.at("unit")]


def assert_whole(birth: Birth, born: BornPod, completion: str = "quiet") -> None:
    """Assert what holds for each birth that went well and that the agent saw from its start."""
    pod = born.pod
    containers = (*pod.init_containers, *pod.containers)
    named = [unit for unit in birth.at("unit") if unit.name.startswith("container ")]
    pairs = {
        "name": (birth.root.name, "pod birth"),
        "k8s.pod.name": (birth.root.resource.get("k8s.pod.name"), pod.name),
        "k8s.namespace.name": (birth.root.resource.get("k8s.namespace.name"), pod.namespace),
        "error": (birth.root.error, None),
        "completion": (birth.count("completion"), completion),
        "containers": (birth.count("containers"), len(containers)),
        "units": (
            [name for name in units(birth) if not name.startswith("run ")],
            ["sandbox", *(f"container {container.name}" for container in containers)],
        ),
        "container.id": ({unit.resource.get("container.id") for unit in named}, set(born.container_ids.values())),
    }
    found = [f"{what} is {is_}, not {should}" for what, (is_, should) in pairs.items() if is_ != should]
    assert not found, "\n".join(found)
    assert_sound(birth)


def assert_sound(birth: Birth) -> None:
    """Assert what holds for each trace of a birth: complete, nothing lost, every span inside its parent, none empty."""
    found = [*_incomplete(birth), *_misshapen(birth)]
    assert not found, "\n".join(found)


def _incomplete(birth: Birth) -> Iterator[str]:
    for name in ("events.lost", "probe_misses"):
        if birth.count(name) != 0:
            yield f"{name} is {birth.count(name)}"
    if birth.root.level == "birth" and birth.count("completion") != "agent_started":
        yield from (f"{name} is absent" for name in COUNTS if birth.count(name) is None)


def _misshapen(birth: Birth) -> Iterator[str]:
    spans = {span.span_id: span for span in birth.spans}
    if len(spans) != len(birth.spans):
        yield "a span id occurs twice"
    if birth.spans[0] is not birth.root:
        yield "the root does not come first"
    for span in birth.spans:
        if span.start_ns >= span.end_ns:
            yield f"{_told(span)} is empty"
        if span.parent_id and not _is_inside(span, spans[span.parent_id]):
            yield f"{_told(span)} is outside {_told(spans[span.parent_id])}"


def _is_inside(span: Span, parent: Span) -> bool:
    return parent.start_ns <= span.start_ns and span.end_ns <= parent.end_ns


def _told(span: Span) -> str:
    return f"{span.level} {span.name} [{span.start_ns}, {span.end_ns}]"
