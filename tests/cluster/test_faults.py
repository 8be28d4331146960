"""Births are named whatever becomes of API server and runtime, and Kubernetes is heard again once that is possible."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agreement.otlp_birth import Birth
from tests.cluster import kubelet, manifests, pods
from tests.cluster.agent import Observed, observing
from tests.cluster.api import Object
from tests.cluster.cluster import Cluster
from tests.cluster.network import NODE_ADDRESS
from tests.cluster.relay import Faults, Relay
from tests.cluster.sameness import assert_is, uid_of

pytestmark = [pytest.mark.kubernetes]

KUBERNETES = {"kube-api", "kubelet"}


def born(cluster: Cluster, observed: Observed, name: str) -> tuple[Birth, Object]:
    """Let a pod be born; return its birth and what the API server says of it."""
    pod = cluster.create(pods.pod(name))
    running = cluster.wait_for_phase(name, "Running")
    return observed.the_birth(uid_of(pod)), running


def assert_named_without_kubernetes(birth: Birth, name: str) -> None:
    """Assert that a birth is named by what the node itself shows."""
    assert birth.root.resource["k8s.pod.name"] == name
    assert birth.count("completion") == "quiet"
    assert not KUBERNETES & set(birth.count("identity.source"))


def assert_known_again(cluster: Cluster, observed: Observed, name: str, mend: Callable[[], None]) -> None:
    """Assert that Kubernetes' word is heard again, before long, once what was wrong is mended."""
    words = "kube-api answers again"
    before = len(observed.said(words))
    mend()
    observed.until(lambda: len(observed.said(words)) > before, "the API server is heard again", 60)
    birth, running = born(cluster, observed, name)
    assert_is(birth, running)


def test_the_api_server_is_down_for_a_whole_birth(cluster: Cluster, tmp_path: Path) -> None:
    """A static pod is born all the same and is named; when the server is back it is heard again."""
    cluster.api.create("/api/v1/namespaces", {"metadata": {"name": "unused"}})  # the server serves
    with observing(cluster, tmp_path) as observed:
        birth, _ = born(cluster, observed, "before")
        assert birth.count("completion") == "known"
        cluster.control_plane.stop_server()
        try:
            manifest = pods.pod("alone")
            with pods.static(cluster.kubelet.static_pods, manifest):
                observed.until(lambda: observed.births_named(f"alone-{pods.NODE}"), "the birth of a static pod")
            (alone,) = observed.births_named(f"alone-{pods.NODE}")
            assert_named_without_kubernetes(alone, f"alone-{pods.NODE}")
            assert len(observed.said("kube-api: ")) <= 5  # one for each kind of failure
            assert_known_again(cluster, observed, "after", cluster.control_plane.start_server)
        except BaseException:
            cluster.control_plane.start_server()
            raise


def test_an_agent_starts_while_the_api_server_refuses(cluster: Cluster, tmp_path: Path) -> None:
    """It begins at once, names births, and asks again."""
    with Relay(cluster.api, Faults(refused=True)) as relay, observing(cluster, tmp_path, relay) as observed:
        birth, _ = born(cluster, observed, "refused")
        assert_named_without_kubernetes(birth, "refused")
        assert_known_again(cluster, observed, "allowed", relay.faults.cease)


def test_a_slow_api_server_delays_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """Every answer takes 30 s: births are told long before."""
    with Relay(cluster.api, Faults(delay_s=30)) as relay, observing(cluster, tmp_path, relay) as observed:
        observed.until(lambda: relay.requests, "the API server is asked")
        pod = cluster.create(pods.pod("impatient"))
        birth = observed.the_birth(uid_of(pod), limit_s=25)
        assert_named_without_kubernetes(birth, "impatient")


def forget_the_account(cluster: Cluster, observed: Observed) -> Callable[[], None]:
    """Delete the agent's account: its token is worth nothing any more. Returns what gives it another one."""

    def renew() -> None:
        manifests.apply(cluster.api, "rbac.yaml")
        observed.token_file.write_text(manifests.token(cluster.api))

    cluster.api.delete(manifests.ACCOUNT)
    return renew


def forbid(cluster: Cluster, _: Observed) -> Callable[[], None]:
    """Take the agent's permissions away. Returns what gives them back."""
    manifests.delete_permissions(cluster.api, "rbac.yaml")
    return lambda: manifests.apply(cluster.api, "rbac.yaml")


