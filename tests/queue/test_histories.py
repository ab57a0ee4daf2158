"""Histories of many workers and gateways at random, checked after each step against a model of what must hold."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tessera.queue import Append, Broker, End, Failure, Job, Lease, connect
from tessera.queue.entry import decode
from tessera.settings import Settings

MODEL = "m"
WORKERS = ("w0", "w1", "w2")
CAPACITY = 4
CHANCE = st.integers(0, 10_000)


@dataclass
class Known:
    """What the model knows of a job."""

    job: Job
    order: int
    state: str = "queued"
    attempts: int = 0
    epochs: list[int] = field(default_factory=list)
    holder: str = ""
    log: list[bytes] = field(default_factory=list)
    failure: str = ""


class History(RuleBasedStateMachine):
    """Each rule is one verb, by a worker that holds jobs, or by one that believes that it does."""

    def __init__(self, redis_url: str):
        super().__init__()
        self.settings = Settings(redis_url=redis_url, redis_prefix=f"h-{secrets.token_hex(6)}", max_attempts=3)
        self.runner = asyncio.Runner()
        self.redis = connect(self.settings, name="history")
        self.broker = Broker(self.redis, self.settings)
        self.known: dict[str, Known] = {}
        self.held: dict[str, dict[str, Lease]] = {w: {} for w in WORKERS}
        self.zombies: list[Lease] = []

    def teardown(self) -> None:
        self.run(self._drain())
        self.run(self.redis.aclose())
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    # --- rules

    @rule(sequences=st.integers(1, CAPACITY + 2), again=st.booleans())
    def enqueue(self, sequences: int, again: bool) -> None:
        job = Job(f"j{len(self.known):03}", MODEL, "/", b"{}", sequences)
        self.known[job.id] = Known(job, len(self.known))
        for _ in range(1 + again):
            self.run(self.broker.enqueue(job, reply_to="g"))

    @precondition(lambda self: self.known)
    @rule(chance=CHANCE)
    def enqueue_an_old_one_again(self, chance: int) -> None:
        known = list(self.known.values())[chance % len(self.known)]
        self.run(self.broker.enqueue(known.job, reply_to="g"))

    @rule(worker=st.sampled_from(WORKERS), most=st.integers(1, 4))
    def lease(self, worker: str, most: int) -> None:
        mine = self.held[worker]
        free = CAPACITY - sum(lease.job.sequences for lease in mine.values())
        idle = not mine
        expected, room, alone = [], free, idle
        for known in self._waiting():
            if len(expected) == most or (known.job.sequences > room and not alone) or (expected and room <= 0):
                break
            expected.append(known.job.id)
            room, alone = room - known.job.sequences, False
        leases = self.run(self.broker.lease(MODEL, worker, free=free, idle=idle, most=most))
        assert [lease.job.id for lease in leases] == expected
        for lease in leases:
            known = self.known[lease.job.id]
            assert lease.job == known.job
            assert all(lease.epoch > epoch for epoch in known.epochs)
            known.epochs.append(lease.epoch)
            known.attempts += 1
            assert lease.attempts == known.attempts
            known.state, known.holder = "leased", worker
            mine[lease.job.id] = lease
        assert sum(lease.job.sequences for lease in mine.values()) <= CAPACITY or len(mine) == 1

    @precondition(lambda self: any(self.held.values()))
    @rule(chance=CHANCE, count=st.integers(0, 3), final=st.booleans(), overlap=st.integers(0, 2), again=st.booleans())
    def append(self, chance: int, count: int, final: bool, overlap: int, again: bool) -> None:
        worker, lease = self._some_lease(chance)
        known = self.known[lease.job.id]
        still = known.state == "leased" and known.epochs[-1] == lease.epoch
        new = [f"d{lease.epoch}:{len(known.log) + i}".encode() for i in range(count)]
        if final:
            new.append(End().encode())
        offset = max(len(known.log) - overlap, 0) if still else 0
        written = Append(lease.job.id, lease.epoch, offset, [*known.log[offset:], *new] if still else new, final)
        for turn in range(1 + again):
            lost = self.run(self.broker.append(MODEL, [written]))
            assert lost == ([] if still and not (turn and final) else [lease.job.id])
        if still:
            known.log += new
            if final:
                known.state = "finished"
        if final or not still:
            del self.held[worker][lease.job.id]

    @rule(worker=st.sampled_from(WORKERS))
    def renew(self, worker: str) -> None:
        mine = self.held[worker]
        lost = self.run(self.broker.renew(MODEL, mine.values()))
        assert sorted(lost) == sorted(i for i in mine if self.known[i].state != "leased")
        for job_id in lost:
            del mine[job_id]

    @rule(worker=st.sampled_from(WORKERS), failed=st.booleans())
    def release(self, worker: str, failed: bool) -> None:
        mine, self.held[worker] = self.held[worker], {}
        given = [self.known[i] for i in mine if self.known[i].state == "leased"]
        for known in given:
            known.attempts -= not failed
            self._give_back(known)
        requeued = self.run(self.broker.release(MODEL, mine.values(), failed=failed))
        assert requeued == sum(known.state == "queued" for known in given)
        self.zombies += mine.values()

    @rule(worker=st.sampled_from(WORKERS))
    def die(self, worker: str) -> None:
        mine, self.held[worker] = self.held[worker], {}
        given = [self.known[i] for i in mine if self.known[i].state == "leased"]
        self.run(self._lapse(mine))
        for known in given:
            self._give_back(known)
        requeued = sum(known.state == "queued" for known in given)
        assert self.run(self.broker.reap(MODEL)) == (requeued, len(given) - requeued)
        self.zombies += mine.values()

    @precondition(lambda self: self.zombies)
    @rule(chance=CHANCE, final=st.booleans())
    def write_from_the_grave(self, chance: int, final: bool) -> None:
        lease = self.zombies[chance % len(self.zombies)]
        written = Append(lease.job.id, lease.epoch, 0, [b"dghost"], final)
        assert self.run(self.broker.append(MODEL, [written])) == [lease.job.id]
        assert self.run(self.broker.renew(MODEL, [lease])) == [lease.job.id]
        assert self.run(self.broker.release(MODEL, [lease], failed=True)) == 0

    @precondition(lambda self: self.known)
    @rule(chance=CHANCE)
    def cancel(self, chance: int) -> None:
        known = list(self.known.values())[chance % len(self.known)]
        assert self.run(self.broker.cancel(MODEL, known.job.id)) == known.state
        if known.state in {"queued", "leased"}:
            known.state = "cancelled"

    @precondition(lambda self: self._waiting())
    @rule()
    def let_the_oldest_wait_too_long(self) -> None:
        known = self._waiting()[0]
        self.run(self.redis.hset(self.broker.keys.job(MODEL, known.job.id), "deadline_ms", 1))
        assert self.run(self.broker.reap(MODEL)) == (0, 1)
        known.state, known.failure = "evicted", "queue_timeout"

    @rule()
    def reap(self) -> None:
        assert self.run(self.broker.reap(MODEL)) == (0, 0)

    # --- what must hold

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        waiting, leased, found = self.run(self._look())
        assert waiting == [known.job.id.encode() for known in self._waiting()]
        assert leased == {k.job.id.encode() for k in self.known.values() if k.state == "leased"}
        for known, state, log in zip(self.known.values(), found[::2], found[1::2], strict=True):
            assert state.decode() == known.state
            own = log[:-1] if known.failure else log
            assert own == known.log
            if known.failure:
                last = decode(log[-1])
                assert isinstance(last, Failure)
                assert last.code == known.failure

    # --- helpers

    def _waiting(self) -> list[Known]:
        return [known for known in self.known.values() if known.state == "queued"]

    def _some_lease(self, chance: int) -> tuple[str, Lease]:
        held = [(worker, lease) for worker, mine in self.held.items() for lease in mine.values()]
        return held[chance % len(held)]

    def _give_back(self, known: Known) -> None:
        if known.log or known.attempts >= self.settings.max_attempts:
            known.state, known.failure = "evicted", "worker_lost"
        else:
            known.state = "queued"

    async def _lapse(self, mine: dict[str, Lease]) -> None:
        for job_id in mine:
            await self.redis.zadd(self.broker.keys.leases(MODEL), {job_id: 1}, xx=True)

    async def _look(self) -> tuple[list[bytes], set[bytes], list[Any]]:
        keys = self.broker.keys
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.zrange(keys.queue(MODEL), 0, -1)
            pipe.zrange(keys.leases(MODEL), 0, -1)
            for job_id in self.known:
                pipe.hget(keys.job(MODEL, job_id), "state")
                pipe.lrange(keys.log(MODEL, job_id), 0, -1)
            waiting, leased, *found = await pipe.execute()
        return waiting, set(leased), found

    async def _drain(self) -> None:
        """Everything that is left can be brought to its end by one worker."""
        for mine in self.held.values():
            await self._lapse(mine)
        await self.broker.reap(MODEL)
        while leases := await self.broker.lease(MODEL, "last", free=1, idle=True, most=1):
            for lease in leases:
                await self.broker.append(MODEL, [Append(lease.job.id, lease.epoch, 0, [End().encode()], final=True)])
        assert await self.broker.depth(MODEL) == (0, 0)
        for job_id in self.known:
            state = await self.redis.hget(self.broker.keys.job(MODEL, job_id), "state")
            assert state in {b"finished", b"cancelled", b"evicted"}


def test_no_history_loses_or_doubles_a_job(redis_url: str) -> None:
    settings = hypothesis.settings(
        max_examples=40,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run_state_machine_as_test(lambda: History(redis_url), settings=settings)
