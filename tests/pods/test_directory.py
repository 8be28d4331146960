"""The pods that live on a node, from changes of cgroups and facts of containers."""

import hashlib
from dataclasses import replace

import pytest

from otel_kernel.births.facts import ContainerFacts, Owner, PodContainer, PodFacts
from otel_kernel.kernel.events import CgroupChange, Loss
from otel_kernel.node.watch import CgroupSeen
from otel_kernel.pods.directory import Cgroup, Directory, Pod, Removed

UID = "7d6f1c2e-3a4b-4c5d-8e9f-0a1b2c3d4e5f"
OTHER_UID = "11111111-2222-4333-8444-555555555555"
STATIC_UID = "0123456789abcdef0123456789abcdef"
POD = f"/kubepods/burstable/pod{UID}"


def container_id(name: str) -> str:
    """Return an id as runtimes make them."""
    return hashlib.sha256(name.encode()).hexdigest()


SANDBOX, APP = container_id("sandbox"), container_id("app")


def made(path: str, ns: int, cgroup_id: int = 0) -> CgroupChange:
    """Return what the kernel tells of a directory that was made."""
    return CgroupChange(ns, "mkdir", cgroup_id or ns, path, 1)


def removed(path: str, ns: int) -> CgroupChange:
    """Return what the kernel tells of a directory that was removed."""
    return CgroupChange(ns, "rmdir", 0, path, 1)


def bundle(of: str, ns: int, name: str | None = None, pod_uid: str = UID) -> ContainerFacts:
    """Return what a container's bundle says; without a name it is the sandbox's."""
    return ContainerFacts(
        ns,
        "oci-bundle",
        of,
        sandbox_id=SANDBOX,
        is_sandbox=name is None,
        pod_uid=pod_uid,
        pod_name="web",
        namespace="shop",
        container_name=name,
        image_name="shop/web:1",
        runtime_name="containerd",
    )


def fed(*told: object) -> Directory:
    """Return a directory that was told all this."""
    directory = Directory("node-1")
    for each in told:
        directory.feed(each)
    return directory


def only(directory: Directory) -> Pod:
    """Return the only pod."""
    (pod,) = directory.pods()
    return pod


def test_a_pod_and_its_containers_are_named() -> None:
    """Names, times, paths and ids are those of the cgroups and bundles; resources are the births' own."""
    directory = fed(
        made(POD, 10, 7),
        bundle(SANDBOX, 11),
        made(f"{POD}/{SANDBOX}", 12),
        bundle(APP, 20, "app"),
        made(f"{POD}/{APP}", 21),
    )
    pod = only(directory)
    assert (pod.uid, pod.cgroup.path, pod.cgroup.id, pod.cgroup.made_ns, pod.named_ns) == (UID, POD, 7, 10, 12)
    assert pod.resource == {
        "k8s.pod.uid": UID,
        "k8s.pod.name": "web",
        "k8s.namespace.name": "shop",
        "k8s.node.name": "node-1",
    }
    sandbox, app = pod.containers
    assert (sandbox.id, sandbox.is_sandbox, sandbox.name) == (SANDBOX, True, None)
    assert (app.id, app.is_sandbox, app.name, app.cgroup.path) == (APP, False, "app", f"{POD}/{APP}")
    assert app.resource == {
        **pod.resource,
        "k8s.container.name": "app",
        "container.id": APP,
        "container.image.name": "shop/web:1",
        "container.runtime.name": "containerd",
    }


def test_a_pod_that_was_there_has_no_time_of_making() -> None:
    """What was found rather than seen made says when it was first seen, and that nobody knows more."""
    pod = only(fed(CgroupSeen(5, "existing", 7, POD), CgroupSeen(5, "existing", 8, f"{POD}/{APP}")))
    assert (pod.cgroup.seen_ns, pod.cgroup.made_ns, pod.named_ns) == (5, None, None)
    assert pod.containers[0].cgroup.made_ns is None
    assert pod.resource == {"k8s.pod.uid": UID, "k8s.node.name": "node-1"}


