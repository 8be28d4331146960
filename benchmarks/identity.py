"""How soon it is known whose a container is, and what it takes to know that."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import agent, smaps
from benchmarks.api_server import ApiServer
from benchmarks.results import Bar, Result, Row, said
from demo.lab import BornPod, Lab
from demo.pod import Pod

NEEDS = ("containerd", "ctr", "runc", "gcc")
PODS = 110  # the kubelet's default for a node
BIRTHS = 100
AT_ONCE = 8
SETTLED_S = 20  # a collection, and another source's answer
READY_LIMIT_S = 2
LAG_LIMIT_S = 0.005
SHARE = 99
RSS_LIMITS_MB = {"off": 64, "on": 96}
LAG = "otel_kernel.identity.lag"
MB = 1_000_000


def measure(say: Callable[[str], None]) -> Result:
    """Begin two agents beside many real pods, without and with Kubernetes; the first sees births, one by one."""
    with Lab() as lab, tempfile.TemporaryDirectory() as directory:
        say(f"bearing {PODS} pods")
        there = _bear(lab, [Pod(f"there-{number}") for number in range(PODS)])
        output = Path(directory) / "off.jsonl"
        with agent.running({}):  # what the compiler made is kept from now on
            pass
        with agent.running({"OTEL_KERNEL_OUTPUT": f"file:{output}"}) as started:
            time.sleep(SETTLED_S)
            without, named = smaps.of(started.pid), _named(output)
            say(f"ready after {started.ready_s:.2f} s; {BIRTHS} births")
            for number in range(BIRTHS):
                lab.remove(lab.bear(Pod(f"born-{number}")))
        with ApiServer(there, Path(directory)) as server:
            asked = {"OTEL_KERNEL_OUTPUT": f"file:{directory}/on.jsonl", "OTEL_KERNEL_CRI_SOCKET": str(lab.socket)}
            with agent.running(server.settings | asked) as asking:
                time.sleep(SETTLED_S)
                with_kubernetes = smaps.of(asking.pid)
        rows = [
            _ready(started.ready_s),
            named,
            *_lags(output),
            *_memory(without, with_kubernetes),
        ]
    method = (
        f"{PODS} real pods of two containers each (pause among them) under Debian's containerd, there before the "
        f"agent. Then {BIRTHS} pods born and removed one by one; the lag is the agent's own `{LAG}`. Resident memory "
        "of an agent that writes to a file, 20 s after it was ready; with Kubernetes it watches a stand-in for an API "
        "server that tells of these pods, and asks containerd."
    )
    return Result("How soon is it known whose a container is, and what does that take?", method, rows)


def _bear(lab: Lab, pods: Sequence[Pod]) -> list[BornPod]:
    with ThreadPoolExecutor(AT_ONCE) as executor:
        return list(executor.map(lab.bear, pods))


def _ready(ready_s: float) -> Row:
    what = f"exec to `ready:`, {PODS} pods looked through and named"
    return Row(what, (ready_s,), "s", bar=Bar(ready_s, READY_LIMIT_S, "s"))


def _named(output: Path) -> Row:
    """Return how many of the pods that were there the first collection names."""
    resources = (
        each for line in output.read_text().splitlines() for each in json.loads(line).get("resourceMetrics", ())
    )
    count = sum(name is not None and name.startswith("there-") for name in {_pod_name(each) for each in resources})
    return Row("pods with a name in the first collection", (count,), "", bar=Bar(count, PODS, "", at_least=True))


def _pod_name(resource: Mapping[str, Any]) -> str | None:
    told = resource["resource"]["attributes"]
    return next((each["value"]["stringValue"] for each in told if each["key"] == "k8s.pod.name"), None)


def _lags(output: Path) -> Iterator[Row]:
    """Yield, by source, how much was known within the limit, and within what the rest of the limit's share was."""
    last: dict[str, dict[str, Any]] = {}
    for line in output.read_text().splitlines():
        for resource in json.loads(line).get("resourceMetrics", ()):
            metrics = (each for scope in resource["scopeMetrics"] for each in scope["metrics"] if each["name"] == LAG)
            for point in (point for each in metrics for point in each["histogram"]["dataPoints"]):
                last[point["attributes"][0]["value"]["stringValue"]] = point
    for source, point in sorted(last.items()):
        counts, bounds = [int(count) for count in point["bucketCounts"]], point["explicitBounds"]
        total = sum(counts)
        share = 100 * sum(counts[: bounds.index(LAG_LIMIT_S) + 1]) / total
        cumulative, at = 0, 0
        while (cumulative := cumulative + counts[at]) < total * SHARE / 100:
            at += 1
        within = f"{SHARE} % within {said(1000 * bounds[at])} ms" if at < len(bounds) else "more than the last bound"
        bar = Bar(share, SHARE, "%", at_least=True) if source in {"cgroup-path", "oci-bundle"} else None
        yield Row(f"known within {1000 * LAG_LIMIT_S:.0f} ms from {source}, of {total}", (share,), "%", within, bar)


def _memory(without: smaps.Memory, with_kubernetes: smaps.Memory) -> Iterator[Row]:
    for which, held in (("off", without), ("on", with_kubernetes)):
        rss = held.rss / MB
        yield Row(f"RSS, Kubernetes {which}", (rss,), "MB", bar=Bar(rss, RSS_LIMITS_MB[which], "MB"))
    yield Row("- what Kubernetes' client and CRI add", ((with_kubernetes.rss - without.rss) / MB,), "MB")
