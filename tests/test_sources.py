"""What both sources tell the directory of pods, also when something was lost."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.lab import Lab
from demo.pod import Pod
from otel_kernel.births.assembly import AssemblySettings
from otel_kernel.ebpf_source import EbpfSource
from otel_kernel.file_source import FileSource
from otel_kernel.health import Counter, Health
from otel_kernel.host_files import HostFiles
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.kernel.probes import Loading, Sizes
from otel_kernel.node import cgroupfs, watch
from otel_kernel.pods.directory import Directory
from tests.kernel.pod_cgroups import PodCgroup

pytestmark = pytest.mark.root

CGROUPS = Path("/sys/fs/cgroup")
SETTINGS = AssemblySettings(
    quiet_ns=1, timeout_ns=1, calls="spans", services="single", arguments="off", service_name="t", node_name=None
)
MANY = 150  # more than a ring of one page takes in


@pytest.fixture
def host() -> HostFiles:
    """Return where this machine's files are."""
    found = cgroupfs.hierarchy(CGROUPS)
    return HostFiles(Path("/"), Path("/proc"), found.root, found.kind, frozenset())


@pytest.fixture
def directory() -> Directory:
    """Return a directory that knows nobody."""
    return Directory(None)


@pytest.fixture
def tight(tmp_path: Path, host: HostFiles, directory: Directory) -> Iterator[EbpfSource]:
    """Return an observing source whose ring takes next to nothing."""
    probes = Loading(tmp_path, Sizes(ring_pages=1)).finish()
    source = EbpfSource(probes, Health(), host, directory)
    source.observe(SETTINGS)
    yield source
    source.stop()
    source.close()


def known(directory: Directory, pods: list[PodCgroup]) -> set[str]:
    """Return which of these pods the directory knows."""
    return {pod.uid for pod in directory.pods()} & {pod.uid for pod in pods}


def wait_until_known(source: EbpfSource | FileSource, directory: Directory, pods: list[PodCgroup], count: int) -> None:
    """Let the source take in what there is until the directory knows so many of these pods."""
    deadline = time.monotonic() + 20
    while len(known(directory, pods)) != count:
        assert time.monotonic() < deadline, f"{len(known(directory, pods))} of {count}"
        source.traces()
        time.sleep(0.05)


def test_pods_are_known_after_a_loss(tight: EbpfSource, host: HostFiles, directory: Directory) -> None:
    """Whether they came or went while the ring was full."""
    pods = [PodCgroup(host.hierarchy) for _ in range(MANY)]
    for pod in pods:
        pod.__enter__()
    try:
        assert tight._probes.counters().lost > 0
        wait_until_known(tight, directory, pods, MANY)
        assert {len(pod.containers) for pod in directory.pods() if pod.uid in known(directory, pods)} == {1}
    finally:
        for pod in pods:
            pod.remove()
    wait_until_known(tight, directory, pods, 0)
    assert len({removed.pod_uid for removed in directory.take_removed()} & {pod.uid for pod in pods}) == MANY


@pytest.mark.containerd
def test_a_pod_whose_birth_was_lost_is_named(tight: EbpfSource, directory: Directory) -> None:
    """What named it was lost; its shim still knows."""
    with Lab() as lab:
        born = lab.bear(Pod("lost"))
        assert tight._probes.counters().lost > 0
        deadline = time.monotonic() + 20
        while "lost" not in {pod.resource.get("k8s.pod.name") for pod in directory.pods()}:
            assert time.monotonic() < deadline
            tight.traces()
            time.sleep(0.05)
        (pod,) = [pod for pod in directory.pods() if pod.uid == born.pod.uid]
        assert [container.name for container in pod.containers] == [None, "main"]


def test_pods_are_known_after_notices_were_dropped(
    host: HostFiles, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel drops notices only when thousands wait: here it is pretended."""
    health = Health()
    source = FileSource(SETTINGS, host, health, directory)
    with PodCgroup(host.hierarchy) as pod:
        monkeypatch.setattr(source._watch, "poll", lambda _: [watch.Missed(boot_ns(), "the queue of inotify was full")])
        wait_until_known(source, directory, [pod], 1)
    wait_until_known(source, directory, [pod], 0)
    assert health.snapshot()[Counter.WATCHES_LOST] >= 2
    monkeypatch.undo()
    source.stop()
    source.close()


def test_what_a_source_knows_of_itself(tight: EbpfSource, host: HostFiles, directory: Directory) -> None:
    """Open births and the memory of maps; without eBPF there are no maps."""
    figures = tight.figures()
    assert figures.births_open is not None
    assert figures.map_bytes["processes"] > 0
    source = FileSource(SETTINGS, host, Health(), directory)
    assert (source.figures().map_bytes, source.meters) == ({}, ())
    source.stop()
    source.close()
