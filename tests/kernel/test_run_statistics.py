"""The kernel's own statistics of our programs: against a known number of runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_kernel.kernel import bpf
from otel_kernel.kernel.probes import Loading, Probes, Sizes
from tests.kernel.networks import Network

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def probes(cache: Path) -> Iterator[Probes]:
    """The kernel side with statistics; only what counts drops is attached."""
    loaded = Loading(cache, Sizes(), drops=True).finish()
    assert loaded.drops is not None
    assert not loaded.has_run_statistics
    loaded.enable_run_statistics()
    loaded.drops.attach()
    yield loaded
    loaded.close()


def test_runs_of_our_own(probes: Probes) -> None:
    """A program that only we run has run as often as we ran it, and took some time each time."""
    program = probes._programs["watch_thread"]
    before = bpf.runs(program)
    for _ in range(1009):
        probes.watch(1)
    after = bpf.runs(program)
    assert after.runs - before.runs == 1009
    assert 0 < (after.time_ns - before.time_ns) / 1009 < 1_000_000
    assert after.misses == 0


def test_runs_of_attached_programs(probes: Probes) -> None:
    """A program that is attached runs for each drop of anybody; those that are not attached do not run."""
    before = probes.runs()
    with Network() as network:
        network.send("127.0.0.1", 523)
    after = probes.runs()
    assert after["on_kfree_skb"].runs - before["on_kfree_skb"].runs >= 523
    assert after["on_kfree_skb"].time_ns > before["on_kfree_skb"].time_ns
    assert after["on_sys_enter"].runs == before["on_sys_enter"].runs == 0
    assert "enter_drawn" not in after  # run by a tail call, it counts as on_sys_enter


def test_what_a_program_returns(probes: Probes) -> None:
    """What a program returns that we run ourselves is known."""
    assert bpf.run_raw_tracepoint(probes._programs["learn_network"], 1 << 20, 0) == 3
    assert bpf.run_raw_tracepoint(probes._programs["watch_thread"], 1) == 0


def test_a_whole_map(probes: Probes) -> None:
    """All entries of a map are read at once, and a map that is frozen is not written again."""
    names = {name.encode().ljust(16, b"\0"): bytes([number, 0, 0, 0]) for number, name in enumerate(("x", "y", "z"))}
    held = probes.maps["daemon_names"]
    assert held.entries() == []
    for name, number in names.items():
        held.update(name, number)
    assert dict(held.entries()) == names
    shape = bpf.Shape("constant", 2, 4, 8, 1, 1 << 7)  # BPF_MAP_TYPE_ARRAY, BPF_F_RDONLY_PROG
    constant = bpf.Map(bpf.create_map(shape))
    constant.update(bytes(4), b"%ps\0\0\0\0\0")
    constant.freeze()
    with pytest.raises(PermissionError):
        constant.update(bytes(4), bytes(8))
    assert constant.lookup(bytes(4)) == b"%ps\0\0\0\0\0"
    constant.close()
