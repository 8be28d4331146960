"""A pod's network is known from the moment its first program runs, and until the pod is gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_kernel.kernel.drops import Drops, Learned
from otel_kernel.kernel.probes import RUNTIME_DAEMON, Loading, Probes, Sizes
from tests.kernel.actors import DAEMON, Kernel, Step, call
from tests.kernel.networks import NEW_NET
from tests.kernel.pod_cgroups import PodCgroup
from tests.kernel.test_endings import PIVOT, enter, new_root

pytestmark = pytest.mark.root
NAME = f"{DAEMON}-net"[:15]
APP: tuple[Step, ...] = (("exit", 0),)
OWN_NETWORK = call("unshare", NEW_NET)


@pytest.fixture(scope="module")
def probes(cache: Path) -> Iterator[Probes]:
    """The kernel side with drops, attached, on a node whose network is this process's."""
    loaded = Loading(cache, Sizes(), drops=True).finish()
    loaded.name_daemons({NAME: RUNTIME_DAEMON})
    assert [each for each in loaded.attach() if each.error] == []
    assert loaded.drops is not None
    with Path("/proc/self/ns/net").open() as own:
        assert loaded.drops.learn_node(own.fileno()) is Learned.LEARNED
    yield loaded
    loaded.close()


@pytest.fixture
def drops(probes: Probes) -> Drops:
    """What counts dropped packets."""
    assert probes.drops is not None
    return probes.drops


@pytest.fixture
def kernel(probes: Probes, programs: Path) -> Iterator[Kernel]:
    """What the kernel tells."""
    told = Kernel(probes, programs, NAME)
    yield told
    told.stop()


def begin(kernel: Kernel, leaf: Path, root: Path, *further: Step) -> None:
    """Run a container's program in a cgroup as a runtime does, up to its end."""
    daemon = kernel.daemon()
    become = ("become", *daemon.words("app", *APP))
    ran = daemon.run("runc create x", enter(leaf), *further, *new_root(root), *PIVOT, become)
    assert ran.status == 0


def test_a_network_of_its_own(kernel: Kernel, drops: Drops, pod: PodCgroup, tmp_path: Path) -> None:
    """The network in which a container's program begins is its pod's; until the pod's cgroup is removed."""
    pod_id = pod.path.stat().st_ino
    begin(kernel, pod.leaf, tmp_path, OWN_NETWORK)
    assert pod_id in drops.known()
    assert set(drops.read()[pod_id].values()) == {0}
    assert drops.ended() == set()
    pod.remove()
    assert drops.ended() == {pod_id}
    drops.forget(drops.ended())
    assert (drops.ended(), drops.known()) == (set(), set())


def test_below_the_containers_cgroup(kernel: Kernel, drops: Drops, pod: PodCgroup, tmp_path: Path) -> None:
    """A program may begin in a cgroup below its container's, as with crun."""
    below = pod.leaf / "container"
    below.mkdir()
    begin(kernel, below, tmp_path, OWN_NETWORK)
    below.rmdir()
    assert pod.path.stat().st_ino in drops.known()
    drops.forget(drops.known())


def test_the_nodes_network(kernel: Kernel, drops: Drops, pod: PodCgroup, tmp_path: Path) -> None:
    """A pod that uses the node's network has none that could be known."""
    begin(kernel, pod.leaf, tmp_path)
    assert drops.known() == set()


def test_no_program_of_a_container(kernel: Kernel, drops: Drops, pod: PodCgroup) -> None:
    """What a process in a pod makes for itself is not the pod's network."""
    daemon = kernel.daemon()
    pod.run(daemon.words("app", OWN_NETWORK, ("become", *daemon.words("app", *APP))))
    daemon.run("runc exec x", enter(pod.leaf), OWN_NETWORK, ("become", *daemon.words("app", *APP)))
    assert drops.known() == set()
