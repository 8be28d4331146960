"""A container's counts are its own, whatever its cgroup's id, however many there are, whoever had its slot before."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.probes import POD_LEVEL, Loading, Probes, Sizes
from tests.kernel.actors import repeat
from tests.kernel.container_counts import Counts
from tests.kernel.pod_cgroups import PodCgroup, v2_hierarchy
from tests.kernel.test_container_calls import actor, steps
from tests.kernel.waiting import until

__all__ = ["actor"]
pytestmark = pytest.mark.root
# Every id falls into one of two buckets.
SMALL = Sizes(slots=64, buckets=2, nested=4)
NOBODYS = 1 << 40  # no cgroup has such an id
FEW = Counting(("getppid",))


@pytest.fixture
def small(cache: Path) -> Iterator[Counts]:
    """Tables with room for little."""
    loaded = Loading(cache, SMALL, FEW).finish()
    assert [each for each in loaded.attach() if each.error] == []
    yield Counts(loaded, FEW)
    loaded.close()


@pytest.fixture
def pods() -> list[PodCgroup]:
    """Four pods with a container each, to be made."""
    hierarchy = v2_hierarchy()
    if hierarchy is None:
        pytest.skip("needs a cgroup v2 hierarchy")
    return [PodCgroup(hierarchy) for _ in range(4)]


def fill(counts: Counts, leaving: int) -> None:
    """Let somebody have all slots but so many."""
    for number in range(SMALL.slots - leaving - len(counts.tables.owners())):
        counts.tables.adopt(NOBODYS + number, NOBODYS, is_below_pod=True)


def test_colliding_ids(small: Counts, pods: list[PodCgroup], actor: list[str]) -> None:
    """Containers whose ids fall into one bucket are each exact, at the same time, also after one of them has gone."""
    with ExitStack() as stack:
        there = [stack.enter_context(pod) for pod in pods[:3]]
        assert len({pod.leaf.stat().st_ino & 1 for pod in there}) < len(there)

        def run(number: int) -> None:
            there[number].run([*actor, *steps(repeat(10_000 + number, "getppid"))])

        with ThreadPoolExecutor(3) as running:
            list(running.map(run, range(3)))
        assert [small.calls(pod.leaf)["getppid"] for pod in there] == [10_000, 10_001, 10_002]
        first = there[0].leaf.stat().st_ino
        there[0].remove()
        run(1)
        run(2)
        assert [small.calls(pod.leaf)["getppid"] for pod in there[1:]] == [20_002, 20_004]
        assert small.calls(first)["getppid"] == 10_000


def test_a_slot_is_one_containers(small: Counts, pods: list[PodCgroup], actor: list[str]) -> None:
    """A slot keeps the last counts of a container that is gone until they were taken; the next one begins at zero."""
    with ExitStack() as stack:
        fill(small, leaving=1)
        stack.enter_context(pods[0])
        gone = pods[0].leaf.stat().st_ino
        pods[0].run([*actor, *steps(repeat(500, "getppid"))])
        pods[0].remove()
        stack.enter_context(pods[3])  # all slots are somebody's, gone or not
        pods[3].run([*actor, *steps(repeat(7, "getppid"))])
        assert small.owner(pods[3].leaf.stat().st_ino) is None
        assert small.tables.uncounted().containers == 1
        assert small.calls(gone)["getppid"] == 500
        slot = small.owner(gone)
        small.release(gone)
        assert small.owner(gone) is None
        pods[3].remove()
        with PodCgroup(pods[3].path.parents[2]) as next_:
            owner = small.owner(next_.leaf.stat().st_ino)
            assert owner is not None
            assert slot is not None
            assert owner.slot == slot.slot
            assert small.calls(next_.leaf) == {}
            next_.run([*actor, *steps(repeat(9, "getppid"))])
            assert small.calls(next_.leaf)["getppid"] == 9
        assert small.tables.uncounted().containers == 1


def test_more_nested_cgroups_than_room(small: Counts, pods: list[PodCgroup], actor: list[str]) -> None:
    """A container that makes more cgroups than there is room for loses its own counts, and that is counted."""
    with pods[0] as hostile, pods[1] as other:
        nested = [hostile.leaf / str(number) for number in range(6)]
        for directory in nested:
            directory.mkdir()
        assert until(lambda: small.tables.uncounted().nested_cgroups) == 2
        other.run([*actor, *steps(repeat(5, "getppid"))])
        hostile.run([*actor, *steps(repeat(5, "getppid"))])
        assert small.calls(other.leaf)["getppid"] == small.calls(hostile.leaf)["getppid"] == 5
        for directory in nested:
            directory.rmdir()
        (hostile.leaf / "again").mkdir()
        assert small.tables.uncounted().nested_cgroups == 2  # those that are gone made room
        (hostile.leaf / "again").rmdir()


def test_there_before(cache: Path, pods: list[PodCgroup], actor: list[str]) -> None:
    """A container that was there before is counted once it is told of, and has one slot however often it is told of."""
    with pods[0] as pod:
        inner = pod.leaf / "inner"
        inner.mkdir()
        loaded = Loading(cache, SMALL, FEW).finish()
        counts = Counts(loaded, FEW)
        loaded.attach()
        pod_id, leaf_id = pod.path.stat().st_ino, pod.leaf.stat().st_ino
        loaded.add_pod_cgroup(pod_id, POD_LEVEL)
        for _ in range(5):
            counts.tables.adopt(leaf_id, pod_id, is_below_pod=True)
            counts.tables.adopt(inner.stat().st_ino, leaf_id, is_below_pod=False)
        pod.run([*actor, *steps(repeat(33, "getppid"), ("write", inner / "cgroup.procs", "0"), repeat(3, "getppid"))])
        assert counts.calls(pod.leaf)["getppid"] == 36
        assert [each.cgroup_id for each in counts.tables.owners()] == [leaf_id]
        inner.rmdir()
        loaded.close()


def test_an_agent_after_another(cache: Path, pods: list[PodCgroup], actor: list[str]) -> None:
    """Two agents at once count each for itself, and what the one ends is nothing to the other."""
    with ExitStack() as stack:
        both = [Loading(cache, SMALL, FEW).finish() for _ in range(2)]
        for each in both:
            each.attach()
        pod = stack.enter_context(pods[0])
        pod.run([*actor, *steps(repeat(10, "getppid"))])
        assert [Counts(each, FEW).calls(pod.leaf)["getppid"] for each in both] == [10, 10]
        both[0].close()
        pod.run([*actor, *steps(repeat(10, "getppid"))])
        assert Counts(both[1], FEW).calls(pod.leaf)["getppid"] == 20
        both[1].close()


def test_default_sizes(probes: Probes, counting: Counting) -> None:
    """With the sizes that agents use, a full node's pods have a slot each."""
    counts = Counts(probes, counting)
    assert counts.probes.maps["owners"].max_entries >= 250 * 5
    assert counts.tables.uncounted() == (0, 0, 0, 0)
