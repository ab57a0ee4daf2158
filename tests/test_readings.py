from __future__ import annotations

import pytest

from tessera.readings import ModelNow, Reading, models_now, open_requests

BEFORE = """
# TYPE tessera_workers gauge
tessera_workers{model="m"} 2
# TYPE tessera_queue_depth gauge
tessera_queue_depth{model="m"} 5
# TYPE tessera_oldest_waiting_job_seconds gauge
tessera_oldest_waiting_job_seconds{model="m"} 1.5
# TYPE tessera_requests_open gauge
tessera_requests_open{endpoint="/v1/chat/completions"} 3
# TYPE tessera_requests counter
tessera_requests_total{model="m",endpoint="e",status="200",code=""} 10
tessera_requests_total{model="m",endpoint="e",status="503",code="no_worker"} 1
tessera_requests_total{model="other",endpoint="e",status="200",code=""} 7
# TYPE tessera_tokens counter
tessera_tokens_total{model="m",kind="prompt"} 100
tessera_tokens_total{model="m",kind="completion"} 1000
# TYPE tessera_time_to_first_token_seconds histogram
tessera_time_to_first_token_seconds_bucket{model="m",le="0.1"} 3
tessera_time_to_first_token_seconds_bucket{model="m",le="0.2"} 10
tessera_time_to_first_token_seconds_bucket{model="m",le="+Inf"} 10
"""
AFTER = (
    BEFORE.replace('status="200",code=""} 10', 'status="200",code=""} 30')
    .replace('code="no_worker"} 1', 'code="no_worker"} 5')
    .replace('kind="prompt"} 100', 'kind="prompt"} 300')
    .replace('kind="completion"} 1000', 'kind="completion"} 1800')
    .replace('le="0.1"} 3', 'le="0.1"} 13')
    .replace('le="0.2"} 10', 'le="0.2"} 30')
    .replace('le="+Inf"} 10', 'le="+Inf"} 30')
)


def read(text: str, at_s: float) -> Reading:
    return Reading.parse(text, at_s)


def test_what_happened_between_two_looks() -> None:
    [now] = models_now([(read(BEFORE, 0.0), read(AFTER, 4.0))])
    rates = {"requests_s": 6.0, "errors_s": 1.0, "prompt_tokens_s": 50.0, "completion_tokens_s": 200.0}
    # Of 20 first tokens half came within 0.1 s, and 19 within nine tenths of the next bucket.
    expected = ModelNow("m", 2, 0, 5, 0, 1.5, **rates, ttft_s=(0.1, pytest.approx(0.19)))  # type: ignore[arg-type]
    assert now == expected


def test_gateways_add_up_but_for_what_they_share() -> None:
    pair = read(BEFORE, 0.0), read(AFTER, 4.0)
    [now] = models_now([pair, pair])
    assert (now.workers, now.waiting, now.requests_s) == (2, 5, 12.0)
    assert open_requests([pair, pair]) == 6


def test_a_gateway_that_was_started_again_counts_from_nothing() -> None:
    [now] = models_now([(read(AFTER, 0.0), read(BEFORE, 4.0))])
    assert (now.requests_s, now.completion_tokens_s) == (11 / 4, 250.0)


def test_where_nothing_happened_nothing_is_made_up() -> None:
    [now] = models_now([(read(AFTER, 0.0), read(AFTER, 4.0))])
    assert (now.requests_s, now.ttft_s) == (0.0, None)
