"""Births in a file, as OTLP JSON lines."""

import errno
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_kernel.births.trace import Trace
from otel_kernel.health import Counter, Health
from otel_kernel.telemetry.encode import Host, encode
from otel_kernel.telemetry.files import FileError, JsonLinesFile
from otel_kernel.telemetry.otlp_json import json_line
from tests.telemetry import reading


def read_back(line: bytes) -> ExportTraceServiceRequest:
    """Return the trace's request that a line stands for."""
    return reading.read_back(line, ExportTraceServiceRequest)


def as_written(request: bytes) -> ExportTraceServiceRequest:
    """Return a request with a status in each span, empty or not: the collector writes it always, and so do we."""
    message = ExportTraceServiceRequest.FromString(request)
    for resource_spans in message.resource_spans:
        for span in resource_spans.scope_spans[0].spans:
            span.status.SetInParent()
    return message


def test_a_line_is_the_request(birth: Trace) -> None:
    """What protobuf reads back from the line equals the request, and the line is one line of ASCII."""
    (request,) = encode(birth, Host("node-1", "abc"))
    assert json_line(request).endswith(b"\n")
    assert read_back(json_line(request)) == as_written(request)


def test_ids_integers_and_enumerations_as_otlp_wants_them(birth: Trace) -> None:
    """Ids are hexadecimal, 64-bit integers decimal strings, enumerations numbers, names lowerCamelCase."""
    (request,) = encode(birth, Host("node-1"))
    document = json.loads(json_line(request))
    root = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert root["traceId"] == "4645395f96ab4c858645395f96ab1c85"
    assert root["spanId"] == "01" * 8
    assert "parentSpanId" not in root
    assert root["startTimeUnixNano"] == "1795347051812253676"
    assert (root["kind"], root["flags"]) == (1, 0x103)
    assert {"key": "otel_kernel.birth.syscalls", "value": {"intValue": "21345"}} in root["attributes"]
    assert {"key": "otel_kernel.birth.complete", "value": {"boolValue": True}} in root["attributes"]
    failed = document["resourceSpans"][2]["scopeSpans"][0]["spans"][0]
    assert failed["status"] == {"message": "exit code 1", "code": 2}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), 1e300])
def test_numbers_that_json_lacks(birth: Trace, number: float) -> None:
    """Not-a-number and the infinities are the words that protobuf's JSON has for them."""
    root = replace(birth.spans[0], attributes={"number": number})
    (request,) = encode(replace(birth, spans=(root,)), Host("n"))
    found = read_back(json_line(request)).resource_spans[0].scope_spans[0].spans[0].attributes[0].value.double_value
    assert repr(found) == repr(number)


@pytest.fixture
def requests(birth: Trace) -> tuple[bytes, ...]:
    """Return a birth in three requests."""
    return encode(birth, Host("node-1"), limit_bytes=1200)


def test_each_request_is_a_line_at_once(tmp_path: Path, requests: tuple[bytes, ...]) -> None:
    """Births are appended to what is there, and can be read before the file is closed."""
    path = tmp_path / "births.jsonl"
    path.write_bytes(b'{"resourceSpans":[]}\n')
    output = JsonLinesFile(path, Health())
    output.offer(requests)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(requests) > 1
    assert [read_back(line) for line in lines[1:]] == [as_written(each) for each in requests]
    output.close()


@pytest.mark.parametrize("path", ["/nowhere/births", "/", "/proc/version"])
def test_a_path_that_cannot_be_written_is_refused_at_start(path: str) -> None:
    """One line that names the path and the reason."""
    with pytest.raises(FileError, match=path) as refused:
        JsonLinesFile(Path(path) if path != "/proc/version" else Path("/proc/version/x"), Health())
    assert "\n" not in str(refused.value)


def test_a_pipe_without_a_reader_does_not_hold_up(tmp_path: Path) -> None:
    """A named pipe that nobody reads is refused instead of waited for."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError):
        JsonLinesFile(tmp_path / "pipe", Health())


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Make writes beyond a size fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_counted_and_tears_only_its_own_line(
    tmp_path: Path, requests: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be written is counted and told once; lines written after that are whole."""
    path, health = tmp_path / "births", Health()
    output = JsonLinesFile(path, health)
    with file_size_limit(len(json_line(requests[0])) + 100):
        output.offer(requests)
        output.offer(requests)
    assert health.snapshot()[Counter.FILE_FAILURES] == 2 * len(requests) - 1
    assert [os.strerror(errno.EFBIG) in record.getMessage() for record in caplog.records] == [True]
    output.offer(requests)
    output.close()
    whole = []
    for line in path.read_bytes().splitlines():
        try:
            whole.append(read_back(line))
        except json.JSONDecodeError:
            continue
    assert whole == [as_written(each) for each in (requests[0], *requests)]


def test_a_rotated_file_is_made_anew(tmp_path: Path, requests: tuple[bytes, ...]) -> None:
    """After the file was moved away or removed, the next birth is in a new file of the old name."""
    path = tmp_path / "births"
    output = JsonLinesFile(path, Health())
    output.offer(requests[:1])
    path.rename(tmp_path / "births.1")
    output.offer(requests[:1])
    path.unlink()
    output.offer(requests[:1])
    output.close()
    assert path.read_bytes() == (tmp_path / "births.1").read_bytes() == json_line(requests[0])
