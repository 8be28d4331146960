"""etcd and kube-apiserver, with RBAC on."""

import json
import secrets
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.api import Api
from tests.cluster.daemon import Daemon
from tests.cluster.network import NODE_ADDRESS

ETCD = "http://127.0.0.1:12379"
ETCD_PEERS = "http://127.0.0.1:12380"
PORT = 443  # with the first address of the service range: pods reach the service `kubernetes` without a kube-proxy
SERVICES = "10.99.0.0/24"
NAMESPACES = ("default", "kube-system")


class ControlPlane:
    """Owns the two processes; everything they write is in the directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keys = directory / "pki"
        self.keys.mkdir()
        self._token = secrets.token_hex(16)
        self.api = Api(f"https://{NODE_ADDRESS}:{PORT}", self.keys / "apiserver.crt", self._token)
        self._etcd = Daemon("etcd", _etcd(directory), directory)
        self.server = Daemon("kube-apiserver", _api_server(self.keys), directory)

    def start(self) -> None:
        """Start both and make what a controller manager would."""
        key = self.keys / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True, timeout=60)
        tokens = self.keys / "tokens.csv"
        tokens.write_text(f'{self._token},admin,admin,"system:masters"\n')
        tokens.chmod(0o600)
        self._etcd.start(_etcd_serves)
        self.start_server()
        for namespace in NAMESPACES:
            self.api.wait(f"/api/v1/namespaces/{namespace}", lambda _: True)
            self.make_defaults(namespace)

    def start_server(self) -> None:
        """Start the API server alone, after `stop_server`."""
        self.server.start(self.api.ready)

    def stop_server(self) -> None:
        """Stop the API server alone; etcd keeps everything."""
        self.server.kill()

    def make_defaults(self, namespace: str) -> None:
        """Make what a pod with a token needs in its namespace."""
        self.api.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}})
        authority = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": self.api.certificate.read_text()}}
        self.api.create(f"/api/v1/namespaces/{namespace}/configmaps", authority)

    def kubeconfig(self, path: Path, user: Mapping[str, str] | None = None, server: str | None = None) -> Path:
        """Write and return a kubeconfig of a user, the administrator when there is none. JSON is YAML too."""
        cluster = {"server": server or self.api.url, "certificate-authority": str(self.api.certificate)}
        told = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "user", "user": dict(user or {"token": self._token})}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "user"}}],
            "current-context": "lab",
        }
        path.touch(0o600)
        path.write_text(json.dumps(told))
        return path

    def stop(self) -> None:
        """End both."""
        self.server.kill()
        self._etcd.stop()


def _etcd(directory: Path) -> list[str]:
    return [
        binaries.etcd() or "etcd",
        *("--name", "lab", "--data-dir", str(directory / "etcd"), "--unsafe-no-fsync"),
        *("--listen-client-urls", ETCD, "--advertise-client-urls", ETCD),
        *("--listen-peer-urls", ETCD_PEERS, "--initial-advertise-peer-urls", ETCD_PEERS),
        *("--initial-cluster", f"lab={ETCD_PEERS}"),
    ]


def _etcd_serves() -> bool:
    try:
        with urllib.request.urlopen(f"{ETCD}/health", timeout=2) as answer:  # noqa: S310 - http
            return b"true" in bytes(answer.read())
    except OSError:
        return False


def _api_server(keys: Path) -> list[str]:
    options = {
        "etcd-servers": ETCD,
        "cert-dir": str(keys),
        "bind-address": NODE_ADDRESS,
        "advertise-address": NODE_ADDRESS,
        "secure-port": str(PORT),
        "service-cluster-ip-range": SERVICES,
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": str(keys / "sa.key"),
        "service-account-signing-key-file": str(keys / "sa.key"),
        "token-auth-file": str(keys / "tokens.csv"),
        "authorization-mode": "RBAC",
        "endpoint-reconciler-type": "none",
        "allow-privileged": "true",
        "enable-priority-and-fairness": "false",
        "kubelet-preferred-address-types": "InternalIP",
        "v": "1",
    }
    return [str(binaries.kubernetes() / "kube-apiserver"), *(f"--{name}={value}" for name, value in options.items())]
