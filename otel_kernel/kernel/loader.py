"""Compiles with BCC and loads the programs in a process of its own, hands over the descriptors, and ends.

The compiler takes 120 MB; the agent lives for months. So this runs as `python -m otel_kernel.kernel.loader`, sends one
JSON manifest and all descriptors over the Unix socket whose descriptor it is given, and exits; the agent attaches the
programs itself (see probes.py).
The only module that imports bcc.
"""

import array
import json
import os
import platform
import re
import socket
import struct
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from otel_kernel.kernel import bpf, btf, compiled, drop_types, functions, headers, needs, parts, syscalls

# Function in bpf/ -> raw tracepoint it is for, or the index of its tail call; None: the agent runs it itself.
Programs = dict[str, str | int | None]
PROGRAMS: Programs = {
    "on_newtask": "task_newtask",
    "on_process_exit": "sched_process_exit",
    "on_exec": "sched_process_exec",
    "on_cgroup_mkdir": "cgroup_mkdir",
    "on_cgroup_rmdir": "cgroup_rmdir",
    "on_cgroup_attach_task": "cgroup_attach_task",
    "on_sys_exit": "sys_exit",
    "on_sys_enter": "sys_enter",
    "enter_drawn": 0,
    "exit_drawn": 1,
    "wait_record": 2,
    "exec_decide": 3,
    "write_record": 4,
    "exec_record": 5,
    "watch_thread": None,
    "find_daemons": None,
}
CALL_PROGRAMS = frozenset("on_sys_exit on_sys_enter enter_drawn exit_drawn wait_record write_record".split())
MAPS = (
    "records", "counters", "watched", "processes", "threads", "texts", "daemon_names", "pod_cgroups", "tails",
    "scratch", "empty_text",
)  # fmt: skip
TABLES = (*MAPS, "cursors", "zero_process")
# Of bpf/drops.c: births do without them where they cannot be had.
DROPS = "DROPS"
DROP_PROGRAMS = ("on_kfree_skb", "learn_network")
DROP_MAPS = ("networks", "pod_networks", "pod_drops", "drops", "drop_locations")
SYMBOL_FORMAT = "symbol_format"
_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)


def source_directory() -> Path:
    """Return where the C sources are: inside the wheel, else beside the package in the source tree."""
    package = Path(__file__).resolve().parent.parent
    return package / "bpf" if (package / "bpf").is_dir() else package.parent / "bpf"


def source(directory: Path) -> str:
    """Return bpf/births.c with its own includes replaced by their text."""
    return _INCLUDE.sub(lambda match: (directory / match[1]).read_text(), (directory / "births.c").read_text())


def layout(structure: Any) -> list[list[Any]]:  # noqa: ANN401  # BCC makes the class at run time
    """Return [name, offset, size] in bytes of each field of a ctypes structure that BCC made from a C struct."""
    fields = [(name, getattr(structure, name)) for name, *_ in structure._fields_]
    return [[name, field.offset, field.size] for name, field in fields if not name.startswith("__pad")]


def load(
    definitions: dict[str, int], cache: Path, watches: Sequence[functions.Watch] = ()
) -> tuple[dict[str, Any], list[int]]:
    """Load everything, compiled now or before.

    Returns the manifest and the descriptors: programs in PROGRAMS' order, then maps in MAPS' order, each followed by
    those of drops when these were asked for and can be had.
    """
    needs.check()
    types = btf.KernelTypes()
    definitions, uncounted = parts.with_offsets(types, _with_hierarchy(types, definitions))
    try:
        return _load(types, definitions, uncounted, watches, cache)
    except OSError as error:
        if not parts.chosen(definitions):
            raise
        return _load(types, *parts.without(definitions, str(error)), [], cache)


