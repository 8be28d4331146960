"""A private CRI-O: its configuration, its start, its end. Images come from a registry of the lab's own."""

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from demo import cri_pb2 as message
from demo.cri_pb2_grpc import ImageServiceStub
from demo.images import PAUSE, Image
from demo.registry import Registry

START_LIMIT_S = 60
STOP_LIMIT_S = 10
PULL_LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class CrioRuntime:
    """Which CRI-O. `pinns` is its helper that keeps namespaces.

    It runs no pause unless told to, which would get an oom_score_adj that takes CAP_SYS_RESOURCE.
    """

    crio: Path
    pinns: Path
    runc: Path = Path("/usr/sbin/runc")
    conmon: Path = Path("/usr/bin/conmon")
    tells_events: bool = True  # as it comes it does not

    def daemon(self, directory: Path) -> "Crio":
        """Return one that has not started."""
        return Crio(directory, self)


class Crio:
    """A CRI-O of one's own: all it writes is in one directory."""

    def __init__(self, directory: Path, runtime: CrioRuntime) -> None:
        self.directory = directory
        self.runtime = runtime
        self.socket = directory / "crio.sock"
        self._registry = Registry(directory)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The daemon's process id. Raises RuntimeError when it was not started."""
        if self._process is None:
            raise RuntimeError("CRI-O was not started")
        return self._process.pid

    def start(self, plugins: Mapping[str, Path]) -> None:
        """Start it with CNI's `bin_dir` and `conf_dir` and wait until it serves. Raises RuntimeError with its log."""
        self._registry.__enter__()
        self._configure(plugins)
        log = self.directory / "crio.log"
        configuration = ["--config", str(self.directory / "crio.conf"), "--config-dir", str(self.directory / "absent")]
        # Whatever ends us ends it: nobody is left to clean up after a SIGKILL.
        command = ["setpriv", "--pdeathsig", "TERM", str(self.runtime.crio), *configuration]
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "CONTAINER_REGISTRIES_CONF": str(self.directory / "registries.conf"),
        }
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, start_new_session=True, env=environment
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not self.socket.is_socket():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("CRI-O does not serve:\n" + "\n".join(log.read_text().splitlines()[-5:]))
            time.sleep(0.05)

    def add(self, image: Image) -> None:
        """Have it pull the image."""
        self._registry.add(image)
        request = message.PullImageRequest(image=message.ImageSpec(image=image.reference))
        with grpc.insecure_channel(f"unix://{self.socket}") as channel:
            images = ImageServiceStub(channel)  # type: ignore[no-untyped-call] # generated
            try:
                images.PullImage(request, timeout=PULL_LIMIT_S, wait_for_ready=True)
            except grpc.RpcError as error:
                raise RuntimeError(f"CRI-O does not pull {image.reference}: {error.details()}") from None

    def stop(self) -> None:
        """End it: by SIGTERM, after a while by SIGKILL. Its monitors live on."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._registry.__exit__(None, None, None)

    def _configure(self, plugins: Mapping[str, Path]) -> None:
        here = self.directory
        (here / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        (here / "registries.conf").write_text(
            f'[[registry]]\nprefix = "registry.local"\nlocation = "{self._registry.address}"\ninsecure = true\n'
        )
        (here / "crio.conf").write_text(_configuration(here, self.runtime, plugins))


def pinns(sources: Path, directory: Path) -> Path:
    """Compile CRI-O's helper, which is in C, into the directory and return its path."""
    program = directory / "pinns"
    files = sorted(map(str, sources.glob("*.c")))
    subprocess.run(["gcc", "-std=c99", "-Os", "-static", "-o", program, *files], check=True, timeout=60)
    return program


def _configuration(here: Path, runtime: CrioRuntime, plugins: Mapping[str, Path]) -> str:
    return f"""[crio]
root = "{here}/storage"
runroot = "{here}/run"
storage_driver = "vfs"
log_dir = "{here}/logs"
version_file = "{here}/version"
clean_shutdown_file = "{here}/clean.shutdown"
internal_wipe = false
[crio.api]
listen = "{here}/crio.sock"
[crio.runtime]
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
apparmor_profile = "unconfined"
container_exits_dir = "{here}/exits"
container_attach_socket_dir = "{here}/attach"
namespaces_dir = "{here}/namespaces"
decryption_keys_path = "{here}/keys"
pinns_path = "{runtime.pinns}"
irqbalance_config_file = "{here}/irqbalance"
irqbalance_config_restore_file = "disable"
hooks_dir = []
cdi_spec_dirs = []
enable_pod_events = {str(runtime.tells_events).lower()}
enable_criu_support = false
default_runtime = "runc"
[crio.runtime.runtimes.runc]
runtime_path = "{runtime.runc}"
runtime_type = "oci"
runtime_root = "{here}/runc"
monitor_path = "{runtime.conmon}"
monitor_cgroup = "pod"
[crio.image]
pause_image = "{PAUSE}"
signature_policy = "{here}/policy.json"
signature_policy_dir = "{here}/policies"
[crio.network]
network_dir = "{plugins["conf_dir"]}"
plugin_dirs = ["{plugins["bin_dir"]}"]
[crio.nri]
enable_nri = false
"""