def test_a_container_shows_its_pod() -> None:
    """A pod whose own directory nobody told of is found by its container's; a task that moves shows that, too."""
    pod = only(fed(CgroupChange(9, "attach", 8, f"{POD}/{APP}", 1)))
    assert (pod.cgroup.path, pod.cgroup.id, pod.containers[0].id) == (POD, None, APP)


def test_a_name_that_comes_late() -> None:
    """A pod is named when the first source has said so, also for the values told before."""
    directory = fed(made(POD, 10), made(f"{POD}/{APP}", 12))
    assert only(directory).named_ns is None
    directory.feed(bundle(APP, 99, "app"))
    assert (only(directory).named_ns, only(directory).containers[0].name) == (99, "app")


def test_what_has_changed_is_told_once() -> None:
    """A pod that came, of which a container came or went, or is better known has changed; what is gone has not."""
    directory = fed(made(POD, 10), made(f"{POD}/{APP}", 12))
    changes = (bundle(APP, 99, "app"), made(f"{POD}/{SANDBOX}", 100), removed(f"{POD}/{SANDBOX}", 101))
    for change in ((), *((each,) for each in changes)):
        for told in change:
            directory.feed(told)
        assert directory.take_changed() == [only(directory)]
        assert directory.take_changed() == []
    directory.feed(made(f"{POD}/{SANDBOX}", 102))
    directory.feed(removed(POD, 103))
    assert directory.take_changed() == []


def test_what_is_gone_is_told_once() -> None:
    """Removals are told in their order, a pod's containers before it, and not again."""
    directory = fed(made(POD, 1), made(f"{POD}/{SANDBOX}", 2), made(f"{POD}/{APP}", 3), removed(f"{POD}/{APP}", 4))
    directory.feed(removed(POD, 5))
    assert directory.pods() == ()
    told = directory.take_removed()
    assert [(each.container_id, each.cgroup.seen_ns, each.ns) for each in told] == [
        (APP, 3, 4),
        (SANDBOX, 2, 5),
        (None, 1, 5),
    ]
    assert directory.take_removed() == []


def test_the_cgroup_says_whose_a_container_is() -> None:
    """Whatever a bundle says, a container belongs to the pod that holds its cgroup."""
    directory = fed(made(f"{POD}/{APP}", 1), bundle(APP, 2, "app", pod_uid=OTHER_UID))
    assert [pod.uid for pod in directory.pods()] == [UID]
    assert only(directory).containers[0].resource["k8s.pod.uid"] == UID


def test_an_imitation_is_not_a_container() -> None:
    """A directory that bears the id of another pod's container, or lies below one, is nobody's."""
    other = f"/kubepods/burstable/pod{OTHER_UID}"
    directory = fed(
        made(f"{POD}/{APP}", 1), made(other, 2), made(f"{other}/{APP}", 3), made(f"{POD}/{APP}/{SANDBOX}", 4)
    )
    assert {pod.uid: [each.id for each in pod.containers] for pod in directory.pods()} == {UID: [APP], OTHER_UID: []}
    directory.feed(removed(f"{other}/{APP}", 5))
    assert [each.id for each in directory.pods()[0].containers] == [APP]


def test_a_static_pod_comes_back() -> None:
    """A pod that is made anew under its UID is another one, also when its removal was not told."""
    path = f"/kubepods/pod{STATIC_UID}"
    directory = fed(made(path, 1, 7), made(f"{path}/{APP}", 2, 8), made(path, 50, 9))
    assert [each.container_id for each in directory.take_removed()] == [APP, None]
    pod = only(directory)
    assert (pod.uid, pod.cgroup.id, pod.cgroup.made_ns, pod.containers) == (STATIC_UID, 9, 50, ())


def test_being_told_again_changes_nothing() -> None:
    """A directory that is told of twice keeps the time at which it was made."""
    directory = fed(made(POD, 1, 7), made(f"{POD}/{APP}", 2, 8), CgroupChange(9, "attach", 8, f"{POD}/{APP}", 1))
    directory.feed(CgroupSeen(10, "existing", 7, POD))
    assert (only(directory).cgroup.made_ns, only(directory).containers[0].cgroup.made_ns) == (1, 2)
    assert directory.take_removed() == []


