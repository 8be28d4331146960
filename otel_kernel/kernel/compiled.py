"""Compiled programs: kept on disk, so that a start needs no compiler, and loaded into the kernel by bpf(2).

What is kept depends on the source, the kernel's struct offsets, the sizes and the compiler: its file is named by their
digest.
"""

import base64
import hashlib
import json
import os
import stat
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otel_kernel.kernel import bpf

_INSTRUCTION = struct.Struct("<BBhi")
_LOAD_64, _FROM_MAP = 0x18, 1  # BPF_LD | BPF_IMM | BPF_DW; BPF_PSEUDO_MAP_FD (include/uapi/linux/bpf.h)
_GENERATIONS_KEPT = 4


@dataclass(frozen=True, slots=True)
class Compiled:
    """Programs whose instructions name maps by their place in `maps`, and the layouts of the C structs."""

    programs: dict[str, bytes]
    maps: tuple[bpf.Shape, ...]
    layouts: dict[str, list[list[Any]]]


def by_place(instructions: bytes, descriptors: dict[int, int]) -> bytes:
    """Return the instructions with each map reference replaced; `descriptors` says by what."""
    patched = bytearray(instructions)
    for at in range(0, len(patched), _INSTRUCTION.size):
        code, registers, offset, value = _INSTRUCTION.unpack_from(patched, at)
        if code == _LOAD_64 and registers >> 4 == _FROM_MAP:
            _INSTRUCTION.pack_into(patched, at, code, registers, offset, descriptors[value])
    return bytes(patched)


def make_maps(compiled: Compiled, constants: Mapping[str, bytes]) -> dict[str, int]:
    """Make the maps; those that hold one constant get it, and are never written again.

    Returns name -> descriptor. Raises OSError that names what was refused.
    """
    maps = {shape.name: bpf.create_map(shape) for shape in compiled.maps}
    for name in constants.keys() & maps.keys():
        constant = bpf.Map(maps[name])
        constant.update(bytes(constant.key_size), constants[name])
        constant.freeze()
    return maps


def load(
    compiled: Compiled, maps: Mapping[str, int], optional: frozenset[str], others: frozenset[str] = frozenset()
) -> tuple[dict[str, int], dict[str, str]]:
    """Load the programs of raw tracepoints, all but `others`; `maps` as make_maps made them.

    Returns name -> descriptor, and name -> reason for each of the optional ones that was refused. Raises OSError that
    names any other that was.
    """
    places = dict(enumerate(maps.values()))
    programs, refused = dict[str, int](), dict[str, str]()
    for name, code in compiled.programs.items():
        if name in others:
            continue
        try:
            programs[name] = bpf.load_program(name, by_place(code, places))
        except OSError as error:
            if name not in optional:
                raise
            refused[name] = str(error.strerror)
    return programs, refused


def to_json(compiled: Compiled) -> dict[str, Any]:
    """Return what json.dumps takes."""
    programs = {name: base64.b64encode(code).decode() for name, code in compiled.programs.items()}
    return {"programs": programs, "maps": compiled.maps, "layouts": compiled.layouts}


def from_json(told: Any) -> Compiled:  # noqa: ANN401  # whatever stood in a file
    """Return what to_json was given. Raises ValueError, KeyError, TypeError or AttributeError for anything else."""
    programs = {name: base64.b64decode(code) for name, code in told["programs"].items()}
    return Compiled(programs, tuple(bpf.Shape(*shape) for shape in told["maps"]), told["layouts"])


def digest(*parts: str) -> str:
    """Return what a file of compiled programs is named by."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def fetch(cache: Path, key: str) -> Compiled | None:
    """Return what was kept under that key; None when nothing was, or it could be somebody else's doing."""
    try:
        with (cache / f"programs-{key}.json").open("rb") as file:
            about = os.fstat(file.fileno())
            if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
            return from_json(json.load(file))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def keep(cache: Path, key: str, compiled: Compiled) -> None:
    """Keep what was compiled, and only the latest few. A cache that cannot be written is done without."""
    text = json.dumps(to_json(compiled))
    try:
        with tempfile.NamedTemporaryFile("w", dir=cache, delete=False) as file:
            file.write(text)
        Path(file.name).replace(cache / f"programs-{key}.json")
        kept = sorted(cache.glob("programs-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in kept[_GENERATIONS_KEPT:]:
            old.unlink(missing_ok=True)
    except OSError:
        return
