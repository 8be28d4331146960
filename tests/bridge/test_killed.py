"""No birth is posted twice, and none is lost uncounted, whenever the bridge or the operator ends."""

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.bridge.births import PROTOBUF, as_protobuf, birth
from tests.bridge.operator_mock import API_DOWN, CONFLICT, Behaviour, Operator, operating
from tests.bridge.running import RunningBridge, bridging
from tests.telemetry.collectors import until


@pytest.fixture
def operator() -> Iterator[Operator]:
    """Return a mock of the operator."""
    with operating(Operator()) as running:
        yield running


@pytest.fixture
def bridge(tmp_path: Path, operator: Operator) -> Iterator[RunningBridge]:
    """Return a bridge before that operator."""
    with bridging(tmp_path, operator.url) as running:
        yield running


def send(bridge: RunningBridge, number: int) -> int:
    """Bring a birth once; returns the status, 0 when the bridge has gone."""
    try:
        body = as_protobuf(birth(number))
        return requests.post(f"{bridge.at}/v1/traces", data=body, headers=PROTOBUF, timeout=30).status_code
    except requests.RequestException:
        return 0


def bring(bridge: RunningBridge, *numbers: int) -> None:
    """Bring births as a collector does: again until each is taken."""
    for number in numbers:
        until(lambda number=number: send(bridge, number) == 200, 60)  # type: ignore[misc]


def killed_while_posting(bridge: RunningBridge, operator: Operator, behaviour: Behaviour) -> None:
    """Kill the bridge while the operator has a birth and has not answered, then start it again."""
    operator.script = [behaviour]
    operator.arrived.clear()
    sender = threading.Thread(target=send, args=(bridge, 1))
    sender.start()
    assert operator.arrived.wait(20)
    if behaviour.takes:
        until(lambda: operator.pods() == ["web-1"])
    bridge.kill()
    sender.join()
    bridge.start()


def test_killed_before_a_post(bridge: RunningBridge, operator: Operator) -> None:
    """What the operator was never told waits with the collector and is posted once."""
    operator.always = Behaviour(503)
    assert send(bridge, 1) == 503
    bridge.kill()
    operator.always = None
    bridge.start()
    bring(bridge, 1, 1)
    assert operator.pods() == ["web-1"]
    assert (bridge.count("posted"), bridge.count("duplicate"), bridge.count("ambiguous")) == (1, 1, 0)


@pytest.mark.parametrize("takes", [False, True])
def test_killed_during_a_post(bridge: RunningBridge, operator: Operator, takes: bool) -> None:
    """Whether the operator took it cannot be known: it is not told again, and that is counted."""
    killed_while_posting(bridge, operator, Behaviour(takes=takes, hangs_s=2))
    assert bridge.count("ambiguous") == 1
    bring(bridge, 1, 2)
    assert operator.pods() == (["web-1"] if takes else []) + ["web-2"]
    assert (bridge.count("ambiguous"), bridge.count("duplicate"), bridge.count("posted")) == (1, 1, 1)


def test_killed_after_a_post(bridge: RunningBridge, operator: Operator) -> None:
    """What was posted is known to the next process."""
    bring(bridge, 1)
    bridge.kill()
    bridge.start()
    bring(bridge, 1)
    assert operator.pods() == ["web-1"]
    assert (bridge.count("duplicate"), bridge.count("ambiguous")) == (1, 0)


def test_ended_during_a_post(bridge: RunningBridge, operator: Operator) -> None:
    """SIGTERM lets the operator answer first, and is no reason to forget what it said."""
    operator.script = [Behaviour(takes=True, hangs_s=2)]
    operator.arrived.clear()
    sender = threading.Thread(target=send, args=(bridge, 1))
    sender.start()
    assert operator.arrived.wait(20)
    assert bridge.stop() == 0
    sender.join()
    bridge.start()
    bring(bridge, 1)
    assert operator.pods() == ["web-1"]
    assert (bridge.count("duplicate"), bridge.count("ambiguous")) == (1, 0)


def test_the_operator_is_down(tmp_path: Path) -> None:
    """Nobody listens, then the API server is away: births wait with the collector, and each is posted once."""
    operator = Operator()
    with operating(operator):
        pass
    with bridging(tmp_path, operator.url) as bridge:
        assert [send(bridge, number) for number in (1, 2)] == [503, 503]
        operator.always = Behaviour(400, API_DOWN)
        with operating(operator):
            until(lambda: send(bridge, 1) == 503 and len(operator.attempts) >= 2, 60)
            operator.always = None
            bring(bridge, 1, 2, 1, 2)
            assert sorted(operator.pods()) == ["web-1", "web-2"]
            assert bridge.count("posted") == 2
            assert bridge.count("ambiguous") == 0


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (Behaviour(500, b"oops", takes=True), "ambiguous"),
        (Behaviour(502, b"<html>"), "ambiguous"),
        (Behaviour(200, b"<html>Please log in</html>"), "ambiguous"),
        (Behaviour(200, b"", takes=True, cuts=True), "ambiguous"),
        (Behaviour(400, b"no JSON"), "refused"),
        (Behaviour(takes=True, hangs_s=12), "ambiguous"),
    ],
    ids=["500", "502", "non-JSON", "cut", "400", "hangs"],
)
def test_an_operator_that_goes_wrong(
    bridge: RunningBridge, operator: Operator, behaviour: Behaviour, outcome: str
) -> None:
    """One birth may be lost, and is counted; it is not posted again, and the next one is posted."""
    operator.script = [behaviour]
    bring(bridge, 1, 1, 2)
    assert [each["pod_creation"]["pod_name"] for each in operator.attempts] == ["web-1", "web-2"]
    assert bridge.count(outcome) == 1
    assert bridge.count("posted") == 1


def test_conflicts(bridge: RunningBridge, operator: Operator) -> None:
    """Half of all updates conflict: the sender never hears of it."""
    for number in range(5):
        operator.script = [Behaviour(400, CONFLICT), Behaviour(400, CONFLICT)]
        assert send(bridge, number) == 200
    assert len(operator.pods()) == 5


@pytest.mark.root
def test_the_state_directory_is_full(tmp_path: Path, operator: Operator) -> None:
    """Nothing is posted that could not be written down first; with room again everything goes on."""
    with small_disk(tmp_path / "disk") as disk, bridging(disk, operator.url) as bridge:
        bring(bridge, 1)
        filler = disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass
        statuses = [send(bridge, number) for number in range(2, 80)]
        assert 503 in statuses
        assert requests.get(f"{bridge.at}/health", timeout=10).status_code == 503
        posted_when_full = len(operator.attempts)
        assert posted_when_full == 1 + statuses.count(200)
        filler.unlink()
        bring(bridge, *range(2, 80))
        assert requests.get(f"{bridge.at}/health", timeout=10).status_code == 200
        assert sorted(operator.pods()) == sorted(f"web-{number}" for number in range(1, 80))


@contextlib.contextmanager
def small_disk(at: Path) -> Iterator[Path]:
    """Mount a disk of half a MiB."""
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)
