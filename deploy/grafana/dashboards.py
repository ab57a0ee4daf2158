"""Grafana's dashboards: ``python -m deploy.grafana.dashboards`` (`make dashboards`) writes them into the chart."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

from deploy.grafana.graphs import DASHBOARDS, Graph, Rows

FOLDER = Path(__file__).parents[1] / "helm" / "tessera" / "files" / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
# Histograms of gateways name traces, where those are told.
_TRACED = re.compile(r"\btessera_\w+_bucket\b")


def files() -> dict[Path, str]:
    """What there is to write."""
    return {FOLDER / f"{name}.json": _written(name, title, rows) for name, (title, rows) in DASHBOARDS.items()}


def _written(name: str, title: str, rows: Rows) -> str:
    board = (
        dashboard.Dashboard(title)
        .uid(f"tessera-{name}")
        .tags(["tessera"])
        .refresh("30s")
        .time("now-1h", "now")
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("model")
            .label("Model")
            .datasource(SOURCE)
            .query("label_values(tessera_workers, model)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .multi(True)
        )
    )
    number = count(1)
    for row, told in rows.items():
        board.with_row(dashboard.Row(row).id(next(number)))
        for graph in told:
            board.with_panel(_panel(graph).id(next(number)).span(24 // len(told)).height(8))
    return json.dumps(board.build(), cls=JSONEncoder, sort_keys=True, indent=1) + "\n"


def _panel(graph: Graph) -> timeseries.Panel:
    title, unit, expressions = graph
    panel = timeseries.Panel().title(title).unit(unit).datasource(SOURCE).min(0)
    panel.legend(common.VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM))
    for letter, (legend, expression) in zip(ascii_uppercase, expressions.items(), strict=False):
        query = prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend)
        panel.with_target(query.exemplar(bool(_TRACED.search(expression))))
    return panel


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, content in files().items():
        file.write_text(content)
