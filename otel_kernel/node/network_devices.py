"""What went through the network devices of a namespace. Source: proc_pid_net(5), net/core/net-procfs.c."""

from typing import NamedTuple

_RECEIVE_BYTES, _RECEIVE_ERRORS = 0, 2
_TRANSMIT_BYTES, _TRANSMIT_ERRORS = 8, 10
_COLUMNS = 16
_HEADER_LINES = 2
LOOPBACK = "lo"


class Device(NamedTuple):
    """The counters of one device."""

    name: str
    receive_bytes: int
    receive_errors: int
    transmit_bytes: int
    transmit_errors: int


def parse(content: bytes) -> list[Device]:
    """Return the devices of `/proc/<pid>/net/dev`, the loopback among them. Raises ValueError when it has no header."""
    lines = content.split(b"\n")
    if len(lines) <= _HEADER_LINES or b"|" not in lines[0]:
        raise ValueError("net/dev has no header")
    # What follows the last newline is half a line.
    return [device for line in lines[_HEADER_LINES:-1] if (device := _device(line)) is not None]


def _device(line: bytes) -> Device | None:
    # A name may hold a colon (an alias of old), never a blank.
    name, colon, rest = line.rpartition(b":")
    columns = rest.split()
    if not colon or len(columns) != _COLUMNS or not all(column.isdigit() for column in columns):
        return None
    wanted = (_RECEIVE_BYTES, _RECEIVE_ERRORS, _TRANSMIT_BYTES, _TRANSMIT_ERRORS)
    return Device(name.strip().decode("utf-8", "replace"), *(int(columns[at]) for at in wanted))
