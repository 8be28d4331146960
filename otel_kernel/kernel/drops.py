"""The packets that the kernel dropped of each pod, and which network namespace is whose (bpf/drops.c).

The kernel side counts; nothing is told packet by packet. A pod is the cgroup id of its own cgroup.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any, Literal, NamedTuple

from otel_kernel.kernel import bpf, drop_types, records

Side = Literal["pod", "host"]
SIDES: tuple[Side, Side] = ("pod", "host")
OTHER = "_OTHER"
TRACEPOINT = "kfree_skb"

# The structs of bpf/include/network.h and bpf/drops.c.
_LAYOUTS = {
    "networks": (("node", "Q"), ("refused", "Q"), ("unknown", "Q")),
    "pod_networks": (("cookie", "Q"), ("pod", "Q")),
    "pod_drops": (("others", "2Q"), ("kinds", "Q"), ("ended", "Q")),
    "drop": (("pod", "Q"), ("location", "Q"), ("reason", "I"), ("side", "I")),
}
_NETWORKS, _POD_NETWORK, _POD_DROPS, _DROP = (
    struct.Struct("<" + "".join(code for _, code in fields)) for fields in _LAYOUTS.values()
)
_COUNT = struct.Struct("<Q")


class Learned(IntEnum):
    """What became of a network that the kernel side was told of (enum learned of bpf/include/network.h)."""

    LEARNED = 0
    OF_NODE = 1
    NODE_UNKNOWN = 2
    NO_NETWORK = 3
    NO_ROOM = 4


class Kind(NamedTuple):
    """One kind of drops: why, in which function of the kernel, and at which end of the pod's devices."""

    reason: str | None  # None: this kernel gives no reasons
    location: str | None  # None: this kernel does not tell it, or it was not kept
    side: Side


class Losses(NamedTuple):
    """What is not counted for any pod, of pods and the node alike."""

    missed: int  # drops while that CPU was just counting one
    unknown: int  # drops of packets of which nothing tells the network, as of those in a socket that is closed
    networks: int  # of pods, for which there was no room


class Drops:
    """What counts dropped packets. The descriptors are the probes'; only the link is its own."""

    def __init__(self, programs: Mapping[str, int], maps: Mapping[str, bpf.Map], manifest: Mapping[str, Any]) -> None:
        """Take over what was loaded. Raises LayoutError when C and Python differ."""
        for name, fields in _LAYOUTS.items():
            records.compare(name, fields, manifest[name])
        reasons = manifest["drops"]["reasons"]
        self._reasons = None if reasons is None else dict[int, str](reasons)
        self._programs, self._maps = programs, maps
        self._link: int | None = None

    def attach(self) -> None:
        """Begin to count. Raises OSError."""
        self._link = bpf.open_raw_tracepoint(TRACEPOINT, self._programs["on_kfree_skb"])

    def detach(self) -> None:
        """Count nothing more."""
        if self._link is not None:
            os.close(self._link)
            self._link = None

    def learn_node(self, network_fd: int) -> Learned:
        """Tell which network is the node's own, by a descriptor of the namespace; before any pod's. Raises OSError."""
        return self.learn(network_fd, 0)

    def learn(self, network_fd: int, pod: int) -> Learned:
        """Tell which pod's a network is, by a descriptor of the namespace. Raises OSError."""
        return Learned(bpf.run_raw_tracepoint(self._programs["learn_network"], network_fd, pod))

    def known(self) -> set[int]:
        """Return the pods whose network is known. Raises OSError."""
        return {_POD_NETWORK.unpack(network)[1] for _, network in self._maps["pod_networks"].entries()}

    def ended(self) -> set[int]:
        """Return the pods that are gone and not forgotten. Raises OSError."""
        return {pod for pod, (_, _, _, ended) in self._pods() if ended}

    def read(self) -> dict[int, dict[Kind, int]]:
        """Return the packets of each pod whose network is known: those of no kind of its own are of OTHER, zero too.

        Raises OSError.
        """
        known, rows = self.known(), self._maps["drops"].entries()
        names = self._names() if rows else {}
        found = {
            pod: {Kind(OTHER, None, side): count for side, count in zip(SIDES, others, strict=True)}
            for pod, (*others, _, _) in self._pods()
            if pod in known
        }
        for key, count in rows:
            pod, location, reason, side = _DROP.unpack(key)
            kinds = found.get(pod)
            if kinds is not None:
                kind = Kind(self._reason(reason), names.get(location), SIDES[side])
                kinds[kind] = kinds.get(kind, 0) + _COUNT.unpack(count)[0]
        return found

    def forget(self, gone: set[int]) -> None:
        """Count nothing more for these pods, and forget what was counted. Raises OSError."""
        networks, pods, rows = (self._maps[name] for name in ("pod_networks", "pod_drops", "drops"))
        for net, network in networks.entries():
            if _POD_NETWORK.unpack(network)[1] in gone:
                networks.delete(net)
        for pod in gone:
            pods.delete(_COUNT.pack(pod))
        for row, _ in rows.entries():
            if _DROP.unpack(row)[0] in gone:
                rows.delete(row)

    def losses(self) -> Losses:
        """Return what is not counted for any pod. Raises OSError."""
        _, refused, unknown = _NETWORKS.unpack(self._maps["networks"].lookup(bytes(4)) or bytes(_NETWORKS.size))
        return Losses(bpf.runs(self._programs["on_kfree_skb"]).misses, unknown, refused)

    def _pods(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        for pod, counts in self._maps["pod_drops"].entries():
            yield _COUNT.unpack(pod)[0], _POD_DROPS.unpack(counts)

    def _reason(self, value: int) -> str | None:
        return None if self._reasons is None else drop_types.reason(value, self._reasons)

    def _names(self) -> dict[int, str]:
        told = {
            _COUNT.unpack(location)[0]: name.partition(b"\0")[0].decode("ascii", "replace")
            for location, name in self._maps["drop_locations"].entries()
        }
        # A kernel without symbols tells the address instead.
        return {location: name for location, name in told.items() if name and not name.startswith("0x")}
