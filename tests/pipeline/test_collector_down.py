"""The collector is away while real pods are born: their agent keeps them, and all of it arrives afterwards."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from demo.agent import Agent
from demo.backends.backends import Jaeger
from demo.backends.programs import Programs
from demo.lab import BornPod, Lab
from demo.pod import Container, Pod
from tests.agreement.otlp_birth import Birth, read_births
from tests.bridge.operator_mock import Operator, operating
from tests.pipeline.asking import eventually, trace
from tests.pipeline.breakable import running, set_up
from tests.pipeline.conftest import agent_settings, name

pytestmark = [pytest.mark.containerd, pytest.mark.go, pytest.mark.slow]

PODS = 100
AT_ONCE = 4
LIMIT_S = 120.0


def told(output: Path, born: BornPod) -> Birth:
    """Return the birth of a pod as the agent says it sent it."""
    (birth,) = eventually(lambda: read_births(output, born.pod.uid), LIMIT_S)
    return birth


def in_jaeger(jaeger: Jaeger, birth: Birth) -> set[str]:
    """Return the ids of a birth's spans there."""
    shown = eventually(lambda: trace(jaeger, birth.root.trace_id) or {}, LIMIT_S)
    return {span["spanID"] for span in shown["spans"]}


def test_100_real_pods(programs: Programs, tmp_path: Path) -> None:
    """Every birth is in Jaeger to the last span, and told to the operator once."""
    output = tmp_path / "told.jsonl"
    with operating(Operator()) as operator, Lab() as lab:
        setup, _ = set_up(programs, tmp_path, operator)
        settings = {**agent_settings(setup.collector, output), "OTEL_KERNEL_METRICS": "births"}
        with Agent(settings, tmp_path / "agent.log"), ThreadPoolExecutor(AT_ONCE) as executor:
            pods = [Pod(name("crowd"), (Container("app"),), namespace="shop") for _ in range(PODS)]
            born = list(executor.map(lab.bear, pods))
            births = [told(output, each) for each in born]
            with running(setup):
                for birth in births:
                    assert in_jaeger(setup.jaeger, birth) == {span.span_id for span in birth.spans}
                mine = {pod.name for pod in pods}
                eventually(lambda: set(operator.pods()) >= mine)
                assert set(Counter(pod for pod in operator.pods() if pod in mine).values()) == {1}
            list(executor.map(lab.remove, born))
