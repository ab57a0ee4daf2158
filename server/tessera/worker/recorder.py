"""Listens at the boundary between vLLM's API process and its engine core, and plays a record back into it.

Between the two stand the core's client, which takes requests, and the output processor, which takes the core's outputs
and keeps each request's detokenizer, stop strings and log-probabilities. Both are vLLM's and stay so: the recorder
wraps three of their methods. A request of a job with a record gets its recorded steps from here, as if the core had
just made them, while the core gets the prompt and the tokens that were made of it before (see ``resumption``), and
goes on.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from tessera.worker.bridge import vllm_name
from tessera.worker.resumption import RECORDED
from tessera.worker.steps import Step
from tessera.worker.transcript import Transcript, current

# The request that is being handed to the core, sequence by sequence.
_adding: ContextVar[_Tap | None] = ContextVar("adding", default=None)


class Recorder:
    """Records the requests of jobs that have a ``Transcript``; all others pass by.

    Args:
        engine: vLLM's ``AsyncLLM``, before its first request.
    """

    def __init__(self, engine: Any):
        self.processor, self._core = engine.output_processor, engine.engine_core
        self._add, engine.add_request = engine.add_request, self._add_request
        self._submit, self._core.add_request_async = self._core.add_request_async, self._submit_request
        self._process, self.processor.process_outputs = self.processor.process_outputs, self._process_outputs
        # Sequences in the engine, by vLLM's internal id.
        self._taps: dict[str, tuple[_Tap, int]] = {}
        self._aborting: set[asyncio.Task[None]] = set()

    async def _add_request(self, request_id: str, *arguments: Any, **options: Any) -> Any:
        transcript = current.get()
        if transcript is None:
            return await self._add(request_id, *arguments, **options)
        tap = _Tap(self, request_id, transcript)
        token = _adding.set(tap)
        try:
            queue = await self._add(request_id, *arguments, **options)
        except BaseException:
            tap.close()
            raise
        finally:
            _adding.reset(token)
        tap.attach(queue)
        return queue

    async def _submit_request(self, request: Any) -> None:
        tap, params = _adding.get(), request.sampling_params
        if params is not None and params.extra_args:
            params.extra_args.pop(RECORDED, None)  # a client can name extra arguments, too
        if tap is not None:
            sequence = tap.open(request.request_id)
            self._taps[request.request_id] = tap, sequence
            tokens, finished = tap.recorded(sequence)
            if finished:
                return
            if tokens:
                request = _continued(request, tokens)
        await self._submit(request)

    def _process_outputs(self, outputs: list[Any], *arguments: Any, **options: Any) -> Any:
        taps = self._taps
        if not taps:
            return self._process(outputs, *arguments, **options)
        live, seen = [], []
        for output in outputs:
            identity = output.request_id
            entry = taps.get(identity)
            if entry is None:
                live.append(output)
            elif not entry[0].hold(output):
                live.append(output)
                # Before vLLM has it, which joins the tokens of outputs that nobody has taken yet.
                seen.append((identity, *entry, entry[0].codec.encode(output)))
        processed = self._process(live, *arguments, **options)
        states = self.processor.request_states
        for identity, tap, sequence, content in seen:
            tap.note(Step(sequence, identity not in states, content))
        return processed

    def replay(self, outputs: list[Any]) -> None:
        """Hand outputs that were recorded to vLLM's processor."""
        # Statistics and spans are of what this engine did: of a sequence that ended in the past there are none, and the
        # first token is the first that is made here. vLLM takes it for the first where it thinks of a prefill.
        traced, self.processor.tracing_enabled = self.processor.tracing_enabled, False
        try:
            # Sequences that ended in the past were never given to the core, so there is nothing to abort.
            self._process(outputs)
        finally:
            self.processor.tracing_enabled = traced
        for output in outputs:
            if (state := self.processor.request_states.get(output.request_id)) is not None:
                state.is_prefilling = True

    def release(self, outputs: list[Any]) -> None:
        """Go on with outputs of the core that were held back."""
        # vLLM has logged the statistics of their step already; those of the requests themselves go on.
        statistics = vllm_name("IterationStats")() if self.processor.log_stats else None
        unfinished = self._process_outputs(outputs, time.monotonic(), statistics).reqs_to_abort
        if unfinished:
            task = asyncio.create_task(self._core.abort_requests_async(unfinished))
            self._aborting.add(task)
            task.add_done_callback(self._aborting.discard)

    def forget(self, identity: str) -> None:
        """A sequence has ended, or nobody wants it any more."""
        self._taps.pop(identity, None)


def _continued(request: Any, tokens: list[int]) -> Any:
    """The request for the core: what was made of it before comes with it."""
    params = request.sampling_params.clone()
    params.extra_args = {**(params.extra_args or {}), RECORDED: tokens}
    # The record has them.
    params.prompt_logprobs = None
    continued = copy.copy(request)
    continued.sampling_params = params
    return continued


class _Tap:
    """Stands between one request's output queue and the application that takes from it."""

    def __init__(self, recorder: Recorder, request_id: str, transcript: Transcript):
        self._recorder = recorder
        self._request_id = request_id
        self._transcript = transcript
        self.codec = transcript.codec
        self._past = transcript.past(request_id)
        self._identities: list[str] = []
        self._noted: list[Step] = []
        self._held: list[Any] = []

    def open(self, identity: str) -> int:
        """The next of the request's sequences is handed to the core. Returns its number."""
        self._identities.append(identity)
        return len(self._identities) - 1

    def recorded(self, sequence: int) -> tuple[list[int], bool]:
        """Tokens that a sequence has already, and whether it had ended."""
        steps = [(step, output) for take in self._past for step, output in take if step.sequence == sequence]
        tokens = [token for _, output in steps for token in output.new_token_ids]
        return tokens, any(step.finished for step, _ in steps)

    def hold(self, output: Any) -> bool:
        """Keep an output of the core back where the past is still being given. Returns whether it was kept."""
        if self._past:
            self._held.append(output)
        return bool(self._past)

    def note(self, step: Step) -> None:
        """A step is in the queue."""
        self._noted.append(step)

    def attach(self, queue: Any) -> None:
        """Wrap the queue's two ways to take from it, and its end."""
        take_now, take, close = queue.get_nowait, queue.get, queue.close

        def get_nowait() -> Any:
            return self._given_again(take_now) if self._past else self._taken(take_now())

        async def get() -> Any:
            return self._taken(await take())

        def end() -> None:
            self.close()
            close()

        queue.get_nowait, queue.get, queue.close = get_nowait, get, end

    def close(self) -> None:
        """Listen no longer."""
        for identity in self._identities:
            self._recorder.forget(identity)

    def _taken(self, output: Any) -> Any:
        if output is not None and self._noted:
            self._transcript.take(self._request_id, self._noted)
            self._noted = []
        return output

    def _given_again(self, take_now: Callable[[], Any]) -> Any:
        """The next take of the past; with the last one, what the core has made meanwhile is let through."""
        steps = self._past.popleft()
        for step, output in steps:
            output.request_id = self._identities[step.sequence]
        self._recorder.replay([output for _, output in steps])
        output = take_now()
        if self._held and not self._past:
            held, self._held = self._held, []
            self._recorder.release(held)
        return output
