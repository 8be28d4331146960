"""Many pods at once on a busy machine: every one is born whole."""

import contextlib
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from demo.lab import Lab
from demo.pod import Container, Pod
from tests.births_real.observation import assert_whole, observing

pytestmark = [pytest.mark.containerd, pytest.mark.slow]
PODS = 24
BUSY_LOOPS = 4
LIMIT_S = 90


@contextlib.contextmanager
def busy_loops() -> Iterator[None]:
    """Keep the machine busy."""
    loops = [subprocess.Popen(["/bin/busybox", "yes"], stdout=subprocess.DEVNULL) for _ in range(BUSY_LOOPS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def test_24_pods_at_once_beside_busy_loops(lab: Lab, tmp_path: Path) -> None:
    """No birth is lost, none is mixed up with another, nothing in any of them is missing."""
    pods = [Pod(f"crowd-{number}", (Container("app"), Container("sidecar"))) for number in range(PODS)]
    # Nothing but quiet tells the end of a birth here, and a pod's containers start seconds apart.
    with observing(tmp_path, quiet_s=15) as observation:
        with busy_loops(), ThreadPoolExecutor(PODS) as executor:
            born = list(executor.map(lab.bear, pods))
        for one in born:
            (birth,) = observation.wait(one.pod.uid, limit_s=LIMIT_S)
            assert_whole(birth, one)
    with ThreadPoolExecutor(PODS) as executor:
        list(executor.map(lab.remove, born))
