"""One request on its way through the engine: what earlier workers made of it, then what is made of it here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any

from tessera.worker.simulated import scheduler
from tessera.worker.simulated.choice import Choice, Piece
from tessera.worker.simulated.core import Core
from tessera.worker.simulated.request import GenerationRequest
from tessera.worker.steps import Step
from tessera.worker.transcript import current


class _Told:
    """The choices that have a new token, in the order in which they got it.

    Apart from the generation, which has the sequences that tell it: in a circle they would all wait for Python's
    collector, which holds up every stream.

    Args:
        at_once: tokens that are waited for.
    """

    def __init__(self, at_once: int):
        self._at_once = at_once
        self._indices: list[int] = []
        self._news = asyncio.Event()

    def add(self, index: int) -> None:
        """One has."""
        self._indices.append(index)
        if len(self._indices) >= self._at_once:
            self._news.set()

    async def take(self) -> list[int]:
        """All there are, once there are enough."""
        await self._news.wait()
        self._news.clear()
        told, self._indices = self._indices, []
        return told


class Generation:
    """All choices of a request, as the engine makes them.

    Args:
        request_id: what its steps are recorded under.
    """

    def __init__(self, core: Core, request: GenerationRequest, request_id: str, choices: Sequence[Choice]):
        self._core = core
        self._request = request
        self._request_id = request_id
        self._choices = choices
        self._transcript = current.get()
        self._sequences: dict[int, scheduler.Sequence] = {}
        # As vLLM, which wakes nobody for a token who waits for the whole answer.
        each = request.stream or request.stop or request.simulate.wanted
        self._told = _Told(1 if each else sum(choice.most for choice in choices))

    async def run(self) -> AsyncIterator[Piece]:
        """What each token brings. Raises ``RequestFailed`` where the request asks for it."""
        spared = False
        for piece in self._past():
            spared = not self._request.simulate.again
            yield piece
        faults = None if spared else self._request.simulate
        made = 0
        if faults is not None:
            faults.check(made)
        try:
            self._begin()
            async for index in self._tokens():
                yield self._take(index)
                made += 1
                if faults is not None:
                    faults.check(made)
        finally:
            for sequence in self._sequences.values():
                self._core.drop(sequence)

    def usage(self) -> dict[str, Any]:
        """Tokens, as vLLM counts them."""
        firsts = self._choices[:: self._request.n]
        prompt, completion = sum(c.prompt.tokens for c in firsts), sum(c.tokens for c in self._choices)
        cached = sum(self._sequences[c.index].cached or 0 for c in firsts if c.index in self._sequences)
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + completion,
            "completion_tokens": completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def _past(self) -> Iterator[Piece]:
        for take in self._transcript.past(self._request_id) if self._transcript is not None else ():
            for step, number in take:
                yield self._choices[step.sequence].accept(number)

    def _begin(self) -> None:
        for choice in self._choices:
            if choice.finish is None:
                sequence = scheduler.Sequence(
                    choice.prompt,
                    choice.most,
                    partial(self._told.add, choice.index),
                    made=choice.tokens,
                    slowness=self._request.simulate.slowness,
                )
                self._sequences[choice.index] = sequence
                self._core.add(sequence)

    async def _tokens(self) -> AsyncIterator[int]:
        """The choice to which each new token belongs, until all have ended."""
        while any(choice.finish is None for choice in self._choices):
            for index in await self._told.take():
                # It may have found its stop string when this one was on its way.
                if self._choices[index].finish is None:
                    yield index

    def _take(self, index: int) -> Piece:
        choice = self._choices[index]
        number = choice.tokens
        piece = choice.accept(number)
        if choice.finish is not None:
            self._core.drop(self._sequences[index])
        if self._transcript is not None:
            content = self._transcript.codec.encode(number)
            self._transcript.take(self._request_id, [Step(index, choice.finish is not None, content)])
        return piece
