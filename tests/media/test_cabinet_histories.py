"""Histories of gateways at random, with deaths in all places: no object is lost that is needed, and none is left."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis

from tessera.errors import MediaStoreFull, MediaTooLarge
from tessera.media import RedisMediaStore
from tessera.settings import Settings
from tests.media.books import check_books

SIZES = {letter * 64: size for letter, size in zip("abcd", (30, 40, 50, 60), strict=True)}
HOLDERS = tuple(f"{gateway}-r{number}" for gateway in range(2) for number in range(2))
STEPS = ("begin", "write", "attach")

digests = st.sampled_from(list(SIZES))
holders = st.sampled_from(HOLDERS)


class Died(Exception):
    """A gateway did, in the middle of something."""


class History(RuleBasedStateMachine):
    """Two gateways with a directory; what they hold is held, whatever happens to the rest."""

    def __init__(self, socket: str):
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = Redis(unix_socket_path=socket)
        self.folder = tempfile.TemporaryDirectory()
        settings = Settings(
            _env_file=None,
            redis_prefix=f"h-{secrets.token_hex(6)}",
            media_store_url=Path(self.folder.name).as_uri(),
            media_redis_max_item_bytes=0,
            media_store_max_bytes=100,
            media_store_wait_s=0.001,
            media_hold_lease_s=600,
        )
        self.prefix = f"{settings.redis_prefix}:{{media}}:"
        self.stores = [RedisMediaStore(self.redis, settings) for _ in range(2)]
        self.held: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        try:
            for holder in HOLDERS:
                self.release(holder)
            self.run(self.store(HOLDERS[0])._ledger.evict(1000))
            self.some_time_later()
            self.delete()
            assert self.files() == set()
        finally:
            self.run(self.redis.aclose())
            self.runner.close()
            self.folder.cleanup()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def store(self, holder: str) -> RedisMediaStore:
        return self.stores[int(holder[0])]

    def files(self) -> set[str]:
        return {path.name for path in Path(self.folder.name).rglob("*") if path.is_file()}

    # --- rules

    @rule(digest=digests, holder=holders)
    def put(self, digest: str, holder: str) -> None:
        with suppress(MediaStoreFull, MediaTooLarge):
            self.run(self.store(holder).put(digest, digest[0].encode() * SIZES[digest], holder))
            self.held.add((digest, holder))

    @rule(digest=digests, holder=holders, step=st.sampled_from(STEPS), after=st.booleans())
    def die(self, digest: str, holder: str, step: str, after: bool) -> None:
        """A gateway dies before or after a step of a put; its request ends when its lease does."""
        cabinet = self.store(holder)._cabinet
        owner = cabinet._objects if step == "write" else cabinet._ledger
        real = getattr(owner, step)

        async def fail(*arguments: Any, **options: Any) -> None:
            if after:
                await real(*arguments, **options)
            raise Died

        setattr(owner, step, fail)
        try:
            with suppress(Died, MediaStoreFull, MediaTooLarge):
                self.run(self.store(holder).put(digest, digest[0].encode() * SIZES[digest], holder))
        finally:
            delattr(owner, step)
        self.release(holder)

    @rule(digest=digests, holder=holders)
    def touch(self, digest: str, holder: str) -> None:
        there = self.run(self.store(holder).touch(digest, holder))
        assert there or not any(digest == held for held, _ in self.held)
        if there:
            self.held.add((digest, holder))

    @rule(holder=holders)
    def release(self, holder: str) -> None:
        self.run(self._release(holder))
        self.held = {hold for hold in self.held if hold[1] != holder}

    @rule()
    def delete(self) -> None:
        self.run(self.stores[0]._cabinet.delete_doomed())

    @rule()
    def some_time_later(self) -> None:
        """Whatever was begun had to be complete by now."""
        self.run(self._let_time_pass())

    @rule(nbytes=st.integers(1, 60))
    def make_room(self, nbytes: int) -> None:
        self.run(self.stores[1]._ledger.evict(nbytes))

    # --- what must hold

    @invariant()
    def what_is_held_is_there(self) -> None:
        for digest in {digest for digest, _ in self.held}:
            assert bytes(self.run(self.stores[0].get(digest))) == digest[0].encode() * SIZES[digest]

    @invariant()
    def no_file_is_unknown(self) -> None:
        names = {name.decode() for name in self.run(self.redis.hvals(f"{self.prefix}names"))}
        doomed = {name.decode() for name in self.run(self.redis.zrange(f"{self.prefix}objects", 0, -1))}
        assert self.files() <= names | doomed
        assert not names & doomed
        self.run(check_books(self.redis, self.prefix))

    async def _release(self, holder: str) -> None:
        self.store(holder).release(holder)
        await self.store(holder).settle()

    async def _let_time_pass(self) -> None:
        for name in await self.redis.zrange(f"{self.prefix}objects", 0, -1):
            await self.redis.zadd(f"{self.prefix}objects", {name: 1}, xx=True)


def test_no_history_loses_an_object_or_leaves_one(redis_socket: str) -> None:
    settings = hypothesis.settings(
        max_examples=30,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run_state_machine_as_test(lambda: History(redis_socket), settings=settings)