def test_what_was_missed_is_found_by_looking() -> None:
    """After notices were lost, a look at what is there removes what is gone and adds what came."""
    other = f"/kubepods/burstable/pod{OTHER_UID}"
    directory = fed(made(POD, 1, 7), made(f"{POD}/{APP}", 2, 8))
    directory.reconcile([(7, POD), (9, f"{POD}/{SANDBOX}"), (20, other)], 100)
    assert directory.take_removed() == [Removed(UID, APP, directory_cgroup(2, 8, f"{POD}/{APP}"), 100)]
    assert {pod.uid: [each.id for each in pod.containers] for pod in directory.pods()} == {
        UID: [SANDBOX],
        OTHER_UID: [],
    }


def directory_cgroup(ns: int, cgroup_id: int, path: str) -> Cgroup:
    """Return a cgroup as a directory knows it from its making."""
    return only(fed(made(path, ns, cgroup_id))).containers[0].cgroup


def test_other_news_is_no_news() -> None:
    """What is neither a change of a cgroup nor a fact is not taken in, nor are paths outside pods."""
    directory = fed(
        Loss(1, 2, 3), object(), made("/system.slice/ssh.service", 1), made(f"{POD}/crio-conmon-{APP}.scope", 1)
    )
    assert directory.pods() == ()
    assert directory.take_changed() == []


def test_memory_is_bounded() -> None:
    """Facts of containers that never get a cgroup are forgotten, those of containers that have one are not."""
    directory = fed(made(f"{POD}/{APP}", 1), bundle(APP, 2, "app"))
    for number in range(10_000):
        directory.feed(bundle(container_id(str(number)), 3, "x"))
    assert len(directory._awaited) <= 1024
    directory.feed(made(f"{POD}/{SANDBOX}", 4))
    assert only(directory).containers[0].name == "app"


def of_kubernetes(**more: object) -> PodFacts:
    """Return the API server's word on the pod."""
    containers = (PodContainer("app", "regular", "shop/web:1", APP, "sha256:1"),)
    told = PodFacts(
        40, "kube-api", UID, "web", "shop", owners=(Owner("Deployment", "web", OTHER_UID),), containers=containers
    )
    return replace(told, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [True, False])
def test_kubernetes_names_a_pod_whose_bundles_say_nothing(first: bool) -> None:
    """Whether it is told before the cgroup is made or after."""
    cgroups = [made(POD, 10), made(f"{POD}/{APP}", 20)]
    directory = fed(of_kubernetes(), *cgroups) if first else fed(*cgroups, of_kubernetes())
    pod = only(directory)
    assert pod.resource["k8s.pod.name"] == "web"
    assert pod.resource["k8s.deployment.name"] == "web"
    (container,) = pod.containers
    assert container.name == "app"
    assert container.resource["container.image.id"] == "sha256:1"
    assert container.resource["k8s.deployment.name"] == "web"
    assert pod.named_ns == (10 if first else 40)


def test_kubernetes_is_not_believed_against_the_bundle() -> None:
    """Nothing of its word is on the resource."""
    directory = fed(made(POD, 10), made(f"{POD}/{APP}", 20), bundle(APP, 30, "app"), of_kubernetes(pod_name="liar"))
    pod = only(directory)
    assert pod.resource["k8s.pod.name"] == "web"
    assert "k8s.deployment.name" not in pod.resource


def test_a_better_word_changes_the_pod() -> None:
    """So that what is made of a pod's resource is made anew."""
    directory = fed(made(POD, 10), of_kubernetes(owners=()))
    directory.take_changed()
    assert "k8s.deployment.name" not in only(directory).resource
    directory.feed(of_kubernetes())
    assert [pod.uid for pod in directory.take_changed()] == [only(directory).uid]
    assert only(directory).resource["k8s.deployment.name"] == "web"


def test_what_kubernetes_says_of_pods_that_are_gone_is_forgotten() -> None:
    """Of those that never came here too: no more is remembered than pods of one node."""
    directory = fed(of_kubernetes(), of_kubernetes(is_deleted=True))
    assert len(directory._told) == 0
    directory = fed(of_kubernetes(), made(POD, 10), removed(POD, 20))
    assert len(directory._told) == 0
