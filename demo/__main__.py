"""`make demo`: one real pod is born in a private containerd, and otel-kernel shows its birth and measures it."""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from demo import measured
from demo.agent import PROGRAM, Agent
from demo.backends.shown import Backends
from demo.lab import BornPod, Lab
from demo.network import PLUGINS
from demo.pod import Container, Pod
from otel_kernel.view.show import show

BIRTH_LIMIT_S = 30  # from the pod's running to its birth in the file; the quiet period is 5 s
MEASURED_LIMIT_S = 15  # metrics are exported every 2 s
SPIN = ("/bin/sh", "-c", "while :; do :; done")
NEEDED = ("containerd", "ctr", "runc", "gcc", "setpriv")


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is done, and how long it took once it is."""
    print(f"- {what} ...", flush=True)
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print(f"  failed after {time.monotonic() - began:.1f} s", flush=True)
        raise
    print(f"  {time.monotonic() - began:.1f} s", flush=True)


def main() -> int:
    """Run the demonstration and return its exit status: 0 when the birth was seen."""
    options = _arguments()
    if reason := _why_not():
        print(f"make demo: {reason}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that contexts are left, and with them the lab
    try:
        return _demonstrate(options)
    except KeyboardInterrupt:
        return 130
    except grpc.RpcError as error:
        print(f"make demo: containerd refused: {error.details()}", file=sys.stderr)
    except (RuntimeError, OSError) as error:
        print(f"make demo: {error}", file=sys.stderr)
    return 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--pods", type=_positive, default=1, metavar="N", help="how many pods to bear (1)")
    parser.add_argument("--directory", type=Path, default=_cache(), help="where the birth is kept (%(default)s)")
    parser.add_argument("--record", type=Path, metavar="PATH", help="also write the kernel's events there, for replay")
    parser.add_argument(
        "--calls", choices=("folded", "spans"), default="folded", help="the calls' sums (default), or every call"
    )
    parser.add_argument("--keep", action="store_true", help="leave pods and containerd running until Ctrl-C")
    parser.add_argument(
        "--backends", action="store_true", help="a real collector, Jaeger and Prometheus, too (built the first time)"
    )
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-kernel" / "demo"


def _why_not() -> str | None:
    """Return why the demonstration cannot be given here."""
    if os.geteuid() != 0:
        return "needs root: it loads BPF programs and starts containerd"
    if absent := [name for name in NEEDED if shutil.which(name) is None]:
        return f"needs {', '.join(absent)}: run `make setup`"
    if not PLUGINS.is_dir():
        return f"needs the CNI plugins in {PLUGINS}: run `make setup`"
    return None if PROGRAM.exists() else f"needs {PROGRAM.name} beside {sys.executable}: run `make setup`"


def _demonstrate(options: argparse.Namespace) -> int:
    options.directory.mkdir(parents=True, exist_ok=True)
    births = options.directory / f"births-{time.strftime('%Y%m%dT%H%M%S')}.jsonl"
    outputs = "terminal," if options.calls == "folded" else ""  # the agent itself draws the sums only
    settings = {
        "OTEL_KERNEL_OUTPUT": f"{outputs}file:{births}",
        "OTEL_KERNEL_KUBERNETES": "off",
        "OTEL_METRIC_EXPORT_INTERVAL": "2000",
    }
    if options.record is not None:
        settings["OTEL_KERNEL_RECORD"] = str(options.record.absolute())
    with contextlib.ExitStack() as stack:
        running = None
        if options.backends:
            running = stack.enter_context(Backends(options.directory, step))
            settings |= running.agent_settings
            settings["OTEL_KERNEL_OUTPUT"] += ",otlp"
        with step("starting a private containerd"):
            lab = stack.enter_context(Lab())
        with step("starting otel-kernel run"):
            agent = stack.enter_context(Agent(settings, options.directory / "otel-kernel.log"))
        pods = [_bear(lab, number) for number in range(options.pods)]
        with step("waiting until the birth is complete (no container started for 5 s)"):
            seen = _wait_for_births(births, pods)
        if options.calls == "spans":
            show(births, calls="spans", stdout=sys.stdout)
        with step("waiting until the pod has been measured again, throttled as it is"):
            found = measured.wait_for(births, pods[0].pod.uid, time.time_ns(), MEASURED_LIMIT_S)
        if running:
            running.show([pod.pod for pod in pods])
        if options.keep or (running and sys.stdin.isatty()):  # an address is of use while somebody answers there
            print(f"- containerd serves at {lab.socket}, Ctrl-C ends all")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
        with step("stopping otel-kernel"):
            agent.stop()
        for message in agent.messages():
            print(f"  {message}")
        stack.callback(print, _closing_words(births))
        if found is not None:
            stack.callback(
                print,
                f"\n{pods[0].pod.name} since its start; app spins and may use 0.2 CPUs:\n\n{measured.table(found)}",
            )
    return 0 if seen and found is not None else 1


def _bear(lab: Lab, number: int) -> BornPod:
    app = Container("app", SPIN, cpu_quota_us=20_000, memory_bytes=64 << 20)
    pod = Pod(name=f"web-{number}-{secrets.token_hex(2)}", containers=(app, Container("sidecar")))
    with step(f"bearing pod {pod.name}: a sandbox, containers app and sidecar"):
        return lab.bear(pod)


def _wait_for_births(births: Path, pods: list[BornPod]) -> bool:
    """Wait until every pod's trace is in the file; a pod's trace id is its UID."""
    deadline = time.monotonic() + BIRTH_LIMIT_S
    wanted = [pod.pod.uid.replace("-", "") for pod in pods]
    while time.monotonic() < deadline:
        written = births.read_text() if births.exists() else ""
        if all(trace_id in written for trace_id in wanted):
            return True
        time.sleep(0.1)
    return False


def _closing_words(births: Path) -> str:
    program = PROGRAM.relative_to(Path.cwd()) if PROGRAM.is_relative_to(Path.cwd()) else PROGRAM
    return f"\nThe birth, as OTLP JSON lines: {births}\nEvery call in it: {program} show {births} --calls spans"


if __name__ == "__main__":
    sys.exit(main())
