"""What files tell of births: the vocabulary of observation without eBPF. All times are when something was noticed."""

from typing import NamedTuple


class Appeared(NamedTuple):
    """A pod's cgroup, or a container's, is there."""

    ns: int  # of CLOCK_BOOTTIME
    pod_uid: str
    container_id: str | None  # None: the pod's own
    existing: bool  # it was there before observation began


class Vanished(NamedTuple):
    """A pod's cgroup, or a container's, was removed."""

    ns: int
    pod_uid: str
    container_id: str | None


class Emptied(NamedTuple):
    """A container's last process ended."""

    ns: int
    pod_uid: str
    container_id: str


class Program(NamedTuple):
    """What the first process of a container runs: still the runtime, or its own program."""

    ns: int
    pod_uid: str
    container_id: str
    pid: int
    executable: str
    is_runtime: bool


class Missed(NamedTuple):
    """Something could not be seen; what is missing is not known."""

    ns: int
    reason: str


Sighting = Appeared | Vanished | Emptied | Program | Missed
