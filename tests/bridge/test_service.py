"""The service as it runs: who is let in, what is refused, what comes of what is taken."""

import gzip
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from demo.agent import PROGRAM
from otel_kernel.bridge.body import SENT_LIMIT_BYTES, UNPACKED_LIMIT_BYTES
from tests.bridge.births import JSON, PROTOBUF, as_json, as_protobuf, birth, recorded, throttled
from tests.bridge.operator_mock import Behaviour, Operator, operating
from tests.bridge.running import RunningBridge, bridging, free_port
from tests.telemetry.collectors import certificate, until

NOW_NS = time.time_ns()


@pytest.fixture
def operator() -> Iterator[Operator]:
    """Return a mock of the operator."""
    with operating(Operator()) as running:
        yield running


@pytest.fixture
def bridge(tmp_path: Path, operator: Operator) -> Iterator[RunningBridge]:
    """Return a bridge before that operator."""
    with bridging(tmp_path, operator.url) as running:
        yield running


def sent(
    bridge: RunningBridge, body: bytes, headers: dict[str, str], signal: str = "traces", verify: str | None = None
) -> requests.Response:
    """Return the answer to a POST, by default of traces."""
    return requests.post(f"{bridge.at}/v1/{signal}", data=body, headers=headers, timeout=30, verify=verify)


def taken(bridge: RunningBridge, *numbers: int) -> list[int]:
    """Send births and return the statuses."""
    return [sent(bridge, as_protobuf(birth(number)), PROTOBUF).status_code for number in numbers]


def test_each_encoding(bridge: RunningBridge, operator: Operator) -> None:
    """JSON and protobuf, packed or not, are posted; the answer is of the request's own type, as exporters want it."""
    bodies = [
        (as_json(birth(1)), JSON),
        (gzip.compress(as_json(birth(2))), {**JSON, "Content-Encoding": "gzip"}),
        (as_protobuf(birth(3)), PROTOBUF),
        (gzip.compress(as_protobuf(birth(4))), {**PROTOBUF, "Content-Encoding": "gzip"}),
        (as_json(birth(5)), {"Content-Type": "application/json; charset=utf-8"}),
    ]
    for body, headers in bodies:
        answer = sent(bridge, body, headers)
        assert answer.status_code == 200
        assert answer.content == (b"{}" if "json" in headers["Content-Type"] else b"")
        assert answer.headers["Content-Type"] == headers["Content-Type"].partition(";")[0]
    assert operator.pods() == [f"web-{number}" for number in range(1, 6)]
    assert bridge.count("posted") == 5


def test_a_recorded_birth_arrives_once(bridge: RunningBridge, operator: Operator) -> None:
    """However often and however encoded a collector brings it."""
    for body, headers in ((as_json(recorded()), JSON), (as_protobuf(recorded()), PROTOBUF)) * 2:
        assert sent(bridge, body, headers).status_code == 200
    assert operator.pods() == [recorded().pod["k8s.pod.name"]]
    assert (bridge.count("posted"), bridge.count("duplicate")) == (1, 3)


def test_events_and_metrics(bridge: RunningBridge, operator: Operator) -> None:
    """Throttling is posted, forward only; metrics are taken and come to nothing."""
    for at in (NOW_NS, NOW_NS - 10**9, NOW_NS + 10**9):
        assert sent(bridge, throttled("web-1", at), PROTOBUF, signal="logs").status_code == 200
    assert [each["cpu_throttle"]["pod_name"] for each in operator.taken] == ["web-1", "web-1"]
    assert bridge.count("stale", "cpu_throttle") == 1
    assert sent(bridge, b"", PROTOBUF, signal="metrics").status_code == 200
    assert sent(bridge, b'{"resourceMetrics": []}', JSON, signal="metrics").status_code == 200
    assert len(operator.attempts) == 2


def test_what_the_operator_does_not_want(bridge: RunningBridge, operator: Operator) -> None:
    """A pod that is not monitored and a refusal for good are done with, and counted."""
    operator.not_monitored.add("web-1")
    operator.script = []
    assert taken(bridge, 1) == [200]
    operator.script = [Behaviour(422, b"missing field"), Behaviour(400, {"status": "error", "message": "not found"})]
    assert taken(bridge, 2, 3) == [200, 200]
    assert (bridge.count("skipped"), bridge.count("refused")) == (1, 2)
    assert taken(bridge, 1, 2, 3) == [200] * 3
    assert len(operator.attempts) == 3


