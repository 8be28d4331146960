"""The agent as it runs on a node: with its own account, and nobody else's permissions."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.agent import Agent
from tests.agreement.otlp_birth import Birth, read_births
from tests.cluster import manifests
from tests.cluster.cluster import NODE, Cluster
from tests.cluster.relay import Relay

QUIET_S = 3
LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class Observed:
    """One running agent and what it wrote."""

    agent: Agent
    output: Path
    token_file: Path

    def births(self, uid: str) -> list[Birth]:
        """Return the traces of a pod so far."""
        return read_births(self.output, uid)

    def births_named(self, name: str) -> list[Birth]:
        """Return the traces of pods of that name so far."""
        lines = self._lines("resourceSpans")
        resources = [of["resource"]["attributes"] for request in lines for of in request["resourceSpans"]]
        bags = [{each["key"]: each["value"].get("stringValue") for each in bag} for bag in resources]
        uids = {bag["k8s.pod.uid"] for bag in bags if bag.get("k8s.pod.name") == name}
        return [birth for uid in sorted(uids, key=str) for birth in self.births(str(uid))]

    def measured(self, attribute: str, value: str) -> set[str]:
        """Return the names of the pods that have metrics on a resource with that attribute."""
        found = set()
        for request in self._lines("resourceMetrics"):
            for of_resource in request["resourceMetrics"]:
                bag = {each["key"]: each["value"].get("stringValue") for each in of_resource["resource"]["attributes"]}
                if bag.get(attribute) == value:
                    found.add(str(bag.get("k8s.pod.name")))
        return found

    def wait(self, uid: str, count: int = 1, limit_s: float = LIMIT_S) -> list[Birth]:
        """Return the traces of a pod once there are that many. Raises TimeoutError."""
        self.until(lambda: len(self.births(uid)) >= count, f"{count} traces of {uid}", limit_s)
        return self.births(uid)

    def the_birth(self, uid: str, limit_s: float = LIMIT_S) -> Birth:
        """Return the only trace of a pod, once it is there."""
        (birth,) = self.wait(uid, limit_s=limit_s)
        return birth

    def until(self, holds: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
        """Wait until something holds. Raises TimeoutError with what the agent said."""
        deadline = time.monotonic() + limit_s
        while not holds():
            if time.monotonic() > deadline:
                said = "\n".join(self.agent.messages()[-8:])
                raise TimeoutError(f"{what}: not within {limit_s} s; the agent said: {said}")
            time.sleep(0.1)

    def said(self, words: str) -> list[str]:
        """Return the agent's messages that hold these words."""
        return [line for line in self.agent.messages() if words in line]

    def events(self, uid: str) -> list[dict[str, Any]]:
        """Return the log records of a pod."""
        return [
            record
            for request in self._lines("resourceLogs")
            for of_resource in request["resourceLogs"]
            if uid in json.dumps(of_resource["resource"])
            for of_scope in of_resource["scopeLogs"]
            for record in of_scope["logRecords"]
        ]

    def _lines(self, kind: str) -> list[dict[str, Any]]:
        lines = self.output.read_text().split("\n")[:-1] if self.output.exists() else []
        return [json.loads(line) for line in lines if line.startswith(f'{{"{kind}"')]


@contextlib.contextmanager
def observing(cluster: Cluster, directory: Path, relay: Relay | None = None, **settings: str) -> Iterator[Observed]:
    """Run an agent with exactly the documented permissions, and end it; it must end well and without a traceback.

    Where nothing is wrong with the API server the context begins when the agent has heard it.
    """
    manifests.apply(cluster.api, "rbac.yaml")
    token_file = directory / "token"
    token_file.write_text(manifests.token(cluster.api))
    user = {"tokenFile": str(token_file)}
    server = relay.url if relay is not None else None
    kubeconfig = cluster.control_plane.kubeconfig(directory / "kubeconfig", user, server)
    output = directory / "told.jsonl"
    mine = {"OUTPUT": f"file:{output}", "BIRTH_QUIET": str(QUIET_S), "EBPF": "require", "NODE_NAME": NODE, **settings}
    mine.setdefault("METRICS", "births")  # other tests' pods are measured too
    mine.setdefault("CRI_SOCKET", str(cluster.lab.socket))
    environment = {f"OTEL_KERNEL_{name}": value for name, value in mine.items()}
    environment |= {"KUBECONFIG": str(kubeconfig), "OTEL_METRIC_EXPORT_INTERVAL": "1000"}
    with Agent(environment, directory / "agent.log") as agent:
        observed = Observed(agent, output, token_file)
        if relay is None or relay.faults.lets_lists_pass:
            observed.until(lambda: observed.said(f"pods on {NODE}"), "the API server is heard")
        yield observed
        assert agent.stop() == 0
    assert [line for line in agent.messages() if "Traceback" in line] == []