def _with_hierarchy(types: btf.KernelTypes, definitions: dict[str, int]) -> dict[str, int]:
    """Return the definitions with the place of the v1 controller whose hierarchy was asked for, if one was.

    Raises BtfError when the kernel has no such controller.
    """
    asked = next((name for name in definitions if name.startswith(parts.PODS_V1)), None)
    if asked is None:
        return definitions
    wanted = f"{asked.removeprefix(parts.PODS_V1).lower()}_cgrp_id"
    for place, name in types.enum("cgroup_subsys_id").items():
        if name == wanted:
            others = {key: value for key, value in definitions.items() if key != asked}
            return others | {"PODS_SUBSYS": place, "PODS_HIERARCHY": definitions[asked]}
    raise btf.BtfError(f"the kernel's BTF has no {wanted}")


def _load(
    types: btf.KernelTypes,
    definitions: dict[str, int],
    uncounted: parts.Absent,
    watches: Sequence[functions.Watch],
    cache: Path,
) -> tuple[dict[str, Any], list[int]]:
    definitions, why_not = _with_drops(types, definitions)
    ready = _ready(*prepare(types, definitions, cache), cache)
    maps = compiled.make_maps(ready, {SYMBOL_FORMAT: b"%ps".ljust(8, b"\0")})
    counting = parts.chosen(definitions)
    optional = {name: at for part in counting for name, at in part.programs.items()}
    at_functions = frozenset(name for part in counting for name in part.at_functions)
    programs, refused = compiled.load(ready, maps, frozenset(DROP_PROGRAMS) | optional.keys(), at_functions)
    watched = functions.load(ready, maps, types, [each for each in watches if each.fentry in at_functions])
    for name, at in PROGRAMS.items():
        if isinstance(at, int):
            bpf.Map(maps["tails"]).update(struct.pack("<I", at), struct.pack("<I", programs[name]))
    no_drops = "; ".join(refused[name] for name in DROP_PROGRAMS if name in refused)
    drops: dict[str, Any] = {"programs": [], "why_not": why_not or no_drops}
    names, tables = [*PROGRAMS], [*MAPS]
    if DROPS in definitions and not no_drops:
        reasons = drop_types.reasons(types)
        drops |= {"programs": [*DROP_PROGRAMS], "reasons": None if reasons is None else [*reasons.items()]}
        names += DROP_PROGRAMS
        tables += DROP_MAPS
    uncounted |= {part.macro: refused[name] for part in counting for name in part.programs if name in refused}
    counted = [name for name in optional if name not in refused]
    names += counted
    tables += (name for part in counting for name in part.maps)
    names += watched.programs
    manifest = {
        "watched": {"programs": [*watched.programs], "refused": watched.refused},
        "counting": {"absent": uncounted, "programs": counted},
        "programs": [*PROGRAMS.items()],
        "maps": tables,
        "drops": drops,
        "syscalls": syscalls.table(),
        **ready.layouts,
    }
    programs |= watched.programs
    return manifest, [programs[name] for name in names] + [maps[name] for name in tables]


def _ready(code: str, compiler: list[str], cache: Path) -> compiled.Compiled:
    """Return what was compiled before, else compile it and keep it."""
    key = compiled.digest(code, *compiler)
    ready = compiled.fetch(cache, key)
    if ready is None:
        ready = compile_programs(code, compiler)
        compiled.keep(cache, key, ready)
    return ready


def _with_drops(types: btf.KernelTypes, definitions: dict[str, int]) -> tuple[dict[str, int], str]:
    """Return the definitions with those that drops take, or without drops and why."""
    if DROPS not in definitions:
        return definitions, ""
    try:
        return definitions | drop_types.definitions(types), ""
    except btf.BtfError as error:
        return {name: value for name, value in definitions.items() if name != DROPS}, str(error)


def prepare(types: btf.KernelTypes, definitions: dict[str, int], cache: Path) -> tuple[str, list[str]]:
    """Return the source and all that decides what the compiler makes of it: headers, version, flags."""
    os.environ["BCC_KERNEL_SOURCE"] = str(headers.make(cache))
    macros = btf.definitions(types) | definitions | {f"TARGET_{platform.machine()}": 1}
    found = find_spec("bcc")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'bcc'")
    version = Path(found.origin).with_name("version.py").read_text()
    flags = [f"-D{name}={value}" for name, value in macros.items()]
    return source(source_directory()), [os.environ["BCC_KERNEL_SOURCE"], version, *flags, "-Wno-macro-redefined"]


