"""One agent and one containerd for all tests with real pods; each test bears pods of its own."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from demo.containerd import Runtime
from demo.go_builds import RUNC, built, containerd_2
from demo.images import compile_static
from demo.lab import Lab
from tests.births_real.observation import Observation, observing
from tests.births_real.systemd_names import systemd_runtime


@pytest.fixture(scope="session")
def observation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observation]:
    """Return what an agent says that was there before any containerd of the tests."""
    with observing(tmp_path_factory.mktemp("agent")) as observation:
        yield observation


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return what the containers' image holds beside busybox: a program that pretends to be a runtime."""
    pretender = compile_static(Path(__file__).with_name("pretender.c"), tmp_path_factory.mktemp("programs"))
    return {f"bin/{name}": pretender for name in ("runc", "containerd-shim-runc-v2", "ptp")}


@pytest.fixture(scope="session")
def lab(
    observation: Observation,  # noqa: ARG001 - first the agent: it has to find a containerd that comes later
    programs: Mapping[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Lab]:
    """Return Debian's containerd with Debian's runc; a second runtime handler names cgroups as systemd does."""
    handler = systemd_runtime(tmp_path_factory.mktemp("systemd"))
    with Lab(Runtime(handlers={"systemd-names": handler}), programs) as started:
        yield started


@pytest.fixture(scope="session")
def runc_15_lab(observation: Observation) -> Iterator[Lab]:  # noqa: ARG001 - as above
    """Return Debian's containerd with runc 1.5 as its second runtime handler."""
    with Lab(Runtime(handlers={"runc-1.5": built(RUNC) / "runc"}, snapshotter="overlayfs")) as started:
        yield started


@pytest.fixture(scope="session")
def containerd_2_lab(observation: Observation) -> Iterator[Lab]:  # noqa: ARG001 - as above
    """Return containerd 2.x with runc 1.5."""
    with Lab(containerd_2()) as started:
        yield started
