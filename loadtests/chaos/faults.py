"""What is done to the server, at random: each fault begins, is told to the requests that it concerns, and is mended."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from functools import partial

import aiohttp

from loadtests.chaos.flight import Flight, Strike, flights_of
from loadtests.chaos.part import Part, RedisPart
from loadtests.chaos.server import Server, until
from loadtests.chaos.tally import Tally
from loadtests.chaos.worker import Worker

# Kinds, and how often each comes; what is done to workers comes on top (`Fleet.KINDS`), to be a hundred in all.
KINDS = {
    "gateway killed": 10,
    "gateway stopped": 4,
    "redis killed": 5,
    "redis stopped": 3,
}
# Redis and gateways are down for as long as a restart takes; workers are replaced at once.
DOWN_S = (0.1, 1.0)
# After a restart, all are heard of again before the next one.
REST_S = 3.0


class Faults:
    """Harms a server.

    Args:
        flights: requests under way, by the id that they were sent with.
    """

    def __init__(
        self,
        server: Server,
        http: aiohttp.ClientSession,
        flights: dict[str, Flight],
        tally: Tally,
        chance: random.Random,
    ):
        self._server = server
        self._http = http
        self._flights = flights
        self._tally = tally
        self._chance = chance
        self._kinds = {**server.fleet.KINDS, **KINDS}
        self._harmed: set[str] = set()
        self._workers = {worker.name: worker for worker in server.fleet.workers}
        self._acting: set[asyncio.Task[None]] = set()

    async def run(self, *, kills: int, seconds: float, pause_s: float) -> None:
        """Strike until so many processes were killed, or the time is over; then mend everything.

        Args:
            pause_s: between two faults, on average.
        """
        clock = asyncio.get_running_loop().time
        end_s = clock() + seconds
        try:
            while self._tally.kills < kills and clock() < end_s:
                [kind] = self._chance.choices(list(self._kinds), list(self._kinds.values()))
                task = asyncio.create_task(self._strike(kind))
                self._acting.add(task)
                task.add_done_callback(self._acting.discard)
                await asyncio.sleep(self._chance.uniform(0.5, 1.5) * pause_s)
        finally:
            await asyncio.gather(*self._acting)

    async def _strike(self, kind: str) -> None:
        whom, what = kind.split(" ", 1)
        if whom == "redis":
            await self._redis(kind, what)
            return
        names = [g.name for _, g in self._server.gateways] if whom == "gateway" else list(self._workers)
        well = [name for name in names if name not in self._harmed]
        if len(well) < 2:
            return  # one is always well: nothing is shown by a server that nobody could reach
        name = self._chance.choice(well)
        self._harmed.add(name)
        try:
            if whom == "gateway":
                await self._gateway(kind, what, names.index(name))
            else:
                await self._worker(kind, self._workers[name])
        finally:
            self._harmed.discard(name)

    async def _worker(self, kind: str, worker: Worker) -> None:
        ids = worker.worker_ids
        told = set(await self._server.jobs_of(ids))
        self._tally.strikes[kind] += 1
        began_s = self._tell(kind, worker, flights_of(self._flights, told))
        await worker.harm(kind, self._chance)
        # What it was just given, it takes with it.
        taken = set(await self._server.jobs_of(ids)) - told
        self._tell(kind, worker, flights_of(self._flights, taken), began_s)
        if kind in self._server.fleet.MENDED:
            await asyncio.sleep(self._for_a_while_s())
            worker.mend()
        await worker.settled()

    async def _gateway(self, kind: str, what: str, number: int) -> None:
        url, gateway = self._server.gateways[number]
        self._tally.strikes[kind] += 1
        self._tell(kind, gateway, (f for f in self._flights.values() if f.gateway == number))
        if what == "killed":
            await asyncio.to_thread(gateway.kill)
            await asyncio.sleep(self._chance.uniform(*DOWN_S))
            await asyncio.to_thread(gateway.start)
            await until(partial(self._server.gateway_answers, self._http, url))
        else:
            gateway.stop()
            await asyncio.sleep(self._for_a_while_s())
            gateway.go_on()
        gateway.struck_at = asyncio.get_running_loop().time()

    async def _redis(self, kind: str, what: str) -> None:
        redis = self._server.redis
        if "redis" in self._harmed:
            return
        self._harmed.add("redis")
        self._tally.strikes[kind] += 1
        self._tell(kind, redis, self._flights.values())
        if what == "killed":
            await asyncio.to_thread(redis.kill)
            await asyncio.sleep(self._chance.uniform(*DOWN_S))
            redis.start()
        else:
            redis.stop()
            await asyncio.sleep(self._chance.uniform(*DOWN_S) * 2)
            redis.go_on()
        await until(self._server.redis_answers)
        await asyncio.sleep(REST_S)
        self._harmed.discard("redis")

    def _tell(
        self, kind: str, part: Worker | Part | RedisPart, concerned: Iterable[Flight], at_s: float | None = None
    ) -> float:
        """Tell requests of a fault. Returns when it was, by default now."""
        at_s = asyncio.get_running_loop().time() if at_s is None else at_s
        part.struck_at = at_s
        counts = "redis" not in self._harmed or part is self._server.redis
        for flight in concerned:
            flight.strikes.append(Strike(kind, at_s, counts))
        return at_s

    def _for_a_while_s(self) -> float:
        """Shorter than a lease, or longer."""
        return self._chance.uniform(0.2, 2.5) * self._server.size.lease_s
