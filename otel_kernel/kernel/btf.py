"""Offsets of kernel struct members, from the running kernel's BTF (Documentation/bpf/btf.rst), by libbpf.

BCC has no CO-RE: whatever struct is walked takes its offsets from here, never from headers or a version number.
"""

import ctypes
from collections.abc import Iterable

_POINTER, _STRUCT, _UNION, _ENUM, _TYPEDEF = 2, 4, 5, 6, 8  # BTF_KIND_PTR, ..., BTF_KIND_TYPEDEF
_FUNCTION = 12  # BTF_KIND_FUNC
_MODIFIERS = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag


class BtfError(Exception):
    """The kernel has no BTF, or lacks a struct or member that is needed."""


class _Type(ctypes.Structure):
    _fields_ = (("name_off", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size_or_type", ctypes.c_uint32))


class _Member(ctypes.Structure):
    _fields_ = (("name_off", ctypes.c_uint32), ("type", ctypes.c_uint32), ("offset", ctypes.c_uint32))


class _NameAndNumber(ctypes.Structure):
    """struct btf_enum: name and value; struct btf_param: name and type."""

    _fields_ = (("name_off", ctypes.c_uint32), ("number", ctypes.c_uint32))


class KernelTypes:
    """The kernel's BTF, parsed once; close it by dropping it."""

    def __init__(self) -> None:
        """Parse /sys/kernel/btf/vmlinux. Raises BtfError."""
        try:
            self._lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
        except OSError as error:
            msg = f"libbpf.so.1 cannot be loaded: {error}"
            raise BtfError(msg) from error
        self._lib.libbpf_set_print(None)
        for name, result in (("btf__load_vmlinux_btf", ctypes.c_void_p), ("btf__name_by_offset", ctypes.c_char_p)):
            getattr(self._lib, name).restype = result
        self._lib.btf__type_by_id.restype = ctypes.POINTER(_Type)
        self._btf = ctypes.c_void_p(self._lib.btf__load_vmlinux_btf())
        if not self._btf:
            msg = "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)"
            raise BtfError(msg)

    def offset(self, struct: str, member: str) -> int:
        """Return the byte offset of a member, also inside anonymous structs and unions. Raises BtfError."""
        found = self._find(self._id(struct), member)
        if found is None:
            msg = f"the kernel's struct {struct} has no member {member}"
            raise BtfError(msg)
        return found

    def size(self, struct: str) -> int:
        """Return a struct's size in bytes. Raises BtfError."""
        return int(self._type(self._id(struct)).contents.size_or_type)

    def has(self, struct: str, member: str) -> bool:
        """Tell whether the kernel's struct has that member."""
        try:
            self.offset(struct, member)
        except BtfError:
            return False
        return True

    def type_of(self, struct: str, member: str) -> str:
        """Return the name of the type of a struct's own member, or of what it points to; empty when there is none."""
        members = self._members(self._id(struct))
        return next((self._pointed_to(type_id) for name, type_id, _ in members if name == member), "")

    def function(self, name: str) -> int:
        """Return the id of a function. Raises BtfError."""
        found = self._lib.btf__find_by_name_kind(self._btf, name.encode(), _FUNCTION)
        if found < 0:
            msg = f"the kernel's BTF has no function {name}"
            raise BtfError(msg)
        return int(found)

    def enum(self, name: str) -> dict[int, str]:
        """Return value -> name of an enum, the first of equal values; nothing when the kernel has no such enum."""
        found = self._lib.btf__find_by_name_kind(self._btf, name.encode(), _ENUM)
        entries = self._entries(found) if found >= 0 else []
        return {each.number: self._name(each.name_off) for each in reversed(entries)}

    def tracepoint_arguments(self, name: str) -> tuple[str, ...]:
        """Return the types of a tracepoint's arguments, by the name of the struct, enum or scalar, `void` for none.

        Source: the typedef btf_trace_<name> that each tracepoint makes (include/trace/bpf_probe.h). Raises BtfError.
        """
        found = self._lib.btf__find_by_name_kind(self._btf, f"btf_trace_{name}".encode(), _TYPEDEF)
        if found < 0:
            msg = f"the kernel's BTF has no tracepoint {name}"
            raise BtfError(msg)
        pointer = self._type(found).contents.size_or_type
        entries = self._entries(self._type(pointer).contents.size_or_type)
        return tuple(self._pointed_to(each.number) for each in entries[1:])  # the first is the probe's own data

    def _entries(self, type_id: int) -> list[_NameAndNumber]:
        described = self._type(type_id).contents
        address = ctypes.addressof(described) + ctypes.sizeof(_Type)
        return list((_NameAndNumber * (described.info & 0xFFFF)).from_address(address))

    def _pointed_to(self, type_id: int) -> str:
        while type_id:
            described = self._type(type_id).contents
            kind = (described.info >> 24) & 0x1F
            if kind != _POINTER and (kind not in _MODIFIERS or kind == _TYPEDEF):
                return self._name(described.name_off)
            type_id = described.size_or_type
        return "void"

    def _name(self, offset: int) -> str:
        return str(self._lib.btf__name_by_offset(self._btf, ctypes.c_uint32(offset)).decode())

    def _id(self, struct: str) -> int:
        found = self._lib.btf__find_by_name_kind(self._btf, struct.encode(), _STRUCT)
        if found < 0:
            msg = f"the kernel's BTF has no struct {struct}"
            raise BtfError(msg)
        return int(found)

    def _type(self, type_id: int) -> "ctypes._Pointer[_Type]":
        return self._lib.btf__type_by_id(self._btf, ctypes.c_uint32(type_id))  # type: ignore[no-any-return]

    def _members(self, type_id: int) -> Iterable[tuple[str, int, int]]:
        described = self._type(type_id)
        info = described.contents.info
        address = ctypes.addressof(described.contents) + ctypes.sizeof(_Type)
        for member in (_Member * (info & 0xFFFF)).from_address(address):
            bits = member.offset & 0xFFFFFF if info >> 31 else member.offset
            yield self._name(member.name_off), member.type, bits // 8

    def _find(self, type_id: int, wanted: str) -> int | None:
        for name, member_type, offset in self._members(type_id):
            if name == wanted:
                return offset
            inner = self._anonymous(member_type) if not name else None
            found = self._find(inner, wanted) if inner else None
            if found is not None:
                return offset + found
        return None

    def _anonymous(self, type_id: int) -> int | None:
        kind = (self._type(type_id).contents.info >> 24) & 0x1F
        while kind in _MODIFIERS:
            type_id = self._type(type_id).contents.size_or_type
            kind = (self._type(type_id).contents.info >> 24) & 0x1F
        return type_id if kind in (_STRUCT, _UNION) else None


# Every member that bpf/ walks: the macro is the struct's and the member's name in capitals.
MEMBERS = (
    ("task_struct", "pid"),
    ("task_struct", "tgid"),
    ("task_struct", "thread_pid"),
    ("task_struct", "cgroups"),
    ("task_struct", "nsproxy"),
    ("task_struct", "cred"),
    ("task_struct", "files"),
    ("task_struct", "fs"),
    ("task_struct", "mm"),
    ("task_struct", "signal"),
    ("task_struct", "exit_code"),
    ("task_struct", "thread_info"),
    ("thread_info", "flags"),
    ("task_struct", "group_leader"),
    ("task_struct", "pid_links"),
    ("task_struct", "comm"),
    ("task_struct", "cgroups"),
    ("css_set", "dfl_cgrp"),
    ("signal_struct", "live"),
    ("signal_struct", "flags"),
    ("signal_struct", "group_exit_code"),
    ("pid", "level"),
    ("pid", "numbers"),
    ("pid", "tasks"),
    ("upid", "nr"),
    ("upid", "ns"),
    ("pid_namespace", "idr"),
    ("idr", "idr_rt"),
    ("xarray", "xa_head"),
    ("xa_node", "shift"),
    ("xa_node", "slots"),
    ("nsproxy", "mnt_ns"),
    ("nsproxy", "uts_ns"),
    ("nsproxy", "ipc_ns"),
    ("nsproxy", "pid_ns_for_children"),
    ("nsproxy", "net_ns"),
    ("nsproxy", "cgroup_ns"),
    ("mnt_namespace", "ns"),
    ("uts_namespace", "ns"),
    ("ipc_namespace", "ns"),
    ("pid_namespace", "ns"),
    ("net", "ns"),
    ("cgroup_namespace", "ns"),
    ("user_namespace", "ns"),
    ("ns_common", "inum"),
    ("cred", "user_ns"),
    ("files_struct", "fdt"),
    ("fdtable", "max_fds"),
    ("fdtable", "fd"),
    ("file", "f_inode"),
    ("file", "f_path"),
    ("inode", "i_sb"),
    ("inode", "i_ino"),
    ("super_block", "s_magic"),
    ("fs_struct", "pwd"),
    ("path", "mnt"),
    ("path", "dentry"),
    ("dentry", "d_parent"),
    ("dentry", "d_name"),
    ("qstr", "name"),
    ("vfsmount", "mnt_root"),
    ("mount", "mnt"),
    ("mount", "mnt_parent"),
    ("mount", "mnt_mountpoint"),
    ("mm_struct", "arg_start"),
    ("mm_struct", "arg_end"),
    ("mm_struct", "env_start"),
    ("mm_struct", "env_end"),
    ("linux_binprm", "filename"),
    ("css_set", "dfl_cgrp"),
    ("css_set", "subsys"),
    ("cgroup_subsys_state", "cgroup"),
    ("cgroup", "self"),
    ("cgroup", "kn"),
    ("cgroup", "root"),
    ("cgroup_subsys_state", "parent"),
    ("cgroup_root", "hierarchy_id"),
    ("kernfs_node", "id"),
    ("kernfs_node", "name"),
)
# Members that not every kernel or architecture has; bpf/ asks with #ifdef.
OPTIONAL = (("thread_info", "status"), ("nsproxy", "time_ns_for_children"), ("time_namespace", "ns"))


def definitions(types: KernelTypes) -> dict[str, int]:
    """Return macro name -> offset in bytes for all members that bpf/ uses. Raises BtfError naming what is missing."""
    found = {f"{s}_{m}".upper(): types.offset(s, m) for s, m in MEMBERS}
    found |= {f"{s}_{m}".upper(): types.offset(s, m) for s, m in OPTIONAL if types.has(s, m)}
    found["UPID_SIZE"] = types.size("upid")
    return found
