"""The lab's part of the machine's network: a subnet that no other lab has, and the CNI plugins that give it out."""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Self

PLUGINS = Path("/usr/lib/cni")  # Debian's containernetworking-plugins
REGISTER = Path("/run/otel-kernel-lab")
SUBNETS = 64
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")  # the ptp plugin switches it on and leaves it so
REFUSING_PLUGIN = """#!/bin/sh
# A network that cannot be had: ADD fails as a plugin fails, by CNI's own error message; what is to be taken away, is.
[ "$CNI_COMMAND" = ADD ] || exec {plugin}
echo '{{"cniVersion": "0.4.0", "code": 100, "msg": "the lab refuses this network"}}'
exit 1
"""


class Subnet:
    """One of the machine's lab subnets, ours until we close it or end. The lock also says that this lab lives."""

    def __init__(self, number: int, lock: int, predecessor: Path | None) -> None:
        self.number = number
        self.predecessor = predecessor  # the directory of a lab that held this subnet and was killed
        self._lock = lock

    def __str__(self) -> str:
        return f"10.88.{self.number}.0/24"

    @classmethod
    def take(cls, owner: Path) -> Self:
        """Return the first free subnet, marked with the owner's directory. Raises OSError when all are taken."""
        REGISTER.mkdir(exist_ok=True)
        for number in range(SUBNETS):
            lock = os.open(REGISTER / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            previous = os.pread(lock, 4096, 0).decode(errors="surrogateescape")
            os.ftruncate(lock, 0)
            os.pwrite(lock, os.fsencode(owner), 0)
            return cls(number, lock, Path(previous) if previous else None)
        raise OSError(f"all {SUBNETS} lab subnets are taken, see {REGISTER}")

    def close(self) -> None:
        """Give the subnet back. For when everything that used it is gone."""
        os.ftruncate(self._lock, 0)
        os.close(self._lock)


class Plugins:
    """The lab's own CNI configuration and plugin directory, so that a network can be made to fail."""

    def __init__(self, directory: Path) -> None:
        self.configuration = directory / "net.d"
        self.programs = directory / "bin"
        self._addresses = directory / "addresses"
        self._forwarded = FORWARDING.read_bytes()

    def write(self, subnet: Subnet) -> None:
        """Write the configuration of a point-to-point network (ptp, host-local) on the subnet."""
        self.programs.mkdir(parents=True)
        for plugin in PLUGINS.iterdir():
            (self.programs / plugin.name).symlink_to(plugin)
        self.configuration.mkdir()
        addresses = {"type": "host-local", "dataDir": str(self._addresses), "ranges": [[{"subnet": str(subnet)}]]}
        point_to_point = {"type": "ptp", "ipMasq": False, "ipam": addresses | {"routes": [{"dst": "0.0.0.0/0"}]}}
        network = {"cniVersion": "0.4.0", "name": "otel-kernel-lab", "plugins": [point_to_point]}
        (self.configuration / "10-lab.conflist").write_text(json.dumps(network))

    def refuse(self, refused: bool) -> None:
        """Make every further CNI ADD fail, or work again."""
        replacement = self.programs / "ptp.new"
        if refused:
            replacement.write_text(REFUSING_PLUGIN.format(plugin=PLUGINS / "ptp"))
            replacement.chmod(0o755)
        else:
            replacement.symlink_to(PLUGINS / "ptp")
        replacement.replace(self.programs / "ptp")

    def restore_forwarding(self) -> None:
        """Set IP forwarding back to what it was before the lab."""
        if FORWARDING.read_bytes() != self._forwarded:
            FORWARDING.write_bytes(self._forwarded)


class RefusedNetwork:
    """While this context is open, no pod of the lab gets a network."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def __enter__(self) -> None:
        self._plugins.refuse(True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._plugins.refuse(False)
