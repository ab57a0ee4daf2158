"""Workers that die of one request, and are replaced as Ray would."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from tessera.queue import Broker, Failure
from tests.queue.corner import depth_of
from tests.worker.floor import Application, Floor, all_answered
from tests.worker.jobs import MODEL, enqueue, log_of, text_of

POISON = {"prompt": "poison"}
WORKERS = 2


class Engine(Application):
    """One that the poison kills, together with all that it runs."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if b"poison" in (await receive())["body"]:
            self.dead = True
            self.go.set()
            raise RuntimeError("EngineDeadError")
        await super().__call__(scope, receive, send)


async def test_one_bad_request_ends_as_many_engines_as_may_and_everybody_else_is_answered(
    floor: Floor, broker: Broker
) -> None:
    engines: list[Engine] = []
    innocents = [await enqueue(broker, stream=True) for _ in range(5)]
    poison = await enqueue(broker, body=POISON)
    innocents += [await enqueue(broker, stream=True) for _ in range(5)]

    async def keep_a_worker() -> None:
        while True:
            engine = Engine()
            engines.append(engine)
            engine.first_piece = True
            frontend = floor.start(engine, sequences=16)
            # Those beside the poison have begun, and go on where it has not killed their engine.
            asyncio.get_running_loop().call_later(0.1, engine.go.set)
            await floor.tasks[frontend]

    workers = [asyncio.create_task(keep_a_worker()) for _ in range(WORKERS)]
    try:
        await all_answered(broker, [*innocents, poison])
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    assert {await text_of(broker, job) for job in innocents} == {b"begun\n\ndone"}
    [failure] = await log_of(broker, poison)
    assert isinstance(failure, Failure)
    assert failure.code == "poison_request"
    assert sum(engine.dead for engine in engines) == floor.settings.max_attempts
    assert await depth_of(broker, MODEL) == (0, 0)
