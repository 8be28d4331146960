"""What is looked at on request when a container's calls return: errors, durations, and where opened files are."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from otel_kernel.kernel import life, syscalls
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.life import Duration, Life
from otel_kernel.kernel.probes import RUNTIME_DAEMON, Loading, Sizes
from tests.kernel.actors import DAEMON, NR, call, repeat
from tests.kernel.container_counts import Counts
from tests.kernel.pod_cgroups import PodCgroup
from tests.kernel.test_container_calls import EPERM, actor, app_words, steps

__all__ = ["actor"]
pytestmark = pytest.mark.root
AT_FDCWD = -100
EBADF, ENOENT, EINVAL = 9, 2, 22
OPEN_32, GETPPID_32 = 5, 64
EVERYTHING = Counting(
    ("umount2", "openat", "poll"), opens=True, errors=True, durations=("poll", "getppid", "execve"), open_paths=True
)
SIZES = Sizes(error_kinds=6, path_kinds=8)
NAME = f"{DAEMON}-returns"[:15]


@dataclass(frozen=True)
class Returns(Counts):
    """The tables of what returned."""

    def slot(self, cgroup: Path) -> int:
        """Return a container's slot."""
        owner = self.owner(cgroup.stat().st_ino)
        assert owner is not None
        return owner.slot

    def errors(self, cgroup: Path) -> dict[tuple[str, int], int]:
        """Return how often calls failed, by name and error."""
        names = self.counting.column_names(syscalls.table())
        kinds = self.tables.errors().get(self.slot(cgroup), {})
        found = {life.error_kind(key): count for key, count in kinds.items()}
        return {(names[column], error): count for (column, error), count in found.items()}

    def opened(self, cgroup: Path) -> dict[str, int]:
        """Return successful opens by the beginning of their path."""
        kinds = self.tables.opened().get(self.slot(cgroup), {})
        return {life.path_prefix(key): count for key, count in kinds.items()}

    def durations(self, cgroup: Path) -> dict[str, Duration]:
        """Return how long calls took."""
        return dict(zip(self.counting.durations, life.durations(self.row(cgroup).durations), strict=True))


@pytest.fixture(scope="module")
def returns(cache: Path) -> Iterator[Returns]:
    """The kernel side with all that is off by default."""
    loaded = Loading(cache, SIZES, EVERYTHING).finish()
    assert loaded.not_counted == {}
    loaded.name_daemons({NAME: RUNTIME_DAEMON})
    assert [each for each in loaded.attach() if each.error] == []
    yield Returns(loaded, EVERYTHING)
    loaded.close()


def test_errors(returns: Returns, pod: PodCgroup, actor: list[str]) -> None:
    """Each failing call counts by its name and error; what succeeds does not; other names are together."""
    failing = (
        repeat(70, "umount2", "s:/nonexistent", 0),
        repeat(5, "openat", AT_FDCWD, "s:/nonexistent", 0),
        repeat(6, "close", 999),
        ("refuse", NR["getuid"], EPERM),
        repeat(9, "getuid"),
    )
    pod.run([*actor, *steps(*failing, repeat(1_000, "getppid"), ("compat", 3, OPEN_32, "l:/nonexistent"))])
    errors = returns.errors(pod.leaf)
    wanted = {("umount2", ENOENT): 70, ("openat", ENOENT): 5, ("_OTHER", EBADF): 6, ("_OTHER", EPERM): 9}
    assert {kind: errors[kind] for kind in wanted} == wanted
    assert errors["_OTHER", ENOENT] >= 3  # the 32-bit open, and what the shell looks for
    assert returns.life(pod.leaf).errors == 0


def test_more_kinds_of_errors_than_room(returns: Returns, pod: PodCgroup, actor: list[str]) -> None:
    """A container that makes ever new errors keeps to its room: what is beyond is counted together."""
    made = [word for number in range(30) for word in (("refuse", NR["gettid"], 100 + number), repeat(2, "gettid"))]
    pod.run([*actor, *steps(*made)])
    told = returns.errors(pod.leaf)
    beyond = returns.life(pod.leaf).errors
    assert len(told) == SIZES.error_kinds
    assert beyond >= 60 - 2 * SIZES.error_kinds
    assert sum(told.values()) + beyond >= 60


def test_durations(returns: Returns, pod: PodCgroup, actor: list[str]) -> None:
    """The time from entry to return of the calls that were named, each in its bucket."""
    pod.run([*actor, *steps(*([("wait", 20)] * 5), repeat(300, "getppid"), repeat(50, "getuid"))])
    took = returns.durations(pod.leaf)
    assert sum(took["poll"].counts) == 5
    assert took["poll"].sum_ns >= 5 * 20_000_000
    assert sum(took["poll"].counts[15:]) == 5  # beyond 2^14 us
    assert sum(took["getppid"].counts) == 300
    assert took["getppid"].sum_ns < took["poll"].sum_ns
    assert sum(took["execve"].counts) == 1


