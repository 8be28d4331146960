"""What a process holds in memory, by what is mapped."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
_HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ *(.*)$")
_KINDS = (  # the first that matches
    (re.compile(r"bpf.map"), "BPF ring (mapped twice by the kernel)"),
    (re.compile(r"/grpc/|cygrpc"), "gRPC library"),
    (re.compile(r"/google/|_upb|_message"), "protobuf library"),
    (re.compile(r"/python3[^/]*$|libpython"), "Python itself"),
    (re.compile(r"\.so\b"), "other libraries"),
    (re.compile(r"^$|^\["), "heap, stacks, anonymous"),
)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of a process, in bytes."""

    rss: int
    anonymous: int
    file: int
    parts: dict[str, int]


def of(pid: int) -> Memory:
    """Return what /proc/PID/status and smaps tell (proc(5)). Raises OSError."""
    status = dict(re.findall(r"^(\w+):\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE))
    rss, anonymous, file = (int(status[name]) * KIB for name in ("VmRSS", "RssAnon", "RssFile"))
    return Memory(rss, anonymous, file, _parts(Path(f"/proc/{pid}/smaps").read_text()))


def _parts(smaps: str) -> dict[str, int]:
    parts: Counter[str] = Counter()
    kind = ""
    for line in smaps.splitlines():
        if head := _HEAD.match(line):
            kind = next((name for pattern, name in _KINDS if pattern.search(head[1])), "other files")
        elif line.startswith("Rss:"):
            parts[kind] += int(line.split()[1]) * KIB
    return dict(parts.most_common())


def of_maps(pid: int) -> int:
    """Return the kernel memory of all BPF maps that a process holds, in bytes (/proc/PID/fdinfo). Raises OSError."""
    told: dict[str, int] = {}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        said = dict(re.findall(r"^(map_id|memlock):\s+(\d+)$", entry.read_text(), re.MULTILINE))
        if "map_id" in said:
            told[said["map_id"]] = int(said["memlock"])
    return sum(told.values())