def test_later(bridge: RunningBridge, operator: Operator) -> None:
    """What was certainly not taken comes again: 503, when, and no more than a JSON body's worth of words."""
    operator.script = [Behaviour(503, b"", headers={"Retry-After": "2"})]
    answer = sent(bridge, as_json(birth(1)), JSON)
    assert (answer.status_code, answer.headers["Retry-After"], answer.content) == (503, "2", b"{}")
    until(lambda: taken(bridge, 1) == [200])
    assert operator.pods() == ["web-1"]
    assert len(operator.attempts) == 2


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({}, b"{}", 415),
        ({**JSON, "Content-Encoding": "br"}, b"{}", 415),
        ({**JSON, "Content-Encoding": "gzip, gzip"}, b"{}", 415),
        (JSON, b"no json", 400),
        (JSON, b"[" * 1_000_000, 400),
        (JSON, b'{"resourceSpans": 5}', 400),
        (PROTOBUF, b"\xff" * 100, 400),
        ({**JSON, "Content-Encoding": "gzip"}, b"{}", 400),
        ({**JSON, "Content-Encoding": "gzip"}, gzip.compress(b"{}")[:-4], 400),
        ({**JSON, "Content-Encoding": "gzip"}, gzip.compress(b"{}") + b"more", 400),
        (JSON, b" " * (SENT_LIMIT_BYTES + 1), 413),
        ({**JSON, "Content-Encoding": "gzip"}, gzip.compress(b" " * (UNPACKED_LIMIT_BYTES + 1)), 413),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value),
)
def test_malformed(bridge: RunningBridge, headers: dict[str, str], body: bytes, status: int) -> None:
    """Each is one clear 4xx, and the next request is served."""
    answer = sent(bridge, body, headers)
    assert answer.status_code == status
    assert answer.text.count("\n") == 1
    assert taken(bridge, 1) == [200]


def test_other_paths(bridge: RunningBridge) -> None:
    """What is not served is not found, what may not be done is not allowed."""
    assert requests.get(f"{bridge.at}/v1/traces", timeout=10).status_code == 405
    assert requests.post(f"{bridge.at}/v1/profiles", timeout=10).status_code == 404


def test_hostile_bodies_do_not_fill_the_memory(bridge: RunningBridge) -> None:
    """Bombs, endless bodies, deep nesting and huge strings, many at a time: memory stays within bounds."""
    assert taken(bridge, 1) == [200]
    before, _ = bridge.rss_bytes()
    bomb = gzip.compress(b"\0" * (500 << 20), 9)
    twice = gzip.compress(gzip.compress(b'{"a":' * (20 << 20), 9), 9)
    huge = json.dumps({"resourceSpans": [{"resource": {"attributes": [{"key": "k" * (3 << 20)}]}}]}).encode()
    wide = b'{"resourceSpans":[' + b"{}," * (1 << 20) + b"{}]}"
    packed = {**JSON, "Content-Encoding": "gzip"}
    attacks = [(bomb, packed), (twice, packed), (huge, JSON), (wide, JSON), (b"[" * (4 << 20), JSON)] * 3
    threads = [threading.Thread(target=sent, args=(bridge, body, headers)) for body, headers in attacks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _, highest = bridge.rss_bytes()
    assert highest - before < 300 << 20  # without bounds the bombs alone unpack to 7.5 GiB
    assert taken(bridge, 2) == [200]


def test_many_at_once(tmp_path: Path, operator: Operator) -> None:
    """Beyond eight requests at a time senders are told to come again, and health still answers."""
    operator.always = Behaviour(takes=True, hangs_s=1.0)
    statuses: list[int] = []
    with bridging(tmp_path, operator.url) as bridge:
        bodies = [as_protobuf(birth(number)) for number in range(12)]
        threads = [
            threading.Thread(target=lambda body=body: statuses.append(sent(bridge, body, PROTOBUF).status_code))
            for body in bodies
        ]
        for thread in threads:
            thread.start()
        until(lambda: len(statuses) >= 4)
        assert statuses[:4] == [503] * 4
        assert requests.get(f"{bridge.at}/health", timeout=10).status_code == 200
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] * 8 + [503] * 4
        assert len(operator.pods()) == 8


