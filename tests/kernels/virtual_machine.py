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
from pathlib import Path

from tests.kernels import initramfs
from tests.kernels.debian import Kernel

QEMU = "qemu-system-x86_64"
VIRTIOFSD = Path("/usr/lib/qemu/virtiofsd")
EXCHANGE = "/mnt/exchange"  # where the machine sees the directory of exchange
MEMORY = "4G"
SOCKET_LIMIT_S = 30


def absent() -> str | None:
    """Return why no virtual machine can be had here, None if it can."""
    needed = {QEMU: shutil.which(QEMU), str(VIRTIOFSD): VIRTIOFSD.exists(), "kmod": Path("/sbin/modprobe").exists()}
    needed |= {str(initramfs.BUSYBOX): initramfs.BUSYBOX.exists()}
    lacking = [name for name, there in needed.items() if not there]
    if lacking:
        return f"needs {', '.join(lacking)} (Debian: qemu-system-x86 kmod busybox-static)"
    return None if os.geteuid() == 0 else "needs root: virtiofsd reads every file of the host"


def run(
    kernel: Kernel, command: Sequence[str], exchange: Path, limit_s: float, settings: Mapping[str, str] | None = None
) -> int:
    """Run the command under the kernel, in the same directory as here, and return its exit status.

    What the console shows goes to `console` in `exchange`, which the command sees at EXCHANGE and can write to.
    Raises TimeoutError, and RuntimeError when the machine ended before the command did.
    """
    _write_command(exchange, command, settings or {})
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "initramfs"
        initramfs.write(kernel, EXCHANGE, f"{EXCHANGE}/init", archive)
        shares = {"root": Path("/"), "modules": kernel.modules, "programs": kernel.programs, "exchange": exchange}
        with _shared(shares, Path(temporary)) as devices:
            _emulate(kernel, archive, devices, exchange / "console", limit_s)
    status = exchange / "status"
    if not status.exists():
        raise RuntimeError(f"{kernel.release} ended before the command did: {_last_lines(exchange / 'console')}")
    return int(status.read_text())


def _write_command(exchange: Path, command: Sequence[str], settings: Mapping[str, str]) -> None:
    init = exchange / "init"
    init.write_bytes(Path(__file__).with_name("guest_init.sh").read_bytes())
    init.chmod(0o755)
    exports = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    lines = [*exports, f"cd {shlex.quote(str(Path.cwd()))}", shlex.join(command)]
    (exchange / "command").write_text("\n".join(lines) + "\n")
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


def _emulate(kernel: Kernel, archive: Path, devices: list[str], console: Path, limit_s: float) -> None:
    line = "console=ttyS0 panic=-1 quiet mitigations=off"
    machine = ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", MEMORY]
    quiet = ["-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{console}"]
    boot = ["-kernel", str(kernel.image), "-initrd", str(archive), "-append", line]
    try:
        subprocess.run(["nice", "-n", "10", QEMU, *machine, *quiet, *boot, *devices], check=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{kernel.release}: not done in {limit_s:.0f} s: {_last_lines(console)}") from None


def _last_lines(console: Path) -> str:
    return "\n".join(console.read_text(errors="replace").splitlines()[-10:]) if console.exists() else "no console"
