"""The system calls of containers, counted exactly by name."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.probes import RUNTIME_DAEMON, Loading, Probes, Sizes
from tests.kernel.actors import DAEMON, NR, Daemon, Step, repeat
from tests.kernel.container_counts import Counts
from tests.kernel.pod_cgroups import PodCgroup
from tests.kernel.test_endings import PIVOT, enter, new_root

pytestmark = pytest.mark.root
NAME = f"{DAEMON}-all"[:15]
GETPPID_32, SOCKETCALL_32, WRITE_32 = 64, 102, 4
EPERM, ENOSYS = 1, 38


@pytest.fixture(scope="module")
def by_all_names(cache: Path) -> Iterator[Counts]:
    """Every call counted by its name."""
    counting = Counting("all", opens=True, processes=True)
    loaded = Loading(cache, Sizes(), counting).finish()
    loaded.name_daemons({NAME: RUNTIME_DAEMON})
    assert [each for each in loaded.attach() if each.error] == []
    yield Counts(loaded, counting)
    loaded.close()


@pytest.fixture
def by_few_names(probes: Probes, counting: Counting) -> Counts:
    """Four calls counted by name."""
    return Counts(probes, counting)


@pytest.fixture
def actor(programs: Path) -> list[str]:
    """The first words of a program that takes steps and is no daemon's."""
    path = programs / "app"
    if not path.exists():
        path.symlink_to("actor")
    return [str(path)]


def app_words(words: Iterable[str]) -> list[str]:
    """Return words that an actor takes for those of its next program."""
    return [f"={word}" for word in words]


def steps(*taken: Step) -> list[str]:
    """Return steps as an actor's arguments."""
    return [f"={word}" for step in taken for word in ("--", *map(str, step))][1:]


def test_exact_by_name(by_all_names: Counts, pod: PodCgroup, actor: list[str]) -> None:
    """As many as were made, to the last, from the first on."""
    assert by_all_names.calls(pod.leaf) == {}
    pod.run([*actor, *steps(repeat(100_003, "getppid"), repeat(17, "getuid"))])
    calls = by_all_names.calls(pod.leaf)
    assert (calls["getppid"], calls["getuid"], calls["exit_group"]) == (100_003, 17, 1)
    assert "_OTHER" not in calls


def test_exact_by_few_names(by_few_names: Counts, by_all_names: Counts, pod: PodCgroup, actor: list[str]) -> None:
    """What has no name of its own is in `_OTHER`: the sum is that over all names."""
    pod.run([*actor, *steps(repeat(100_003, "getppid"), repeat(29, "write", 99, 0, 0))])
    few, every = by_few_names.calls(pod.leaf), by_all_names.calls(pod.leaf)
    named = {"read", "write", "openat", "close"}
    assert {name: few.get(name, 0) for name in named} == {name: every.get(name, 0) for name in named}
    assert few["write"] == 29
    assert few["_OTHER"] >= 100_003
    assert few["_OTHER"] == sum(count for name, count in every.items() if name not in named)


def test_threads_on_all_cpus(by_all_names: Counts, pod: PodCgroup, actor: list[str]) -> None:
    """Threads that call at the same time lose nothing."""
    pod.run([*actor, *steps(("threads", 8, 20_000))])
    assert by_all_names.calls(pod.leaf)["getppid"] == 160_000


def test_unknown_numbers(by_all_names: Counts, pod: PodCgroup, actor: list[str]) -> None:
    """A number that the table does not have is told as such; one that no kernel can have is among the rest."""
    unknown = ((500, 3), (400, 2), (510, 4), (511, 5), (512, 1), (70_000, 7), (-1, 6))
    pod.run([*actor, *steps(*(("repeat", times, number) for number, times in unknown))])
    calls = by_all_names.calls(pod.leaf)
    told = {name: count for name, count in calls.items() if name.startswith(("syscall_", "_"))}
    assert told == {"syscall_500": 3, "syscall_400": 2, "syscall_510": 4, "_OTHER": 5 + 1 + 7 + 6}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="32-bit calls are made by int 0x80")
