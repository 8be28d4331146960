"""The kubelet, and what it leaves outside the directory it is given."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from demo.leftovers import hierarchies, make_pod_cgroup, remove_cgroup
from tests.cluster import binaries
from tests.cluster.daemon import Daemon
from tests.cluster.network import NODE_ADDRESS

PORT = 10250
HEALTH_PORT = 10248
# What it sets for the whole machine (kubernetes, pkg/kubelet/cm/container_manager_linux.go: setupKernelTunables).
TUNABLES = tuple(
    Path("/proc/sys") / name
    for name in (
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
        "kernel/keys/root_maxbytes",
    )
)
# What it makes wherever its root is (pkg/kubelet/apis/deviceplugin, pkg/kubelet/kuberuntime/legacy.go).
PLUGINS = Path("/var/lib/kubelet/device-plugins")
LOG_LINKS = Path("/var/log/containers")


class Kubelet:
    """Owns the process, its cgroups, and what it changes on the machine."""

    def __init__(self, directory: Path, node: str, socket: Path, kubeconfig: Path) -> None:
        self._directory = directory
        self.node = node
        self.static_pods = directory / "manifests"
        # Not the root: there it would end every pod that is not its own, those of other labs among them.
        self.cgroup_root = f"/kubelet-{directory.name}"
        configuration = directory / "kubelet.json"
        configuration.write_text(json.dumps(self._configuration(socket)))
        options = {
            "config": str(configuration),
            "kubeconfig": str(kubeconfig),
            "root-dir": str(directory / "kubelet"),
            "cert-dir": str(directory / "kubelet-pki"),
            "hostname-override": node,
            "node-ip": NODE_ADDRESS,
            "v": "2",
        }
        command = [str(binaries.kubernetes() / "kubelet"), *(f"--{name}={value}" for name, value in options.items())]
        self._daemon = Daemon("kubelet", command, directory)
        self._before = {path: path.read_bytes() for path in TUNABLES if path.exists()}
        self._made = [path for path in (*_upward(PLUGINS), *_upward(LOG_LINKS)) if not path.exists()]

    @property
    def certificate(self) -> Path:
        """What signed its serving certificate."""
        return self._directory / "kubelet-pki" / "kubelet.crt"

    def start(self) -> None:
        """Start it. Returns when its process has begun: the API tells when the node is ready."""
        self.static_pods.mkdir(exist_ok=True)
        make_pod_cgroup(self.cgroup_root, self._directory / "cgroups")
        for root in hierarchies():
            _allow_all_cpus(root, root / self.cgroup_root.strip("/"))
        self._daemon.start(lambda: True)

    def stop(self) -> None:
        """End it; its pods live on."""
        self._daemon.stop()

    def tail(self) -> str:
        """Return the end of its log."""
        return self._daemon.tail()

    def clean_up(self) -> None:
        """Undo what it did outside its directory, once its pods are gone."""
        for path, content in self._before.items():
            if path.read_bytes() != content:
                path.write_bytes(content)
        for link in LOG_LINKS.glob("*") if LOG_LINKS.is_dir() else ():
            if link.is_symlink() and str(link.readlink()).startswith(f"{self._directory}/"):
                link.unlink()
        for root in hierarchies():
            remove_cgroup(root / self.cgroup_root.strip("/"))
        if PLUGINS in self._made:
            for name in ("kubelet.sock", "DEPRECATION"):
                (PLUGINS / name).unlink(missing_ok=True)
        for path in self._made:
            with contextlib.suppress(OSError):
                path.rmdir()

    def _configuration(self, socket: Path) -> dict[str, object]:
        directory = self._directory
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{socket}",
            "staticPodPath": str(self.static_pods),
            "podLogsDir": str(directory / "podlogs"),
            "volumePluginDir": str(directory / "volume-plugins"),
            "resolvConf": "",
            "clusterDNS": [NODE_ADDRESS],
            "address": NODE_ADDRESS,
            "port": PORT,
            "healthzBindAddress": NODE_ADDRESS,
            "healthzPort": HEALTH_PORT,
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True, "cacheTTL": "1s"}},
            "authorization": {
                "mode": "Webhook",
                "webhook": {"cacheAuthorizedTTL": "1s", "cacheUnauthorizedTTL": "1s"},
            },
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": self.cgroup_root,
            "cgroupsPerQOS": True,
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "failCgroupV1": False,
            "makeIPTablesUtilChains": False,
            "oomScoreAdj": 0,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "fileCheckFrequency": "1s",
            "syncFrequency": "5s",
            "serializeImagePulls": False,
            # A loop of crashes takes minutes else: 10 s, doubled up to 5 minutes (since 1.32; KEP-4603).
            "featureGates": {"KubeletCrashLoopBackOffMax": True},
            "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
        }


def _upward(path: Path) -> Iterator[Path]:
    """Yield a directory and its parents, the innermost first."""
    yield path
    yield from (
        parent for parent in path.parents if parent not in {Path("/var"), Path("/var/lib"), Path("/var/log"), Path("/")}
    )


def _allow_all_cpus(root: Path, cgroup: Path) -> None:
    """A new group of the v1 cpuset controller allows no CPU at all until it is told which."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        here = cgroup / name
        if here.exists() and not here.read_text().strip():
            here.write_text((root / name).read_text())