def test_durations_of_execve(returns: Returns, pod: PodCgroup, actor: list[str]) -> None:
    """An execve by a thread that is not the first, and calls that never return, leave nothing behind."""
    app = ("app", *steps(call("getppid")))
    pod.run([*actor, "=become-from-crowd", f"={actor[0]}", *app_words(app)])
    took = returns.durations(pod.leaf)
    assert sum(took["execve"].counts) == 2
    assert list(returns.probes.maps["begun"].keys()) == []


def test_opened_paths(returns: Returns, pod: PodCgroup, actor: list[str], tmp_path: Path) -> None:
    """Successful opens by the first two directories of their path, as the program wrote it."""
    (tmp_path / "x").touch()
    opened = (
        repeat(3, "openat", AT_FDCWD, "s:/usr/bin/env", 0),
        repeat(2, "openat", AT_FDCWD, "s:/usr/bin", 0),
        repeat(4, "openat", AT_FDCWD, "s:/etc/passwd", 0),
        repeat(5, "openat", AT_FDCWD, "s:/", 0),
        repeat(6, "openat", AT_FDCWD, "s:/proc/self/status", 0),
        repeat(7, "openat", AT_FDCWD, "s:/proc/1/status", 0),
        call("chdir", "s:/usr"),
        repeat(8, "openat", AT_FDCWD, "s:bin/env", 0),
        repeat(9, "openat", AT_FDCWD, "s:/usr/bin/nonexistent", 0),
        ("compat", 10, OPEN_32, "l:/usr/lib/os-release"),
    )
    pod.run([*actor])
    shells = returns.opened(pod.leaf)
    assert returns.life(pod.leaf).opens == 0
    pod.run([*actor, *steps(*opened)])
    told = {path: count - 2 * shells.get(path, 0) for path, count in returns.opened(pod.leaf).items()}
    wanted = {"/usr/bin": 3, "/usr": 2, "/etc": 4, "/": 5, "/proc": 13, ".": 8, "/usr/lib": 10}
    assert {path: count for path, count in told.items() if count} == wanted


def test_more_paths_than_room(returns: Returns, pod: PodCgroup, actor: list[str], tmp_path: Path) -> None:
    """A container that opens files in ever new directories keeps to its room, and every open counts."""
    pod.run([*actor])
    base = sum(returns.opened(pod.leaf).values()) + returns.life(pod.leaf).opens
    directories = [Path("/tmp") / f"{tmp_path.name}{number}" for number in range(20)]
    for directory in directories:
        directory.mkdir()
        (directory / "x").touch()
    try:
        pod.run([*actor, *steps(*(call("openat", AT_FDCWD, f"s:{each}/x", 0) for each in directories))])
    finally:
        for directory in directories:
            (directory / "x").unlink()
            directory.rmdir()
    told = returns.opened(pod.leaf)
    assert len(told) == SIZES.path_kinds
    assert sum(told.values()) + returns.life(pod.leaf).opens == 2 * base + 20


def test_hostile_paths(returns: Returns, pod: PodCgroup, actor: list[str], tmp_path: Path) -> None:
    """Bytes that are no text, and names longer than what is kept, are told in one printable line."""
    odd = tmp_path / "a\x1b[31m\n" / "b"
    odd.parent.mkdir()
    odd.touch()
    pod.run([*actor])
    pod.run([*actor, *steps(call("chdir", f"s:{tmp_path}"), call("openat", AT_FDCWD, f"s:{odd}", 0))])
    assert all(path.isprintable() for path in returns.opened(pod.leaf))
    assert life.path_prefix(b"/a\xff\n\x1b[0m".ljust(60, b"\0")) == "/a\\xff\\n\\x1b[0m"


def test_released(returns: Returns, pod: PodCgroup, actor: list[str]) -> None:
    """Nothing of a container is left once its slot was released."""
    pod.run([*actor, *steps(repeat(3, "umount2", "s:/nonexistent", 0), repeat(3, "getppid"))])
    slot, cgroup_id = returns.slot(pod.leaf), pod.leaf.stat().st_ino
    assert slot in returns.tables.errors()
    pod.remove()
    returns.release(cgroup_id)
    assert slot not in returns.tables.errors()
    assert slot not in returns.tables.opened()
    with returns.tables.reading() as rows:
        row = rows.of(slot)
    assert not any((*row.calls, *row.life, *row.durations))
    assert Life.of(row.life).errors == 0