def test_a_body_that_never_ends(bridge: RunningBridge) -> None:
    """A sender that stops in the middle is told so after a while, and disturbs nobody."""
    with socket.create_connection(("127.0.0.1", bridge.port)) as slow:
        slow.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: 100\r\n\r\n{")
        assert taken(bridge, 1) == [200]
        slow.settimeout(30)
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_bearer_token_to_both_sides(tmp_path: Path, operator: Operator) -> None:
    """Without the token nobody is let in but who asks for health; a replaced token holds at once."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_text("to-us\n")
    theirs.write_text("to-them\n")
    with bridging(tmp_path, operator.url, LISTEN_TOKEN_FILE=ours, TOKEN_FILE=theirs) as bridge:
        for wrong in ({}, {"Authorization": "Bearer other"}, {"Authorization": "to-us"}):
            answer = sent(bridge, as_json(birth(1)), {**JSON, **wrong})
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert requests.get(f"{bridge.at}/health", timeout=10).status_code == 200
        assert sent(bridge, as_json(birth(1)), {**JSON, "Authorization": "Bearer to-us"}).status_code == 200
        assert operator.headers["Authorization"] == "Bearer to-them"
        ours.write_text("new")
        theirs.write_text("newer")
        assert sent(bridge, as_json(birth(2)), {**JSON, "Authorization": "Bearer to-us"}).status_code == 401
        assert sent(bridge, as_json(birth(2)), {**JSON, "Authorization": "Bearer new"}).status_code == 200
        assert operator.headers["Authorization"] == "Bearer newer"
        theirs.write_text("")
        assert sent(bridge, as_json(birth(3)), {**JSON, "Authorization": "Bearer new"}).status_code == 503
    assert operator.pods() == ["web-1", "web-2"]


def test_tls_on_both_sides(tmp_path: Path) -> None:
    """We show a certificate to senders and to the operator, and trust only the operator we were told of."""
    names = ("listen", "client", "operator", "stranger")
    made = {name: certificate(tmp_path, name) for name in names}
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*made["operator"])
    tls.load_verify_locations(made["client"][0])
    tls.verify_mode = ssl.CERT_REQUIRED
    settings = {
        "LISTEN_CERT_FILE": made["listen"][0],
        "LISTEN_KEY_FILE": made["listen"][1],
        "CERT_FILE": made["client"][0],
        "KEY_FILE": made["client"][1],
    }
    with operating(Operator(), tls) as operator:
        url = operator.url.replace("http:", "https:")
        with bridging(tmp_path / "a", url, CA_FILE=made["operator"][0], **settings) as bridge:
            trust = str(made["listen"][0])
            assert sent(bridge, as_json(birth(1)), JSON, verify=trust).status_code == 200
            with pytest.raises(requests.exceptions.SSLError):
                sent(bridge, as_json(birth(2)), JSON)
        with bridging(tmp_path / "b", url, CA_FILE=made["stranger"][0]) as bridge:
            assert sent(bridge, as_json(birth(3)), JSON).status_code == 503
        with bridging(tmp_path / "c", url, CA_FILE=made["operator"][0]) as bridge:  # without our certificate
            assert sent(bridge, as_json(birth(4)), JSON).status_code in (200, 503)
    assert operator.pods() == ["web-1"]


def test_its_metrics(bridge: RunningBridge) -> None:
    """Every outcome is there from the start, and every request and message is counted once."""
    text = requests.get(f"{bridge.at}/metrics", timeout=10).text
    assert 'otel_kernel_bridge_messages_total{kind="pod_creation",outcome="ambiguous"} 0' in text
    taken(bridge, 1, 1, 2)
    sent(bridge, b"", {})
    counts = bridge.counts()
    assert counts['otel_kernel_bridge_requests_total{signal="traces",code="200"}'] == 3
    assert counts['otel_kernel_bridge_requests_total{signal="traces",code="415"}'] == 1
    assert counts["otel_kernel_bridge_ids"] == 2
    assert sum(count for name, count in counts.items() if "messages_total" in name) == 3


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"URL": ""}, "OTEL_KERNEL_BRIDGE_URL is not set"),
        ({"STATE": ""}, "OTEL_KERNEL_BRIDGE_STATE is not set"),
        ({"URL": "ftp://x"}, "OTEL_KERNEL_BRIDGE_URL='ftp://x' is not allowed"),
        ({"STATE": "/proc/none"}, "OTEL_KERNEL_BRIDGE_STATE=/proc/none is not allowed"),
        ({"LISTEN": "127.0.0.1:1", "KEY_FILE": "/etc/hostname"}, "OTEL_KERNEL_BRIDGE_KEY_FILE is not allowed without"),
        ({"LISTEN": "192.0.2.1:4319"}, "OTEL_KERNEL_BRIDGE_LISTEN"),
        ({"CA_FILE": "/etc/hostname"}, "OTEL_KERNEL_BRIDGE_CA_FILE=/etc/hostname is not allowed"),
        ({"LISTEN_CERT_FILE": "/etc/hostname"}, "OTEL_KERNEL_BRIDGE_LISTEN_CERT_FILE=/etc/hostname is not allowed"),
        ({"TOKEN_FILE": "/dev/null"}, "is not allowed"),
        ({"LISTEN_TOKEN_FILE": "/etc/passwd"}, "/etc/passwd holds no token"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(tmp_path: Path, changed: dict[str, str], words: str) -> None:
    """Each is one line that names the variable, and exit status 2."""
    settings = {"URL": "http://127.0.0.1:1/", "STATE": str(tmp_path), "LISTEN": f"127.0.0.1:{free_port()}", **changed}
    environment = {f"OTEL_KERNEL_BRIDGE_{name}": value for name, value in settings.items()}
    ended = subprocess.run(
        [PROGRAM, "bridge"], env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert words in ended.stderr
