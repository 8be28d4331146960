"""What is counted for containers: what that asks of the kernel, what it takes, and that births do without it."""

import subprocess
import sys
from pathlib import Path

import pytest

from otel_kernel.kernel import bpf, btf, loader, parts
from otel_kernel.kernel.counting import NUMBERS, OTHER, Counting
from otel_kernel.kernel.probes import Loading, Sizes
from tests.kernel.test_loading import replaced

ALL = Counting("all", True, True, True, errors=True, durations=("read", "write"), open_paths=True)
DEFAULT = Counting(tuple(f"name{number}" for number in range(45)), opens=True, processes=True, sched=True)
TABLE = {"read": 0, "write": 1, "open": 2, "getppid": 110}
COMPAT = {"read": 3, "open": 5, "getppid": 64, "socketcall": 102}
LIMIT_BYTES, MANY_CPUS = 48_000_000, 64
LOAD = """
import sys
from pathlib import Path
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.probes import Loading, Sizes
probes = Loading(Path(sys.argv[1]), Sizes(), Counting(("read",), opens=True, processes=True, sched=True)).finish()
print([each.failure for each in probes.attach() if each.failure], sorted(probes.not_counted), probes.counting)
print(set(probes.not_counted.values()))
print(probes.containers is not None)
"""


def kind(value: bytes) -> tuple[int, int]:
    """Return the column and the flags of what a number means."""
    return int.from_bytes(value[:2], "little"), value[2]


def test_columns_of_a_list() -> None:
    """Chosen names have a column each, whatever table their number is from; all the rest has the last."""
    counting = Counting(("getppid", "read"))
    kinds = counting.kinds(TABLE, COMPAT)
    assert len(kinds) == 2 * NUMBERS
    rest = counting.columns - 1
    assert [kind(kinds[number])[0] for number in (110, 0, 1, 500)] == [0, 1, rest, rest]
    assert [kind(kinds[NUMBERS + number])[0] for number in (64, 3, 5, 102)] == [0, 1, rest, rest]
    assert counting.column_names(TABLE) == {0: "getppid", 1: "read", rest: OTHER}


def test_columns_of_all() -> None:
    """With all names a number is its column; 32-bit calls go where the call of their name is."""
    counting = Counting("all")
    kinds = counting.kinds(TABLE, COMPAT)
    assert [kind(kinds[number])[0] for number in (0, 1, 110, 333, 511)] == [0, 1, 110, 333, 511]
    assert [kind(kinds[NUMBERS + number])[0] for number in (3, 64, 102)] == [0, 110, 511]
    names = counting.column_names(TABLE)
    assert (names[110], names[333], names[511]) == ("getppid", "syscall_333", OTHER)


def test_what_is_noted_at_a_return() -> None:
    """Only opens and timed calls are looked at when they return, and only when they were asked for."""
    asked = Counting(("read",), opens=True, durations=("write", "read")).kinds(TABLE, COMPAT)
    assert [asked[number][2] for number in (0, 1, 2, 110)] == [4, 4, 1, 0]
    assert [asked[number][3] for number in (1, 0)] == [0, 1]
    assert not any(value[2] for value in Counting(("read",)).kinds(TABLE, COMPAT))


@pytest.mark.parametrize("names", [1, 63, 64, 300])
def test_room_for_names(names: int) -> None:
    """There are always more columns than names, a power of two."""
    columns = Counting(tuple(f"name{number}" for number in range(names))).columns
    assert columns > names
    assert columns & (columns - 1) == 0


def test_nothing_asked_for() -> None:
    """What nobody asked for is not compiled."""
    assert parts.chosen(Counting().definitions(1280, 2)) == ()
    assert [part.macro for part in parts.chosen(Counting(sched=True).definitions(1280, 2))] == [
        "COUNT_LIFE",
        "COUNT_SCHED",
    ]


