"""Devices of a network namespace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.node import network_devices
from otel_kernel.node.network_devices import Device

HEADER = (
    b"Inter-|   Receive                                                |  Transmit\n"
    b" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier"
    b" compressed\n"
)
LO = b"    lo: 200 7 0 0 0 0 0 0 200 7 0 0 0 0 0 0\n"
ETH0 = b"  eth0:804888780   33934    5    1    0     0          0         0  2152195   21066    6    2 0 0 0 0\n"


def test_bytes_and_errors_of_both_directions() -> None:
    """Columns are those of the kernel's table, also where a number touches the name."""
    assert network_devices.parse(HEADER + LO + ETH0) == [
        Device("lo", 200, 0, 200, 0),
        Device("eth0", 804_888_780, 5, 2_152_195, 6),
    ]


def test_half_a_line_is_no_device() -> None:
    """The last line counts only when it is whole."""
    assert [device.name for device in network_devices.parse(HEADER + LO + ETH0[:-3])] == ["lo"]
    assert network_devices.parse(HEADER + b" eth0: 1 2 3\n eth1: a b c d e f g h i j k l m n o p\n") == []


def test_a_file_without_header_is_broken() -> None:
    """What is no table of devices is refused."""
    with pytest.raises(ValueError, match="header"):
        network_devices.parse(b"")
    with pytest.raises(ValueError, match="header"):
        network_devices.parse(ETH0 * 3)


@given(st.binary())
def test_any_line_is_a_device_or_nothing(line: bytes) -> None:
    """Whatever follows the header, its reader goes on."""
    for device in network_devices.parse(HEADER + line + b"\n"):
        assert min(device[1:]) >= 0
