"""Compile every program of bpf/ for aarch64 and offer it to this kernel; print what it made of them as JSON.

A process of its own: the compiler is told another architecture. BPF's own instructions are the same on all. Offsets are
those of this kernel's structs, but for a member that aarch64's thread_info does not have.
"""

import json
import os
import platform
import sys
from pathlib import Path
from unittest import mock

from otel_kernel.kernel import btf, compiled, headers, loader, parts, syscalls
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.probes import Sizes

ALL = {"DROPS": 1, "DRAW_OPENAT": 1}
NOT_ON_AARCH64 = {"THREAD_INFO_STATUS"}


def main(include: Path, cache: Path) -> None:
    """Compile, load, and print {program: reason for which the kernel refused it, or empty}."""
    types, sizes = btf.KernelTypes(), Sizes()
    with (
        mock.patch.object(platform, "machine", return_value="aarch64"),
        mock.patch.object(headers, "UAPI", include),
        mock.patch.object(syscalls.table, "__defaults__", (include,)),
    ):
        names = tuple(name for name in ("read", "openat", "clone3") if name in syscalls.table())
        counting = Counting(
            names, opens=True, processes=True, sched=True, errors=True, durations=names, open_paths=True
        )
        asked = sizes.definitions() | ALL | counting.definitions(sizes.slots, sizes.cpus)
        definitions, absent = parts.with_offsets(types, asked)
        definitions, no_drops = loader._with_drops(types, definitions)
        code, compiler = loader.prepare(types, definitions, cache)
    assert not absent
    assert not no_drops
    compiler = [flag for flag in compiler if flag.partition("=")[0].removeprefix("-D") not in NOT_ON_AARCH64]
    os.environ["ARCH"] = "arm64"  # as kbuild calls it; BCC asks for it
    made = loader.compile_programs(code, compiler)
    maps = compiled.make_maps(made, {loader.SYMBOL_FORMAT: b"%ps".ljust(8, b"\0")})
    loaded, refused = compiled.load(made, maps, frozenset(made.programs))
    sys.stdout.write(json.dumps(dict.fromkeys(loaded, "") | refused))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