def test_32_bit_calls(by_all_names: Counts, by_few_names: Counts, pod: PodCgroup, actor: list[str]) -> None:
    """A 32-bit call counts under its own name, never under that of the 64-bit call with its number."""
    taken = (("compat", 1_000, GETPPID_32), ("compat", 30, SOCKETCALL_32), ("compat", 7, WRITE_32, 99))
    pod.run([*actor, *steps(*taken)])
    calls, few = by_all_names.calls(pod.leaf), by_few_names.calls(pod.leaf)
    assert calls["getppid"] == 1_000
    assert calls["_OTHER"] == 30  # there is no 64-bit socketcall
    assert (calls["write"], few["write"]) == (7, 7)
    assert not calls.keys() & {"semop", "stat"}  # what the numbers 64, 102 and 4 mean elsewhere


def test_refused_by_seccomp(by_all_names: Counts, pod: PodCgroup, actor: list[str]) -> None:
    """Calls that seccomp refuses are calls, too: they return without having entered, and count then."""
    refused = (("refuse", NR["getppid"], EPERM), repeat(1_000, "getppid"), repeat(500, "getuid"))
    pod.run([*actor, *steps(*refused, ("child", "fork", 0), ("threads", 2, 100))])
    calls = by_all_names.calls(pod.leaf)
    assert (calls["getppid"], calls["getuid"]) == (1_200, 500)
    assert calls["fork"] == 1  # the child's side of it is no call


def test_refused_from_the_first_call_on(by_all_names: Counts, pod: PodCgroup, actor: list[str]) -> None:
    """A process whose very first call seccomp refuses has made it."""
    refuse = ("refuse", NR["getppid"], EPERM)
    pod.run([*actor, *steps(refuse, ("descend", "clone", 0), repeat(5, "getppid"))])
    assert by_all_names.calls(pod.leaf)["getppid"] == 5


@pytest.mark.parametrize("refused", [(), (("refuse", NR["getuid"], EPERM),)], ids=["free", "with seccomp"])
def test_executed_by_a_thread(
    by_all_names: Counts, pod: PodCgroup, actor: list[str], refused: tuple[Step, ...]
) -> None:
    """A thread that executes takes over its process's id, whose other threads vanish in the middle of their calls."""
    app = ("app", *steps(repeat(77, "gettid")))
    pod.run(
        [*actor, *steps(*refused), *(["=--"] if refused else []), "=become-from-crowd", f"={actor[0]}", *app_words(app)]
    )
    calls = by_all_names.calls(pod.leaf)
    assert calls["execve"] == 2  # the shell's and the thread's
    assert calls["gettid"] == 77


def test_nested_cgroups(by_all_names: Counts, pod: PodCgroup, actor: list[str]) -> None:
    """What runs in a cgroup that the container made below its own is the container's."""
    inner = pod.leaf / "system.slice" / "app.service"
    inner.mkdir(parents=True)
    pod.run([*actor, *steps(enter(inner), repeat(1_234, "getppid"), enter(inner.parent), repeat(1, "getppid"))])
    inner.rmdir()
    inner.parent.rmdir()
    assert by_all_names.calls(pod.leaf)["getppid"] == 1_235
    assert by_all_names.owner(pod.leaf.stat().st_ino) == by_all_names.owner(pod.leaf.stat().st_ino)


def test_outside_pods(by_all_names: Counts, pod: PodCgroup) -> None:
    """A pod's own cgroup and cgroups of nobody have no slot."""
    assert by_all_names.owner(pod.path.stat().st_ino) is None
    assert by_all_names.owner(pod.path.parent.stat().st_ino) is None
    owner = by_all_names.owner(pod.leaf.stat().st_ino)
    assert owner is not None
    assert (owner.pod_id, owner.is_gone) == (pod.path.stat().st_ino, False)


def test_the_runtime_is_not_the_container(by_all_names: Counts, programs: Path, pod: PodCgroup, tmp_path: Path) -> None:
    """What runc init calls in the container's cgroup is the pod's; what comes after its execve is the container's."""
    with Daemon(programs, NAME) as daemon:
        app = daemon.words("app", repeat(40, "getppid"), ("child", "clone", 0), ("threads", 1, 2))
        before = (enter(pod.leaf), *new_root(tmp_path), *PIVOT, repeat(1_000, "getppid"))
        daemon.run("runc create x", *before, ("become", *app))
    calls, counted = by_all_names.calls(pod.leaf), by_all_names.life(pod.leaf)
    assert calls["getppid"] == 42
    assert not calls.keys() & {"execve", "mount", "pivot_root", "umount2", "unshare"}
    assert counted.birth_calls == 1_009  # what it called between joining the cgroup and its execve, that too
    assert (counted.forks, counted.execs, counted.exits) == (1, 1, 2)
