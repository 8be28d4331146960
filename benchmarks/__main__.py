"""`make bench`: what the agent costs, measured here and now."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks import (
    birth_slowdown,
    births_memory,
    collection_cost,
    drop_cost,
    export_delay,
    identity,
    machine,
    node_cost,
    pipeline,
    start_to_ready,
    switch_cost,
    syscall_cost,
    throttle_cost,
    throughput,
)
from benchmarks.results import Result

REFUSED = 2


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A question, and what is needed to answer it."""

    name: str
    measure: Callable[[Callable[[str], None]], Result]
    needs: Sequence[str]


BENCHMARKS = [
    Benchmark(module.__name__.rpartition(".")[2], module.measure, module.NEEDS)
    for module in (
        syscall_cost,
        switch_cost,
        drop_cost,
        throttle_cost,
        start_to_ready,
        births_memory,
        node_cost,
        identity,
        export_delay,
        pipeline,
        throughput,
        collection_cost,
        birth_slowdown,
    )
]


def main() -> int:
    """Run the benchmarks chosen. Returns 0 when measured, bars reached or not, 1 when that failed, 2 when refused."""
    options = _arguments()
    chosen = [each for each in BENCHMARKS if options.only in (None, each.name)]
    if reason := _why_not(options, chosen):
        print(f"make bench: {reason}", file=sys.stderr)
        return REFUSED
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that contexts are left, and with them agents and labs
    where = machine.describe()
    print(where, flush=True)
    try:
        results = [_measure(each) for each in chosen]
    except KeyboardInterrupt:
        return 130
    except grpc.RpcError as error:
        print(f"make bench: containerd refused: {error.details()}", file=sys.stderr)
        return 1
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    _conclude(results, where, options.save)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [each.name for each in BENCHMARKS]
    parser.add_argument("--only", choices=names, metavar="NAME", help=f"one of: {', '.join(names)}")
    parser.add_argument("--save", type=Path, metavar="PATH", help="write the tables there, as Markdown")
    return parser.parse_args()


def _why_not(options: argparse.Namespace, chosen: Sequence[Benchmark]) -> str | None:
    """Return why nothing can be measured here."""
    if options.save and options.only:
        return "--save writes all benchmarks: leave --only away"
    if os.geteuid() != 0:
        return "needs root: it loads BPF programs, makes cgroups and starts containerd"
    needed = dict.fromkeys(name for each in chosen for name in each.needs)
    absent = [name for name in needed if shutil.which(name) is None]
    return f"needs {', '.join(absent)}: run `make setup`" if absent else None


def _measure(benchmark: Benchmark) -> Result:
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"- {benchmark.name}: {what}", file=sys.stderr, flush=True)

    say("begins")
    result = benchmark.measure(say)
    say(f"done in {time.monotonic() - began:.0f} s")
    print(f"\n{result.markdown()}", flush=True)
    return result


def _conclude(results: Sequence[Result], where: str, save: Path | None) -> None:
    bars = [bar for result in results for bar in result.bars]
    if bars:
        print(f"{sum(bar.is_reached for bar in bars)} of {len(bars)} bars reached")
    if save is None:
        return
    command = f"python -m benchmarks --save {save.name if save.is_absolute() else save}"
    head = f"# Benchmarks\n\nMeasured by `{command}`.\n"
    sections = "\n".join(result.markdown() for result in results)
    save.write_text(f"{head}\n{where}\n\n{sections}")
    print(f"written to {save}")


if __name__ == "__main__":
    sys.exit(main())
