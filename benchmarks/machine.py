"""Where was it measured? What a reader must know to compare, and nothing that names the machine."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

PROGRAMS = ("containerd", "runc", "strace", "bpftrace")
_VERSION = re.compile(r"\bv?(\d+\.\d+[\w.+~-]*)")


def describe() -> str:
    """Return date, kernel, processor, memory, load and the programs measured against, as a list in Markdown."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lines = {
        "date": time.strftime("%Y-%m-%d"),
        "kernel": f"{platform.release()} {platform.machine()}",
        "processor": f"{_processor()}, {os.cpu_count()} CPUs, {memory_bytes / (1 << 30):.0f} GiB of memory",
        "load before": f"{os.getloadavg()[0]:.2f} (mean of the last minute)",
        "programs": ", ".join([f"Python {platform.python_version()}", *filter(None, map(_version, PROGRAMS))]),
    }
    return "\n".join(f"- {name}: {told}" for name, told in lines.items())


def _processor() -> str:
    told = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", told, re.MULTILINE)
    virtual = " (virtual machine)" if re.search(r"^flags\s*:.*\bhypervisor\b", told, re.MULTILINE) else ""
    return (model[1].strip() if model else platform.machine()) + virtual


def _version(program: str) -> str | None:
    try:
        told = subprocess.run([program, "--version"], check=False, capture_output=True, text=True, timeout=10).stdout
    except OSError:
        return None
    version = _VERSION.search(told)
    return f"{program} {version[1]}" if version else None
