"""Functions of the kernel by name: counted for whom they are called, timed, refused where they may not be probed.

Not among the tests that are collected by default: it takes a kernel with fentry or kprobes
(`python -m tests.kernels 6.12 -- .venv/bin/python -m pytest tests/kernels/functions.py`).
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_kernel import ebpf
from otel_kernel.kernel import functions, life, probes
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.life import FunctionCalls
from otel_kernel.kernel.probes import Loading, Probes, Sizes
from tests.kernel.container_counts import Counts
from tests.kernel.pod_cgroups import PodCgroup, v2_hierarchy

LOAD_LIMIT_S = 600  # the processors are emulated
WAYS = {ways[0]: ways for ways in functions._WAYS}
# Called from other files of the kernel than their own, so that no compiler may inline them; the second in the first.
NAMES = ("notify_change", "setattr_prepare")
CALLS = 1003


@pytest.fixture(scope="module")
def loaded() -> Iterator[Probes]:
    """The kernel side, attached to what tells it of cgroups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "_LOAD_TIMEOUT_S", LOAD_LIMIT_S)
        found = Loading(ebpf.cache_directory(), Sizes(), Counting(functions=NAMES)).finish()
    assert [each for each in found.attach() if each.error] == []
    yield found
    found.close()


@pytest.fixture(params=WAYS)
def counts(request: pytest.FixtureRequest, loaded: Probes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counts]:
    """What counts, in each way that there is."""
    monkeypatch.setattr(functions, "_WAYS", (WAYS[request.param],))
    loaded.watch_functions()
    assert loaded.not_counted == {}
    assert {name for name in loaded.runs() if name.startswith("notify_change:")} == {
        f"notify_change:{way}" for way in WAYS[request.param]
    }
    yield Counts(loaded, loaded.counting)
    functions.detach(loaded._functions)
    loaded._functions.clear()


@pytest.fixture
def pod(counts: Counts) -> Iterator[PodCgroup]:
    """A pod with one container, made while somebody looks on."""
    assert counts.tables
    hierarchy = v2_hierarchy()
    assert hierarchy is not None
    with PodCgroup(hierarchy) as made:
        yield made


def called(counts: Counts, pod: PodCgroup) -> dict[str, FunctionCalls]:
    """Return what was counted of a container, by function."""
    return dict(zip(NAMES, life.functions(counts.row(pod.leaf).functions), strict=True))


def test_calls_and_durations(counts: Counts, pod: PodCgroup, tmp_path: Path) -> None:
    """Exact counts, each with its duration; a function that another one calls lasts no longer than that."""
    program = (
        "import os, sys\n"
        "file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\n"
        f"for size in range({CALLS}): os.ftruncate(file, size)\n"
    )
    pod.run(["python3", "-c", program, str(tmp_path / "file")])
    told = called(counts, pod)
    for each in told.values():
        assert each.calls == CALLS
        assert sum(each.counts) == each.calls
        assert each.sum_ns > 0
    assert told["notify_change"].sum_ns > told["setattr_prepare"].sum_ns


def test_what_is_no_containers_is_not_counted(counts: Counts, pod: PodCgroup, tmp_path: Path) -> None:
    """The node's own calls count for nobody."""
    with (tmp_path / "file").open("w") as file:
        os.ftruncate(file.fileno(), 1)
    assert {each.calls for each in called(counts, pod).values()} == {0}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vfs_fsync", ""),
        ("no_such_function", "no function of that name"),
        ("__kmalloc_index", "no function of that name"),  # inlined always
        ("kprobe_int3_handler", "may not be probed"),  # on the blacklist: kprobes are made of it
        ("irqentry_enter", "may not be probed"),  # notrace
    ],
)
def test_refusals(name: str, reason: str) -> None:
    """A function that cannot be watched is refused before anything is attached, with the reason."""
    told = functions.refused([name]).get(name, "")
    assert reason in told
    assert bool(reason) == bool(told)
