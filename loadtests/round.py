"""One round: some seconds of closed-loop load on one side."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from loadtests.client import Answer, Connection
from loadtests.processes import CLIENT, ProcessTimes
from loadtests.response import BadAnswer

# Load before the window, so that a round's first requests, which all begin at once, are not counted.
SETTLE_S = 0.4


@dataclass(slots=True)
class Round:
    """What one side did in one round.

    Attributes:
        window_s: seconds during which answers were counted.
        answers: those that were complete within it.
        errors: how often each went wrong, at any time.
        cpu_s: CPU seconds within the window by part of the stack; only the client's for a deployment elsewhere.
        machine_s: CPU seconds within the window of everything on this machine.
        drained: the requests that had been built were used up, and the window ended early.
    """

    window_s: float = 0.0
    answers: list[Answer] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    cpu_s: dict[str, float] = field(default_factory=dict)
    machine_s: float = 0.0
    drained: bool = False

    @property
    def requests_per_s(self) -> float:
        """Complete answers a second."""
        return len(self.answers) / self.window_s if self.window_s else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Output tokens of complete answers a second."""
        return sum(answer.tokens for answer in self.answers) / self.window_s if self.window_s else 0.0

    @property
    def ttft_ms(self) -> list[float]:
        """Time to first token of each answer."""
        return [1000 * answer.ttft_s for answer in self.answers]

    @property
    def client_share(self) -> float:
        """CPU seconds of this client per second: how much of one core the load itself took."""
        return self.cpu_s.get(CLIENT, 0.0) / self.window_s if self.window_s else 0.0

    @property
    def foreign_cores(self) -> float:
        """CPU seconds per second of programs that are neither client nor stack: how many cores they took."""
        foreign_s = self.machine_s - sum(self.cpu_s.values())
        return max(0.0, foreign_s / self.window_s) if self.window_s else 0.0


async def run_round(host: str, port: int, requests: list[bytes], *, tokens: int, streams: int, seconds: float) -> Round:
    """Keep ``streams`` requests running for ``seconds``, each on a connection of its own; then let them end.

    Args:
        requests: to be sent, each once.
        tokens: output tokens that each answer must have.
    """
    load = _Load(host, port, iter(requests), tokens)
    times = ProcessTimes()
    running = [asyncio.create_task(load.stream()) for _ in range(streams)]
    try:
        await load.over(SETTLE_S)
        before, machine_s, began_s = times.read(), times.machine(), time.perf_counter()
        await load.over(seconds)
        ended_s, machine_s, after = time.perf_counter(), times.machine() - machine_s, times.read()
        load.stopped = True
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
    return Round(
        window_s=ended_s - began_s,
        answers=[answer for answer in load.answers if began_s <= answer.ended_s < ended_s],
        errors=load.errors,
        cpu_s={part: seconds - before.get(part, 0.0) for part, seconds in after.items()},
        machine_s=machine_s,
        drained=load.drained,
    )


class _Load:
    def __init__(self, host: str, port: int, requests: Iterator[bytes], tokens: int):
        self._address = host, port
        self._requests = requests
        self._tokens = tokens
        self._ended = asyncio.Event()
        self.stopped = self.drained = False
        self.answers: list[Answer] = []
        self.errors: Counter[str] = Counter()

    async def over(self, seconds: float) -> None:
        """Wait, but not after a stream has ended: the load is then no longer the one that is to be measured."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)

    async def stream(self) -> None:
        try:
            with await Connection.open(*self._address) as connection:
                for request in self._requests:
                    self.answers.append(await connection.exchange(request, self._tokens))
                    if self.stopped:
                        return
                self.drained = True
        except (BadAnswer, OSError) as error:
            # No second try: a stream that goes on after errors would measure how fast errors are.
            self.errors[str(error) or type(error).__name__] += 1
        self._ended.set()
