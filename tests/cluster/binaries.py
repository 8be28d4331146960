"""The programs of a Kubernetes node: built once from pinned modules, or those of OTEL_KERNEL_TESTS_KUBERNETES."""

import os
import shutil
from pathlib import Path

from demo.go_builds import built_tools

VERSION = "v1.34.4"  # as in kubernetes/go.mod
PINS = Path(__file__).with_name("kubernetes")
# A directory with kube-apiserver and kubelet. Out of the environment: agents refuse OTEL_KERNEL_* they do not know.
GIVEN = os.environ.pop("OTEL_KERNEL_TESTS_KUBERNETES", "")


def etcd() -> str | None:
    """Return Debian's etcd, None when it is not installed."""
    return shutil.which("etcd")


def kubernetes() -> Path:
    """Return the directory of kube-apiserver and kubelet. Raises RuntimeError when they cannot be built."""
    if GIVEN:
        return Path(GIVEN)
    return built_tools(PINS, "kubernetes", VERSION, f"-s -w -X k8s.io/component-base/version.gitVersion={VERSION}")
