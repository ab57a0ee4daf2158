"""Every alert fires when it should, keeps silent when it should, and has a paragraph that says what to do.

Prometheus' own tool evaluates the rules over made-up series, a value a minute.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.chart import CHART, ROOT, find, render, values
from tests.deploy.exported import exported_metrics, used_metrics

RULES = CHART / "files" / "rules.yaml"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RUNBOOKS = ROOT / "docs" / "runbooks.md"

OK = 'tessera_requests_total{model="m",status="200"}'
FAILED = 'tessera_requests_total{model="m",status="503"}'
IN_TIME = 'tessera_time_to_first_token_seconds_bucket{model="m",le="10.0"}'
ALL = 'tessera_time_to_first_token_seconds_count{model="m"}'
MEDIA = 'tessera_media_errors_total{code="x"}'
USED, MOST = 'tessera_redis_memory_bytes{redis="queue"}', 'tessera_redis_max_memory_bytes{redis="queue"}'
LIVE = '{model="m",pod="a"}'
ENGINE = '{model="m",worker="w"}'
KV, WAITING = f"vllm:kv_cache_usage_perc{ENGINE}", f"vllm:num_requests_waiting{ENGINE}"
PREEMPTED, FINISHED = f"vllm:num_preemptions_total{ENGINE}", f"vllm:request_success_total{ENGINE}"
LOOKED, FOUND = f"vllm:prefix_cache_queries_total{ENGINE}", f"vllm:prefix_cache_hits_total{ENGINE}"

# By alert: after how many minutes it is looked at, series that make it fire, and series that do not.
Series = dict[str, str]
CASES: dict[str, tuple[int, Series, list[Series]]] = {
    "TesseraNoGateway": (10, {"up": "1x20"}, [{'tessera_build_info{version="1"}': "1x20"}]),
    "TesseraNoWorker": (
        10,
        {'tessera_workers{model="m",pod="a"}': "0x20", 'tessera_workers{model="n",pod="a"}': "1x20"},
        # One gateway of two does not know of them yet; a restart of a minute.
        [
            {'tessera_workers{model="m",pod="a"}': "0x20", 'tessera_workers{model="m",pod="b"}': "2x20"},
            {'tessera_workers{model="m"}': "1x8 0 1x10"},
        ],
    ),
    "TesseraQueueOld": (
        10,
        {'tessera_oldest_waiting_job_seconds{model="m"}': "90x20"},
        [{'tessera_oldest_waiting_job_seconds{model="m"}': "5x20"}],
    ),
    "TesseraErrorBudgetFast": (
        70,
        {OK: "0+90x100", FAILED: "0+10x100"},
        # Few; many, but long over.
        [{OK: "0+1000x100", FAILED: "0+10x100"}, {OK: "0+90x100", FAILED: "0+50x20 1000x80"}],
    ),
    "TesseraErrorBudgetSlow": (
        400,
        {OK: "0+96x500", FAILED: "0+4x500"},
        [{OK: "0+990x500", FAILED: "0+10x500"}],
    ),
    "TesseraLatencyBudgetFast": (
        70,
        {ALL: "0+100x100", IN_TIME: "0+80x100"},
        [{ALL: "0+100x100", IN_TIME: "0+99x100"}, {ALL: "0x100", IN_TIME: "0x100"}],
    ),
    "TesseraLatencyBudgetSlow": (
        400,
        {ALL: "0+100x500", IN_TIME: "0+92x500"},
        [{ALL: "0+100x500", IN_TIME: "0+98x500"}],
    ),
    "TesseraConnectionsRefused": (
        15,
        {'tessera_http_requests_refused_total{code="too_many_connections"}': "0+5x20"},
        [{'tessera_http_requests_refused_total{code="bad_request"}': "0+5x20"}],
    ),
    "TesseraVersionSkew": (
        70,
        {'tessera_build_info{version="1"}': "1x100", 'tessera_build_info{version="2"}': "1x100"},
        [{'tessera_build_info{version="1",pod="a"}': "1x100", 'tessera_build_info{version="1",pod="b"}': "1x100"}],
    ),
    "TesseraWorkersMissing": (
        30,
        {f"tessera_workers{LIVE}": "2x40", f"tessera_workers_wanted{LIVE}": "2x5 4x40"},
        # As many as are wanted; one that restarts now and then; one more during a rollout; nobody knows how many.
        [
            {f"tessera_workers{LIVE}": "2x40", f"tessera_workers_wanted{LIVE}": "2x40"},
            {f"tessera_workers{LIVE}": "2x14 1x4 2x10 1x20", f"tessera_workers_wanted{LIVE}": "2x50"},
            {f"tessera_workers{LIVE}": "3x40", f"tessera_workers_wanted{LIVE}": "2x40"},
            {f"tessera_workers{LIVE}": "1x40"},
        ],
    ),
    "TesseraRedeliveryStorm": (
        20,
        {'tessera_jobs_reaped_total{model="m",outcome="requeued"}': "0+5x30"},
        # One worker with 16 requests; clients that left.
        [
            {'tessera_jobs_reaped_total{model="m",outcome="requeued"}': "0x10 16x20"},
            {'tessera_jobs_reaped_total{model="m",outcome="orphaned"}': "0+50x30"},
        ],
    ),
    "TesseraStreamsNotResumed": (
        10,
        {'tessera_streams_resumed_total{model="m",outcome="failed"}': "0x5 1x10"},
        [{'tessera_streams_resumed_total{model="m",outcome="resumed"}': "0+5x15"}],
    ),
    "TesseraRequestSetAside": (
        10,
        {'tessera_jobs_set_aside_total{model="m"}': "0x5 1x10"},
        [{'tessera_jobs_set_aside_total{model="m"}': "7x20"}],
    ),
    "TesseraKvCacheFull": (
        30,
        {KV: "0.99x40", WAITING: "3x40", PREEMPTED: "0x40"},
        # Full, and nobody waits; never full for long.
        [
            {KV: "0.99x40", WAITING: "0x40", PREEMPTED: "0x40"},
            {KV: "0.99 0.9 0.99 0.9 0.99 0.9 0.99 0.9x30", WAITING: "3x40", PREEMPTED: "0+5x40"},
        ],
    ),
    "TesseraPreemptions": (
        30,
        {PREEMPTED: "0+20x40", FINISHED: "0+100x40"},
        [{PREEMPTED: "0+5x40", FINISHED: "0+100x40"}, {PREEMPTED: "0x40", FINISHED: "0x40"}],
    ),
    "TesseraEngineHoldsRequests": (
        30,
        {WAITING: "0x5 2x40"},
        # For a step, now and then.
        [{WAITING: "9 0 0 0 0 9 0 0 0 0 9 0 0 0 0 9 0 0 0 0 9 0 0 0 0 9 0 0 0 0 9"}],
    ),
    "TesseraPrefixCacheCold": (
        1600,
        {LOOKED: "0+100x1700", FOUND: "0+60x1450 87000+10x250"},
        # As warm as the day before; never warm; nobody asks.
        [
            {LOOKED: "0+100x1700", FOUND: "0+60x1700"},
            {LOOKED: "0+100x1700", FOUND: "0+10x1450 14500+1x250"},
            {LOOKED: "0+100x1450 145000x250", FOUND: "0+60x1450 87000x250"},
        ],
    ),
    "TesseraMediaRefusalsJump": (
        1500,
        {MEDIA: "0+6x1470 8820+120x60"},
        # As many as ever; many more, of next to none.
        [{MEDIA: "0+120x1600"}, {MEDIA: "0x1470 0+1x60"}],
    ),
    "TesseraSandboxCrashes": (
        20,
        {'tessera_media_sandbox_ends_total{reason="crash"}': "0+2x30"},
        [{'tessera_media_sandbox_ends_total{reason="replaced"}': "0+9x30"}],
    ),
    "TesseraRedisDown": (
        5,
        {'tessera_redis_up{redis="queue",pod="a"}': "0x10", 'tessera_redis_up{redis="queue",pod="b"}': "0x10"},
        [{'tessera_redis_up{redis="queue",pod="a"}': "0x10", 'tessera_redis_up{redis="queue",pod="b"}': "1x10"}],
    ),
    "TesseraRedisFull": (
        10,
        {USED: "90x20", MOST: "100x20"},
        [{USED: "50x20", MOST: "100x20"}, {USED: "90x20", MOST: "0x20"}],
    ),
    "TesseraRedisSlow": (
        15,
        {'tessera_redis_ping_seconds{redis="queue"}': "0.2x20"},
        # Now and then.
        [{'tessera_redis_ping_seconds{redis="queue"}': "0.2 0.001 0.2 0.001 0.2 0.001x20"}],
    ),
    "TesseraCertificateExpires": (
        90,
        {'tessera_certificate_end_timestamp_seconds{certificate="client"}': f"{3 * 86400}x100"},
        [{'tessera_certificate_end_timestamp_seconds{certificate="client"}': f"{30 * 86400}x100"}],
    ),
    "TesseraRecordsDamaged": (
        10,
        {'tessera_corrupt_records_total{model="m",kind="job"}': "0x5 1x10"},
        [{'tessera_corrupt_records_total{model="m",kind="job"}': "3x20"}],
    ),
}  # fmt: skip


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("promtool")
    assert tool, "there is no promtool: run `make tools`"
    return subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, timeout=240)


def fires(alert: str, minutes: int, series: Series, count: int) -> dict[str, Any]:
    """A test of promtool's: that so many of an alert are on."""
    expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    expected = [{"labels": "{}", "value": count}]
    return {
        "name": f"{alert}: {count} of {series}",
        "interval": "1m",
        "input_series": [{"series": name, "values": told} for name, told in series.items()],
        "promql_expr_test": [{"expr": expression, "eval_time": f"{minutes}m", "exp_samples": expected}],
    }


