"""What an agent measured of a pod, from its OTLP JSON lines, as a short table."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otel_kernel.metrics.catalogue import METRICS

PREFIXES = ("otel_kernel.container.", "otel_kernel.pod.", "k8s.container.", "k8s.pod.", "container.")
MOST_OF_ONE_METRIC = 6  # a container has dozens of system calls
SCALES = {  # from how much on, times what, said how
    "s": ((1.0, 1, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "us")),
    "By": ((1 << 20, 2**-20, "MiB"), (0, 2**-10, "KiB")),
}

Cell = tuple[float, str]  # how much it is, and how it is said


@dataclass
class Measured:
    """The last points of one pod and its containers."""

    uid: str
    cells: dict[tuple[str, str], dict[str, Cell]] = field(default_factory=dict)  # by metric and attributes: by column
    columns: dict[str, None] = field(default_factory=dict)
    collections: set[int] = field(default_factory=set)

    def read(self, file: Path) -> None:
        """Take in a file."""
        for line in file.read_text().split("\n")[:-1]:
            if self.uid in line and line.startswith('{"resourceMetrics"'):
                for of_resource in json.loads(line)["resourceMetrics"]:
                    self._take(of_resource)

    def _take(self, of_resource: Mapping[str, Any]) -> None:
        resource = _attributes(of_resource["resource"])
        if resource.get("k8s.pod.uid") != self.uid:
            return
        column = resource.get("k8s.container.name", "pod")
        self.columns[column] = None
        for metric in (metric for scope in of_resource["scopeMetrics"] for metric in scope["metrics"]):
            for point in (metric.get("sum") or metric["histogram"])["dataPoints"]:
                name = (metric["name"], " ".join(_attributes(point).values()))
                self.cells.setdefault(name, {})[column] = _cell(point, metric["unit"])
                self.collections.add(int(point["timeUnixNano"]) // 1_000_000_000)

    def rows(self) -> Iterator[tuple[str, str, Mapping[str, Cell]]]:
        """Yield what is measured, where it comes from, and of whom: in the catalogue's order, the largest first."""
        told = set()
        for metric in METRICS:
            what = _short(metric.name)
            if metric.level == "node" or what in told:
                continue
            told.add(what)
            of_metric: dict[str, dict[str, Cell]] = {}
            for (name, attributes), cells in self.cells.items():
                if _short(name) == what:
                    of_metric.setdefault(attributes, {}).update(cells)
            largest = sorted(of_metric.items(), key=lambda row: -max(cell[0] for cell in row[1].values()))
            for attributes, cells in largest[:MOST_OF_ONE_METRIC]:
                yield f"{what} {attributes}".rstrip(), metric.source, cells


def wait_for(file: Path, uid: str, until_ns: int, limit_s: float) -> Measured | None:
    """Return what was measured of a pod once that is younger than a time (Unix nanoseconds); None: it never was."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        measured = Measured(uid)
        if file.exists():
            measured.read(file)
        if max(measured.collections, default=0) * 1_000_000_000 > until_ns:
            return measured
        time.sleep(0.2)
    return None


def table(measured: Measured) -> str:
    """Return the table: a row for each thing measured, a column for the pod and for each of its containers."""
    columns = [*measured.columns]
    lines = [("", *columns, "source")]
    lines += [
        (what, *(cells[column][1] if column in cells else "" for column in columns), source)
        for what, source, cells in measured.rows()
    ]
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join("  ".join(_padded(line, widths)).rstrip() for line in lines)


def _padded(line: Iterable[str], widths: list[int]) -> Iterator[str]:
    last = len(widths) - 1
    for at, (text, width) in enumerate(zip(line, widths, strict=True)):
        yield text.ljust(width) if at in {0, last} else text.rjust(width)


def _short(metric: str) -> str:
    prefix = next((prefix for prefix in PREFIXES if metric.startswith(prefix)), "")
    return metric.removeprefix(prefix).removesuffix(".current")


def _cell(point: Mapping[str, Any], unit: str) -> Cell:
    if "count" in point:
        count = int(point["count"])
        mean = float(point.get("sum", 0)) / count if count else 0.0
        return count, f"{count:,} of {_said(mean, unit)}"
    if "asInt" in point or "asDouble" in point:
        value = float(point.get("asInt", point.get("asDouble", 0)))
        return value, _said(value, unit)
    return 0.0, "ended"


def _said(value: float, unit: str) -> str:
    for least, factor, shown in SCALES.get(unit, ()):
        if value >= least:
            return f"{value * factor:,.1f} {shown}"
    return f"{value:,.0f}" if unit != "{cpu}" else f"{value:g} CPU"


def _attributes(owner: Mapping[str, Any]) -> dict[str, str]:
    return {entry["key"]: _value(entry["value"]) for entry in owner.get("attributes", ())}


def _value(value: Mapping[str, Any]) -> str:
    if "arrayValue" in value:
        return ",".join(_value(item) for item in value["arrayValue"].get("values", ()))
    return str(next(iter(value.values()), ""))
