from __future__ import annotations

import io
import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from loadtests import report
from loadtests.client import Answer
from loadtests.requests import Workload
from loadtests.round import Round
from loadtests.summary import Cell, Pair, Side, Spread, percentile


def a_round(requests: int, *, ttft_ms: float = 10.0, window_s: float = 2.0, **more) -> Round:
    answers = [Answer(ttft_ms / 1000, 0.0, tokens=16, events=15) for _ in range(requests)]
    return Round(window_s=window_s, answers=answers, **more)


def a_cell(*pairs: tuple[Round, Round], streams: int = 16) -> Cell:
    return Cell(Workload.TEXT, streams, [Pair(*pair) for pair in pairs])


def shown(*cells: Cell) -> str:
    console = Console(file=io.StringIO(), width=140)
    report.show(cells, console)
    return console.file.getvalue()


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0, 100))
def test_percentiles_are_numpys(values, percent):
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), abs=1e-6)


def test_the_percentile_of_nothing():
    assert math.isnan(percentile([], 50))


def test_a_spread():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert math.isnan(Spread.of([]).median)


def test_a_side_takes_medians_of_rates_and_pools_latencies():
    side = Side([a_round(20, ttft_ms=5), a_round(10, ttft_ms=50), a_round(60, ttft_ms=5)])
    assert side.requests_per_s == 10
    assert side.tokens_per_s == 160
    assert side.ttft_p50_ms == pytest.approx(5)
    assert side.ttft_p99_ms == pytest.approx(50)
    assert side.events_per_request == 15


def test_cpu_time_is_spread_over_all_requests():
    side = Side([a_round(10, cpu_s={"gateway": 0.02, "client": 0.01}), a_round(30, cpu_s={"gateway": 0.06})])
    assert side.cpu_ms_per_request == {"client": pytest.approx(0.25), "gateway": pytest.approx(2.0)}
    assert side.client_share == pytest.approx(0.0025)


def test_the_ratio_is_the_median_of_the_rounds_ratios_and_not_the_ratio_of_medians():
    # The machine became four times slower: rounds side by side still agree.
    cell = a_cell((a_round(400), a_round(300)), (a_round(100), a_round(80)), (a_round(100), a_round(70)))
    assert cell.throughput_ratio == Spread(0.75, 0.7, 0.8)


def test_what_is_added_to_the_first_token():
    cell = a_cell((a_round(5, ttft_ms=5), a_round(5, ttft_ms=7)), (a_round(5, ttft_ms=50), a_round(5, ttft_ms=53)))
    assert cell.added_ttft_ms.median == pytest.approx(2.5)
    assert cell.added_ttft_ms.high == pytest.approx(3)


@pytest.mark.parametrize(("requests", "met"), [(75, True), (74, False)])
def test_the_target_under_load(requests, met):
    [(text, verdict)] = a_cell((a_round(100), a_round(requests))).verdicts()
    assert verdict is met
    assert "text, 16 streams" in text


@pytest.mark.parametrize(("added_ms", "met"), [(-1, True), (1.9, True), (2.1, False)])
def test_the_target_of_a_single_stream(added_ms, met):
    [(_, verdict)] = a_cell((a_round(9), a_round(9, ttft_ms=10 + added_ms)), streams=1).verdicts()
    assert verdict is met


def test_other_cells_have_no_target():
    assert a_cell((a_round(1), a_round(1)), streams=4).verdicts() == []


def test_a_cell_with_errors_meets_no_target():
    cell = a_cell((a_round(100), a_round(100, errors=Counter({"status 500": 2}))))
    assert cell.errors == {"status 500": 2}
    assert [met for _, met in cell.verdicts()] == [False]
    text = shown(cell)
    assert "MISS" in text
    assert "2 × status 500" in text


def test_a_side_without_answers_is_shown():
    assert "nan" in shown(a_cell((a_round(0), a_round(0))))


def test_the_report_shows_both_sides_and_the_client():
    cpu = {"gateway": 0.1, "client": 0.02}
    text = shown(a_cell((a_round(100, cpu_s={**cpu, "gateway": 0.0}), a_round(80, cpu_s=cpu))))
    assert "0.80 (0.80 … 0.80)" in text
    assert "0.00 → 1.25" in text
    assert "at most 1% of one core" in text
    assert "PASS" in text


def test_a_heavy_client_is_called_heavy():
    assert "heavy" in shown(a_cell((a_round(9, cpu_s={"client": 0.9}), a_round(9))))


def test_a_busy_machine_is_called_busy():
    cpu = {"gateway": 0.5, "client": 0.1}
    quiet = a_round(9, cpu_s=cpu, machine_s=0.7)
    assert quiet.foreign_cores == pytest.approx(0.05)
    assert "busy" not in shown(a_cell((quiet, quiet)))
    assert "up to 0.70 of" in (text := shown(a_cell((quiet, a_round(9, cpu_s=cpu, machine_s=2.0)))))
    assert "busy" in text


def test_the_report_file(tmp_path):
    path = tmp_path / "bench.json"
    report.write_json([a_cell((a_round(100), a_round(80)))], path, {"rounds": 1})
    document = json.loads(path.read_text())
    [cell] = document["cells"]
    assert document["run"] == {"rounds": 1}
    assert cell["throughput_ratio"]["median"] == 0.8
    assert cell["direct"]["requests_per_s"] == 50
    assert cell["targets"][0]["met"] is True
