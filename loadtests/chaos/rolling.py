"""A rolling update: each gateway and each worker gets a successor and is then told to end, one after the other."""

from __future__ import annotations

import asyncio
from functools import partial

from loadtests.chaos.flight import Strike, flights_of
from loadtests.chaos.part import Part
from loadtests.chaos.replica import HEAL_S
from loadtests.chaos.run import Scene
from loadtests.chaos.server import START_S, until
from loadtests.chaos.worker import ProcessWorker
from tessera.settings import VLLM

# Beyond its drain; Ray takes longer to stop.
END_S = 30.0
END_WITH_RAY_S = 120.0


async def roll(scene: Scene, *, rounds: int = 1) -> None:
    """Replace everything so many times, gateways and workers side by side, as two Deployments would be.

    Raises:
        RuntimeError: a part did not end as it should: in time, and with exit code 0.
        TimeoutError: a successor does not serve.
    """
    for round_ in range(rounds):
        async with asyncio.TaskGroup() as both:
            both.create_task(_gateways(scene))
            both.create_task(_workers(scene, round_))


async def _gateways(scene: Scene) -> None:
    server = scene.server
    for number, (url, old) in enumerate(list(server.gateways)):
        successor = server.new_gateway(number)
        await asyncio.to_thread(successor[1].start)
        async with asyncio.timeout(START_S):
            await until(partial(server.gateway_answers, scene.http, successor[0]))
        server.gateways.append(successor)
        old.ask_to_end()
        # As a load balancer, which learns of it a while later.
        await asyncio.sleep(server.size.gateway_notice_s / 2)
        server.gateways.remove((url, old))
        await _ended(old, server.size.gateway_drain_s + END_S)
        scene.tally.strikes["gateway replaced"] += 1


async def _workers(scene: Scene, round_: int) -> None:
    size = scene.server.size
    start_s, end_s = (HEAL_S, END_WITH_RAY_S) if size.engine == VLLM else (START_S, END_S)
    for worker in scene.server.fleet.workers:
        assert isinstance(worker, ProcessWorker), "vLLM's replicas are Ray's to replace"
        async with asyncio.timeout(start_s):
            old = await worker.succeed(round_)
        jobs = await scene.server.jobs_of(old.worker_ids)
        strike = Strike("worker replaced", asyncio.get_running_loop().time())
        for flight in flights_of(scene.flights, jobs):
            flight.strikes.append(strike)
        old.ask_to_end()
        await _ended(old, size.drain_s + end_s)
        scene.tally.strikes["worker replaced"] += 1


async def _ended(part: Part, at_most_s: float) -> None:
    async def over() -> bool:
        return part.exit_code is not None

    try:
        async with asyncio.timeout(at_most_s):
            await until(over)
    except TimeoutError:
        part.kill()
        raise RuntimeError(f"{part.name} still ran {at_most_s:g} s after it was told to end") from None
    if part.exit_code:
        raise RuntimeError(f"{part.name} ended with {part.exit_code}: its log says why")
