"""The names of flags in the arguments of drawn calls (Linux UAPI: sched.h, mount.h, fcntl.h), and of errors."""

import errno
from functools import lru_cache

_CLONE = (
    (0x100, "CLONE_VM"), (0x200, "CLONE_FS"), (0x400, "CLONE_FILES"), (0x800, "CLONE_SIGHAND"),
    (0x1000, "CLONE_PIDFD"), (0x2000, "CLONE_PTRACE"), (0x4000, "CLONE_VFORK"), (0x8000, "CLONE_PARENT"),
    (0x10000, "CLONE_THREAD"), (0x20000, "CLONE_NEWNS"), (0x40000, "CLONE_SYSVSEM"), (0x80000, "CLONE_SETTLS"),
    (0x100000, "CLONE_PARENT_SETTID"), (0x200000, "CLONE_CHILD_CLEARTID"), (0x400000, "CLONE_DETACHED"),
    (0x800000, "CLONE_UNTRACED"), (0x1000000, "CLONE_CHILD_SETTID"), (0x2000000, "CLONE_NEWCGROUP"),
    (0x4000000, "CLONE_NEWUTS"), (0x8000000, "CLONE_NEWIPC"), (0x10000000, "CLONE_NEWUSER"),
    (0x20000000, "CLONE_NEWPID"), (0x40000000, "CLONE_NEWNET"), (0x80000000, "CLONE_IO"),
    (0x100000000, "CLONE_CLEAR_SIGHAND"), (0x200000000, "CLONE_INTO_CGROUP"),
)  # fmt: skip
_EXIT_SIGNAL = 0xFF  # in clone's first argument
_NEW_TIME = 0x80
_NAMESPACES = 0x7E020000
_MOUNT = (
    (0x1, "MS_RDONLY"), (0x2, "MS_NOSUID"), (0x4, "MS_NODEV"), (0x8, "MS_NOEXEC"), (0x10, "MS_SYNCHRONOUS"),
    (0x20, "MS_REMOUNT"), (0x40, "MS_MANDLOCK"), (0x80, "MS_DIRSYNC"), (0x100, "MS_NOSYMFOLLOW"),
    (0x400, "MS_NOATIME"), (0x800, "MS_NODIRATIME"), (0x1000, "MS_BIND"), (0x2000, "MS_MOVE"), (0x4000, "MS_REC"),
    (0x8000, "MS_SILENT"), (0x10000, "MS_POSIXACL"), (0x20000, "MS_UNBINDABLE"), (0x40000, "MS_PRIVATE"),
    (0x80000, "MS_SLAVE"), (0x100000, "MS_SHARED"), (0x200000, "MS_RELATIME"), (0x1000000, "MS_STRICTATIME"),
    (0x2000000, "MS_LAZYTIME"),
)  # fmt: skip
_UMOUNT = ((1, "MNT_FORCE"), (2, "MNT_DETACH"), (4, "MNT_EXPIRE"), (8, "UMOUNT_NOFOLLOW"))
_AT = (
    (0x1, "OPEN_TREE_CLONE"), (0x100, "AT_SYMLINK_NOFOLLOW"), (0x800, "AT_NO_AUTOMOUNT"), (0x1000, "AT_EMPTY_PATH"),
    (0x8000, "AT_RECURSIVE"), (0x80000, "OPEN_TREE_CLOEXEC"),
)  # fmt: skip
_AT_EXECVE = ((0x100, "AT_SYMLINK_NOFOLLOW"), (0x1000, "AT_EMPTY_PATH"))
_MOVE_MOUNT = (
    (0x01, "MOVE_MOUNT_F_SYMLINKS"), (0x02, "MOVE_MOUNT_F_AUTOMOUNTS"), (0x04, "MOVE_MOUNT_F_EMPTY_PATH"),
    (0x10, "MOVE_MOUNT_T_SYMLINKS"), (0x20, "MOVE_MOUNT_T_AUTOMOUNTS"), (0x40, "MOVE_MOUNT_T_EMPTY_PATH"),
    (0x100, "MOVE_MOUNT_SET_GROUP"), (0x200, "MOVE_MOUNT_BENEATH"),
)  # fmt: skip
_FSOPEN = ((1, "FSOPEN_CLOEXEC"),)
_FSMOUNT = ((1, "FSMOUNT_CLOEXEC"),)
_ATTRIBUTES = (
    (0x01, "MOUNT_ATTR_RDONLY"), (0x02, "MOUNT_ATTR_NOSUID"), (0x04, "MOUNT_ATTR_NODEV"), (0x08, "MOUNT_ATTR_NOEXEC"),
    (0x10, "MOUNT_ATTR_NOATIME"), (0x20, "MOUNT_ATTR_STRICTATIME"), (0x80, "MOUNT_ATTR_NODIRATIME"),
    (0x100000, "MOUNT_ATTR_IDMAP"), (0x200000, "MOUNT_ATTR_NOSYMFOLLOW"),
)  # fmt: skip
_FSCONFIG = (
    "FSCONFIG_SET_FLAG", "FSCONFIG_SET_STRING", "FSCONFIG_SET_BINARY", "FSCONFIG_SET_PATH", "FSCONFIG_SET_PATH_EMPTY",
    "FSCONFIG_SET_FD", "FSCONFIG_CMD_CREATE", "FSCONFIG_CMD_RECONFIGURE", "FSCONFIG_CMD_CREATE_EXCL",
)  # fmt: skip
# Which argument holds which flags.
_TABLES = {
    "clone": ((0, _CLONE),), "clone3": ((0, _CLONE),), "vfork": ((0, _CLONE),), "unshare": ((0, _CLONE),),
    "setns": ((1, _CLONE),), "mount": ((3, _MOUNT),), "umount2": ((1, _UMOUNT),), "move_mount": ((4, _MOVE_MOUNT),),
    "open_tree": ((2, _AT),), "open_tree_attr": ((2, _AT),), "mount_setattr": ((2, _AT),), "fsopen": ((1, _FSOPEN),),
    "fsmount": ((1, _FSMOUNT), (2, _ATTRIBUTES)), "execveat": ((4, _AT_EXECVE),),
}  # fmt: skip
_ERRORS = 4096  # include/linux/err.h: MAX_ERRNO and one
# include/linux/errno.h: never seen by programs, but raw return values show them.
_KERNEL_ERRORS = {
    512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 515: "ENOIOCTLCMD", 516: "ERESTART_RESTARTBLOCK",
}  # fmt: skip


