"""`show`: files of OTLP JSON lines, good and bad."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from otel_kernel.births.trace import Trace
from otel_kernel.metrics.points import LogEvent, Measurement, Number, ResourceMeasurements
from otel_kernel.telemetry.encode import Host, encode
from otel_kernel.telemetry.encode_logs import LogsEncoder
from otel_kernel.telemetry.encode_metrics import MetricsEncoder
from otel_kernel.telemetry.otlp_json import json_line
from otel_kernel.telemetry.otlp_json_logs import logs_line
from otel_kernel.telemetry.otlp_json_metrics import metrics_line
from otel_kernel.view.otlp_lines import Lines
from otel_kernel.view.show import show
from tests.view.handmade import birth, failed

OTHER_ID = bytes(range(16))


def written(*traces: Trace, limit_bytes: int = 1 << 20) -> bytes:
    """Return what the agent writes to a file."""
    return b"".join(json_line(each) for trace in traces for each in encode(trace, Host("n"), limit_bytes=limit_bytes))


def full(trace: Trace) -> Trace:
    """Return a trace with containers, links and an error, to be read back whole."""
    container = {**trace.pod, "k8s.container.name": "app", "container.id": "c" * 64}
    spans = tuple(
        replace(span, container_id="c" * 64) if span.name == "container app" else span for span in trace.spans
    )
    return replace(trace, spans=spans, containers={"c" * 64: container})


def shown(path: Path | str, **options: str) -> tuple[int, str]:
    """Return the exit status and the picture."""
    stdout = io.StringIO()
    return show(path, stdout=stdout, **options), stdout.getvalue()  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the terminal 120 cells wide."""
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with two births."""
    path = tmp_path / "births.jsonl"
    path.write_bytes(written(birth(), replace(failed(), trace_id=OTHER_ID)))
    return path


@pytest.mark.parametrize("trace", [birth(), full(failed())])
def test_a_trace_comes_back_as_it_was(trace: Trace) -> None:
    """What the agent wrote is read back as the same trace: spans, resources, scope and ids."""
    lines = Lines()
    lines.read([written(trace)])
    (found,) = lines.births()
    assert {span.span_id: span for span in found.spans} == {span.span_id: span for span in trace.spans}
    assert found.spans[0] == trace.spans[0]
    assert (found.trace_id, found.scope, found.pod) == (trace.trace_id, trace.scope, trace.pod)
    assert found.containers == trace.containers


def test_a_trace_in_many_lines_is_one_picture(tmp_path: Path) -> None:
    """A birth that was cut into several requests is drawn as one."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.write_bytes(written(birth()))
    cut.write_bytes(written(birth(), limit_bytes=1500))
    assert cut.read_bytes().count(b"\n") > 3
    assert shown(cut) == shown(whole)


