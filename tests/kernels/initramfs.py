"""The first user space of a kernel under test: it mounts the host's root file system, under a layer for writes."""

import lzma
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.kernels.debian import Kernel

BUSYBOX = Path("/usr/bin/busybox")  # Debian's busybox-static
NEEDED_MODULES = ("virtio_pci", "virtiofs", "overlay")
DIRECTORY, PROGRAM, FILE = 0o040755, 0o100755, 0o100644
# What the kernel has built in, it needs no file for; its insmod would only say that it is there.
INIT = """#!/busybox sh
/busybox mount -t devtmpfs devtmpfs /dev
/busybox mount -t proc proc /proc
{insmods}
/busybox mount -t virtiofs -o ro root /lower || echo 'the root file system is not there'
/busybox mount -t tmpfs -o size=75% tmpfs /layer
/busybox mkdir /layer/upper /layer/work
/busybox mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work overlay /root
/busybox mount --move /dev /root/dev
/busybox mount --move /proc /root/proc
/busybox mkdir -p /root{exchange}
/busybox mount -t virtiofs exchange /root{exchange}
exec /busybox switch_root /root {init}
"""


def write(kernel: Kernel, exchange: str, init: str, path: Path) -> None:
    """Write the archive that mounts the virtiofs `root`, and `exchange` at that path, and executes `init`."""
    modules = list(_modules(kernel))
    insmods = "\n".join(f"/busybox insmod /{name}" for name, _ in modules)
    directories = ["dev", "proc", "lower", "layer", "root"]
    entries = [
        *((name, DIRECTORY, b"") for name in directories),
        ("busybox", PROGRAM, BUSYBOX.read_bytes()),
        ("init", PROGRAM, INIT.format(insmods=insmods, exchange=exchange, init=init).encode()),
        *((name, FILE, content) for name, content in modules),
        ("TRAILER!!!", 0, b""),
    ]
    path.write_bytes(b"".join(_entry(*entry) for entry in entries))


def _modules(kernel: Kernel) -> Iterator[tuple[str, bytes]]:
    """Yield what has to be loaded, in that order: name and content, not compressed."""
    command = ["/sbin/modprobe", "--dirname", str(kernel.directory), "--set-version", kernel.release]
    command += ["--all", "--show-depends", *NEEDED_MODULES]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    for path in dict.fromkeys(Path(line.split()[1]) for line in told.splitlines() if line.startswith("insmod ")):
        content = path.read_bytes()
        yield path.name.removesuffix(".xz"), lzma.decompress(content) if path.suffix == ".xz" else content


def _entry(name: str, mode: int, content: bytes) -> bytes:
    """Return one entry of a cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst: newc)."""
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + encoded) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