@pytest.mark.parametrize(("fault", "status"), [(forget_the_account, 401), (forbid, 403)])
def test_a_refusal_is_told_once_and_asked_again(
    cluster: Cluster, tmp_path: Path, fault: Callable[[Cluster, Observed], Callable[[], None]], status: int
) -> None:
    """Credentials are read anew, so a renewed token is taken without a restart."""
    with Relay(cluster.api, Faults(cut_s=0.5)) as relay, observing(cluster, tmp_path, relay) as observed:
        birth, _ = born(cluster, observed, f"before-{status}")
        assert birth.count("completion") == "known"
        mend = fault(cluster, observed)
        observed.until(lambda: observed.said(f"says {status}"), f"{status} is told", 60)
        relay.faults.cut_s = None
        asked = len(relay.requests)
        pod = cluster.create(pods.pod(f"during-{status}"))
        assert_named_without_kubernetes(observed.the_birth(uid_of(pod)), f"during-{status}")
        observed.until(lambda: len(relay.requests) >= asked + 2, "it is asked again", 90)
        assert len(observed.said(f"kube-api: the API server says {status}")) == 1
        assert_known_again(cluster, observed, f"after-{status}", mend)


def test_a_watch_that_is_cut_every_second_goes_on_where_it_ended(cluster: Cluster, tmp_path: Path) -> None:
    """By its resourceVersion: pods are listed once, and none is missed."""
    with Relay(cluster.api, Faults(cut_s=1)) as relay, observing(cluster, tmp_path, relay) as observed:
        for number in range(4):
            birth, running = born(cluster, observed, f"cut-{number}")
            assert_is(birth, running)
        observed.until(lambda: relay.watches() >= 4, "the watch is taken up again")
        assert relay.lists() == 1


def test_what_was_missed_too_long_is_listed_anew(cluster: Cluster, tmp_path: Path) -> None:
    """A server that was restarted does not remember old versions: 410 Gone."""
    with Relay(cluster.api) as relay, observing(cluster, tmp_path, relay) as observed:
        birth, _ = born(cluster, observed, "remembered")
        assert birth.count("completion") == "known"
        relay.faults.refused = True
        cluster.create(pods.pod("missed"))
        cluster.wait_for_phase("missed", "Running")  # versions go on
        cluster.control_plane.stop_server()
        cluster.control_plane.start_server()
        cluster.api.wait(f"/api/v1/nodes/{pods.NODE}", lambda _: True)
        relay.faults.refused = False
        observed.until(lambda: observed.said("410"), "410 is told", 60)
        birth, running = born(cluster, observed, "anew")
        assert_is(birth, running)
        assert relay.lists() == 2


@pytest.mark.parametrize("lie", ["name", "uid"])
def test_a_lying_api_server_is_not_believed(cluster: Cluster, tmp_path: Path, lie: str) -> None:
    """What the cgroup and the bundle say stands; nothing of the lie is told, not even who owns the pod."""
    owner = pods.reference(cluster.api, pods.workload("StatefulSet", f"owner-{lie}"))
    liar = Faults()
    with Relay(cluster.api, liar) as relay, observing(cluster, tmp_path, relay) as observed:
        if lie == "name":
            liar.rewrite = lambda line: line.replace(b'"name":"honest-name"', b'"name":"liar"')
        else:
            liar.rewrite = lambda line: _with_another_uid(line, b"honest-uid")
        name = f"honest-{lie}"
        pod = cluster.create(pods.pod(name, metadata={"ownerReferences": [owner]}))
        birth = observed.the_birth(uid_of(pod))
        assert_named_without_kubernetes(birth, name)
        assert birth.root.resource["k8s.pod.uid"] == uid_of(pod)
        assert birth.root.name == "pod birth"
        assert "k8s.statefulset.name" not in birth.root.resource
        liar.rewrite = lambda line: line
        birth, running = born(cluster, observed, f"believed-{lie}")
        assert_is(birth, running)


def _with_another_uid(line: bytes, name: bytes) -> bytes:
    """Return what the API server says of a pod, under a UID that no pod has."""
    if name not in line:
        return line
    before, key, after = line.partition(b'"uid":"')
    return before + key + str(uuid.UUID(int=0x123456789ABC4DEF8123456789ABCDEF)).encode() + after[36:]


def test_a_runtime_that_is_restarted_under_the_agent(cluster: Cluster, observed: Observed) -> None:
    """The new daemon is followed, and nothing that runs is told as born."""
    first, _ = born(cluster, observed, "before-restart")
    cluster.lab.restart_containerd()
    birth, running = born(cluster, observed, "after-restart")
    assert_is(birth, running)
    assert len(observed.births(str(first.root.resource["k8s.pod.uid"]))) == 1