def compile_programs(code: str, compiler: list[str]) -> compiled.Compiled:
    """Compile with BCC, half of the programs in a process of their own. Raises ValueError, or what BCC raises."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(readable)
            _tell_half(writable, code, compiler)
        finally:  # also when the compiler ended the other process, which it does where it has no words
            os._exit(0)
    os.close(writable)
    try:
        lives = compile_half(code, compiler)
    finally:
        with os.fdopen(readable, "rb") as pipe:
            told = json.loads(pipe.read() or b'{"error": "the compiler ended without a word"}')
        os.waitpid(child, 0)
    if "error" in told:
        raise ValueError(told["error"])
    calls = compiled.from_json(told)
    return compiled.Compiled(lives.programs | calls.programs, lives.maps, lives.layouts)


def _tell_half(writable: int, code: str, compiler: list[str]) -> None:
    try:
        told = compiled.to_json(compile_half(code, [*compiler, "-DCALLS_HALF=1"]))
    except Exception as error:  # noqa: BLE001 - BCC raises bare Exception; the process ends and the loader tells the reason
        told = {"error": " ".join(str(error).split()) or type(error).__name__}
    with os.fdopen(writable, "wb") as pipe:
        pipe.write(json.dumps(told).encode())


def compile_half(code: str, compiler: list[str]) -> compiled.Compiled:
    """Compile the programs of one half. Raises what BCC raises: a bare Exception."""
    from bcc import BPF  # noqa: PLC0415 - after BCC_KERNEL_SOURCE is set, which it reads when loaded

    module = BPF(text=code.encode(), cflags=[flag for flag in compiler if flag.startswith("-")])
    of_calls, with_drops = "-DCALLS_HALF=1" in compiler, f"-D{DROPS}=1" in compiler
    counting = [part for part in parts.PARTS if any(flag.startswith(f"-D{part.macro}=") for flag in compiler)]
    made, names = [name for name in PROGRAMS if (name in CALL_PROGRAMS) == of_calls], list(TABLES)
    names += (name for part in counting for name in part.maps)
    layouts = {
        "records": layout(module[b"scratch"].sLeaf),
        "counters": layout(module[b"counters"].sLeaf),
        "process": layout(module[b"processes"].Leaf),
    }
    for part in counting:
        made += [] if of_calls else [*part.programs, *part.at_functions]
        for name, (table, what) in part.structs.items():
            layouts[name] = layout(module[table.encode()].Key if what == "key" else module[table.encode()].Leaf)
    if with_drops and not of_calls:
        made += DROP_PROGRAMS
        names += [*DROP_MAPS, SYMBOL_FORMAT]
        layouts["drop"] = layout(module[b"drops"].Key)
        layouts |= {name: layout(module[name.encode()].Leaf) for name in ("networks", "pod_networks", "pod_drops")}
    tables = {name: module[name.encode()].map_fd for name in names}
    places = {fd: place for place, fd in enumerate(tables.values())}
    return compiled.Compiled(
        {name: compiled.by_place(module.dump_func(name.encode()), places) for name in made},
        tuple(bpf.shape_of(fd)._replace(name=name) for name, fd in tables.items()),
        layouts,
    )


def main() -> int:
    """Load, send, end. A failure is sent as {"error": one line}."""
    channel = socket.socket(fileno=int(sys.argv[3]))
    try:
        definitions, watches = json.loads(sys.argv[1])
        manifest, descriptors = load(definitions, Path(sys.argv[2]), [functions.Watch(*each) for each in watches])
    except Exception as error:  # noqa: BLE001 - BCC raises bare Exception; the process ends and the agent tells the reason
        channel.sendall(bytes(4) + json.dumps({"error": " ".join(str(error).split()) or type(error).__name__}).encode())
        return 1
    body = json.dumps(manifest).encode()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    channel.sendmsg([len(body).to_bytes(4, "little")], [rights])
    channel.sendall(body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
