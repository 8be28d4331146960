"""One moment on two clocks."""

from typing import NamedTuple


class Moment(NamedTuple):
    """Now. Boot time never goes back; Unix time may be set."""

    unix_ns: int
    boot_ns: int

    def unix(self, boot_ns: int) -> int:
        """Return the Unix time of an earlier moment of boot time, as the clock is set now."""
        return self.unix_ns - self.boot_ns + boot_ns
