"""Packets that the kernel drops are counted for the pod whose they are: real packets, in networks made by hand."""

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from otel_kernel.kernel import btf
from otel_kernel.kernel.drops import OTHER, Drops, Kind, Learned, Side
from otel_kernel.kernel.probes import Loading, Probes, Sizes
from tests.kernel.networks import Network, connect

pytestmark = pytest.mark.root

POD, OTHER_POD, CLIENT = 1001, 1002, 1003
LIMIT_S = 20
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21  # include/uapi/linux/tcp.h
RECEIVED, SENT = 1, 2  # TCP_RECV_QUEUE, TCP_SEND_QUEUE


@dataclass(frozen=True)
class Node:
    """A node with two pods, and a third network that is no pod's."""

    drops: Drops
    network: Network
    pod: Network
    other_pod: Network
    outside: Network


@pytest.fixture(scope="module")
def probes(cache: Path) -> Iterator[Probes]:
    """The kernel side with drops, births not attached."""
    loaded = Loading(cache, Sizes(), drops=True).finish()
    assert loaded.why_no_drops == ""
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def node(probes: Probes) -> Iterator[Node]:
    """Return a node whose two pods the kernel side knows."""
    assert probes.drops is not None
    with Network() as network, Network() as pod, Network() as other_pod, Network() as outside:
        for number, each in enumerate((pod, other_pod, outside)):
            connect(network, each, number)
        network.inside(lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
        assert probes.drops.learn_node(network.fd) is Learned.LEARNED
        assert probes.drops.learn(pod.fd, POD) is Learned.LEARNED
        assert probes.drops.learn(other_pod.fd, OTHER_POD) is Learned.LEARNED
        probes.drops.attach()
        yield Node(probes.drops, network, pod, other_pod, outside)


@pytest.fixture
def nft(require: Callable[[object, str], None], node: Node) -> Iterator[None]:
    """Filters of this test's only."""
    require(shutil.which("nft"), "nft is not installed (Debian: nftables)")
    yield
    for network in (node.network, node.pod):
        network.filter("")


@dataclass
class Counted:
    """The drops counted since it was made."""

    drops: Drops

    def __post_init__(self) -> None:
        """Remember what was counted before."""
        self._before = self.drops.read()

    def by_kind(self, pod: int) -> dict[tuple[str | None, Side], int]:
        """Return the packets of a pod by reason and side, of all locations together, without zeros."""
        found: dict[tuple[str | None, Side], int] = {}
        for kind, packets in self.drops.read().get(pod, {}).items():
            new = packets - self._before.get(pod, {}).get(kind, 0)
            if new:
                found[kind.reason, kind.side] = found.get((kind.reason, kind.side), 0) + new
        return found


@pytest.fixture
def counted(node: Node) -> Iterator[Counted]:
    """Return what is counted from now on; afterwards only the two pods are known."""
    yield Counted(node.drops)
    node.drops.forget(node.drops.known() - {POD, OTHER_POD})


def test_a_closed_udp_port(node: Node, counted: Counted) -> None:
    """Each packet to a port that nobody listens on is one drop, with its reason and function; of that pod alone."""
    node.network.send("10.99.0.2", 1003)
    assert counted.by_kind(POD) == {("NO_SOCKET", "pod"): 1003}
    assert counted.by_kind(OTHER_POD) == {}
    (location,) = {kind.location for kind in node.drops.read()[POD] if kind.reason == "NO_SOCKET"}
    assert location is not None
    assert "udp" in location


def test_a_closed_tcp_port(node: Node, counted: Counted) -> None:
    """Each SYN to a port that nobody listens on is one drop."""
    node.network.knock("10.99.0.2", 17)
    assert counted.by_kind(POD) == {("NO_SOCKET", "pod"): 17}
    assert {kind.location for kind in node.drops.read()[POD] if kind.reason == "NO_SOCKET"} >= {"tcp_v4_rcv"}


@pytest.mark.usefixtures("nft")
def test_filtered_in_the_pod(node: Node, counted: Counted) -> None:
    """What a pod's own filter drops is on the pod's side, whether it came or was to go."""
    node.pod.filter("ip type filter hook input priority 0; udp dport 9 drop;")
    node.network.send("10.99.0.2", 71)
    assert counted.by_kind(POD) == {("NETFILTER_DROP", "pod"): 71}
    node.pod.filter("ip type filter hook output priority 0; udp dport 9 drop;")
    node.pod.send("10.99.0.1", 29)
    assert counted.by_kind(POD) == {("NETFILTER_DROP", "pod"): 100}


@pytest.mark.usefixtures("nft")
def test_from_the_pod_dropped_on_the_host(node: Node, counted: Counted) -> None:
    """What the host drops of what a pod sent, at its end of the pod's veth or on the way on, is on the host's side."""
    node.network.filter('netdev type filter hook ingress device "v0" priority 0; ip protocol udp drop;')
    node.pod.send("10.99.0.1", 41)
    assert counted.by_kind(POD) == {("NETFILTER_DROP", "host"): 41}
    node.network.filter("ip type filter hook forward priority 0; udp dport 9 drop;")
    node.pod.send("10.99.2.2", 2)
    assert counted.by_kind(POD) == {("NETFILTER_DROP", "host"): 43}
    assert counted.by_kind(OTHER_POD) == {}


@pytest.mark.usefixtures("nft")
def test_to_the_pod_dropped_on_the_host(node: Node, counted: Counted) -> None:
    """What the host drops that was to go to a pod is found by its route: forwarded, or from the host itself."""
    node.network.filter("ip type filter hook forward priority 0; udp dport 9 drop;")
    node.outside.send("10.99.0.2", 53)
    assert counted.by_kind(POD) == {("NETFILTER_DROP", "host"): 53}
    node.network.filter("ip type filter hook output priority 0; udp dport 9 drop;")
    node.network.send("10.99.1.2", 31)
    assert counted.by_kind(POD) == {("NETFILTER_DROP", "host"): 53}
    assert counted.by_kind(OTHER_POD) == {("NETFILTER_DROP", "host"): 31}


@pytest.mark.usefixtures("nft")
def test_from_pod_to_pod_dropped_on_the_host(node: Node, counted: Counted) -> None:
    """A packet is counted once: for the pod on whose device it came."""
    node.network.filter("ip type filter hook forward priority 0; udp dport 9 drop;")
    node.pod.send("10.99.1.2", 19)
    assert (counted.by_kind(POD), counted.by_kind(OTHER_POD)) == ({("NETFILTER_DROP", "host"): 19}, {})


@pytest.mark.usefixtures("nft")
def test_from_the_pod_dropped_on_a_bridge(node: Node, counted: Counted) -> None:
    """On a bridge a packet has left the pod's devices; its socket still tells whose it is."""
    by_ip = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")  # where that is on, the packet forgets its socket
    node.network.inside(lambda: by_ip.write_text("0") if by_ip.exists() else 0)
    with Network() as bridged, _bridge(node.network, bridged):
        node.drops.learn(bridged.fd, CLIENT)
        node.network.filter("bridge type filter hook input priority 0; ether type ip drop;")
        bridged.send("10.99.9.1", 21)
        _wait_until(lambda: counted.by_kind(CLIENT).get(("NETFILTER_DROP", "host")) == 21)


@contextmanager
def _bridge(network: Network, pod: Network) -> Iterator[None]:
    """Connect a pod to a bridge of the node's."""
    connect(network, pod, 9)
    network.ip("link add b9 type bridge")
    try:
        for command in (
            "addr del 10.99.9.1/24 dev v9",
            "addr add 10.99.9.1/24 dev b9",
            "link set v9 master b9",
            "link set b9 up",
        ):
            network.ip(command)
        _wait_until(lambda: "state UP" in network.run("ip", "link", "show", "b9"))
        yield
    finally:
        network.ip("link del b9")


def test_a_full_receive_buffer(node: Node, counted: Counted) -> None:
    """Packets for which a socket has no room are its pod's; what is in it when it closes was received."""
    with node.pod.socket(socket.SOCK_DGRAM, "10.99.0.2") as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        node.network.send("10.99.0.2", 500, receiver.getsockname()[1])
        receiver.setblocking(False)
        received = 0
        try:
            while receiver.recv(16):
                received += 1
        except BlockingIOError:
            pass
    assert 0 < received < 500
    assert counted.by_kind(POD) == {("SOCKET_RCVBUFF", "pod"): 500 - received}


def test_two_pods_are_never_mixed(node: Node, counted: Counted) -> None:
    """Packets to two pods at once are each pod's own."""
    senders = [
        threading.Thread(target=node.network.send, args=(address, packets))
        for address, packets in (("10.99.0.2", 2003), ("10.99.1.2", 3001))
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert counted.by_kind(POD) == {("NO_SOCKET", "pod"): 2003}
    assert counted.by_kind(OTHER_POD) == {("NO_SOCKET", "pod"): 3001}


def test_messages_are_no_packets(node: Node, counted: Counted) -> None:
    """What processes told one another by a socket of the file system, and nobody read, is no packet."""

    def unread() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for _ in range(10):
            ours.send(b"x")
        theirs.close()
        ours.close()

    node.pod.inside(unread)
    assert counted.by_kind(POD) == {}


def test_the_node_itself(node: Node, counted: Counted) -> None:
    """A pod that uses the node's network has none of its own, and no drops: neither the node's nor any."""
    assert node.drops.learn(node.network.fd, CLIENT) is Learned.OF_NODE
    node.network.send("10.99.0.1", 11)
    node.outside.send("10.99.2.1", 11)
    assert CLIENT not in node.drops.read()
    assert (counted.by_kind(CLIENT), CLIENT in node.drops.known()) == ({}, False)


def test_what_is_no_network(node: Node) -> None:
    """A descriptor of something else, or of nothing, is refused."""
    with Path("/sys/devices/system/cpu/possible").open() as file:
        assert node.drops.learn(file.fileno(), CLIENT) is Learned.NO_NETWORK
    assert node.drops.learn(1 << 20, CLIENT) is Learned.NO_NETWORK
    assert CLIENT not in node.drops.known()


FLOOD = """
import socket
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(60_000):
    sender.sendto(b"x", ("10.99.0.2", 9))
"""


def test_a_flood(node: Node, counted: Counted) -> None:
    """Of 120,000 packets, dropped on two CPUs at once, each is counted, or skipped by the kernel and known to be."""
    before = node.drops.losses().missed
    command = [sys.executable, "-c", FLOOD]
    senders = [node.network.inside(lambda: subprocess.Popen(command)) for _ in range(2)]
    assert [sender.wait(60) for sender in senders] == [0, 0]
    assert counted.by_kind(POD)["NO_SOCKET", "pod"] + node.drops.losses().missed - before == 120_000


def test_old_data(node: Node, counted: Counted) -> None:
    """Of a segment that comes again only the socket tells whose it is: its device and route are no longer known.

    Before Linux 6.11 the tracepoint does not tell the socket, and nothing is left that would.
    """
    before = node.drops.losses().unknown
    tells_socket = "sock" in btf.KernelTypes().tracepoint_arguments("kfree_skb")
    with node.pod.socket(socket.SOCK_STREAM, "10.99.0.2") as listener, node.network.socket(socket.SOCK_STREAM) as ours:
        listener.listen()
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
        ours.sendall(b"once")
        assert theirs.recv(8) == b"once"
        segment = _sent_before(ours, b"once")
        with node.network.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)) as raw:
            for _ in range(13):
                raw.sendto(segment, ("10.99.0.2", 0))
        _wait_until(
            lambda: (
                counted.by_kind(POD) == {("TCP_OLD_DATA", "pod"): 13}
                if tells_socket
                else node.drops.losses().unknown - before >= 13
            )
        )
        theirs.close()


