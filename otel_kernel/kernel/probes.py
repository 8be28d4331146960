"""The loaded programs and their maps: attach, fill, read, detach. Holds no compiler (see loader.py)."""

import array
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from otel_kernel.kernel import bpf, functions, records
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.drops import Drops
from otel_kernel.kernel.events import THROTTLED_TOLD, Event
from otel_kernel.kernel.life import ContainerCounts
from otel_kernel.kernel.parts import FUNCTIONS, PODS_V1, SWITCH, THROTTLE_STACKS, THROTTLING
from otel_kernel.kernel.ring import Ring
from otel_kernel.kernel.throttle_stacks import ThrottleStacks
from otel_kernel.kernel.throttles import Throttles

_LOAD_TIMEOUT_S = 300  # a container that may use a tenth of a CPU compiles for minutes
_DESCRIPTORS_MAX = 253  # in one message (SCM_MAX_FD of include/net/scm.h)
NOTHING = Counting()
RUNTIME_DAEMON, KUBELET = 1, 2
POD_LEVEL, BELOW_POD = 1, 2
_FOUND_SHIFT = 24  # bpf/daemons.c
_ID_MASK = (1 << _FOUND_SHIFT) - 1


class ProbesError(Exception):
    """BPF does not work here: one line that says why."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the maps. The ring's in pages, a power of two; the others in entries."""

    ring_pages: int = 512
    processes: int = 16384
    threads: int = 32768
    texts: int = 2048
    networks: int = 1024  # of pods
    drops: int = 8192  # kinds of dropped packets, of all pods
    drop_kinds: int = 32  # of one pod
    slots: int = 1280  # containers, sandboxes among them: 250 pods with four containers each
    buckets: int = 8192  # a power of two
    nested: int = 4096  # cgroups below containers'
    runs: int = 65536  # a power of two: threads of containers, those that fall on the same place go to
    more_runs: int = 8192
    begun: int = 16384  # calls to be timed that have not returned
    errors: int = 16384  # kinds of errors, of all containers
    error_kinds: int = 256  # of one
    paths: int = 16384  # beginnings of paths, of all containers
    path_kinds: int = 128  # of one
    throttled: int = 2048  # pods and containers
    stops: int = 1024  # processes and stacks at which a CPU limit was used up, between two collections
    stacks: int = 1024  # of them, a power of two
    cpus: int = field(default_factory=bpf.possible_cpus)  # over which counts are spread

    def definitions(self) -> dict[str, int]:
        """Return the macros that bpf/ takes."""
        return {
            "RING_PAGES": self.ring_pages,
            "PROCESSES_MAX": self.processes,
            "THREADS_MAX": self.threads,
            "TEXTS_MAX": self.texts,
            "NETWORKS_MAX": self.networks,
            "DROPS_MAX": self.drops,
            "KINDS_MAX": self.drop_kinds,
            "SLOTS_MAX": self.slots,
            "BUCKETS": self.buckets,
            "NESTED_MAX": self.nested,
            "RUNS_MAX": self.runs,
            "MORE_RUNS_MAX": self.more_runs,
            "BEGUN_MAX": self.begun,
            "ERRORS_MAX": self.errors,
            "ERROR_KINDS_MAX": self.error_kinds,
            "PATHS_MAX": self.paths,
            "PATH_KINDS_MAX": self.path_kinds,
            "THROTTLED_MAX": self.throttled,
            "THROTTLED_TOLD": THROTTLED_TOLD,
            "STOPS_MAX": self.stops,
            "STACKS_MAX": self.stacks,
        }


class Counters(NamedTuple):
    """The kernel side's cumulative counters, summed over CPUs (struct counters of bpf/include/record.h)."""

    sent: int
    lost_ring: int
    lost_processes: int
    lost_threads: int
    lost_texts: int
    not_birth: int
    compat: int
    lost_tail: int

    @property
    def lost(self) -> int:
        """Return how many records are missing for whatever reason."""
        return self.lost_ring + self.lost_processes + self.lost_threads + self.lost_texts + self.lost_tail


