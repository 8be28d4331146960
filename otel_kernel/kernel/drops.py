"""The packets that the kernel dropped of each pod, and which network namespace is whose (bpf/drops.c).

The kernel side counts; nothing is told packet by packet. A pod is the cgroup id of its own cgroup.
"""

import os
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Literal, NamedTuple

from otel_kernel.kernel import bpf, drop_types, records

Side = Literal["pod", "host"]
SIDES: tuple[Side, Side] = ("pod", "host")
OTHER = "_OTHER"

_DROP = (("pod", "Q"), ("location", "Q"), ("reason", "I"), ("side", "I"))
_POD_NETWORK = (("cookie", "Q"), ("pod", "Q"))
_POD_DROPS = (("others", "2Q"), ("kinds", "Q"))
_SYMBOL = (("name", "64s"),)
_LAYOUTS = {"drop": _DROP, "pod_network": _POD_NETWORK, "pod_drops": _POD_DROPS, "symbol": _SYMBOL}
_KEY = struct.Struct("<QQII")


class Learned(IntEnum):
    """What became of a network that the kernel side was told of (enum learned of bpf/include/network.h)."""

    LEARNED = 0
    OF_NODE = 1
    NODE_UNKNOWN = 2
    NO_NETWORK = 3
    NO_ROOM = 4


class Kind(NamedTuple):
    """One kind of drops: why, in which function of the kernel, and on which side of the pod's devices."""

    reason: str | None  # None: this kernel gives no reasons
    location: str | None  # None: this kernel does not tell its name
    side: Side


Packets = Mapping[Kind, int]


class Drops:
    """What counts dropped packets. The descriptors are the probes'; only the link is owned."""

    def __init__(self, programs: Mapping[str, int], maps: Mapping[str, bpf.Map], told: Mapping[str, object]) -> None:
        """Take over what was loaded; `told` is the loader's manifest. Raises LayoutError when C and Python differ."""
        for name, fields in _LAYOUTS.items():
            records.compare(name, fields, told[name])
        self._programs, self._maps = programs, maps
        reasons = told["drops"]["reasons"]
        self._reasons = None if reasons is None else dict(reasons)
        self._link: int | None = None

    def attach(self) -> None:
        """Begin to count. Raises OSError."""
        self._link = bpf.open_raw_tracepoint("kfree_skb", self._programs["on_kfree_skb"])

    def learn_node(self, network_fd: int) -> Learned:
        """Tell which network is the node's own, by a descriptor of the namespace; before any pod's. Raises OSError."""
        return self.learn(network_fd, 0)

    def learn(self, network_fd: int, pod: int) -> Learned:
        """Tell which pod's a network is, by a descriptor of the namespace. Raises OSError."""
        return Learned(bpf.run_raw_tracepoint(self._programs["learn_network"], network_fd, pod))

    def pods(self) -> set[int]:
        """Return the pods whose network is known. Raises OSError."""
        return {struct.unpack("<QQ", known)[1] for _, known in self._maps["pod_networks"].items()}

    def read(self) -> dict[int, dict[Kind, int]]:
        """Return the packets of each pod whose network was ever known; those of kind OTHER on both sides, zero too.

        Raises OSError.
        """
        found = {pod: self._others(counts) for pod, counts in self._pod_drops()}
        rows = [(*_KEY.unpack(key), count) for key, count in self._maps["drops"].items()]
        names = self._names() if rows else {}
        for pod, location, reason, side, count in rows:
            if pod in found:
                kind = Kind(self._reason(reason), names.get(location), SIDES[side])
                kinds = found[pod]
                kinds[kind] = kinds.get(kind, 0) + int.from_bytes(count, "little")
        return found

    def forget(self, pod: int) -> None:
        """Count nothing more for a pod that is gone, and drop what was counted. Raises OSError."""
        networks = self._maps["pod_networks"]
        for net, known in networks.items():
            if struct.unpack("<QQ", known)[1] == pod:
                networks.delete(net)
        self._maps["pod_drops"].delete(struct.pack("<Q", pod))
        rows = self._maps["drops"]
        for key, _ in rows.items():
            if _KEY.unpack(key)[0] == pod:
                rows.delete(key)

    def misses(self) -> int:
        """Return how many drops of any pod or none the kernel did not show, since it was just showing one. Raises OSError."""
        return bpf.runs(self._programs["on_kfree_skb"]).misses

    def detach(self) -> None:
        """Count nothing more."""
        if self._link is not None:
            os.close(self._link)
            self._link = None

    def _pod_drops(self) -> list[tuple[int, tuple[int, ...]]]:
        return [
            (int.from_bytes(pod, "little"), struct.unpack("<3Q", counts)[:2])
            for pod, counts in self._maps["pod_drops"].items()
        ]

    @staticmethod
    def _others(counts: tuple[int, ...]) -> dict[Kind, int]:
        return {Kind(OTHER, None, side): count for side, count in zip(SIDES, counts, strict=True)}

    def _reason(self, value: int) -> str | None:
        return None if self._reasons is None else drop_types.reason(value, self._reasons)

    def _names(self) -> dict[int, str]:
        """Return the symbol of each location; a kernel without symbols tells addresses instead, which are none."""
        told = (
            (int.from_bytes(location, "little"), name.partition(b"\0")[0].decode("ascii", "replace"))
            for location, name in self._maps["drop_locations"].items()
        )
        return {location: name for location, name in told if name and not name.startswith("0x")}
