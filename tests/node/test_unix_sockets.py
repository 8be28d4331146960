"""Where processes listen on Unix sockets."""

import os
import socket
from pathlib import Path

from otel_kernel.node import unix_sockets


def test_only_what_a_process_itself_listens_at_is_told(tmp_path: Path) -> None:
    """Neither what it is connected to, nor sockets of no name, nor those of others."""
    path = tmp_path / "with blank.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(path))
        proc = Path("/proc")
        assert str(path) not in unix_sockets.listening(proc, os.getpid())
        server.listen()
        client.connect(str(path))
        assert unix_sockets.listening(proc, os.getpid()).count(str(path)) == 1
        assert str(path) not in unix_sockets.listening(proc, os.getppid())


def test_a_process_that_is_gone_listens_nowhere() -> None:
    """It may end at any time."""
    assert unix_sockets.listening(Path("/proc"), 1 << 30) == []
