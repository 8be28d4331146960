"""Whatever is wrong with the way to an API server is one line and a kind. Real ones are asked in tests/cluster."""

import subprocess
import sys
from pathlib import Path

import pytest

from otel_kernel.pods import kube_client
from otel_kernel.pods.kube_client import KubeClient, KubeError

USABLE = """apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: c, context: {cluster: a, user: u}}]
current-context: c
"""


@pytest.mark.parametrize(
    "content", ["", "[1, 2]", "a: [", "\0", "kind: Config", "\tx", "clusters: 1\ncontexts: 2\ncurrent-context: c"]
)
def test_a_kubeconfig_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    """It may be mended while the agent runs: it is refused like any other failure."""
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(KubeError) as refused:
        KubeClient()
    assert refused.value.kind == "configuration"
    assert len(str(refused.value).splitlines()) == 1


def test_without_a_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod may be given none."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(KubeError) as refused:
        KubeClient()
    assert refused.value.kind == "configuration"


def test_a_server_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question says so by itself."""
    path = tmp_path / "kubeconfig"
    path.write_text(USABLE)
    monkeypatch.setenv("KUBECONFIG", str(path))
    client = KubeClient()
    for ask in (lambda: client.pods("n", "0"), lambda: client.node("n"), lambda: client.events("ns", "uid")):
        with pytest.raises(KubeError) as refused:
            ask()
        assert refused.value.kind == "unreachable"
    client.close()


def test_who_knows_no_api_server() -> None:
    """Neither a kubeconfig nor a service account: nobody is asked."""
    assert not kube_client.is_configured({})
    assert kube_client.is_configured({"KUBECONFIG": "/x"})
    assert kube_client.is_configured({"KUBERNETES_SERVICE_HOST": "10.0.0.1"})


def test_the_client_is_imported_only_when_it_is_used() -> None:
    """An agent that asks no API server does not pay for it."""
    program = "import sys, otel_kernel.agent, otel_kernel.check; print('kubernetes' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert told.stdout == "False\n"
