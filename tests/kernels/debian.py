"""Debian's kernels: fetched as packages and unpacked beside each other in the user's cache, never installed."""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

FETCH_LIMIT_S = 300
UNPACK_LIMIT_S = 120
# `linux-image-6.1.0-56-amd64`, `linux-image-6.12.117+deb12-amd64`: no debug symbols, no real-time, no cloud kernel.
PACKAGE = re.compile(r"linux-image-(?P<release>(?P<series>\d+\.\d+)\.[\w.+~-]*?-?amd64)")


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that was not booted yet: where it and its modules are."""

    release: str  # as `uname --kernel-release` says
    directory: Path

    @property
    def image(self) -> Path:
        """The compressed kernel."""
        return self.directory / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        """What belongs in /lib/modules/<release>."""
        return self.directory / "lib" / "modules" / self.release

    @property
    def programs(self) -> Path:
        """Where the agent's programs are kept that were compiled under it."""
        directory = self.directory / "programs"
        directory.mkdir(exist_ok=True)
        return directory

    @property
    def version(self) -> str:
        """The upstream version and Debian's: `6.1.192-2`."""
        return (self.directory / "version").read_text().strip()


def kernel(series: str) -> Kernel:
    """Return Debian's newest kernel of a series (`6.1`), fetched if it is not in the cache.

    Raises LookupError when the system's package lists have none, RuntimeError when it cannot be had.
    """
    package, release = _newest(series)
    directory = _cache() / package
    if not directory.is_dir():
        _fetch(package, release, directory)
    return Kernel(release, directory)


def _newest(series: str) -> tuple[str, str]:
    try:
        names = _run("apt-cache", "pkgnames", f"linux-image-{series}.").split()
    except FileNotFoundError:
        raise LookupError("needs Debian's apt for its kernels") from None
    found = [match for name in names if (match := PACKAGE.fullmatch(name)) and match["series"] == series]
    plain = [match for match in found if not re.search(r"-(cloud|rt)-", match[0])]
    if not plain:
        raise LookupError(f"needs a package linux-image-{series}.*-amd64, Debian's package lists have none")
    newest = max(plain, key=lambda match: [int(number) for number in re.findall(r"\d+", match["release"])])
    return newest[0], newest["release"]


def _fetch(package: str, release: str, directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        # As root apt would fetch as another user, who may not write there.
        _run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, directory=Path(temporary))
        (archive,) = Path(temporary).glob("*.deb")
        content = Path(temporary) / "content"
        _run("dpkg-deb", "--extract", str(archive), str(content))
        (content / "version").write_text(_run("dpkg-deb", "--field", str(archive), "Version"))
        _run("/sbin/depmod", "--basedir", str(content), release)
        if not directory.is_dir():  # another process may have been quicker
            content.rename(directory)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-kernel" / "kernels"


def _run(*command: str, directory: Path | None = None) -> str:
    done = subprocess.run(command, cwd=directory, check=False, capture_output=True, text=True, timeout=FETCH_LIMIT_S)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
    return done.stdout
