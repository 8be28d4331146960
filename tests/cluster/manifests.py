"""The manifests that an operator applies, applied as they stand."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.cluster.api import Api, Object

DEPLOY = Path(__file__).parents[2] / "deploy"
ACCOUNTS = "/api/v1/namespaces/otel-kernel/serviceaccounts"
ACCOUNT = f"{ACCOUNTS}/otel-kernel"
COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}


def apply(api: Api, name: str) -> None:
    """Create everything of a manifest in deploy/."""
    for document in documents(name):
        api.create(_collection(document), document)


def delete_permissions(api: Api, name: str) -> None:
    """Delete what a manifest allows. The account, and its token, stay."""
    for document in documents(name):
        if document["kind"].startswith("ClusterRole"):
            api.delete(f"{_collection(document)}/{document['metadata']['name']}")


def documents(name: str) -> Iterator[Object]:
    """Yield the objects of a manifest."""
    yield from yaml.safe_load_all((DEPLOY / name).read_text())


def token(api: Api, account: str = "otel-kernel") -> str:
    """Return a token of the agent's account, or another, as its pod would be given one."""
    asked = {"metadata": {"name": account}, "spec": {"expirationSeconds": 3600}}
    told = api.create(f"{ACCOUNTS}/{account}/token", asked)
    return str(told["status"]["token"])


def _collection(document: Object) -> str:
    return COLLECTIONS[document["kind"]].format(namespace=document["metadata"].get("namespace"))