def test_a_kernel_that_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel cannot tell is left out, with the reason; without tasks' cgroups nothing can be counted."""
    types = btf.KernelTypes()
    real = btf.KernelTypes.offset
    missing = "run_delay"

    def offset(self: btf.KernelTypes, struct: str, member: str) -> int:
        if member == missing:
            raise btf.BtfError(f"the kernel's struct {struct} has no member {member}")
        return real(self, struct, member)

    monkeypatch.setattr(btf.KernelTypes, "offset", offset)
    definitions, absent = parts.with_offsets(types, DEFAULT.definitions(1280, 2))
    assert absent == {"COUNT_SCHED": "the kernel's struct sched_info has no member run_delay"}
    assert "COUNT_SCHED" not in definitions
    assert "COUNT_SYSCALLS" in definitions
    assert DEFAULT.without(absent) == Counting(DEFAULT.names, opens=True, processes=True)
    missing = "dfl_cgrp"
    definitions, absent = parts.with_offsets(types, DEFAULT.definitions(1280, 2))
    assert absent.keys() >= {"COUNT_LIFE", "COUNT_SYSCALLS", "COUNT_SCHED"}
    assert parts.chosen(definitions) == ()
    assert DEFAULT.without(absent) == Counting()


def load_where(changed: str, cache: Path) -> list[str]:
    """Load in a mount namespace in which a shell command changed something; return what is said."""
    script = f'set -e; mount --make-rprivate /; {changed}; exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", LOAD, str(cache)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return told.stdout.splitlines()


@pytest.mark.root
def test_counts_of_calls_that_the_verifier_refuses(tmp_path: Path, cache: Path) -> None:
    """Where the kernel refuses what is counted with calls, births are there without it, and the reason is known."""
    file = loader.source_directory() / "container_calls.c"
    line = "  count_by_name(slot, kind);\n  u8 *place"
    bad = "  LOAD(u64, self) = 1;\n"  # nobody may write to a task
    attached, reasons, there = load_where(replaced(file, line, bad + line, tmp_path), cache)
    assert attached.startswith("[] ['COUNT_CALLS', 'COUNT_LIFE', 'COUNT_OPENS', 'COUNT_PROCESSES', 'COUNT_SCHED', ")
    assert attached.endswith(str(Counting()))
    assert "program on_sys_enter: Permission denied" in reasons
    assert there == "False"


@pytest.mark.root
def test_a_switch_program_that_the_verifier_refuses(tmp_path: Path, cache: Path) -> None:
    """Where the kernel refuses to look at context switches, everything else is counted."""
    file = loader.source_directory() / "sched.c"
    line = "  u32 slot = own_slot(self);\n"
    attached, reasons, there = load_where(replaced(file, line, f"{line}  LOAD(u64, self) = 1;\n", tmp_path), cache)
    assert attached == f"[] ['COUNT_SCHED'] {Counting(('read',), opens=True, processes=True)}"
    assert "program on_switch: Permission denied" in reasons
    assert there == "True"


@pytest.mark.root
def test_switches_that_cannot_be_attached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without that tracepoint says so, and the rest is counted."""
    probes = Loading(cache, Sizes(), Counting(sched=True, processes=True)).finish()

    def refuse(_: object) -> None:
        raise OSError(2, "No such file or directory")

    assert probes.containers is not None
    monkeypatch.setattr(type(probes.containers), "attach", refuse)
    probes.count_switches()
    assert probes.not_counted == {"COUNT_SCHED": "raw tracepoint sched_switch: No such file or directory"}
    assert probes.counting == Counting(processes=True)
    probes.close()


@pytest.mark.root
@pytest.mark.parametrize("counting", [DEFAULT, ALL], ids=["default", "everything"])
def test_kernel_memory(cache: Path, counting: Counting) -> None:
    """On 64 CPUs all maps together, those of births and drops too, take less than 48 MB for 250 pods of four."""
    sizes = Sizes(cpus=MANY_CPUS)
    probes = Loading(cache, sizes, counting, drops=True).finish()
    per_cpu = {name for name, held in probes.maps.items() if held.kind in (5, 6)}  # BPF_MAP_TYPE_PERCPU_HASH, ..._ARRAY
    told = probes.memory_bytes()
    grown = {name: size * MANY_CPUS // bpf.possible_cpus() if name in per_cpu else size for name, size in told.items()}
    assert sum(grown.values()) <= LIMIT_BYTES, sorted(grown.items(), key=lambda item: -item[1])
    assert probes.maps["owners"].max_entries >= 250 * 5
    assert told["syscall_counts"] > 10_000_000
    probes.close()
