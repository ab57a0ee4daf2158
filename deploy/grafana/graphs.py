"""What Grafana's dashboards show: expressions of PromQL, row by row.

Gateways all tell the same numbers of what they share: those are not added up (``max``). What begins with ``vllm:`` is
an engine's own. Prometheus finds that by /sd/workers of gateways, which gives it the labels model and worker.
"""

from __future__ import annotations

from collections.abc import Iterator

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


def ratio(part: str, whole: str, where: str) -> str:
    """How much of one counter's increase is another one's, by model."""
    return f"{rate(part, 'model', where)} / {rate(whole, 'model', where)}"


MODEL = 'model=~"$model"'
# What is read of workers, and of nothing else in the same Prometheus.
WORKER = f'{MODEL},worker!=""'
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
        (
            "Tokens of prompts that wait",
            "none",
            {"{{model}} {{class}}": f"sum by (model, class) (tessera_backlog_tokens{{{MODEL}}})"},
        ),
        (
            "Workers",
            "none",
            {
                "{{model}}": f"max by (model) (tessera_workers{{{MODEL}}})",
                "{{model}} wanted": f"max by (model) (tessera_workers_wanted{{{MODEL}}})",
            },
        ),
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
ENGINE: Rows = {
    "What engines do": [
        (
            "Requests within engines",
            "none",
            {
                "{{model}} running": f"sum by (model) (vllm:num_requests_running{{{MODEL}}})",
                "{{model}} waiting": f"sum by (model) (vllm:num_requests_waiting{{{MODEL}}})",
            },
        ),
        (
            "Tokens",
            "none",
            {
                "{{model}} prompt": rate("vllm:prompt_tokens_total", "model", MODEL),
                "{{model}} generated": rate("vllm:generation_tokens_total", "model", MODEL),
            },
        ),
        (
            "Tokens in a step",
            "none",
            {
                "{{model}}": ratio("vllm:iteration_tokens_total_sum", "vllm:iteration_tokens_total_count", MODEL),
            },
        ),
    ],
    "KV cache": [
        (
            "In use",
            "percentunit",
            {"{{model}} {{worker}}": f"max by (model, worker) (vllm:kv_cache_usage_perc{{{MODEL}}})"},
        ),
        ("Sequences preempted", "none", {"{{model}}": rate("vllm:num_preemptions_total", "model", MODEL)}),
        (
            "Tokens of prompts that were in it",
            "percentunit",
            {"{{model}}": ratio("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total", MODEL)},
        ),
    ],
    "Media": [
        (
            "Items that were prepared already",
            "percentunit",
            {"{{model}}": ratio("vllm:mm_cache_hits_total", "vllm:mm_cache_queries_total", MODEL)},
        ),
        ("Where workers had items from", "none", {"{{source}}": rate("tessera_worker_media_reads_total", "source")}),
        (
            "Kept by workers",
            "bytes",
            {"{{worker}}": f"sum by (worker) (tessera_worker_media_kept_bytes{{{MODEL}}})"},
        ),
    ],
    "Where time goes within": [
        ("Wait for a step", "s", quantiles("vllm:request_queue_time_seconds", MODEL)),
        ("Prefill", "s", quantiles("vllm:request_prefill_time_seconds", MODEL)),
        ("Decode, in all", "s", quantiles("vllm:request_decode_time_seconds", MODEL)),
        ("Between tokens", "s", quantiles("vllm:inter_token_latency_seconds", MODEL)),
    ],
    "Their processes": [
        ("Memory", "bytes", {"{{worker}}": f"sum by (worker) (process_resident_memory_bytes{{{WORKER}}})"}),
        ("CPU", "none", {"{{worker}}": rate("process_cpu_seconds_total", "worker", WORKER)}),
    ],
}
MEDIA: Rows = {
    "Items": [
        ("Found decoded already", "none", {"{{modality}}": rate("tessera_media_cache_hits_total", "modality")}),
        ("Had to be decoded", "none", {"{{modality}}": rate("tessera_media_cache_misses_total", "modality")}),
        ("Refused or failed", "none", {"{{code}}": rate("tessera_media_errors_total", "code")}),
        (
            "Sound and video, seconds a second",
            "none",
            {"{{modality}}": rate("tessera_media_duration_seconds_total", "modality")},
        ),
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


def _of_gateways(expression: str) -> str:
    """Whatever else tells the same in this Prometheus is left out."""
    return f"sum by (instance) ({expression} and on (instance, job) tessera_build_info)"


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
        ("Memory", "bytes", {"{{instance}}": _of_gateways("process_resident_memory_bytes")}),
        ("CPU", "none", {"{{instance}}": _of_gateways(f"rate(process_cpu_seconds_total{RATE})")}),
    ],
}


def _an_hour(by: str) -> str:
    return f"3600 * {rate('tessera_tenant_cost_total', by, MODEL)}"


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
    # By the price list of TESSERA_PRICES; nothing without.
    "What it costs": [
        ("An hour, by tenant", "none", {"{{tenant}}, {{currency}}": _an_hour("tenant, currency")}),
        ("An hour, by model", "none", {"{{model}}, {{currency}}": _an_hour("model, currency")}),
    ],
}
DASHBOARDS = {
    "overview": ("Tessera: overview", OVERVIEW),
    "request": ("Tessera: the way of a request", WAY),
    "engine": ("Tessera: engines", ENGINE),
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
