"""Attributes and flags of single calls."""

import pytest

from otel_kernel.births import attributes, flags
from otel_kernel.births.lineage import _CALLS_OF_UNIT
from otel_kernel.kernel.events import Call, Role, Wait
from tests.births.story import Story, assemble, container_id, only


def call(name: str, *arguments: int, **more: object) -> Call:
    """Return a call."""
    return Story().call_of((7, 1), Role.LINEAGE, name, arguments, **more)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("clone", (0x7E020011,), "NEWNS NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET"),
        ("clone", (0x4111,), "VM VFORK"),
        ("clone3", (0x200000080,), "NEWTIME INTO_CGROUP"),
        ("unshare", (0x20000,), "NEWNS"),
        ("setns", (3, 0x40000000), "NEWNET"),
        ("fork", (), ""),
    ],
)
def test_clone_flags(name: str, arguments: tuple[int, ...], expected: str) -> None:
    """Flags of the clone family are named; clone's exit signal is none of them."""
    told = flags.names(name, (*arguments, *(0,) * (6 - len(arguments))))
    assert told == tuple(f"CLONE_{word}" for word in expected.split())


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("mount", (0, 0, 0, 0x5001, 0, 0), ("MS_RDONLY", "MS_BIND", "MS_REC")),
        ("mount", (0, 0, 0, 1 << 30, 0, 0), ("0x40000000",)),
        ("umount2", (0, 2, 0, 0, 0, 0), ("MNT_DETACH",)),
        ("open_tree", (0, 0, 0x80001, 0, 0, 0), ("OPEN_TREE_CLONE", "OPEN_TREE_CLOEXEC")),
        (
            "fsmount",
            (3, 1, 0xE, 0, 0, 0),
            ("FSMOUNT_CLOEXEC", "MOUNT_ATTR_NOSUID", "MOUNT_ATTR_NODEV", "MOUNT_ATTR_NOEXEC"),
        ),
        ("fsconfig", (3, 6, 0, 0, 0, 0), ("FSCONFIG_CMD_CREATE",)),
        ("fsconfig", (3, 99, 0, 0, 0, 0), ("0x63",)),
        ("move_mount", (3, 0, 4, 0, 0x44, 0), ("MOVE_MOUNT_F_EMPTY_PATH", "MOVE_MOUNT_T_EMPTY_PATH")),
        ("execveat", (3, 0, 0, 0, 0x1000, 0), ("AT_EMPTY_PATH",)),
        ("pivot_root", (1, 2, 3, 4, 5, 6), ()),
    ],
)
def test_mount_flags(name: str, arguments: tuple[int, ...], expected: tuple[str, ...]) -> None:
    """Flags of the mount family are named; what has no name is told as a number."""
    assert flags.names(name, arguments) == expected


def test_namespaces_are_counted_by_bits() -> None:
    """Only clone, clone3 and unshare make namespaces; clone cannot make a time namespace."""
    assert flags.new_namespaces("unshare", (0x20000080,)) == 2
    assert flags.new_namespaces("clone", (0x20000080,)) == 1
    assert flags.new_namespaces("setns", (3, 0x20000000)) == 0


@pytest.mark.parametrize(
    ("value", "name"),
    [(-2, "ENOENT"), (-512, "ERESTARTSYS"), (-516, "ERESTART_RESTARTBLOCK"), (-4000, "4000"), (0, None), (None, None),
     (-5000, None)],
)  # fmt: skip
def test_raw_return_values_are_named(value: int | None, name: str | None) -> None:
    """The kernel's own errors have names, too; what is no errno has none."""
    assert flags.error_name(value) == name


def test_a_mount_tells_its_paths() -> None:
    """A mount tells type, source and mount point, and the call's raw result."""
    told = attributes.of_call(
        call("mount", 0, 0, 0, 1, source="/dev/sda", target="/data", filesystem_type="ext4", return_value=-13)
    )
    assert told["system.filesystem.type"] == "ext4"
    assert told["system.filesystem.mountpoint"] == "/data"
    assert told["otel_kernel.mount.source"] == "/dev/sda"
    assert told["otel_kernel.syscall.return_value"] == -13
    assert told["error.type"] == "EACCES"


def test_a_call_that_never_returned_has_no_result() -> None:
    """Absent is not zero."""
    told = attributes.of_call(call("execve", return_value=None))
    assert "otel_kernel.syscall.return_value" not in told
    assert "error.type" not in told


def test_the_thread_that_called_execve_is_told_where_it_differs() -> None:
    """A successful execve returns under the process id; the calling thread is told beside it."""
    told = attributes.of_call(call("execve")._replace(thread_id=7, entry_thread_id=9))
    assert told["thread.id"] == 7
    assert told["otel_kernel.thread.entry_id"] == 9
    assert "otel_kernel.thread.entry_id" not in attributes.of_call(call("execve"))


def test_secrets_given_to_file_systems_stay_out() -> None:
    """Of fsconfig only keys known to be harmless show their value."""
    shown = attributes.of_call(call("fsconfig", 3, 1, source="mode", target="755"))
    assert shown["otel_kernel.fsconfig.value"] == "755"
    hidden = attributes.of_call(call("fsconfig", 3, 1, source="password", target="hunter2"))
    assert hidden["otel_kernel.fsconfig.key"] == "password"
    assert "hunter2" not in hidden.values()


@pytest.mark.parametrize("value", ["a" * 300, "ä" * 200, "\U0001f600" * 70, "\udcff" * 100, "x" + "ä" * 127 + "yz"])
def test_long_values_are_cut_within_256_bytes(value: str) -> None:
    """A value that is too long is cut between characters and says so."""
    cut = attributes.text(value)
    assert len(cut.encode("utf-8", "surrogatepass")) <= 256
    assert cut.endswith("…")
    assert value.startswith(cut[:-1])


def test_values_of_256_bytes_stay() -> None:
    """What fits is left alone."""
    assert attributes.text("a" * 256) == "a" * 256
    assert attributes.text("ä" * 128) == "ä" * 128


def test_a_wait_tells_what_was_opened() -> None:
    """A wait has its call's name, its result and the path it waited for."""
    told = attributes.of_wait(Wait(1, 2, 7, 1, 8, 1, "openat", -4, (0,) * 6, "/run/exec.fifo"))
    assert told["file.path"] == "/run/exec.fifo"
    assert told["error.type"] == "EINTR"
    assert told["thread.id"] == 8


def test_a_flood_of_calls_is_bounded_and_told_as_lost() -> None:
    """A hook that mounts in a loop costs neither memory without bound nor the truth."""
    story = Story().born_sandbox()
    _, init = story.create(container_id("app"), "app")
    flood = init.call("mount", target="/x")
    story.events += [flood] * _CALLS_OF_UNIT
    story.start(container_id("app"), init)
    _, (told,) = assemble(story)
    lost = told.spans[0].attributes["otel_kernel.birth.events.lost"]
    assert isinstance(lost, int)
    assert lost > 0
    assert len(told.spans) < _CALLS_OF_UNIT + 200
    assert only(told, "container app").error is None