def names(call: str, arguments: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the flags that a call was given, lowest bit first; nameless bits as one number."""
    if call == "fsconfig":
        command = arguments[1] & 0xFFFFFFFF
        return (_FSCONFIG[command] if command < len(_FSCONFIG) else hex(command),)
    tables = _TABLES.get(call)
    if tables is None:
        return ()
    return _named(call, tuple(arguments[index] & 0xFFFFFFFFFFFFFFFF for index, _ in tables))


@lru_cache(maxsize=1024)
def _named(call: str, values: tuple[int, ...]) -> tuple[str, ...]:
    found: list[str] = []
    for bits, (_, table) in zip(values, _TABLES[call], strict=True):
        rest = bits & ~_EXIT_SIGNAL if call in {"clone", "vfork"} else bits
        if table is _CLONE and rest & _NEW_TIME:
            found.append("CLONE_NEWTIME")
            rest &= ~_NEW_TIME
        for bit, name in table:
            if rest & bit:
                found.append(name)
                rest &= ~bit
        if rest:
            found.append(hex(rest))
    return tuple(found)


def new_namespaces(call: str, arguments: tuple[int, ...]) -> int:
    """Return how many CLONE_NEW* bits a clone, clone3 or unshare was given."""
    if call not in {"clone", "clone3", "unshare"}:
        return 0
    bits = _NAMESPACES if call == "clone" else _NAMESPACES | _NEW_TIME
    return (arguments[0] & bits).bit_count()


def error_name(return_value: int | None) -> str | None:
    """Return the name of the error that a raw return value stands for, or None when it is none."""
    if return_value is None or not -_ERRORS < return_value < 0:
        return None
    number = -return_value
    return errno.errorcode.get(number) or _KERNEL_ERRORS.get(number) or str(number)
