"""What a test may need of the machine, and how it says so.

A test that needs more than Python says it by a marker (`root`, `containerd`, `go`, `crio`, `kubernetes`, see
pyproject.toml), or, for anything else, by the fixture `require`:

    def test_agreement(require: Callable[[object, str], None]) -> None:
        require(shutil.which("strace"), "strace is not installed")

Where that is absent the test skips with its reason. With OTEL_KERNEL_TESTS_REQUIRE=1 in the environment every skip,
however it came about, is a failure: what should have been checked was not.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

from tests.cluster import binaries

CAP_SYS_ADMIN = 1 << 21  # linux/capability.h
OLDEST_GO = (1, 25)  # containerd 2.x and runc 1.5 say so in their go.mod

# Taken out of the environment: the agents that tests start refuse OTEL_KERNEL_* variables they do not know.
SKIPS_ARE_FAILURES = os.environ.pop("OTEL_KERNEL_TESTS_REQUIRE", "") == "1"

# The machine may be busy with the birth of pods: slowness of a property is no failure. The tree may be read-only. What
# must hold before a change lands must not depend on the day's random numbers.
hypothesis.settings.register_profile(
    "otel_kernel",
    database=None,
    deadline=None,
    derandomize=SKIPS_ARE_FAILURES,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("otel_kernel")


@cache
def no_root() -> str | None:
    """Return why BPF programs cannot be loaded here, None if they can for all we see."""
    if os.geteuid() != 0:
        return "needs root"
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if effective is None or not int(effective[1], 16) & CAP_SYS_ADMIN:
        return "needs CAP_SYS_ADMIN"
    return None if find_spec("bcc") else "needs BCC for python (Debian: python3-bpfcc)"


@cache
def no_containerd() -> str | None:
    """Return why no private containerd can be started here."""
    absent = [name for name in ("containerd", "ctr", "runc", "gcc") if shutil.which(name) is None]
    return f"needs {', '.join(absent)}" if absent else no_root()


@cache
def no_go() -> str | None:
    """Return why nothing can be built from Go modules here."""
    wanted = "needs Go >= {}.{}".format(*OLDEST_GO)
    if shutil.which("go") is None:
        return wanted
    told = subprocess.run(["go", "version"], capture_output=True, text=True, check=False, timeout=60).stdout
    version = re.search(r"\bgo(\d+)\.(\d+)", told)
    new_enough = version is not None and (int(version[1]), int(version[2])) >= OLDEST_GO
    return None if new_enough else f"{wanted}, found: {told.strip() or 'nothing'}"


@cache
def no_kubernetes() -> str | None:
    """Return why no Kubernetes node of one's own can be started here."""
    if not binaries.GIVEN and (reason := no_go()) is not None:
        return f"{reason}, or OTEL_KERNEL_TESTS_KUBERNETES=<directory of kube-apiserver and kubelet>"
    return no_containerd() if binaries.etcd() else "needs etcd (Debian: etcd-server)"


@cache
def no_crio() -> str | None:
    """Return why no CRI-O of one's own can be started here."""
    return no_containerd() or no_go() or (None if shutil.which("conmon") else "needs conmon")


ABSENT: dict[str, Callable[[], str | None]] = {
    "root": no_root,
    "containerd": no_containerd,
    "go": no_go,
    "kubernetes": no_kubernetes,
    "crio": no_crio,
}


@pytest.fixture(scope="session")
def require() -> Callable[[object, str], None]:
    """Return a function that skips the test with the reason given unless the condition holds."""

    def unless(condition: object, reason: str) -> None:
        if not condition:
            pytest.skip(reason)

    return unless


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what this machine cannot run, before any fixture of it is set up."""
    for item in items:
        for marker, absent in ABSENT.items():
            if item.get_closest_marker(marker) is not None and (reason := absent()) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
                break


def fail_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make the report of a skip one of a failure. An expected failure is reported as a skip too: it did run."""
    if SKIPS_ARE_FAILURES and report.skipped and not hasattr(report, "wasxfail"):
        told = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"may not be skipped here (OTEL_KERNEL_TESTS_REQUIRE=1): {told}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test into a failure where nothing may be skipped."""
    report = yield
    fail_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole module into a failure where nothing may be skipped."""
    report = yield
    fail_skip(report)
    return report
