"""Network namespaces made by hand: a node's and those of pods, with real devices between them."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")
NEW_NET = 0x40000000  # CLONE_NEWNET
CLOSED_PORT = 9
_libc = ctypes.CDLL(None, use_errno=True)


def _must(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@dataclass
class Network:
    """A network namespace without IPv6, which would send packets of its own. It lives until closed."""

    fd: int = field(init=False)

    def __post_init__(self) -> None:
        """Make it, from a thread that ends."""

        def new() -> int:
            _must(_libc.unshare(NEW_NET))
            for devices in ("all", "default"):
                Path(f"/proc/sys/net/ipv6/conf/{devices}/disable_ipv6").write_text("1")
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        with ThreadPoolExecutor(1) as thread:
            self.fd = thread.submit(new).result()
        self.ip("link set lo up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self.fd)

    @property
    def inode(self) -> int:
        """Its inode number, which another may get when it is gone."""
        return os.fstat(self.fd).st_ino

    @property
    def path(self) -> str:
        """A path that names it to `ip`."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def inside(self, do: Callable[[], T]) -> T:
        """Return what a function returns that is called inside."""

        def enter() -> T:
            _must(_libc.setns(self.fd, NEW_NET))
            return do()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(enter).result()

    def run(self, *words: str, text: str = "") -> str:
        """Return what a program prints that is run inside."""
        done = self.inside(
            lambda: subprocess.run(words, input=text, capture_output=True, text=True, check=False, timeout=30)
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ip(self, command: str) -> None:
        """Run a command of `ip` (ip(8)) inside."""
        self.run("ip", *command.split())

    def filter(self, table: str) -> None:
        """Filter packets by a table of nft(8), given by its family and its chain, instead of any before."""
        family, _, chain = table.partition(" ")
        rules = f"table {family} filter {{\nchain only {{\n{chain}\n}}\n}}\n" if table else ""
        self.run("nft", "-f", "-", text=f"flush ruleset\n{rules}")

    def socket(self, kind: socket.SocketKind, address: str = "") -> socket.socket:
        """Return an IPv4 socket that stays inside, bound to an address if one is given."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, kind)
            if address:
                made.bind((address, 0))
            return made

        return self.inside(make)

    def send(self, address: str, packets: int, port: int = CLOSED_PORT) -> None:
        """Send UDP packets from inside; refusals by a filter of its own are no errors here."""
        with self.socket(socket.SOCK_DGRAM) as sender:
            for _ in range(packets):
                try:
                    sender.sendto(b"x", (address, port))
                except PermissionError:
                    continue

    def knock(self, address: str, times: int) -> None:
        """Try to connect by TCP from inside, to a port that is closed."""
        for _ in range(times):
            with self.socket(socket.SOCK_STREAM) as caller:
                assert caller.connect_ex((address, CLOSED_PORT)) != 0


def connect(node: Network, pod: Network, number: int) -> None:
    """Put a veth pair between them: `v<number>`, 10.99.<number>.1, and the pod's `eth0`, 10.99.<number>.2."""
    node.ip(f"link add v{number} type veth peer name eth0 netns {pod.path}")
    for network, device, host in ((node, f"v{number}", 1), (pod, "eth0", 2)):
        network.ip(f"addr add 10.99.{number}.{host}/24 dev {device}")
        network.ip(f"link set {device} up")
    pod.ip(f"route add default via 10.99.{number}.1")
