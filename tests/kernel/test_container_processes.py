"""What containers begin, execute, end and open."""

import os
import subprocess
from pathlib import Path

import pytest

from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.probes import Probes
from tests.kernel.actors import NR, call, repeat
from tests.kernel.container_counts import Counts
from tests.kernel.pod_cgroups import PodCgroup
from tests.kernel.test_container_calls import actor, steps
from tests.kernel.test_endings import enter
from tests.kernel.waiting import until

__all__ = ["actor"]
pytestmark = pytest.mark.root
AT_FDCWD, O_CREAT = -100, 0o100
OPEN_32, CREAT_32, GETPPID_32 = 5, 8, 64


@pytest.fixture
def counts(probes: Probes, counting: Counting) -> Counts:
    """The kernel side as it is by default."""
    return Counts(probes, counting)


def test_nothing_yet(counts: Counts, pod: PodCgroup) -> None:
    """A container that has done nothing has done nothing."""
    assert not any(counts.row(pod.leaf).life)


def test_processes(counts: Counts, pod: PodCgroup, actor: list[str]) -> None:
    """Processes that begin are counted and those that end, however they are made; threads are not."""
    made = [("child", how, 0) for how in ("clone", "clone3", "fork", "vfork")]
    pod.run([*actor, *steps(*made, ("threads", 5, 1), ("spawn", *actor, "app"))])
    counted = counts.life(pod.leaf)
    assert (counted.forks, counted.execs, counted.exits) == (5, 2, 6)  # the shell's program, which came from outside


def test_threads_that_end_at_once(counts: Counts, pod: PodCgroup, actor: list[str]) -> None:
    """A process whose threads end at the same time on all CPUs ends once."""
    crowds, times = 25, 20
    spawn = [("spawn", *actor, "app", "=crowd", str(2 + number), "--") for number in range(crowds)]
    words = [f"={word}" for each in spawn for word in each]
    for _ in range(times):
        pod.run([*actor, *words[:-1]])
    counted = counts.life(pod.leaf)
    assert (counted.forks, counted.execs, counted.exits) == (crowds * times, (crowds + 1) * times, (crowds + 1) * times)


def test_a_leader_that_ends_first(counts: Counts, pod: PodCgroup, actor: list[str]) -> None:
    """A process ends with its last thread, and an exec by another thread than the first ends none."""
    pod.run([*actor, *steps(("child", "fork", 0), ("leader-exits", 0, "--", "child", "fork", 0))])
    before = counts.life(pod.leaf)
    assert (before.forks, before.exits) == (2, 3)
    pod.run([*actor, *(f"={word}" for word in ("become-from-thread", *actor, "app"))])
    after = counts.life(pod.leaf)
    assert (after.execs - before.execs, after.exits - before.exits) == (3 - 1, 1)


def test_opens(counts: Counts, pod: PodCgroup, actor: list[str], tmp_path: Path) -> None:
    """Opens that succeed are counted, by whichever of the four calls; those that fail are not."""
    (tmp_path / "file").touch()
    path, new = f"s:{tmp_path}/file", f"s:{tmp_path}/new"
    how = f"s:{'x' * 24}"  # its flags are none that exist
    taken = (
        repeat(3, "openat", AT_FDCWD, path, 0),
        repeat(40, "openat", AT_FDCWD, "s:/nonexistent", 0),
        *(
            (call("open", path, 0), call("creat", new, 0o600), call("open", "s:/nonexistent", 0))
            if "open" in NR
            else ()
        ),
        call("openat2", AT_FDCWD, path, how, 24),
        ("write-at", pod.leaf, "cgroup.max.depth", "5"),  # an open of the directory and an openat2
    )
    pod.run([*actor])
    base = counts.life(pod.leaf).opens
    pod.run([*actor, *steps(*taken)])
    assert counts.life(pod.leaf).opens - 2 * base == 3 + 2 * ("open" in NR) + 2


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="32-bit calls are made by int 0x80")
def test_32_bit_opens(counts: Counts, pod: PodCgroup, actor: list[str], tmp_path: Path) -> None:
    """A 32-bit open is an open."""
    (tmp_path / "file").touch()
    pod.run([*actor])
    base = counts.life(pod.leaf).opens
    opened = (("compat", 4, OPEN_32, f"l:{tmp_path}/file"), ("compat", 9, OPEN_32, "l:/nonexistent"))
    pod.run([*actor, *steps(*opened, ("compat", 100, GETPPID_32))])
    assert counts.life(pod.leaf).opens - 2 * base == 4


def test_killed_in_an_open(counts: Counts, pod: PodCgroup, actor: list[str], tmp_path: Path) -> None:
    """A task that is killed while it opens has opened nothing, and whoever gets its id begins anew."""
    os.mkfifo(tmp_path / "fifo")
    pod.run([*actor])
    base = counts.life(pod.leaf).opens
    opens = steps(enter(pod.leaf), call("openat", AT_FDCWD, f"s:{tmp_path}/fifo", 0))
    with subprocess.Popen([*actor, *opens]) as process:
        assert until(lambda: f"{NR['openat']} " in Path(f"/proc/{process.pid}/syscall").read_text()[:4])
        process.kill()
    pod.run([*actor, *steps(("child-at", process.pid), repeat(2, "getppid"))])
    assert counts.life(pod.leaf).opens == 2 * base