class Attachment(NamedTuple):
    """A program and the raw tracepoint it is for."""

    program: str
    tracepoint: str
    error: str | None

    @property
    def failure(self) -> str | None:
        """What was not attached and why, in words; None when it was."""
        return f"raw tracepoint {self.tracepoint}: {self.error}" if self.error else None


class Loading:
    """The loader at work: it is started early, so that it compiles while the agent imports and scans."""

    def __init__(  # noqa: PLR0913 - what the programs are made for, each by its name
        self,
        cache: Path,
        sizes: Sizes,
        counting: Counting = NOTHING,
        *,
        draw_openat: bool = False,
        drops: bool = False,
        pods_v1: tuple[str, int] | None = None,
    ) -> None:
        """Start the loader; `pods_v1`: controller and number of the hierarchy that has pods, None for v2.

        Raises ProbesError.
        """
        chosen = {"DRAW_OPENAT": draw_openat, "DROPS": drops}
        definitions = sizes.definitions() | {name: 1 for name, is_chosen in chosen.items() if is_chosen}
        definitions |= counting.definitions(sizes.slots, sizes.cpus)
        definitions |= {f"{PODS_V1}{pods_v1[0].upper()}": pods_v1[1]} if pods_v1 else {}
        self._sizes, self._counting = sizes, counting
        self._channel, theirs = socket.socketpair()
        self._channel.settimeout(_LOAD_TIMEOUT_S)
        asked = json.dumps([definitions, counting.watches])
        arguments = [asked, str(cache), str(theirs.fileno())]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-m", "otel_kernel.kernel.loader", *arguments],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise ProbesError(f"the loader cannot be started: {error}") from error
        finally:
            theirs.close()

    def finish(self) -> "Probes":
        """Wait for the loader and take over what it loaded. Raises ProbesError."""
        descriptors = array.array("i")
        try:
            manifest = self._receive(descriptors)
            if "error" in manifest:
                raise ProbesError(manifest["error"])
            return Probes(manifest, descriptors, self._sizes, self._counting)
        except (OSError, ValueError, records.LayoutError) as error:
            self._process.kill()
            for fd in descriptors:
                os.close(fd)
            raise ProbesError(" ".join(str(error).split())) from error
        finally:
            self._channel.close()
            self._process.wait()

    def _receive(self, descriptors: "array.array[int]") -> dict[str, Any]:
        """Return the manifest, and add the descriptors that came with it."""
        first, ancillary, _, _ = self._channel.recvmsg(4, socket.CMSG_SPACE(_DESCRIPTORS_MAX * 4))
        for _, _, data in ancillary:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
        body = b""
        while part := self._channel.recv(1 << 16):
            body += part
        if not first or len(body) < int.from_bytes(first, "little"):
            raise ValueError(f"the loader ended with status {self._process.wait()} and no word")
        manifest: dict[str, Any] = json.loads(body)
        return manifest