def _sent_before(connection: socket.socket, data: bytes) -> bytes:
    """Return the TCP segment of what was sent last (tcp(7) of TCP_REPAIR)."""
    connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    sequence = []
    for queue in (SENT, RECEIVED):
        connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        sequence.append(connection.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xFFFFFFFF)
    connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, -1)
    (address, port), (peer, peer_port) = connection.getsockname(), connection.getpeername()
    numbers = (port, peer_port, (sequence[0] - len(data)) & 0xFFFFFFFF, sequence[1])
    head = struct.pack("!HHIIBBH", *numbers, 5 << 4, 0x18, 512)  # 20 bytes; PSH, ACK; window
    pseudo = socket.inet_aton(address) + socket.inet_aton(peer) + struct.pack("!HH", socket.IPPROTO_TCP, 20 + len(data))
    words = struct.unpack(f"!{(len(pseudo) + 20 + len(data)) // 2}H", pseudo + head + bytes(4) + data)
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head + struct.pack("!HH", ~total & 0xFFFF, 0) + data


def test_unread_packets_of_a_closed_socket(node: Node, counted: Counted) -> None:
    """Of packets that nobody read when their socket was closed nothing tells the network: that is counted."""
    before = node.drops.losses().unknown
    with node.pod.socket(socket.SOCK_DGRAM, "10.99.0.2") as receiver:
        node.network.send("10.99.0.2", 50, receiver.getsockname()[1])
    _wait_until(lambda: node.drops.losses().unknown - before >= 50)
    assert counted.by_kind(POD) == {}


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_inode_number_that_is_given_again(node: Node, counted: Counted) -> None:
    """A later network with the inode number of a pod's is not taken for it, until it is learned as another pod's."""
    with Network() as first:
        connect(node.network, first, 7)
        inode = first.inode
        node.drops.learn(first.fd, CLIENT)
        node.network.send("10.99.7.2", 5)
    assert counted.by_kind(CLIENT) == {("NO_SOCKET", "pod"): 5}
    with _with_inode(inode) as later:
        connect(node.network, later, 7)
        node.network.send("10.99.7.2", 13)
        assert counted.by_kind(CLIENT) == {("NO_SOCKET", "pod"): 5}
        node.drops.learn(later.fd, CLIENT + 1)
        node.network.send("10.99.7.2", 17)
        assert counted.by_kind(CLIENT).get(("NO_SOCKET", "pod"), 0) in (0, 5)  # 0: its address was given again, too
        assert counted.by_kind(CLIENT + 1) == {("NO_SOCKET", "pod"): 17}


