"""What a panel says, and how the foundation SDK writes it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from grafana_foundation_sdk.builders.common import VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as StatPanel
from grafana_foundation_sdk.builders.table import Panel as TablePanel
from grafana_foundation_sdk.builders.timeseries import Panel as TimeseriesPanel
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${prometheus}")
JAEGER = DataSourceRef(type_val="jaeger", uid="${jaeger}")
# Explore of the chosen Jaeger at one trace; `traceID` is a column of Jaeger's answer.
TRACE_LINK = (
    "/explore?schemaVersion=1&panes=%7B%22a%22:%7B%22datasource%22:%22${jaeger}%22,%22queries%22:%5B%7B%22refId%22:"
    "%22A%22,%22query%22:%22${__data.fields.traceID}%22%7D%5D%7D%7D"
)


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression and the name of each of its series."""

    expression: str
    legend: str
    with_exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """A search in Jaeger: the traces with such a span, the longest of the latest first."""

    service: str
    operation: str
    min_duration: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `empty` says when there is rightly nothing to see; without it there must always be something."""

    title: str
    meaning: str
    queries: Sequence[Query] = ()
    search: Search | None = None
    unit: str = "short"
    kind: Literal["timeseries", "stat"] = "timeseries"
    empty: str = ""
    width: int = 12

    @property
    def description(self) -> str:
        """What stands behind the panel's (i)."""
        return f"{self.meaning}\n\nEmpty: {self.empty}" if self.empty else self.meaning


@dataclass(frozen=True, slots=True)
class Page:
    """One dashboard: rows of panels."""

    uid: str
    title: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    variables: Sequence[tuple[str, str]] = field(default=())  # name, the PromQL whose labels it lists


class JaegerQuery(variants.Dataquery):
    """A search as Grafana's Jaeger data source keeps it; the SDK has no model of it."""

    def __init__(self, search: Search) -> None:
        self._search = search

    def to_json(self) -> dict[str, object]:
        """Return its fields."""
        return {
            "refId": "A",
            "datasource": JAEGER,
            "queryType": "search",
            "service": self._search.service,
            "operation": self._search.operation,
            "minDuration": self._search.min_duration,
            "limit": 20,
        }


class _JaegerQueryBuilder(Builder[variants.Dataquery]):
    def __init__(self, search: Search) -> None:
        self._search = search

    def build(self) -> variants.Dataquery:
        return JaegerQuery(self._search)


def as_json(page: Page) -> str:
    """Return a dashboard as Grafana imports it."""
    dashboard = (
        Dashboard(page.title)
        .uid(page.uid)
        .tags(["otel-kernel"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("prometheus").label("Prometheus").type("prometheus"))
        .with_variable(DatasourceVariable("jaeger").label("Jaeger").type("jaeger"))
    )
    for name, expression in page.variables:
        dashboard = dashboard.with_variable(
            QueryVariable(name)
            .datasource(PROMETHEUS)
            .query(expression)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(include_all=True)
            .all_value(".*")
            .multi(multi=True)
        )
    for title, panels in page.rows:
        dashboard = dashboard.with_row(Row(title))
        for panel in panels:
            dashboard = dashboard.with_panel(_panel(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build()) + "\n"


def _panel(panel: Panel) -> TimeseriesPanel | StatPanel | TablePanel:
    if panel.search is not None:
        link = DashboardLink("The trace").url(TRACE_LINK)
        table = TablePanel().with_target(_JaegerQueryBuilder(panel.search)).datasource(JAEGER).data_links([link])
        return table.title(panel.title).description(panel.description).span(panel.width).height(8)
    builder = _stat() if panel.kind == "stat" else _timeseries()
    for at, query in enumerate(panel.queries):
        target = Dataquery().expr(query.expression).legend_format(query.legend).ref_id(chr(ord("A") + at))
        builder = builder.with_target(target.exemplar(query.with_exemplars).datasource(PROMETHEUS))
    described = builder.title(panel.title).description(panel.description).datasource(PROMETHEUS)
    return described.unit(panel.unit).span(panel.width).height(8)


def _stat() -> StatPanel:
    return StatPanel()


def _timeseries() -> TimeseriesPanel:
    legend = (
        VizLegendOptions().display_mode(LegendDisplayMode.TABLE).placement(LegendPlacement.BOTTOM).show_legend(True)
    )
    tooltip = VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    return TimeseriesPanel().min(0).line_width(1).fill_opacity(10).legend(legend).tooltip(tooltip)
