"""`otel-kernel check`: what it says of what works and what does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_kernel import check
from otel_kernel.kernel import drops
from otel_kernel.metrics import availability
from otel_kernel.metrics.catalogue import METRICS, ROWS
from otel_kernel.settings import Settings

pytestmark = pytest.mark.root

DROPS, RUNS = "otel_kernel.pod.network.drops", "otel_kernel.agent.bpf.program.runs"


def told(capsys: pytest.CaptureFixture[str], **settings: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return the exit status, each signal by its name, and what became of each tracepoint."""
    environ = {f"OTEL_KERNEL_{name}": value for name, value in settings.items()}
    status = check.check(Settings.load(environ), as_json=True)
    report = json.loads(capsys.readouterr().out)
    return status, {each["signal"]: each for each in report["signals"]}, report["attached"]


def test_everything_works(capsys: pytest.CaptureFixture[str]) -> None:
    """Dropped packets and statistics of runs are seen to work, whatever is exported."""
    status, signals, attached = told(capsys)
    assert status == check.WORKS
    assert signals[DROPS]["how"] == "eBPF"
    assert (signals[RUNS]["how"], signals[RUNS]["why"]) == ("itself", "only with OTEL_KERNEL_BPF_STATS")
    assert attached["kfree_skb"] == "attached"


def test_drops_that_cannot_be_attached(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Births work without what counts drops; its row says why it does not."""
    monkeypatch.setattr(drops, "TRACEPOINT", "no_such_tracepoint")
    status, signals, _ = told(capsys)
    assert status == check.WORKS
    row = signals[DROPS]
    assert (row["how"], row["why"]) == ("not here", "No such file or directory")


def test_groups_without_networks(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not to be measured is not attached, and the row says how it would be."""
    status, signals, attached = told(capsys, METRICS="cpu,memory")
    assert status == check.WORKS
    row = signals[DROPS]
    assert (row["how"], row["enable"]) == ("not here", "OTEL_KERNEL_METRICS with network")
    assert "kfree_skb" not in attached


def test_without_ebpf(capsys: pytest.CaptureFixture[str]) -> None:
    """Without eBPF no row stands that takes it."""
    status, signals, _ = told(capsys, EBPF="off")
    assert status == check.FALLBACK_ONLY
    for name in (DROPS, RUNS):
        assert (signals[name]["how"], signals[name]["why"]) == ("not here", "eBPF is off")


def test_every_row_is_there_with_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    """Each metric and event of the catalogue is a row; what files tell says which, the rest is eBPF's or our own."""
    _, signals, _ = told(capsys)
    rows = {row.name: row for row in ROWS}
    assert rows.keys() <= signals.keys()
    for name, row in rows.items():
        if row.source in {"cgroupfs", "procfs"}:
            assert (signals[name]["how"], signals[name]["why"]) == ("files", row.source)
        elif row.source in {"births", "agent"}:
            assert signals[name]["how"] == {"births": "births", "agent": "itself"}[row.source]


def test_rows_of_files_without_ebpf(capsys: pytest.CaptureFixture[str]) -> None:
    """They are as real as with it; every row that takes eBPF says why it is not there."""
    _, signals, _ = told(capsys, EBPF="off")
    for metric in METRICS:
        if metric.source in {"cgroupfs", "procfs"}:
            assert signals[metric.name]["how"] == "files"
        elif metric.source == "ebpf":
            assert (signals[metric.name]["how"], signals[metric.name]["why"]) == ("not here", "eBPF is off")


def test_groups_that_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Their rows say which setting brings them."""
    _, signals, _ = told(capsys, METRICS="cpu", EBPF="off")
    assert signals["container.cpu.time"]["how"] == "files"
    assert signals["container.memory.usage"]["how"] == "not here"
    assert signals["container.memory.usage"]["enable"] == "OTEL_KERNEL_METRICS with memory"


@pytest.mark.parametrize(
    ("files", "lacking"),
    [
        ((), {"cpu", "memory", "pressure"}),
        (("cgroup.controllers=cpu memory\n",), set()),
        (("cgroup.controllers=cpu\n",), {"memory"}),
        (("cgroup.controllers=\n",), {"cpu", "memory"}),
        (("unified/cgroup.controllers=\n", "cpu,cpuacct/cpu.stat=", "memory/memory.usage_in_bytes="), set()),
        (("cpu,cpuacct/cpu.stat=", "cpu,cpuacct/cgroup.procs=", "memory/memory.usage_in_bytes="), {"pressure"}),
    ],
)
def test_what_files_a_node_lacks(tmp_path: Path, files: tuple[str, ...], lacking: set[str]) -> None:
    """By controller and hierarchy, each with what would bring it."""
    for file in (*files, *(("pressure/cpu=",) if files else ())):
        path, _, content = file.partition("=")
        target = tmp_path / ("proc" if path.startswith("pressure") else "cgroup") / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    found = availability.look(tmp_path / "cgroup", tmp_path / "proc")
    assert {name for name in ("cpu", "memory", "pressure") if getattr(found, name).why} == lacking
    assert all(getattr(found, name).enable for name in lacking)
    assert found.processes.why  # nobody is in this /proc


def test_without_psi(tmp_path: Path) -> None:
    """A kernel that does not tell pressure lacks that alone."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    found = availability.look(tmp_path, tmp_path)
    assert found.pressure.why == "no PSI: No such file or directory"
    assert not found.cpu.why
