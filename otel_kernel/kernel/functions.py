"""Programs at the entry and return of kernel functions: by fentry and fexit where the kernel has them, else by kprobes.

fentry (since 5.5, on arm64 6.0) is a call and not a trap, and its skipped runs are counted; what may be watched by it
must be in the kernel's BTF.
"""

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from otel_kernel.kernel import bpf, compiled
from otel_kernel.kernel.btf import BtfError, KernelTypes

_SYMBOLS = Path("/proc/kallsyms")
_KPROBE_TYPE = Path("/sys/bus/event_source/devices/kprobe/type")
_ATTACH_TYPES = {"fentry": bpf.FENTRY, "fexit": bpf.FEXIT}
_WAYS = (("fentry", "fexit"), ("kprobe", "kretprobe"))


class Watch(NamedTuple):
    """A function of the kernel, and what runs at its entry and return: names of programs in bpf/."""

    function: str
    fentry: str
    kprobe: str
    at_return: str  # empty: nothing
    cookie: int = 0  # what the programs are told, to tell the functions apart (since 5.15)

    @property
    def ways(self) -> list[tuple[str, ...]]:
        """Return the ways of watching, best first: at the entry, and at the return where that is wanted."""
        return [pair if self.at_return else pair[:1] for pair in _WAYS]

    def program(self, way: str) -> str:
        """Return the program in bpf/ for a way of watching."""
        return {"fentry": self.fentry, "kprobe": self.kprobe}.get(way, self.at_return)


THROTTLE = Watch("throttle_cfs_rq", "throttle_fentry", "throttle_kprobe", "")
UNTHROTTLE = Watch("unthrottle_cfs_rq", "unthrottle_fentry", "unthrottle_kprobe", "unthrottle_return")


class Loaded(NamedTuple):
    """What became of the programs, by function and way (`unthrottle_cfs_rq:fentry`)."""

    programs: dict[str, int]  # descriptors
    refused: dict[str, str]


_KPROBE_REFUSALS = {
    errno.EINVAL: "it may not be probed: it is notrace, or on the kernel's kprobes/blacklist",
    errno.ENOENT: "the kernel finds no code of it",
}


def refused(names: Iterable[str]) -> dict[str, str]:
    """Return which of these functions cannot be watched, and why; as far as that can be told before it is tried."""
    wanted = tuple(names)
    symbols = _symbols(frozenset(wanted)) if wanted else {}
    told = {name: _why_not(name, symbols[name]) for name in symbols}
    return {name: reason for name, reason in told.items() if reason}


def _symbols(names: frozenset[str]) -> dict[str, list[str]]:
    """Return the symbols of each function: its name, once for each, and those of its parts (`name.isra.0`).

    Nothing where the kernel tells no symbols.
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    try:
        with _SYMBOLS.open(encoding="ascii") as lines:
            for line in lines:
                _, kind, symbol, *_ = line.split()
                name = symbol.partition(".")[0]
                if kind in "tTwW" and name in names:
                    found[name].append(symbol)
    except OSError:
        return {}
    return found


def _why_not(name: str, symbols: Sequence[str]) -> str:
    whole = symbols.count(name)
    if not symbols:
        return "the kernel has no function of that name, or it is inlined wherever it is called"
    if whole == 0:
        return f"the kernel has only parts of it: {', '.join(sorted(set(symbols))[:3])}"
    if whole > 1:
        return f"the kernel has {whole} functions of that name"
    try:
        os.close(bpf.open_kprobe(_kprobe_type(), name, is_return=False))
    except OSError as error:
        return _KPROBE_REFUSALS.get(error.errno or 0, "")
    return ""


def load(ready: compiled.Compiled, maps: Mapping[str, int], types: KernelTypes, watches: Iterable[Watch]) -> Loaded:
    """Load the programs for every way that the kernel takes. `maps` as compiled.make_maps made them."""
    places = dict(enumerate(maps.values()))
    loaded = Loaded({}, {})
    for watch in watches:
        for way in (way for each in watch.ways for way in each):
            name = f"{watch.function}:{way}"
            try:
                kind = _kind(types, watch.function, way)
                code = compiled.by_place(ready.programs[watch.program(way)], places)
                loaded.programs[name] = bpf.load_program(watch.program(way), code, kind)
            except OSError as error:
                loaded.refused[name] = error.strerror or str(error)
            except BtfError as error:
                loaded.refused[name] = str(error)
    return loaded


def _kind(types: KernelTypes, function: str, way: str) -> bpf.ProgramKind:
    if way in _ATTACH_TYPES:
        return bpf.ProgramKind(bpf.TRACING, _ATTACH_TYPES[way], types.function(function))
    return bpf.ProgramKind(bpf.KPROBE)


class Attached(NamedTuple):
    """A function that is watched: closing the links ends it."""

    function: str
    ways: tuple[str, ...]
    links: tuple[int, ...]


def attach(watch: Watch, loaded: Loaded) -> Attached:
    """Begin to watch a function in the best way that works here. Raises OSError that says what stands in each's way."""
    reasons = []
    for ways in watch.ways:
        links: list[int] = []
        try:
            for way in reversed(ways):  # the return first: what it does not know the beginning of it leaves alone
                links += _links(watch, way, loaded)
        except OSError as error:
            for link in links:
                os.close(link)
            reasons.append(f"{ways[0]}: {error.strerror or error}")
        else:
            return Attached(watch.function, ways, tuple(links))
    raise OSError(0, f"{watch.function} cannot be watched: {'; '.join(reasons)}")


def detach(attached: Iterable[Attached]) -> None:
    """Watch functions no more."""
    for link in (link for each in attached for link in each.links):
        os.close(link)


def _links(watch: Watch, way: str, loaded: Loaded) -> list[int]:
    name = f"{watch.function}:{way}"
    if name not in loaded.programs:
        raise OSError(0, loaded.refused.get(name, "not loaded").removeprefix(f"program {watch.program(way)}: "))
    program = loaded.programs[name]
    if way in _ATTACH_TYPES:
        return [bpf.open_tracing(program, _ATTACH_TYPES[way], watch.cookie)]
    event = bpf.open_kprobe(_kprobe_type(), watch.function, is_return=way == "kretprobe")
    try:
        return [event, *bpf.run_at_event(event, program, watch.cookie)]
    except OSError:
        os.close(event)
        raise


def _kprobe_type() -> int:
    try:
        return int(_KPROBE_TYPE.read_text(encoding="ascii"))
    except FileNotFoundError:
        raise OSError(0, "the kernel has none (CONFIG_KPROBES)") from None
