"""Grafana's dashboards: ``python -m deploy.grafana.dashboards`` (`make dashboards`) writes them into the chart.

Gateways all tell the same numbers of what they share: those are not added up (``max``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

FOLDER = Path(__file__).parents[1] / "helm" / "tessera" / "files" / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
RATE = "[$__rate_interval]"

# Title, unit of Grafana's, and expressions by their legend.
Graph = tuple[str, str, dict[str, str]]
Rows = dict[str, list[Graph]]


def rate(metric: str, by: str = "", where: str = "") -> str:
    """A counter's increase a second, added up over gateways."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{where}}}{RATE}))"


def quantiles(metric: str, where: str = "", by: str = "") -> dict[str, str]:
    """Half and 95 % of what a histogram has seen are below these."""
    grouped = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return {
        f"{legend}p{q * 100:g}": f"histogram_quantile({q}, sum by ({grouped}) (rate({metric}_bucket{{{where}}}{RATE})))"
        for q in (0.5, 0.95)
    }


MODEL = 'model=~"$model"'
OVERVIEW: Rows = {
    "How much": [
        ("Requests by model", "reqps", {"{{model}}": rate("tessera_requests_total", "model", MODEL)}),
        ("Tokens", "none", {"{{kind}}": rate("tessera_tokens_total", "kind", MODEL)}),
        ("Requests open", "none", {"{{endpoint}}": "sum by (endpoint) (tessera_requests_open)"}),
    ],
    "How many fail": [
        ("Answers by status", "reqps", {"{{status}}": rate("tessera_requests_total", "status", MODEL)}),
        (
            "Errors",
            "reqps",
            {"{{status}} {{code}}": rate("tessera_requests_total", "status, code", f'{MODEL},code!=""')},
        ),
        (
            "Workers that died, and streams that went on",
            "none",
            {
                "requests of dead workers": f"max(increase(tessera_jobs_reaped_total{{{MODEL}}}{RATE}))",
                "streams, {{outcome}}": f"sum by (outcome) (increase(tessera_streams_resumed_total{{{MODEL}}}{RATE}))",
            },
        ),
    ],
    "How long it takes": [
        ("Time to first token", "s", quantiles("tessera_time_to_first_token_seconds", MODEL)),
        ("Between tokens", "s", quantiles("tessera_inter_token_seconds", MODEL)),
        ("Whole requests", "s", quantiles("tessera_request_seconds", MODEL)),
    ],
    "How full it is": [
        (
            "Jobs",
            "none",
            {
                "{{model}} waiting": f"max by (model) (tessera_queue_depth{{{MODEL}}})",
                "{{model}} running": f"max by (model) (tessera_jobs_running{{{MODEL}}})",
            },
        ),
        (
            "The next job has waited",
            "s",
            {"{{model}}": f"max by (model) (tessera_oldest_waiting_job_seconds{{{MODEL}}})"},
        ),
        ("Workers", "none", {"{{model}}": f"max by (model) (tessera_workers{{{MODEL}}})"}),
    ],
}
# Where the time of a request goes, stage by stage.
WAY: Rows = {
    "Before the queue": [
        ("Media: fetch", "s", quantiles("tessera_media_fetch_seconds")),
        ("Media: wait for a process", "s", quantiles("tessera_media_sandbox_wait_seconds")),
        ("Media: decode", "s", quantiles("tessera_media_decode_seconds", by="modality")),
        ("Media: store", "s", quantiles("tessera_media_store_seconds", by="modality")),
    ],
    "In the queue and in the engine": [
        ("Wait for a worker", "s", quantiles("tessera_queue_wait_seconds", MODEL)),
        ("First token, from the request on", "s", quantiles("tessera_time_to_first_token_seconds", MODEL)),
        ("Between tokens", "s", quantiles("tessera_inter_token_seconds", MODEL)),
        ("Whole requests", "s", quantiles("tessera_request_seconds", MODEL)),
    ],
}
MEDIA: Rows = {
    "Items": [
        ("Found decoded already", "none", {"{{modality}}": rate("tessera_media_cache_hits_total", "modality")}),
        ("Had to be decoded", "none", {"{{modality}}": rate("tessera_media_cache_misses_total", "modality")}),
        ("Refused or failed", "none", {"{{code}}": rate("tessera_media_errors_total", "code")}),
    ],
    "Processes that decode": [
        ("Processes", "none", {"in all gateways": "sum(tessera_media_sandbox_processes)"}),
        ("Ends", "none", {"{{reason}}": rate("tessera_media_sandbox_ends_total", "reason")}),
        ("Decode", "s", quantiles("tessera_media_decode_seconds", by="modality")),
    ],
    "Room": [
        ("Waits for room in the store", "none", {"items": "sum(tessera_media_store_waiting)"}),
        ("Memory of gateways", "bytes", {"{{use}}": "sum by (use) (tessera_media_memory_bytes)"}),
    ],
}
QUEUE: Rows = {
    "Redis": [
        ("Answers", "none", {"{{redis}}": "max by (redis) (tessera_redis_up)"}),
        ("PING", "s", {"{{redis}}": "max by (redis) (tessera_redis_ping_seconds)"}),
        (
            "Memory",
            "bytes",
            {
                "{{redis}} used": "max by (redis) (tessera_redis_memory_bytes)",
                "{{redis}} at most": "max by (redis) (tessera_redis_max_memory_bytes)",
            },
        ),
    ],
    "What is in it": [
        ("Bodies of requests", "bytes", {"{{model}}": f"max by (model) (tessera_queued_bytes{{{MODEL}}})"}),
        ("Answers", "bytes", {"{{model}}": f"max by (model) (tessera_reply_bytes{{{MODEL}}})"}),
        (
            "Set aside",
            "none",
            {
                "{{model}} suspects": f"max by (model) (tessera_suspect_jobs{{{MODEL}}})",
                "{{model}} dead": f"max by (model) (tessera_dead_jobs{{{MODEL}}})",
            },
        ),
    ],
    "Gateways": [
        ("Connections", "none", {"{{instance}}": "sum by (instance) (tessera_connections_open)"}),
        ("Memory", "bytes", {"{{instance}}": "sum by (instance) (process_resident_memory_bytes)"}),
        ("CPU", "none", {"{{instance}}": rate("process_cpu_seconds_total", "instance")}),
    ],
}
TENANTS: Rows = {
    "By tenant": [
        ("Requests", "reqps", {"{{tenant}}": rate("tessera_tenant_requests_total", "tenant")}),
        (
            "Errors",
            "reqps",
            {"{{tenant}} {{status}}": rate("tessera_tenant_requests_total", "tenant, status", 'status!~"2.."')},
        ),
        ("Tokens", "none", {"{{tenant}} {{kind}}": rate("tessera_tenant_tokens_total", "tenant, kind")}),
    ],
}
DASHBOARDS = {
    "overview": ("Tessera: overview", OVERVIEW),
    "request": ("Tessera: the way of a request", WAY),
    "media": ("Tessera: media", MEDIA),
    "queue": ("Tessera: queue, Redis and gateways", QUEUE),
    "tenants": ("Tessera: tenants", TENANTS),
}


def graphs() -> Iterator[tuple[str, Graph]]:
    """Every graph, with its dashboard's name."""
    for name, (_, rows) in DASHBOARDS.items():
        for row in rows.values():
            for graph in row:
                yield name, graph


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
        panel.with_target(prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend))
    return panel


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, content in files().items():
        file.write_text(content)
