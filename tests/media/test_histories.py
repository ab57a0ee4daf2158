"""Histories of many requests at random, checked after each step against a model of what must be in the books."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis

from tessera.media.ledger import Ledger, Reserved
from tessera.settings import Settings
from tests.media.books import check_books

ROOM = 100
SIZES = {letter * 64: size for letter, size in zip("abcdef", (10, 30, 40, 50, 60, 100), strict=True)}
GATEWAYS = ("g0", "g1")
HOLDERS = tuple(f"{gateway}-r{number}" for gateway in GATEWAYS for number in range(2))

digests = st.sampled_from(list(SIZES))
holders = st.sampled_from(HOLDERS)
twice = st.booleans()


class History(RuleBasedStateMachine):
    """Each rule is what a request or a gateway does, or what happens to it."""

    def __init__(self, socket: str):
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = Redis(unix_socket_path=socket)
        settings = Settings(
            _env_file=None, redis_prefix=f"h-{secrets.token_hex(6)}", media_store_max_bytes=ROOM, media_hold_lease_s=600
        )
        self.ledgers = {gateway: Ledger(self.redis, settings, on_release=lambda: None) for gateway in GATEWAYS}
        self.prefix = self.ledgers["g0"].prefix
        # The model.
        self.booked: set[str] = set()
        self.stored: set[str] = set()
        self.holds: set[tuple[str, str]] = set()
        self.overdue: set[tuple[str, str]] = set()
        self.idle: list[str] = []
        self.asked: dict[str, dict[str, None]] = {}

    def teardown(self) -> None:
        try:
            for holder in HOLDERS:
                self.release(holder)
            books = self.run(check_books(self.redis, self.prefix))
            assert books.holds == set()
        finally:
            self.run(self.redis.aclose())
            self.runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    # --- rules

    @rule(digest=digests, holder=holders, again=twice)
    def touch(self, digest: str, holder: str, again: bool) -> None:
        for _ in range(1 + again):
            assert self.run(self.ledger(holder).touch(digest, holder)) == self.touched(digest, holder)
        self.asked.setdefault(holder, {})[digest] = None

    @rule(digest=digests, holder=holders, uploads=st.booleans(), again=twice)
    def put(self, digest: str, holder: str, uploads: bool, again: bool) -> None:
        self.asked.setdefault(holder, {})[digest] = None
        for _ in range(1 + again):
            expected = self.reserved(digest, holder)
            assert self.run(self.ledger(holder).reserve(digest, holder, SIZES[digest])) is expected
            if expected is Reserved.MAY_BE_STORED and uploads:
                self.upload(digest)

    @rule(digest=digests, holder=holders, again=twice)
    def store(self, digest: str, holder: str, again: bool) -> None:
        self.asked.setdefault(holder, {})[digest] = None
        for _ in range(1 + again):
            free = ROOM - sum(SIZES[d] for d in self.booked)
            new = digest not in self.stored | self.booked and SIZES[digest] <= free
            if new:
                self.stored.add(digest)
            expected = self.reserved(digest, holder)
            answer = self.run(self.ledger(holder).store(digest, holder, bytes(SIZES[digest])))
            assert answer is (Reserved.STORED if new else expected)

    @rule(digest=digests, holder=holders)
    def answer_a_request(self, digest: str, holder: str) -> None:
        self.put(digest, holder, uploads=True, again=False)
        self.release(holder, again=False)

    @rule(holder=holders, again=twice)
    def release(self, holder: str, again: bool = False) -> None:
        for _ in range(1 + again):
            self.run(self._release(holder))
            self.let_go({hold for hold in self.holds if hold[1] == holder})
        self.asked.pop(holder, None)

    @rule(gateway=st.sampled_from(GATEWAYS))
    def renew(self, gateway: str) -> None:
        self.run(self.ledgers[gateway].renew())
        for holder, asked in self.asked.items():
            for digest in asked if holder.startswith(gateway) else ():
                self.touched(digest, holder)
        self.let_go(self.overdue)

    @rule(gateway=st.sampled_from(GATEWAYS))
    def stand_still_for_longer_than_a_lease(self, gateway: str) -> None:
        self.overdue |= {hold for hold in self.holds if hold[1].startswith(gateway)}
        for hold in self.overdue:
            self.run(self.redis.zadd(f"{self.prefix}holds", {" ".join(hold): 1}, xx=True))

    @rule(nbytes=st.integers(1, 60))
    def run_out_of_memory(self, nbytes: int) -> None:
        assert self.run(self.ledgers["g0"].evict(nbytes)) == self.evicted(nbytes)

    @rule(digest=digests, holder=holders, idle=st.booleans(), noticed=st.booleans())
    def lose_a_payload(self, digest: str, holder: str, idle: bool, noticed: bool) -> None:
        digest = self.idle[0] if idle and self.idle else digest
        self.run(self.redis.delete(f"{self.prefix}data:{digest}"))
        self.stored.discard(digest)
        if noticed:
            self.touch(digest, holder, again=False)

    @rule(digest=digests)
    def upload(self, digest: str) -> None:
        """Perhaps so late that its room has been given away."""
        self.run(self.redis.set(f"{self.prefix}data:{digest}", bytes(SIZES[digest]), px=600_000))
        self.stored.add(digest)

    # --- what must hold

    @invariant()
    def redis_holds_what_the_model_holds(self) -> None:
        books = self.run(check_books(self.redis, self.prefix))
        assert books.sizes == {digest: SIZES[digest] for digest in self.booked}
        assert books.holds == self.holds
        assert books.idle == self.idle
        stored = {key.decode()[-64:] for key in self.run(self.redis.keys(f"{self.prefix}data:*"))}
        assert stored == self.stored

    async def _release(self, holder: str) -> None:
        self.ledger(holder).release(holder)
        await self.ledger(holder).settle()

    # --- the model

    def ledger(self, holder: str) -> Ledger:
        return self.ledgers[holder.partition("-")[0]]

    def touched(self, digest: str, holder: str) -> bool:
        if digest in self.stored or (digest, holder) in self.holds:
            self.hold(digest, holder)
        elif digest in self.idle:
            self.forget(digest)
        return digest in self.stored

    def reserved(self, digest: str, holder: str) -> Reserved:
        if digest not in self.stored | self.booked:
            missing = sum(SIZES[d] for d in self.booked) + SIZES[digest] - ROOM
            if missing > self.idle_bytes():
                self.let_go(self.overdue)
                missing = sum(SIZES[d] for d in self.booked) + SIZES[digest] - ROOM
            if missing > self.idle_bytes():
                return Reserved.NO_ROOM
            self.evicted(missing)
        self.hold(digest, holder)
        return Reserved.THERE if digest in self.stored else Reserved.MAY_BE_STORED

    def hold(self, digest: str, holder: str) -> None:
        self.booked.add(digest)
        self.holds.add((digest, holder))
        self.overdue.discard((digest, holder))
        if digest in self.idle:
            self.idle.remove(digest)

    def let_go(self, holds: set[tuple[str, str]]) -> None:
        ended = {digest for digest, _ in holds}
        self.holds -= holds
        self.overdue = self.overdue - holds
        for digest in sorted(ended - {digest for digest, _ in self.holds}):
            if digest in self.stored:
                self.idle.append(digest)
            else:
                self.booked.remove(digest)

    def forget(self, digest: str) -> None:
        self.booked.discard(digest)
        self.stored.discard(digest)
        self.idle.remove(digest)

    def evicted(self, nbytes: int) -> int:
        freed = 0
        while self.idle and freed < nbytes:
            freed += SIZES[self.idle[0]]
            self.forget(self.idle[0])
        return freed

    def idle_bytes(self) -> int:
        return sum(SIZES[digest] for digest in self.idle)


def test_no_history_loses_count_of_the_room(redis_socket: str) -> None:
    settings = hypothesis.settings(
        max_examples=60,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run_state_machine_as_test(lambda: History(redis_socket), settings=settings)