def test_every_birth_is_drawn(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both births of the file are drawn, in its order, with nothing on stderr and status 0."""
    status, picture = shown(file)
    assert status == 0
    ids = [line.split()[1] for line in picture.splitlines() if line.startswith("trace ")]
    assert ids == [birth().trace_id.hex(), OTHER_ID.hex()]
    assert capsys.readouterr().err == ""


def test_one_trace_can_be_asked_for(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trace id, or the pod's UID as it is written, selects one; an unknown one is told in a line."""
    status, by_uid = shown(file, trace="4645395F-96ab-4c85-8645-395f96ab1c85")
    assert status == 0
    assert by_uid.count("\ntrace ") == 1
    assert shown(file, trace="ab" * 16) == (1, "")
    assert "no birth with trace id" in capsys.readouterr().err


def test_calls_are_drawn_on_request(file: Path) -> None:
    """`--calls spans` has more rows than the folded view."""
    assert len(shown(file, calls="spans")[1].splitlines()) > len(shown(file)[1].splitlines()) + 10


@pytest.mark.parametrize(
    "bad",
    [
        b"not json",
        b"[]",
        b"7",
        b'"text"',
        b"null",
        b'{"a":1}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"resourceSpans":7}',
        b'{"resourceSpans":[7]}',
        b'{"resourceSpans":[{"resource":[],"scopeSpans":[{"spans":[{}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xx","spanId":"11","startTimeUnixNano":"1"}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"00","spanId":"11"}]}]}]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"' + b"0" * 32 + b'","spanId":"' + b"1" * 16
        + b'","startTimeUnixNano":Infinity,"endTimeUnixNano":"2"}]}]}]}',
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":{"intValue":"' + b"9" * 5000 + b'"}}]}}]}',
    ],
)  # fmt: skip
def test_a_line_that_is_no_otlp_is_counted(file: Path, bad: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad line costs itself: the births around it are drawn, one line tells of it, the status is 1."""
    births = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(bad + b"\n" + births[0] + bad + b"\n" + births[1])
    status, picture = shown(file)
    assert status == 1
    assert picture.count("\ntrace ") == 2
    assert capsys.readouterr().err == f"otel-kernel show: {file}: 2 lines are no OTLP JSON, passed over\n"


def test_other_signals_and_other_peoples_traces_are_passed_over(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Metrics, logs, empty lines and traces without our levels, which a collector's file may hold, are no mistake."""
    request = json.loads(written(replace(birth(), trace_id=b"o" * 16)))
    for resource_spans in request["resourceSpans"]:
        for span in resource_spans["scopeSpans"][0]["spans"]:
            span["attributes"] = []
    others = [b"", b'{"resourceMetrics":[]}', b'{"resourceLogs":[{}]}', b"{}", json.dumps(request).encode()]
    before = shown(file)
    file.write_bytes(b"\n".join(others) + b"\n" + file.read_bytes())
    assert shown(file) == before
    assert capsys.readouterr().err == ""


def test_our_own_metrics_and_events_are_passed_over(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of metrics and log events between the births change nothing of the picture, and are no births alone."""
    resource = {"k8s.pod.name": "web-0"}
    measured = Measurement("k8s.pod.cpu.time", (Number({}, 1, 2, 3.5),))
    collected = ResourceMeasurements("pod", resource, {"otel_kernel.cgroupfs": (measured,)})
    (metrics,) = MetricsEncoder(Host("n"), "otel-kernel").encode([collected])
    event = LogEvent("otel_kernel.oom_kill", 2, resource, "otel_kernel.ebpf", {}, "killed", "warn", b"t" * 16, b"s" * 8)
    (events,) = LogsEncoder(Host("n"), "otel-kernel").encode([event], 3)
    lines = metrics_line(metrics) + logs_line(events)
    before, births = shown(file), file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines + births[0] + lines + births[1] + lines)
    assert shown(file) == before
    assert capsys.readouterr().err == ""
    file.write_bytes(lines)
    assert shown(file) == (1, "")
    assert capsys.readouterr().err == f"otel-kernel show: {file}: no birth in it\n"


def test_numbers_as_other_writers_write_them(file: Path) -> None:
    """64-bit integers as numbers, absent statuses and absent resources are read as well."""
    request = json.loads(file.read_bytes().splitlines()[0])
    for resource_spans in request["resourceSpans"]:
        for span in resource_spans["scopeSpans"][0]["spans"]:
            span["startTimeUnixNano"] = int(span["startTimeUnixNano"])
            del span["status"], span["flags"], span["kind"]
    before = shown(file, trace=birth().trace_id.hex())
    file.write_text(json.dumps(request))
    assert shown(file) == before


def test_what_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file and a directory end in one line and status 2; an empty file in one line and status 1."""
    (tmp_path / "empty").touch()
    for path, status in ((tmp_path / "none", 2), (tmp_path, 2), (tmp_path / "empty", 1)):
        assert shown(path) == (status, "")
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(path) in error


def test_standard_input_and_a_reader_that_goes_away(file: Path) -> None:
    """`-` reads standard input, and a closed pipe ends in silence."""
    code = "import sys; from otel_kernel.view.show import show; sys.exit(show('-', stdout=sys.stdout))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", code]
    with file.open("rb") as given:
        whole = subprocess.run(command, stdin=given, capture_output=True, env=environment, check=True)
    assert whole.stdout.decode() == shown(file)[1]
    reading, writing = os.pipe()
    os.close(reading)
    with file.open("rb") as given:
        cut = subprocess.run(command, stdin=given, stdout=writing, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writing)
    assert (cut.returncode, cut.stderr) == (0, b"")