def _with_inode(inode: int) -> Network:
    """Return a new network with the inode number of one that is gone."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        network = Network()
        if network.inode == inode:
            return network
        os.close(network.fd)
        assert time.monotonic() < deadline, "the kernel does not give the inode number again"


def test_an_address_that_is_given_again(probes: Probes, node: Node, counted: Counted) -> None:
    """A later network at the address of a pod's is not taken for it either: its cookie is another."""
    networks = probes.maps["pod_networks"]
    (address, known), *_ = [entry for entry in networks.entries() if struct.unpack("<QQ", entry[1])[1] == POD]
    cookie, _ = struct.unpack("<QQ", known)
    assert cookie
    networks.update(address, struct.pack("<QQ", cookie + 1, POD))
    node.network.send("10.99.0.2", 23)
    networks.update(address, known)
    node.network.send("10.99.0.2", 29)
    assert counted.by_kind(POD) == {("NO_SOCKET", "pod"): 29}


def test_forgetting(node: Node, counted: Counted) -> None:
    """Of a pod that is forgotten nothing is left, and nothing more is counted; others stay as they were."""
    with Network() as gone:
        connect(node.network, gone, 8)
        node.drops.learn(gone.fd, CLIENT)
        node.network.send("10.99.8.2", 3)
        assert counted.by_kind(CLIENT) == {("NO_SOCKET", "pod"): 3}
        before: Mapping[Kind, int] = node.drops.read()[POD]
        node.drops.forget({CLIENT})
        node.network.send("10.99.8.2", 3)
        assert CLIENT not in node.drops.read()
        assert node.drops.read()[POD] == before
        node.drops.learn(gone.fd, CLIENT)
        assert set(node.drops.read()[CLIENT].values()) == {0}


def test_more_kinds_and_networks_than_there_is_room_for(cache: Path) -> None:
    """Beyond the room for kinds the rest is `_OTHER`, and the sum exact; a network without room is counted."""
    probes = Loading(cache, Sizes(networks=1, drop_kinds=1), drops=True).finish()
    drops = probes.drops
    assert drops is not None
    with Network() as network, Network() as pod:
        connect(network, pod, 0)
        assert drops.learn(pod.fd, POD) is Learned.NODE_UNKNOWN
        drops.learn_node(network.fd)
        assert drops.learn(pod.fd, POD) is Learned.LEARNED
        with Network() as without_room:
            assert drops.learn(without_room.fd, OTHER_POD) is Learned.NO_ROOM
        assert (drops.losses().networks, drops.known()) == (1, {POD})
        drops.attach()
        network.send("10.99.0.2", 37)
        network.knock("10.99.0.2", 5)
        network.send("10.99.0.2", 4)
        found = drops.read()[POD]
    probes.close()
    assert {(kind.reason, kind.side): packets for kind, packets in found.items()} == {
        ("NO_SOCKET", "pod"): 41,
        (OTHER, "pod"): 5,
        (OTHER, "host"): 0,
    }
