"""The gateway's Prometheus metrics. Label values are bounded: models that are not served count as ``unknown``."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from tessera.telemetry.shared_counter import SharedCounter
from tessera.telemetry.token_histogram import TokenHistogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

BUILD = Gauge("tessera_build_info", "1, and what this gateway is.", ["version"])
REQUESTS = Counter(
    "tessera_requests", "Requests answered, by HTTP status and error code.", ["model", "endpoint", "status", "code"]
)
REQUESTS_OPEN = Gauge("tessera_requests_open", "Requests being answered by this gateway.", ["endpoint"])
ADAPTER_REQUESTS = Counter(
    "tessera_adapter_requests", "Requests for a LoRA adapter, queued or about to be.", ["model", "adapter"]
)
ALIAS_REQUESTS = Counter(
    "tessera_alias_requests", "Requests by an alias, by the model or adapter that each went to.", ["alias", "target"]
)
ADAPTER_WORKERS = Gauge(
    "tessera_adapter_workers",
    "Live workers that have a LoRA adapter (loaded), or could not load it (failed).",
    ["model", "adapter", "state"],
)
TTFT = Histogram(
    "tessera_time_to_first_token_seconds", "From request to first byte of the answer.", ["model"], buckets=_FAST
)
ITL = TokenHistogram("tessera_inter_token_seconds", "Between two pieces of a streamed answer.", "model", _FAST)
E2E = Histogram(
    "tessera_request_seconds", "From request to the end of the answer.", ["model", "endpoint"], buckets=_FAST
)
QUEUE_WAIT = Histogram("tessera_queue_wait_seconds", "From enqueueing to a worker's lease.", ["model"], buckets=_FAST)
TOKENS = Counter(
    "tessera_tokens", "Tokens by kind: prompt, cached, image, video, audio (all part of prompt), completion.",
    ["model", "kind"],
)  # fmt: skip
TENANT_REQUESTS = Counter("tessera_tenant_requests", "Requests answered, by tenant.", ["tenant", "status"])
TENANT_TOKENS = Counter("tessera_tenant_tokens", "Tokens by kind, as in tessera_tokens, by tenant.", ["tenant", "kind"])
TENANT_COST = Counter(
    "tessera_tenant_cost",
    "What answered requests cost, by the operator's price list (TESSERA_PRICES), by tenant and model.",
    ["tenant", "model", "currency"],
)
PLANS = Counter(
    "tessera_plans",
    "Answers whose tokens of media were planned, by what the engine counted: the same (exact), or not (contradicted).",
    ["model", "outcome"],
)
QUEUE_DEPTH = Gauge("tessera_queue_depth", "Jobs waiting but those of batches, over all gateways.", ["model"])
BATCH_QUEUE_DEPTH = Gauge("tessera_batch_queue_depth", "Jobs of batches waiting, over all gateways.", ["model"])
BACKLOG_TOKENS = Gauge(
    "tessera_backlog_tokens",
    "Prompt tokens, about, of requests that this gateway has queued and whose answers have not begun, by class: "
    "interactive, batch.",
    ["model", "class"],
)
OLDEST_WAITING = Gauge(
    "tessera_oldest_waiting_job_seconds", "How long the job that is next has waited, over all gateways.", ["model"]
)
JOBS_RUNNING = Gauge("tessera_jobs_running", "Jobs leased by workers, over all gateways.", ["model"])
BODY_BYTES = Gauge("tessera_body_bytes", "Bodies of requests in this gateway's memory, until they are queued.")
BODIES_WAITING = Gauge("tessera_bodies_waiting", "Bodies of requests that wait for room in this gateway's memory.")
QUEUED_BYTES = Gauge("tessera_queued_bytes", "Bodies of jobs that wait or run, over all gateways.", ["model"])
REPLY_BYTES = Gauge("tessera_reply_bytes", "Replies in Redis, of running and ended jobs, over all gateways.", ["model"])
REPLIES_DROPPED = SharedCounter(
    "tessera_replies_dropped", "Replies of ended jobs that were dropped to make room, over all gateways.", ["model"]
)
SUSPECT_JOBS = Gauge(
    "tessera_suspect_jobs",
    "Jobs that wait to run alone, since all but the last worker that may died under them.",
    ["model"],
)
DEAD_JOBS = Gauge("tessera_dead_jobs", "Jobs that were set aside and are kept for the operator.", ["model"])
SET_ASIDE = SharedCounter("tessera_jobs_set_aside", "Jobs that were set aside, over all gateways.", ["model"])
CORRUPT_RECORDS = SharedCounter(
    "tessera_corrupt_records", "Damaged entries in Redis, over all gateways, by what is damaged.", ["model", "kind"]
)
WORKERS_KEPT_FREE = Gauge(
    "tessera_workers_kept_free",
    "Workers that take nothing until a job fits that was passed for long enough.",
    ["model"],
)
WORKERS = Gauge("tessera_workers", "Live workers.", ["model"])
WORKERS_WANTED = Gauge(
    "tessera_workers_wanted",
    "Workers that there are to be, by Ray Serve's autoscaler or as it was told; none where no live worker knows.",
    ["model"],
)
REDELIVERED = Counter("tessera_jobs_redelivered", "Jobs answered after more than one delivery.", ["model"])
RESUMED = Counter(
    "tessera_streams_resumed", "Streams that another worker went on with, or could not (failed).", ["model", "outcome"]
)
REAPED = SharedCounter(
    "tessera_jobs_reaped",
    "Jobs of silent workers (requeued, evicted) or gateways (orphaned), or overdue, whoever found them.",
    ["model", "outcome"],
)
FOLLOWERS = Gauge("tessera_request_followers", "Readers of answers of requests that were sent before.")
JOINED = Counter(
    "tessera_requests_joined",
    "Requests that were answered as another one of the same idempotency key, by the state of that one's job.",
    ["model", "state"],
)
UNATTENDED = Gauge("tessera_requests_unattended", "Requests that go on though their clients have left this gateway.")
