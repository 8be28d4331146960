"""A virtual machine that runs one command under a kernel that is not ours, on our own root file system.

QEMU emulates the processors (no KVM is needed), virtiofsd hands in the root file system, read-only under a layer in
memory: nothing that the command does changes a file of ours, except in the directory of exchange.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from tests.kernels import initramfs
from tests.kernels.debian import Kernel

QEMU = "qemu-system-x86_64"
VIRTIOFSD = Path("/usr/lib/qemu/virtiofsd")
EXCHANGE = "/mnt/exchange"  # where the machine sees the directory of exchange
MEMORY = "4G"
SOCKET_LIMIT_S = 30
# Else the processors' counters count as unsynchronised, and each look at the clock is a system call: 3 us, not 0.3.
CLOCK = "tsc=reliable"
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


def absent() -> str | None:
    """Return why no virtual machine can be had here, None if it can."""
    needed = {QEMU: shutil.which(QEMU), str(VIRTIOFSD): VIRTIOFSD.exists(), "kmod": Path("/sbin/modprobe").exists()}
    needed |= {str(initramfs.BUSYBOX): initramfs.BUSYBOX.exists()}
    lacking = [name for name, there in needed.items() if not there]
    if lacking:
        return f"needs {', '.join(lacking)} (Debian: qemu-system-x86 kmod busybox-static)"
    return None if os.geteuid() == 0 else "needs root: virtiofsd reads every file of the host"


@dataclass(frozen=True, slots=True)
class Machine:
    """What is booted, and how long it may take."""

    kernel: Kernel
    init: Literal["own", "systemd"]  # `own`: nothing but the command
    limit_s: float


def run(machine: Machine, command: Sequence[str], exchange: Path, settings: Mapping[str, str] = NO_SETTINGS) -> int:
    """Run the command in the machine, in the same directory as here, and return its exit status.

    What the console shows goes to `console` in `exchange`, which the command sees at EXCHANGE and can write to.
    Raises TimeoutError, and RuntimeError when the machine ended before the command did.
    """
    _write(exchange, machine.init, command, settings)
    kernel = machine.kernel
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "initramfs"
        initramfs.write(kernel, EXCHANGE, f"{EXCHANGE}/init", archive)
        shares = {"root": Path("/"), "modules": kernel.modules, "programs": kernel.programs, "exchange": exchange}
        with _shared(shares, Path(temporary)) as devices:
            _emulate(machine, archive, devices, exchange / "console")
    status = exchange / "status"
    if not status.exists():
        raise RuntimeError(f"{kernel.release} ended before the command did: {_last_lines(exchange / 'console')}")
    return int(status.read_text())


def _write(exchange: Path, init: str, command: Sequence[str], settings: Mapping[str, str]) -> None:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    lines = [*exports, f"cd {shlex.quote(str(Path.cwd()))}", f"{shlex.join(command)} </dev/null"]
    end = [f"echo $? >{EXCHANGE}/status", "sync", "echo o >/proc/sysrq-trigger", "sleep 60"]
    (exchange / "finish").write_text("\n".join([*lines, *end]) + "\n")
    (exchange / "init-system").write_text(init)
    shutil.copy(Path(__file__).with_name("guest_init.sh"), exchange / "init")
    (exchange / "init").chmod(0o755)
    (exchange / "status").unlink(missing_ok=True)


@contextlib.contextmanager
def _shared(directories: Mapping[str, Path], sockets: Path) -> Iterator[list[str]]:
    """Serve each directory under its tag; yield QEMU's arguments for them."""
    devices = ["-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on", "-numa", "node,memdev=memory"]
    with contextlib.ExitStack() as servers:
        for tag, directory in directories.items():
            socket = sockets / tag
            servers.enter_context(_served(directory, socket))
            devices += ["-chardev", f"socket,id={tag},path={socket}"]
            devices += ["-device", f"vhost-user-fs-pci,chardev={tag},tag={tag},queue-size=1024"]
        yield devices


@contextlib.contextmanager
def _served(directory: Path, socket: Path) -> Iterator[None]:
    options = ["-o", f"source={directory},cache=always,xattr,sandbox=chroot", f"--socket-path={socket}"]
    with subprocess.Popen([str(VIRTIOFSD), *options], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + SOCKET_LIMIT_S
            while not socket.exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"virtiofsd does not serve {directory}")
                time.sleep(0.02)
            yield
        finally:
            server.terminate()


def _emulate(run: Machine, archive: Path, devices: list[str], console: Path) -> None:
    line = f"console=ttyS0 panic=-1 quiet mitigations=off {CLOCK}"
    machine = ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", MEMORY]
    quiet = ["-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{console}"]
    boot = ["-kernel", str(run.kernel.image), "-initrd", str(archive), "-append", line]
    try:
        subprocess.run(["nice", "-n", "10", QEMU, *machine, *quiet, *boot, *devices], check=True, timeout=run.limit_s)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{run.kernel.release}: not done in {run.limit_s:.0f} s: {_last_lines(console)}") from None


def _last_lines(console: Path) -> str:
    return "\n".join(console.read_text(errors="replace").splitlines()[-10:]) if console.exists() else "no console"
