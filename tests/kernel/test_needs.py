"""Kernels that cannot run the programs."""

import errno
import os
from pathlib import Path

import pytest

from otel_kernel import ebpf
from otel_kernel.kernel import bpf, needs


@pytest.mark.root
def test_this_kernel(tmp_path: Path) -> None:
    """It can, and nothing is left open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    needs.check()
    needs.check(tmp_path / "absent")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.EINVAL, "no BPF ring buffer (since 5.8)"), (errno.ENOSYS, "no bpf(2) (CONFIG_BPF_SYSCALL)")],
)
def test_older_or_smaller_kernels(number: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lacking is named, and what would help. No such kernel can be had: its answer is a stand-in."""

    def refuse(shape: bpf.Shape) -> int:
        raise OSError(number, os.strerror(number), shape.name)

    monkeypatch.setattr(bpf, "create_map", refuse)
    with pytest.raises(needs.NeedsError) as raised:
        needs.check(tmp_path / "absent")
    assert str(raised.value) == f"the kernel has {told}"
    assert ebpf.remedy(str(raised.value)).startswith("a kernel")


@pytest.mark.parametrize("level", ["none", "integrity", "confidentiality"])
def test_lockdown(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the level that forbids BPF to read the kernel's memory is refused."""
    monkeypatch.setattr(bpf, "create_map", lambda _: os.open("/dev/null", os.O_RDONLY))
    file = tmp_path / "lockdown"
    file.write_text("none integrity confidentiality\n".replace(level, f"[{level}]"))
    if level != "confidentiality":
        needs.check(file)
        return
    with pytest.raises(needs.NeedsError, match="BPF may not read its memory") as raised:
        needs.check(file)
    assert ebpf.remedy(str(raised.value)) == "boot without lockdown=confidentiality"


@pytest.mark.parametrize("reason", ["program on_exec: Invalid argument: unknown func bpf_probe_read_kernel#113"])
def test_lockdown_in_the_verifiers_words(reason: str) -> None:
    """Where securityfs is not mounted, the verifier is the one who tells."""
    assert ebpf.remedy(reason) == "boot without lockdown=confidentiality"
