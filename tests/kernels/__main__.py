"""Run a command under another kernel: `python -m tests.kernels 6.1 -- uname -a`."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.kernels import virtual_machine
from tests.kernels.debian import kernel


def main() -> int:
    """Run the command line's command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernels", description=__doc__)
    parser.add_argument("series", help="of Debian's kernels: 6.1, 6.12")
    parser.add_argument("--limit", type=float, default=600, metavar="SECONDS", help="default: 600")
    parser.add_argument(
        "--exchange", type=Path, help=f"a directory that the command sees at {virtual_machine.EXCHANGE}"
    )
    parser.add_argument("--systemd", action="store_true", help="as the first process")
    parser.add_argument("command", nargs="+", help="run in this directory; what it writes elsewhere is forgotten")
    arguments = parser.parse_args()
    began = time.monotonic()
    if arguments.exchange:
        arguments.exchange.mkdir(exist_ok=True)
    exchange = arguments.exchange or Path(tempfile.mkdtemp(prefix="otel-kernel-vm-"))
    chosen = kernel(arguments.series)
    machine = virtual_machine.Machine(chosen, "systemd" if arguments.systemd else "own", arguments.limit)
    status = virtual_machine.run(machine, arguments.command, exchange.resolve())
    sys.stdout.write((exchange / "console").read_text(errors="replace"))
    sys.stderr.write(f"{chosen.release}: exit status {status} in {time.monotonic() - began:.0f} s\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
