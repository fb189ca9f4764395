"""
Makes Grafana's JSON of a few words for each panel, which stand in `dashboards/*.yaml`.

A dashboard is rows of panels; where each stands on the grid of 24 columns follows from order and widths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Dashboard", "Panel", "Query", "Row", "dashboard_json", "read"]

# Grafana brings older ones up to date when it loads them.
_SCHEMA: Final = 39
_COLUMNS: Final = 24
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """
    A query.

    Attributes:
        expr: PromQL; `$filter` stands for the labels that the dashboard's variables choose.
        legend: Name of each curve, such as `{{provider}}`.
    """

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """
    One picture.

    Attributes:
        title: Above it.
        queries: What is drawn.
        unit: Grafana's name of the unit.
        kind: `timeseries`, `stat` or `heatmap`.
        width: Columns, of 24.
        doc: What one should know to read it.
        red_above: Value from which a `stat` is red; below it is green.
        stacked: Whether curves stand on one another.
        highest: Upper end of the axis.
    """

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    doc: str = ""
    red_above: float | None = None
    stacked: bool = False
    highest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels under a heading, each as high as the row."""

    title: str
    panels: tuple[Panel, ...]
    height: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """
    A dashboard.

    Attributes:
        uid: Names it in addresses, and names its file.
        title: What people see.
        doc: What it is for.
        rows: From top to bottom.
        variables: Labels that people may choose values of, besides the namespace, and the queries that find
            these values.
    """

    uid: str
    title: str
    doc: str
    rows: tuple[Row, ...]
    variables: tuple[tuple[str, str], ...] = ()


def read(data: Mapping[str, Any]) -> Dashboard:
    """
    Read a dashboard from its table.

    Raises:
        TypeError: there is a word in it that means nothing, or one is missing.
    """
    rows = tuple(Row(**{**row, "panels": tuple(map(_read_panel, row["panels"]))}) for row in data["rows"])
    variables = tuple((found["label"], found["query"]) for found in data.get("variables", ()))
    return Dashboard(**{**data, "rows": rows, "variables": variables})


def _read_panel(data: Mapping[str, Any]) -> Panel:
    return Panel(**{**data, "queries": tuple(Query(**query) for query in data["queries"])})


def dashboard_json(dashboard: Dashboard) -> dict[str, Any]:
    """Return a dashboard as Grafana stores it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.doc,
        "tags": ["headrace"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "Headrace",
                "tags": ["headrace"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "annotations": {"list": [_roll_outs()]},
        "templating": {"list": list(_variables(dashboard))},
        "panels": list(_panels(dashboard)),
    }


def _roll_outs() -> dict[str, Any]:
    return {
        "name": "new versions",
        "datasource": _SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": 'count by (version) (headrace_build_info{namespace="$namespace"}) unless '
        'count by (version) (headrace_build_info{namespace="$namespace"} offset 5m)',
        "titleFormat": "{{version}}",
    }


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    yield {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
    }
    yield _choice("namespace", "label_values(headrace_build_info, namespace)", several=False)
    for label, query in dashboard.variables:
        yield _choice(label, query, several=True)


def _choice(name: str, query: str, *, several: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "includeAll": several,
        "multi": several,
        "current": {},
    }
    if several:
        found |= {"allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return found


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for row in dashboard.rows:
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"h": 1, "w": _COLUMNS, "x": 0, "y": top},
            "panels": [],
        }
        number, top, left = number + 1, top + 1, 0
        for panel in row.panels:
            if left + panel.width > _COLUMNS:
                left, top = 0, top + row.height
            place = {"h": row.height, "w": panel.width, "x": left, "y": top}
            yield _panel(panel, number, place, [label for label, _ in dashboard.variables])
            number, left = number + 1, left + panel.width
        top += row.height


def _panel(panel: Panel, number: int, place: dict[str, int], labels: Sequence[str]) -> dict[str, Any]:
    chosen = ", ".join(['namespace="$namespace"', *(f'{label}=~"${label}"' for label in labels)])
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.doc,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.expr.replace("$filter", chosen),
                "legendFormat": query.legend,
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
                "format": "heatmap" if panel.kind == "heatmap" else "time_series",
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": panel.unit, "noValue": "none"}
    if panel.highest is not None:
        found |= {"min": 0, "max": panel.highest}
    if panel.kind == "timeseries":
        found["custom"] = {
            "drawStyle": "line",
            "fillOpacity": 20 if panel.stacked else 0,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    if panel.red_above is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.red_above}]
        found["thresholds"] = {"mode": "absolute", "steps": steps}
    return found


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "heatmap":
        return {"calculate": False, "yAxis": {"unit": panel.unit}, "color": {"scheme": "Oranges"}}
    if panel.kind == "stat":
        return {
            "colorMode": "value" if panel.red_above is None else "background",
            "graphMode": "none",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
