"""One run: the right answers are learnt in peace, then asked for while the server is harmed."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from loadtests.chaos.client import Client
from loadtests.chaos.faults import Faults
from loadtests.chaos.flight import Flight
from loadtests.chaos.questions import Question, questions
from loadtests.chaos.said import Said, Spoken
from loadtests.chaos.server import Server, Size, running
from loadtests.chaos.tally import Tally
from tessera.local.up import ended_by_signals
from tessera.settings import VLLM

# Questions for each stream: two requests that are under way at once never have the same answer.
QUESTIONS_A_STREAM = 2
TOLD_S = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to what.

    Attributes:
        kills: processes to be ended by ``kill -9``.
        seconds: longest time of it.
        pause_s: between two faults, on average.
        streams: requests under way at once.
        seed: of all that is random.
        tree: of another version, which the server runs at first.
    """

    kills: int
    seconds: float
    pause_s: float = 0.7
    streams: int = 36
    seed: int = 0
    size: Size = field(default_factory=Size)
    tree: Path | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """A server under load, to do something to.

    Attributes:
        flights: requests under way, by the id that they were sent with.
    """

    plan: Plan
    server: Server
    http: aiohttp.ClientSession
    flights: dict[str, Flight]
    tally: Tally
    chance: random.Random


Tell = Callable[[Tally], None]
Act = Callable[[Scene], Awaitable[None]]


async def harm(scene: Scene) -> None:
    """Strike at random."""
    plan = scene.plan
    faults = Faults(scene.server, scene.http, scene.flights, scene.tally, scene.chance)
    await faults.run(kills=plan.kills, seconds=plan.seconds, pause_s=plan.pause_s)


async def run(plan: Plan, folder: Path | None = None, tell: Tell = lambda _: None, act: Act = harm) -> Tally:
    """Carry a plan out, or what of it there is time for until SIGINT or SIGTERM.

    Args:
        folder: for logs and Redis' data, which stay there; None: they go with the run.
        tell: called every ``TOLD_S`` with what was counted so far.
        act: what is done to the server.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="t-") as scratch:
            return await run(plan, Path(scratch), tell, act)
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
        running(plan.size, folder, http, tree=plan.tree) as server,
    ):
        return await _run(plan, server, http, tell, act)


async def _run(plan: Plan, server: Server, http: aiohttp.ClientSession, tell: Tell, act: Act) -> Tally:
    chance, tally = random.Random(plan.seed), Tally()
    asked = questions(plan.streams * QUESTIONS_A_STREAM, chance, plan.size.engine)
    new = Spoken if plan.size.engine == VLLM else Said
    teacher = Client(http, server.gateways, Tally(), chance, new)
    right = await _learn(asked, teacher, plan.streams)
    if plan.size.engine == VLLM:
        free = await _steady(asked, right, teacher)
        tally.unsteady = len(asked) - len(free)
        if len(free) < plan.streams:
            raise RuntimeError(
                f"Of {len(asked)} questions only {len(free)} have the same answer twice: ask fewer at once."
            )
    else:
        free = list(asked)
    client = Client(http, server.gateways, tally, chance, new)
    over = asyncio.Event()

    async def keep_asking() -> None:
        while not over.is_set():
            question = free.pop(chance.randrange(len(free)))
            await client.ask(question, right[id(question)])
            free.append(question)

    async def keep_telling() -> None:
        while True:
            await asyncio.sleep(TOLD_S)
            tell(tally)

    telling = asyncio.create_task(keep_telling())
    async with asyncio.TaskGroup() as streams:
        for _ in range(plan.streams):
            streams.create_task(keep_asking())
        try:
            with ended_by_signals():
                await act(Scene(plan, server, http, client.flights, tally, chance))
        finally:
            over.set()
    telling.cancel()
    return tally


async def _learn(asked: list[Question], client: Client, at_once: int) -> dict[int, Said]:
    """The answers of a server that is well. Raises ``RuntimeError`` where it gives none."""
    room = asyncio.Semaphore(at_once)

    async def learn(question: Question) -> tuple[int, Said]:
        async with room:
            said = await client.ask(question, None)
        if said is None:
            raise RuntimeError(f"The server that nobody harmed did not answer: {question.kind}")
        return id(question), said

    return dict(await asyncio.gather(*(learn(question) for question in asked)))


async def _steady(asked: list[Question], right: dict[int, Said], client: Client) -> list[Question]:
    """Questions whose answers stay the same when they are asked alone.

    What is computed beside a request changes the last digits of what a real model computes for it, and where two tokens
    are as likely as each other, the answer; that is no fault of the server's.
    """
    alone = await _learn(asked, client, 1)
    return [question for question in asked if alone[id(question)].agrees_with(right[id(question)])]