class Probes:
    """Loaded programs, their maps and the ring. Owns their descriptors; closing detaches everything."""

    def __init__(
        self, manifest: dict[str, Any], descriptors: Sequence[int], sizes: Sizes, counting: Counting = NOTHING
    ) -> None:
        """Take over the loader's descriptors. Raises LayoutError when C and Python differ, OSError."""
        records.check_layout(manifest["records"], manifest["counters"], manifest["process"])
        programs = [*(name for name, _ in manifest["programs"]), *manifest["drops"]["programs"]]
        programs += manifest["counting"]["programs"] + manifest["watched"]["programs"]
        self._programs = dict(zip(programs, descriptors, strict=False))
        self._tracepoints = {name: at for name, at in manifest["programs"] if isinstance(at, str)}
        self.maps = {name: bpf.Map(fd) for name, fd in zip(manifest["maps"], descriptors[len(programs) :], strict=True)}
        self._decoder = records.Decoder(manifest["syscalls"])
        self._ring = Ring(self.maps["records"].fd, sizes.ring_pages * 4096)
        self._links: list[int] = []
        self._statistics: int | None = None
        self.why_no_drops: str = manifest["drops"]["why_not"]  # empty: they are there, or were not asked for
        self.drops = Drops(self._programs, self.maps, manifest) if manifest["drops"]["programs"] else None
        self.not_counted: dict[str, str] = manifest["counting"]["absent"]  # a part's macro -> why it is not there
        self.counting = counting.without(self.not_counted)
        self.containers = ContainerCounts(self._programs, self.maps, manifest) if "owners" in self.maps else None
        if self.containers:
            self.containers.begin(self.counting)
        self._watched = functions.Loaded(self._programs, manifest["watched"]["refused"])
        self._functions: list[functions.Attached] = []
        self.throttles = Throttles(self._watched, self.maps, manifest) if "throttlings" in self.maps else None
        self.throttle_stacks = ThrottleStacks(self._watched, self.maps, manifest) if "stops" in self.maps else None
        self.undecodable = 0
        self.received = 0

    def count_switches(self) -> None:
        """Begin to look at context switches, if that was asked for; where it cannot be done, `not_counted` says why."""
        if self.containers and self.counting.sched:
            try:
                self.containers.attach()
            except OSError as error:
                self.not_counted["COUNT_SCHED"] = f"raw tracepoint {SWITCH}: {error.strerror}"
                self.counting = self.counting.without(self.not_counted)

    def watch_throttling(self) -> None:
        """Begin to look at throttled intervals, if that was asked for; where it cannot be, `not_counted` says why."""
        if self.throttles:
            try:
                self.throttles.attach()
            except OSError as error:
                self.not_counted[THROTTLING] = error.strerror or str(error)
                self.counting = self.counting.without(self.not_counted)

    def watch_throttle_stacks(self) -> None:
        """Begin to look at stacks, if that was asked for; where it cannot be, `not_counted` says why."""
        if self.throttle_stacks and self.counting.throttle_stacks:
            try:
                self.throttle_stacks.attach()
            except OSError as error:
                self.not_counted[THROTTLE_STACKS] = error.strerror or str(error)
                self.counting = self.counting.without(self.not_counted)

    def watch_functions(self) -> None:
        """Begin to look at the functions that were asked for: all, or none, and `not_counted` says why."""
        try:
            for watch in self.counting.watches:
                if watch.cookie:
                    self._functions.append(functions.attach(watch, self._watched))
        except OSError as error:
            functions.detach(self._functions)
            self._functions.clear()
            self.not_counted[FUNCTIONS] = error.strerror or str(error)
            self.counting = self.counting.without(self.not_counted)

    def name_daemons(self, names: dict[str, int]) -> None:
        """Tell which executables count as daemons when they are exec'd: name -> RUNTIME_DAEMON or KUBELET."""
        for name, kind in names.items():
            self.maps["daemon_names"].update(name.encode()[:15].ljust(16, b"\0"), struct.pack("<I", kind))

    def attach(self) -> list[Attachment]:
        """Attach every program to its raw tracepoint, sys_enter last: nothing is counted before all is ready."""
        return [self._attach(name, tracepoint) for name, tracepoint in self._tracepoints.items()]

    def _attach(self, name: str, tracepoint: str) -> Attachment:
        try:
            self._links.append(bpf.open_raw_tracepoint(tracepoint, self._programs[name]))
        except OSError as error:
            return Attachment(name, tracepoint, error.strerror)
        return Attachment(name, tracepoint, None)

    def add_daemon(self, pid: int, kind: int) -> None:
        """Make a running process a daemon. Watch its threads afterwards; those it makes now are watched already."""
        self.maps["processes"].update(struct.pack("<I", pid), records.daemon(kind))

    def watch(self, thread_id: int) -> None:
        """Watch one thread that existed before its process became a daemon. Raises OSError."""
        bpf.run_raw_tracepoint(self._programs["watch_thread"], thread_id)

    def find_daemons(self) -> int:
        """Have the kernel side look for daemons among all processes, and watch them. Returns how many. Raises OSError.

        By their names alone, and outside the pods' cgroups that it was told of.
        """
        at, found = 1, 0
        while at:
            told = bpf.run_raw_tracepoint(self._programs["find_daemons"], at)
            at, more = told & _ID_MASK, told >> _FOUND_SHIFT
            found += more
        return found

    def add_pod_cgroup(self, cgroup_id: int, level: int) -> None:
        """Tell of a pod's cgroup that was there before: POD_LEVEL or BELOW_POD."""
        self.maps["pod_cgroups"].update(struct.pack("<Q", cgroup_id), struct.pack("<I", level))

    @property
    def fd(self) -> int:
        """Return the descriptor that becomes readable when the kernel side wakes the reader."""
        return self._ring.fd

    def events(self) -> Iterator[Event]:
        """Yield what the ring holds now, in the kernel's order. A record that cannot be decoded is counted."""
        decode = self._decoder.decode
        for record in self._ring.records():
            self.received += 1
            try:
                yield decode(record)
            except records.RecordError:
                self.undecodable += 1

    def counters(self) -> Counters:
        """Return the kernel side's counters. Raises OSError."""
        size = 8 * len(records.COUNTERS)
        raw = self.maps["counters"].lookup(bytes(4)) or b""
        rows = [struct.unpack_from(f"<{len(records.COUNTERS)}Q", raw, at) for at in range(0, len(raw), size)]
        counted = Counters(*(sum(column) for column in list(zip(*rows, strict=True))[: len(Counters._fields)]))
        if self.throttles is None:
            return counted
        of_throttling = self.throttles.losses()
        return counted._replace(
            sent=counted.sent + of_throttling.sent, lost_ring=counted.lost_ring + of_throttling.lost
        )

    def enable_run_statistics(self) -> None:
        """Let the kernel count and time runs until closed. Raises OSError."""
        if self._statistics is None:
            self._statistics = bpf.enable_run_statistics()

    @property
    def has_run_statistics(self) -> bool:
        """Whether the kernel counts and times runs for us; it may do so for others."""
        return self._statistics is not None

    def misses(self) -> int:
        """Return how often any program of births was skipped (recursion_misses). Raises OSError."""
        return sum(runs.misses for name, runs in self.runs().items() if name in self._tracepoints)

    def runs(self) -> dict[str, bpf.Runs]:
        """Return what the kernel counted of each attached program, of its tail calls with it. Raises OSError."""
        names = [*self._tracepoints, *(["on_kfree_skb"] if self.drops else [])]
        names += ["on_switch"] if self.counting.sched else []
        names += self.throttles.attached if self.throttles else []
        names += [f"{each.function}:{way}" for each in self._functions for way in each.ways]
        return {name: bpf.runs(self._programs[name]) for name in names}

    def memory_bytes(self) -> dict[str, int]:
        """Return the kernel memory of each map."""
        return {name: held.memory_bytes() for name, held in self.maps.items()}

    def detach(self) -> None:
        """Stop observing; what the ring holds can still be read."""
        while self._links:
            os.close(self._links.pop())
        if self.drops:
            self.drops.detach()
        if self.containers:
            self.containers.detach()
        if self.throttles:
            self.throttles.detach()
        if self.throttle_stacks:
            self.throttle_stacks.detach()
        functions.detach(self._functions)
        self._functions.clear()

    def close(self) -> None:
        """Detach and give everything back."""
        self.detach()
        if self._statistics is not None:
            os.close(self._statistics)
        self._ring.close()
        for fd in self._programs.values():
            os.close(fd)
        for held in self.maps.values():
            held.close()
