"""Which part of the suite runs under which kernel. Emulated, so: small and sharp."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SERIES = ("6.1", "6.12")  # Debian 12's and its backport, which is Debian 13's


@dataclass(frozen=True, slots=True)
class Run:
    """One boot: what is executed first, and the tests that are run then."""

    init: Literal["own", "systemd"]
    cases: tuple[str, ...]


BIRTHS = "tests/births_real"
METRICS = "tests/metrics/test_real_agent.py"
HERE = "tests/kernels"
RUNS: Mapping[str, Run] = {
    "pure cgroup v2": Run(
        init="own",
        cases=(
            f"{HERE}/pure_v2.py::test_check",
            f"{BIRTHS}/test_pods.py::test_a_pod_of_one_container",
            f"{BIRTHS}/test_agreement.py::test_agreement_with_debians_runtime[1]",
            f"{BIRTHS}/test_agreement.py::test_agreement_with_runc_1_5",
            f"{HERE}/pure_v2.py::test_agreement_with_crun",
            f"{HERE}/pure_v2.py::test_agreement_with_users_of_its_own",
            f"{METRICS}::test_throttling_is_what_the_containers_file_shows[app-0.1]",
            f"{METRICS}::test_pressure_is_what_the_file_shows[app-cpu-some]",
            f"{METRICS}::test_kills_are_what_the_kernel_counted",
        ),
    ),
    "systemd": Run(
        init="systemd",
        cases=(
            f"{HERE}/systemd_driver.py::test_agreement_with_runc_1_1",
            f"{HERE}/systemd_driver.py::test_agreement_with_containerd_2",
        ),
    ),
}
