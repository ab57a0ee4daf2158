"""What is given again passes through vLLM's own output processor, which counts and traces what this engine did."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("vllm")

from tessera.worker.recorder import Recorder
from tessera.worker.steps import StepCodec
from tessera.worker.transcript import Transcript, current

# Of torch's, at its import.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Engine:
    """vLLM's ``AsyncLLM`` without its processes: a core that a test speaks for."""

    def __init__(self) -> None:
        from vllm.v1.engine.output_processor import OutputProcessor

        self.output_processor = OutputProcessor(None, log_stats=True, tracing_enabled=True)
        self.output_processor.do_tracing = lambda _, state, statistics: self.told.append((state.stats, statistics))
        self.engine_core = SimpleNamespace(add_request_async=self._submit, abort_requests_async=None)
        self.told: list[Any] = []
        self.core: list[Any] = []

    async def _submit(self, request: Any) -> None:
        self.core.append(request)

    async def add_request(self, request_id: str) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine import EngineCoreRequest
        from vllm.v1.engine.output_processor import RequestOutputCollector

        params = SamplingParams(max_tokens=9, output_kind=RequestOutputKind.DELTA, detokenize=False)
        made = {"sampling_params": params, "arrival_time": time.time(), "external_req_id": request_id}
        empty = dict.fromkeys(
            ("mm_features", "pooling_params", "lora_request", "cache_salt", "data_parallel_rank"), None
        )
        request = EngineCoreRequest(request_id=f"{request_id}-own", prompt_token_ids=[1, 2], **empty, **made)
        queue = RequestOutputCollector(RequestOutputKind.DELTA, request_id)
        self.output_processor.add_request(request, None, None, 0, queue)
        await self.engine_core.add_request_async(request)
        return queue

    def says(self, *tokens: int, first: bool = False, last: bool = False) -> Any:
        """The core gives tokens. Returns the statistics of this step."""
        from vllm.v1.engine import EngineCoreEvent, EngineCoreEventType, EngineCoreOutput, FinishReason
        from vllm.v1.metrics.stats import IterationStats

        kinds = (EngineCoreEventType.QUEUED, EngineCoreEventType.SCHEDULED) if first else ()
        events = [EngineCoreEvent.new_event(kind) for kind in kinds]
        reason = FinishReason.LENGTH if last else None
        output = EngineCoreOutput("r-own", list(tokens), finish_reason=reason, events=events)
        statistics = IterationStats()
        self.output_processor.process_outputs([output], time.monotonic(), statistics)
        return statistics


async def record(*, ended: bool) -> list[bytes]:
    """What another engine made: two tokens."""
    engine, transcript = Engine(), Transcript(StepCodec())
    Recorder(engine)
    current.set(transcript)
    queue = await engine.add_request("r")
    for token in (5, 6):
        engine.says(token, first=token == 5, last=ended and token == 6)
        await queue.get()
    return [transcript.drain()]


async def test_an_engine_that_goes_on_counts_from_its_own_first_token():
    recorded = await record(ended=False)
    engine = Engine()
    Recorder(engine)
    current.set(Transcript(StepCodec(), recorded))
    queue = await engine.add_request("r")
    assert [queue.get_nowait().outputs[0].token_ids for _ in range(2)] == [[5], [6]]
    first = engine.says(7, first=True)
    assert (len(first.time_to_first_tokens_iter), first.inter_token_latencies_iter) == (1, [])
    then = engine.says(8)
    assert (then.time_to_first_tokens_iter, len(then.inter_token_latencies_iter)) == ([], 1)
    [ended] = engine.says(9, last=True).finished_requests
    assert ended.num_generation_tokens == 3
    for took_s in (ended.queued_time, ended.prefill_time, ended.decode_time, ended.inference_time):
        assert 0 <= took_s < 60
    [(stats, _)] = engine.told
    assert stats.scheduled_ts <= stats.first_token_ts <= stats.last_token_ts


async def test_of_what_ended_in_the_past_this_engine_tells_nothing():
    recorded = await record(ended=True)
    engine = Engine()
    Recorder(engine)
    current.set(Transcript(StepCodec(), recorded))
    queue = await engine.add_request("r")
    given = [queue.get_nowait() for _ in range(2)]
    assert [output.outputs[0].token_ids for output in given] == [[5], [6]]
    assert given[-1].finished
    assert (engine.core, engine.told) == ([], [])
    assert engine.output_processor.tracing_enabled


async def test_what_ended_while_the_past_was_given_is_told():
    recorded = await record(ended=False)
    engine = Engine()
    Recorder(engine)
    current.set(Transcript(StepCodec(), recorded))
    queue = await engine.add_request("r")
    engine.says(7, first=True)
    engine.says(8, last=True)
    assert engine.told == [], "it is held back"
    given = [queue.get_nowait() for _ in range(3)]
    assert [output.outputs[0].token_ids for output in given] == [[5], [6], [7, 8]]
    [(stats, statistics)] = engine.told
    assert statistics is not None
    assert stats.scheduled_ts <= stats.first_token_ts <= stats.last_token_ts
