"""The parts of bpf/ that count for containers: compiled when asked for, left out where the kernel cannot have them."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from otel_kernel.kernel.btf import BtfError, KernelTypes

SWITCH = "sched_switch"
THROTTLING = "WATCH_THROTTLING"
THROTTLE_STACKS = "THROTTLE_STACKS"
FUNCTIONS = "FUNCTIONS"
PODS_V1 = "PODS_V1_"  # and a controller's name: the number of the hierarchy that pods are looked for in


class Part(NamedTuple):
    """What is there when a macro is defined."""

    macro: str
    what: str  # is counted, in words
    maps: tuple[str, ...]
    structs: Mapping[str, tuple[str, Literal["key", "value"]]] = {}  # by name: the map that holds it, and as what
    programs: Mapping[str, str | None] = {}  # raw tracepoint; None: the agent runs it itself
    members: tuple[tuple[str, str], ...] = ()  # of kernel structs
    at_functions: tuple[str, ...] = ()  # programs at functions of the kernel (functions.py)


# The first is what all the others stand on.
PARTS = (
    Part(
        "COUNT_LIFE",
        "what containers do",
        ("buckets", "slots", "nested", "owners", "free_slots", "uncounted", "lives"),
        {"owner": ("owners", "value"), "uncounted": ("uncounted", "value"), "life": ("lives", "value")},
        {"adopt_cgroup": None},
        (("task_struct", "cgroups"), ("css_set", "dfl_cgrp")),
    ),
    Part(
        "COUNT_CALLS",
        "system calls",
        ("places", "call_kinds"),
        {"call_kind": ("call_kinds", "value")},
        members=(("task_struct", "seccomp"), ("seccomp", "mode")),
    ),
    Part("COUNT_SYSCALLS", "system calls by name", ("syscall_counts",)),
    Part("COUNT_OPENS", "file opens", ()),
    Part("COUNT_PROCESSES", "forks, execs and exits", ("ended",), members=(("task_struct", "start_boottime"),)),
    Part(
        "COUNT_SCHED",
        "context switches and run-queue waits",
        ("runs", "more_runs"),
        {},
        {"on_switch": SWITCH},
        (
            ("task_struct", "nvcsw"),
            ("task_struct", "sched_info"),
            ("sched_info", "pcount"),
            ("sched_info", "run_delay"),
        ),
    ),
    Part("SYSCALL_ERRORS", "errors of system calls", ("syscall_errors",), {"error_kind": ("syscall_errors", "key")}),
    Part("TIMED_CALLS", "durations of system calls", ("begun", "durations"), {"duration": ("durations", "value")}),
    Part("OPEN_PATHS", "paths of file opens", ("opened", "prefixes"), {"path_prefix": ("opened", "key")}),
    Part(
        THROTTLING,
        "throttled intervals",
        ("throttlings", "throttling_losses", "no_throttling", "unthrottlings"),
        {"throttling": ("throttlings", "value"), "throttling_losses": ("throttling_losses", "value")},
        {},
        (
            ("cfs_rq", "throttled"),
            ("cfs_rq", "throttled_clock"),
            ("cfs_rq", "rq"),
            ("cfs_rq", "tg"),
            ("rq", "clock"),
            ("rq", "cpu"),
            ("task_group", "css"),
            ("cgroup_subsys_state", "cgroup"),
        ),
        ("unthrottle_fentry", "unthrottle_kprobe", "unthrottle_return"),
    ),
    Part(
        THROTTLE_STACKS,
        "stacks of what a CPU limit stops",
        ("stops", "stop_stacks"),
        {"stop": ("stops", "key")},
        {},
        (("task_struct", "cgroups"), ("css_set", "dfl_cgrp")),
        ("throttle_fentry", "throttle_kprobe"),
    ),
    Part(
        FUNCTIONS,
        "calls of kernel functions",
        ("function_calls", "function_begun"),
        {"function_calls": ("function_calls", "value")},
        at_functions=("function_entry", "function_return"),
    ),
)
_FIRST = PARTS[0].macro
WORDS: Mapping[str, str] = {part.macro: part.what for part in PARTS}
_MACROS = frozenset(part.macro for part in PARTS)

Absent = dict[str, str]  # macro -> why that part is not there


def chosen(definitions: Mapping[str, int]) -> tuple[Part, ...]:
    """Return the parts that these macros ask for."""
    return tuple(part for part in PARTS if part.macro in definitions)


def with_offsets(types: KernelTypes, definitions: Mapping[str, int]) -> tuple[dict[str, int], Absent]:
    """Return the macros with the offsets that the chosen parts need, and without what this kernel cannot have."""
    found, absent = dict(definitions), Absent()
    for part in chosen(definitions):
        try:
            found |= {f"{struct}_{member}".upper(): types.offset(struct, member) for struct, member in part.members}
            if part.macro == "COUNT_SCHED":
                found["TASK_STRUCT_STATE"] = _state(types)
        except BtfError as error:
            absent[part.macro] = str(error)
    if THROTTLING in absent and THROTTLE_STACKS in found:
        absent[THROTTLE_STACKS] = absent[THROTTLING]
    if _FIRST in absent:
        return without(found, absent[_FIRST])
    return {name: value for name, value in found.items() if name not in absent}, absent


def without(definitions: Mapping[str, int], reason: str) -> tuple[dict[str, int], Absent]:
    """Return the macros without any part, for that reason."""
    absent = {part.macro: reason for part in chosen(definitions)}
    return {name: value for name, value in definitions.items() if name not in _MACROS}, absent


def _state(types: KernelTypes) -> int:
    """Return where a task's state is, which has another name since 5.14."""
    return types.offset("task_struct", "__state" if types.has("task_struct", "__state") else "state")
