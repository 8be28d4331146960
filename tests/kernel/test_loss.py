"""What cannot be kept is counted where it is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_kernel.kernel.events import Call, Ending
from otel_kernel.kernel.probes import RUNTIME_DAEMON, Loading, Probes, Sizes
from tests.kernel.actors import DAEMON, Kernel, call, repeat

pytestmark = pytest.mark.root
CLONE_VFORK = 0x4000
SMALL = Sizes(ring_pages=1, processes=4, threads=8, texts=2)
NAME = f"{DAEMON}-small"[:15]


@pytest.fixture(scope="module")
def small(cache: Path) -> Iterator[Probes]:
    """The kernel side with room for next to nothing."""
    probes = Loading(cache, SMALL).finish()
    probes.name_daemons({NAME: RUNTIME_DAEMON})
    assert [each for each in probes.attach() if each.error] == []
    yield probes
    probes.close()


@pytest.fixture
def tight(small: Probes, programs: Path) -> Iterator[Kernel]:
    """What it tells."""
    told = Kernel(small, programs, NAME)
    yield told
    told.stop()
    told.seen()
    assert told.followed() == {}
    sent, received = small.counters().sent, small.received
    assert sent == received + small.counters().lost_ring


def test_flood(tight: Kernel) -> None:
    """Under a flood, what was sent is what was received and what the ring could not take, to the last record."""
    daemon = tight.daemon()
    before = tight.probes.received
    ran = daemon.run("runc create x", repeat(5_000, "umount2", "s:/nonexistent/some/long/path", 0))
    seen = tight.seen()
    counted = tight.counted()
    assert counted.lost_ring > 4_000
    assert counted.sent == tight.probes.received - before + counted.lost_ring
    assert counted.sent >= 5_000 + 3  # the exec, its execve, the end
    assert 0 < len(seen.of(Call, ran.pid)) < 1_000


def test_flood_while_reading(tight: Kernel) -> None:
    """The same holds when records are read meanwhile, and those that were read are whole."""
    daemon = tight.daemon()
    before = tight.probes.received
    read = []
    for _ in range(50):
        daemon.run("runc create x", repeat(20, "umount2", "s:/nonexistent", 0))
        read += tight.seen().of(Call)
    counted = tight.counted()
    assert counted.sent == tight.probes.received - before + counted.lost_ring
    assert {each.target for each in read if each.name == "umount2"} == {"/nonexistent"}
    assert tight.probes.undecodable == 0


def test_more_processes_than_room(tight: Kernel) -> None:
    """A process for which there is no room is not followed, and counted; the others are."""
    daemon = tight.daemon()
    deep = [("descend", "clone", 0)] * 6
    ran = daemon.run("runc create x", *deep)
    seen = tight.seen()
    assert tight.counted().lost_processes == 1  # whom nobody follows, of those nobody follows the children
    assert ran.status == 0
    assert seen.end(ran.pid).ending is Ending.EXIT


def test_more_threads_than_room(tight: Kernel) -> None:
    """Calls of a thread for which there is no room still count; that others may be missing is counted."""
    daemon = tight.daemon()
    busy = daemon.run("runc create x", ("crowd", 12)).pid
    counted = tight.counted()
    assert counted.lost_threads > 0
    end = tight.seen().end(busy)
    assert end.threads == 12
    assert end.syscalls > counted.lost_threads - 12  # each lost once when it was made and at each of its calls


def test_more_calls_than_room(tight: Kernel) -> None:
    """A drawn call for whose strings there is no room is missing and counted; its process still ends."""
    daemon = tight.daemon()
    unmount = call("umount2", "s:/nonexistent", 0)
    deeper = (unmount, ("descend", "clone3", CLONE_VFORK))
    ran = daemon.run("runc create x", *deeper, *deeper, unmount)
    seen = tight.seen()
    assert tight.counted().lost_texts == 1
    assert len(seen.calls("umount2")) == 2
    assert seen.end(ran.pid).ending is Ending.EXIT
