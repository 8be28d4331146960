"""`otel-kernel check`: what it says of what works and what does not."""

import json
from typing import Any

import pytest

from otel_kernel import check
from otel_kernel.kernel import drops
from otel_kernel.settings import Settings

pytestmark = pytest.mark.root


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
    assert signals["metrics: dropped packets"]["how"] == "eBPF"
    assert signals["metrics: runs of BPF programs"]["how"] == "eBPF"
    assert attached["kfree_skb"] == "attached"


def test_drops_that_cannot_be_attached(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Births work without what counts drops; its row says why it does not."""
    monkeypatch.setattr(drops, "TRACEPOINT", "no_such_tracepoint")
    status, signals, _ = told(capsys)
    assert status == check.WORKS
    row = signals["metrics: dropped packets"]
    assert (row["how"], row["why"]) == ("not here", "No such file or directory")


def test_groups_without_networks(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not to be measured is not attached, and the row says how it would be."""
    status, signals, attached = told(capsys, METRICS="cpu,memory")
    assert status == check.WORKS
    row = signals["metrics: dropped packets"]
    assert (row["how"], row["enable"]) == ("not here", "OTEL_KERNEL_METRICS with network")
    assert "kfree_skb" not in attached


def test_without_ebpf(capsys: pytest.CaptureFixture[str]) -> None:
    """Without eBPF no row stands that takes it."""
    status, signals, _ = told(capsys, EBPF="off")
    assert status == check.FALLBACK_ONLY
    for name in ("metrics: dropped packets", "metrics: runs of BPF programs"):
        assert (signals[name]["how"], signals[name]["why"]) == ("not here", "eBPF is off")