@pytest.mark.parametrize("runtime", ["there", "absent"])
def test_without_an_api_server_at_all(cluster: Cluster, tmp_path: Path, runtime: str) -> None:
    """The runtime tells of images and restarts; without it births are named all the same."""
    settings = {} if runtime == "there" else {"CRI_SOCKET": str(tmp_path / "absent.sock")}
    with Relay(cluster.api, Faults(refused=True)) as relay, observing(cluster, tmp_path, relay, **settings) as observed:
        heard = "containers" if runtime == "there" else "no container runtime listens"
        observed.until(lambda: observed.said(f"cri: {heard}") or observed.said(heard), "the runtime is asked")
        name = f"alone-{runtime}"
        pod = cluster.create(pods.pod(name, pods.container("main", "/bin/sh", "-c", "sleep 4; exit 1")))
        birth, restart = observed.wait(uid_of(pod), 2)[:2]
        assert_named_without_kubernetes(birth, name)
        assert ("cri" in birth.count("identity.source")) is (runtime == "there")
        told = restart.root.resource
        assert told.get("k8s.container.restart_count") == (1 if runtime == "there" else None)
        assert ("container.image.id" in told) is (runtime == "there")


def test_the_kubelet_is_asked_instead(cluster: Cluster, tmp_path: Path) -> None:
    """It knows the spec and the owners too; forbidden first, then by a permission of its own."""
    address = f"https://{NODE_ADDRESS}:{kubelet.PORT}"
    settings = {"KUBELET_URL": address, "KUBELET_CA_FILE": str(cluster.kubelet.certificate)}
    settings["KUBELET_TOKEN_FILE"] = str(tmp_path / "token")
    (tmp_path / "token").touch()
    owner = pods.reference(cluster.api, pods.workload("StatefulSet", "of-kubelet"))
    with Relay(cluster.api, Faults(refused=True)) as relay, observing(cluster, tmp_path, relay, **settings) as observed:
        observed.until(lambda: observed.said("the kubelet says 403"), "403 is told")
        manifests.apply(cluster.api, "rbac-kubelet.yaml")
        observed.until(lambda: observed.said(f"pods at {address}"), "the kubelet is heard", 60)
        pod = cluster.create(pods.pod("asked", metadata={"ownerReferences": [owner]}))
        running = cluster.wait_for_phase("asked", "Running")
        birth = observed.the_birth(uid_of(pod))
        assert_is(birth, running)
        assert birth.root.name == "pod birth of-kubelet"
        assert "kubelet" in birth.count("identity.source")
        with pods.static(cluster.kubelet.static_pods, pods.pod("static-asked")):
            observed.until(lambda: observed.births_named(f"static-asked-{pods.NODE}"), "the birth of a static pod")
            (static,) = observed.births_named(f"static-asked-{pods.NODE}")
        assert static.count("completion") == "known"
        assert relay.requests == []
        manifests.delete_permissions(cluster.api, "rbac-kubelet.yaml")


def test_an_agent_that_comes_later_names_what_is_there(cluster: Cluster, tmp_path: Path) -> None:
    """Twenty running pods get no invented birth; the metrics of each carry its name and its owner."""
    owner = pods.reference(cluster.api, pods.workload("StatefulSet", "many"))
    names = [f"many-{number}" for number in range(20)]
    there = [cluster.create(pods.pod(name, metadata={"ownerReferences": [owner]})) for name in names]
    for name in names:
        cluster.wait_for_phase(name, "Running", limit_s=120)
    with observing(cluster, tmp_path, None, METRICS="cpu") as observed:
        observed.until(lambda: set(names) <= observed.measured("k8s.statefulset.name", "many"), "all are named")
        birth, running = born(cluster, observed, "late")
        assert_is(birth, running)
        assert [observed.births(uid_of(pod)) for pod in there] == [[]] * 20


def test_events_are_steps_of_a_birth_on_request(cluster: Cluster, tmp_path: Path) -> None:
    """One list for each birth, by a permission of its own; without it births go on without events."""
    settings = {"KUBERNETES_EVENTS": "on"}
    with Relay(cluster.api) as relay, observing(cluster, tmp_path, relay, **settings) as observed:
        forbidden, _ = born(cluster, observed, "eventless")
        assert not [action for action in forbidden.root.steps if action.startswith("event ")]
        assert len(observed.said("events are not known")) == 1
        manifests.apply(cluster.api, "rbac-events.yaml")
        try:
            for number in range(2):
                pod = cluster.create(pods.pod(f"eventful-{number}", pods.container(lifecycle=pods.SLOW_START)))
                birth = observed.the_birth(uid_of(pod))
        finally:
            manifests.delete_permissions(cluster.api, "rbac-events.yaml")
    told = [action for action in birth.root.steps if action.startswith("event ")]
    assert [action for action in told if action.startswith("event Pulled: ")], birth.root.steps
    listed = [path for path in relay.requests if "/events?" in path and uid_of(pod) in path]
    assert len(listed) == 1
