from __future__ import annotations

import asyncio
import secrets

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tessera.errors import Overloaded
from tessera.gateway.observation import observe
from tessera.queue import End, Head


@pytest.fixture
def model():
    return f"model-{secrets.token_hex(4)}"


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels)


def count(model, status, code):
    return value("tessera_requests_total", model=model, endpoint="/x", status=status, code=code)


def test_times_are_counted_by_piece(model):
    with observe("/x") as seen:
        seen.model = model
        seen.head(Head(200, "text/event-stream", wait_ms=1500, attempts=2))
        for _ in range(3):
            seen.piece()
        assert value("tessera_requests_open", endpoint="/x") == 1
    assert value("tessera_requests_open", endpoint="/x") == 0
    assert count(model, "200", "") == 1
    assert value("tessera_time_to_first_token_seconds_count", model=model) == 1
    assert value("tessera_inter_token_seconds_count", model=model) == 2
    assert value("tessera_queue_wait_seconds_sum", model=model) == 1.5
    assert value("tessera_jobs_redelivered_total", model=model) == 1
    assert value("tessera_request_seconds_count", model=model, endpoint="/x") == 1


@pytest.mark.parametrize(
    ("end", "code"), [(End(error=(400, "invalid_value")), "invalid_value"), (End(), "engine")], ids=["new", "old"]
)
def test_an_error_of_the_engine_has_no_first_token(model, end, code):
    with observe("/x") as seen:
        seen.model = model
        seen.head(Head(400, "application/json"))
        seen.piece()
        seen.end(end)
    assert count(model, "400", code) == 1
    assert not value("tessera_time_to_first_token_seconds_count", model=model)


def test_an_error_in_the_middle_of_a_stream_is_counted_and_logged_as_one(model):
    with capture_logs() as logs, observe("/x") as seen:
        seen.model, seen.job_id = model, "j"
        seen.head(Head(200, "text/event-stream"))
        seen.piece()
        seen.end(End({}, (500, "engine_error")))
    assert count(model, "500", "engine_error") == 1
    assert not count(model, "200", "")
    assert [(line["event"], line["job"], line["log_level"]) for line in logs] == [("request_failed", "j", "warning")]


def test_tokens_are_counted_by_kind(model):
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 2, "multimodal_tokens": {"image": 5, "made_up": 1}},
    }
    with observe("/x") as seen:
        seen.model = model
        for given in (usage, {}, {"prompt_tokens_details": None}, {"prompt_tokens": None}):
            seen.end(End(given))
    kinds = ("prompt", "completion", "cached", "image", "made_up")
    assert [value("tessera_tokens_total", model=model, kind=kind) for kind in kinds] == [10, 4, 2, 5, None]


@pytest.mark.parametrize(
    ("error", "status", "code", "level"),
    [
        (Overloaded("Too many."), "429", "queue_full", "info"),
        (asyncio.CancelledError(), "499", "client_closed_request", "info"),
        (ZeroDivisionError("x"), "500", "internal_error", "warning"),
    ],
)
def test_however_it_ends_it_is_counted_and_logged(model, error, status, code, level):
    def fail():
        with observe("/x") as seen:
            seen.model = model
            raise error

    with capture_logs() as logs, pytest.raises(type(error)):
        fail()
    assert count(model, status, code) == 1
    assert value("tessera_requests_open", endpoint="/x") == 0
    assert [(line["event"], line["log_level"], line["code"]) for line in logs] == [("request_failed", level, code)]


@pytest.mark.parametrize(("begun_at", "attempts"), [(1, 0), (1, 3), (2, 3)], ids=["old", "begun at once", "later"])
def test_deliveries_of_a_stream_that_was_resumed_are_counted_to_its_end(model, begun_at, attempts):
    with capture_logs() as logs, observe("/x", share=1.0) as seen:
        seen.model = model
        seen.head(Head(200, "text/event-stream", attempts=begun_at))
        seen.end(End(resumed=True, attempts=attempts))
    assert logs[0]["attempts"] == max(begun_at, attempts)
    assert value("tessera_jobs_redelivered_total", model=model) == (None if attempts == 0 else 1)


@pytest.mark.parametrize(("share", "lines"), [(0.0, 0), (1.0, 1)])
def test_a_good_request_has_one_line_or_none(model, share, lines):
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"multimodal_tokens": {"audio": 1}}}
    with capture_logs() as logs, observe("/x", "team-a", share=share) as seen:
        seen.model, seen.job_id = model, "j"
        seen.stage("body")
        seen.head(Head(200, "text/event-stream", wait_ms=1500, attempts=2))
        seen.piece()
        seen.end(End(usage, resumed=True))
    assert len(logs) == lines
    for line in logs:
        assert list(line.pop("stages")) == ["body", "queue", "first"]
        assert line.pop("seconds") >= 0
        assert line == {
            "event": "request_answered", "log_level": "info", "job": "j", "tenant": "team-a", "model": model,
            "endpoint": "/x", "status": 200, "code": "", "attempts": 2, "resumed": True,
            "tokens": {"prompt": 3, "completion": 2, "audio": 1},
        }  # fmt: skip


@pytest.mark.parametrize(("timed", "kind"), [(True, "interactive"), (False, "batch")])
def test_a_prompt_waits_until_its_answer_begins(model, timed, kind):
    def waiting():
        return value("tessera_backlog_tokens", **{"model": model, "class": kind})

    with observe("/x", timed=timed) as first, observe("/x", timed=timed) as second:
        first.model = second.model = model
        first.queued(1000)
        second.queued(20)
        assert waiting() == 1020
        first.head(Head(200, "application/json"))
        assert waiting() == 20
    assert waiting() == 0  # nobody waits for the second any more