def test_every_rule_is_well_formed():
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr


# Hours are evaluated every five minutes, or it would take long.
@pytest.mark.parametrize(("lasting", "every"), [(range(100), "1m"), (range(100, 5000), "5m")], ids=["short", "long"])
def test_every_alert_fires_and_keeps_silent(lasting: range, every: str, tmp_path: Path):
    assert set(CASES) == set(ALERTS)
    tests = []
    for alert, (minutes, firing, silent) in CASES.items():
        assert silent
        if minutes in lasting:
            tests += [fires(alert, minutes, firing, 1), *(fires(alert, minutes, series, 0) for series in silent)]
    assert tests
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": every, "tests": tests}))
    ran = promtool("test", "rules", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_metric_in_a_rule_is_exported():
    for group in GROUPS:
        for rule in group["rules"]:
            assert used_metrics(rule["expr"]) <= exported_metrics(), rule.get("alert", rule.get("record"))


def test_every_record_is_used():
    told = [rule["expr"] for rule in ALERTS.values()]
    for group in GROUPS:
        for rule in group["rules"]:
            assert "alert" in rule or any(rule["record"] in expr for expr in told)


def test_every_alert_says_what_it_means_and_where_to_read_on():
    headings = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(ALERTS), "a paragraph for each alert, and no others"
    for name, alert in ALERTS.items():
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["runbook"] == f"docs/runbooks.md#{name.lower()}"


@pytest.mark.parametrize("address", ["", "https://example.com/tessera/"])
def test_the_operator_gets_the_rules_as_they_are(address: str):
    given = values(monitoring={"prometheusRule": True, "runbookUrl": address})
    rendered = find(render(given), "PrometheusRule", "tessera")["spec"]["groups"]
    assert rendered[0] == GROUPS[0]
    alerts = {rule["alert"]: rule for group in rendered for rule in group["rules"] if "alert" in rule}
    told = alerts["TesseraNoWorker"]["annotations"]
    assert told == {
        "summary": "No worker serves {{ $labels.model }}.",
        "runbook": f"{address}docs/runbooks.md#tesseranoworker",
    }
