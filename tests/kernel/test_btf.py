"""Offsets of kernel structs."""

from pathlib import Path

import pytest

from otel_kernel.kernel import btf

pytestmark = pytest.mark.skipif(not Path("/sys/kernel/btf/vmlinux").exists(), reason="this kernel has no BTF")


@pytest.fixture(scope="module")
def types() -> btf.KernelTypes:
    """The running kernel's types."""
    return btf.KernelTypes()


def test_offsets(types: btf.KernelTypes) -> None:
    """A list's members lie one behind the other; a task's process id lies behind its thread id."""
    assert (types.offset("list_head", "next"), types.offset("list_head", "prev")) == (0, 8)
    assert types.offset("task_struct", "tgid") == types.offset("task_struct", "pid") + 4
    assert types.size("list_head") == 16


def test_member_of_an_anonymous_struct(types: btf.KernelTypes) -> None:
    """Members inside anonymous structs and unions are found, at their place in the whole: of a dentry's name, `len`."""
    assert types.offset("qstr", "name") == 8
    assert types.offset("qstr", "len") == 4  # inside a union's struct
    assert types.offset("mm_struct", "arg_end") == types.offset("mm_struct", "arg_start") + 8


def test_missing_member_is_named(types: btf.KernelTypes) -> None:
    """A member that the kernel does not have is named with its struct."""
    with pytest.raises(btf.BtfError, match=r"^the kernel's struct task_struct has no member no_such_member$"):
        types.offset("task_struct", "no_such_member")
    assert not types.has("task_struct", "no_such_member")
    assert types.has("task_struct", "pid")


def test_missing_struct_is_named(types: btf.KernelTypes) -> None:
    """A struct that the kernel does not have is named."""
    with pytest.raises(btf.BtfError, match=r"^the kernel's BTF has no struct no_such_struct$"):
        types.size("no_such_struct")


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libbpf the error says so."""

    def absent(name: str, **_: object) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", absent)
    with pytest.raises(btf.BtfError, match=r"libbpf\.so\.1 cannot be loaded"):
        btf.KernelTypes()


def test_definitions_are_complete() -> None:
    """Every member that the kernel side walks has an offset here."""
    found = btf.definitions(btf.KernelTypes())
    assert {f"{struct}_{member}".upper() for struct, member in btf.MEMBERS} <= found.keys()
    assert found["UPID_SIZE"] == 16
    assert all(offset >= 0 for offset in found.values())
