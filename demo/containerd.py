"""The private containerd: its configuration, its start, its end."""

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo.images import PAUSE, Image, write_layout

START_LIMIT_S = 180
STOP_LIMIT_S = 10
IMPORT_LIMIT_S = 300
OLD_FORMAT = 2  # of config.toml, until containerd 1.7
UNWANTED = ("blockfile", "btrfs", "devmapper", "erofs", "zfs")  # snapshotters that look for what is not here


@dataclass(frozen=True, slots=True)
class Runtime:
    """Which containerd, and which further `runc` under which runtime handler's name."""

    containerd: Path = Path("/usr/bin/containerd")
    ctr: Path = Path("/usr/bin/ctr")
    configuration_version: int = OLD_FORMAT  # 3 since containerd 2.0
    runc: Path = Path("/usr/sbin/runc")
    handlers: Mapping[str, Path] = field(default_factory=dict)
    snapshotter: str = "native"
    systemd_cgroups: bool = False  # the runtime asks systemd for cgroups, which must be the first process then

    def daemon(self, directory: Path) -> "Containerd":
        """Return one that has not started."""
        return Containerd(directory, self)


class Containerd:
    """A containerd of one's own: all it writes is in one directory, but for its shims' sockets in /run/containerd/s."""

    def __init__(self, directory: Path, runtime: Runtime) -> None:
        self.directory = directory
        self.runtime = runtime
        self.socket = directory / "containerd.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The daemon's process id. Raises RuntimeError when it was not started."""
        if self._process is None:
            raise RuntimeError("containerd was not started")
        return self._process.pid

    def start(self, plugins: Mapping[str, Path]) -> None:
        """Start it with CNI's `bin_dir` and `conf_dir` and wait until it serves. Raises RuntimeError with its log."""
        configuration = self.directory / "config.toml"
        configuration.write_text(_configuration(self.directory, self.runtime, plugins))
        log = self.directory / "containerd.log"
        # Whatever ends us ends it: nobody is left to clean up after a SIGKILL.
        command = ["setpriv", "--pdeathsig", "TERM", str(self.runtime.containerd), "--config", str(configuration)]
        path = f"{self.runtime.containerd.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, env={"PATH": path}
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("containerd does not serve:\n" + "\n".join(log.read_text().splitlines()[-5:]))
            time.sleep(0.05)

    def add(self, image: Image) -> None:
        """Make the image known to containerd's Kubernetes part."""
        layout = self.directory / "layout.tar"
        write_layout(image, layout)
        # containerd 2 would ask its transfer service, which unpacks for its default snapshotter only.
        local = ["--local"] if self.runtime.configuration_version > OLD_FORMAT else []
        arguments = ["import", *local, "--snapshotter", self.runtime.snapshotter, str(layout)]
        done = self._ctr("--namespace", "k8s.io", "images", *arguments)
        if done.returncode != 0:
            raise RuntimeError(f"containerd does not import {image.reference}: {done.stderr.decode(errors='replace')}")
        layout.unlink()

    def stop(self) -> None:
        """End it: by SIGTERM, after a while by SIGKILL. Its shims live on."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _serves(self) -> bool:
        return self.socket.exists() and self._ctr("version").returncode == 0

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(self.runtime.ctr), "--address", str(self.socket), *arguments]
        return subprocess.run(command, check=False, capture_output=True, timeout=IMPORT_LIMIT_S)


def _configuration(directory: Path, runtime: Runtime, plugins: Mapping[str, Path]) -> str:
    """Return config.toml. What is switched off would reach outside the directory or wait for devices."""
    disabled = [f"io.containerd.snapshotter.v1.{name}" for name in UNWANTED] + ["io.containerd.nri.v1.nri"]
    head = f"""version = {runtime.configuration_version}
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = {disabled}
[grpc]
  address = "{directory}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{directory}/opt"
"""
    if runtime.configuration_version == OLD_FORMAT:
        cri = f"""[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
"""
        return head + cri + _runtime_section("io.containerd.grpc.v1.cri", directory, runtime, plugins)
    images = f"""[plugins."io.containerd.cri.v1.images"]
  snapshotter = "{runtime.snapshotter}"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
"""
    return head + images + _runtime_section("io.containerd.cri.v1.runtime", directory, runtime, plugins)


def _runtime_section(plugin: str, directory: Path, runtime: Runtime, plugins: Mapping[str, Path]) -> str:
    old = runtime.configuration_version == OLD_FORMAT
    programs = f'bin_dir = "{plugins["bin_dir"]}"' if old else f'bin_dirs = ["{plugins["bin_dir"]}"]'
    snapshotter = f'snapshotter = "{runtime.snapshotter}"' if old else ""
    text = f"""  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."{plugin}".cni]
  {programs}
  conf_dir = "{plugins["conf_dir"]}"
[plugins."{plugin}".containerd]
  default_runtime_name = "runc"
  {snapshotter}
"""
    for name, binary in {"runc": runtime.runc, **runtime.handlers}.items():
        text += f"""[plugins."{plugin}".containerd.runtimes."{name}"]
  runtime_type = "io.containerd.runc.v2"
[plugins."{plugin}".containerd.runtimes."{name}".options]
  BinaryName = "{binary}"
  Root = "{directory}/runc"
  SystemdCgroup = {str(runtime.systemd_cgroups).lower()}
"""
    return text
