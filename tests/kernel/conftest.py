"""The kernel side, loaded once, and the programs that play the runtime."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.probes import RUNTIME_DAEMON, Loading, Probes, Sizes
from tests.kernel.actors import DAEMON, Daemon, Kernel
from tests.kernel.pod_cgroups import PodCgroup, v2_hierarchy


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the actor's names."""
    directory = tmp_path_factory.mktemp("programs")
    source = Path(__file__).with_name("actor.c")
    command = ["gcc", "-O1", "-static", "-Wall", "-Werror", "-o", str(directory / "actor"), str(source), "-lpthread"]
    subprocess.run(command, check=True, timeout=60)
    return directory


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the header shim is made."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def counting() -> Counting:
    """What is counted for containers beside all births: what an agent counts by default, with fewer names."""
    return Counting(("read", "write", "openat", "close"), opens=True, processes=True, sched=True)


@pytest.fixture(scope="session")
def probes(cache: Path, counting: Counting) -> Iterator[Probes]:
    """The kernel side at its default sizes, attached."""
    loaded = Loading(cache, Sizes(), counting).finish()
    assert loaded.not_counted == {}
    loaded.name_daemons({DAEMON: RUNTIME_DAEMON})
    assert [each for each in loaded.attach() if each.error] == []
    loaded.count_switches()
    yield loaded
    loaded.close()


@pytest.fixture
def kernel(probes: Probes, programs: Path) -> Iterator[Kernel]:
    """What the kernel tells of this test; afterwards nothing may be lost, and nothing left of it in the kernel."""
    told = Kernel(probes, programs, DAEMON)
    yield told
    told.stop()
    told.seen()
    left = told.followed()
    told.forget()
    assert left == {}
    assert told.counted().lost == 0
    assert probes.undecodable == 0
    assert probes.misses() == 0


@pytest.fixture
def daemon(kernel: Kernel) -> Daemon:
    """A runtime daemon."""
    return kernel.daemon()


@pytest.fixture
def pod(require: Callable[[object, str], None]) -> Iterator[PodCgroup]:
    """A pod's cgroup with one container's in it."""
    hierarchy = v2_hierarchy()
    require(hierarchy, "needs a cgroup v2 hierarchy")
    assert hierarchy is not None
    with PodCgroup(hierarchy) as made:
        yield made
