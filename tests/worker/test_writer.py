from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
import redis.asyncio as aioredis
from structlog.testing import capture_logs

from tessera.errors import QueueUnavailable
from tessera.queue import Append, Broker, Data, End, Head, Lease
from tessera.settings import Settings
from tessera.telemetry.outage import Outage
from tessera.worker import pending
from tessera.worker import writer as writers
from tessera.worker.writer import ReplyWriter
from tests.polling import eventually
from tests.queue.corner import depth_of
from tests.worker.jobs import MODEL, leased, log_of

HEAD = Head(200, "text/plain")
END = End()


class WatchedBroker(Broker):
    """Counts calls, and fails as often as it is told to."""

    def __init__(self, redis: aioredis.Redis, settings: Settings):
        super().__init__(redis, settings)
        self.calls: list[list[Append]] = []
        self.outage = asyncio.Event()
        self.failures: list[Exception] = []
        self.lose_answers = 0

    async def append(self, model: str, appends: Iterable[Append]) -> list[str]:
        given = list(appends)
        self.calls.append(given)
        if self.failures:
            raise self.failures.pop(0)
        if self.outage.is_set():
            raise QueueUnavailable("down")
        lost = await super().append(model, given)
        if self.lose_answers:
            self.lose_answers -= 1
            raise QueueUnavailable("the answer was lost")
        return lost


@pytest.fixture
def watched(redis_client: aioredis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> WatchedBroker:
    monkeypatch.setattr(writers, "RETRY_S", 0.01)
    return WatchedBroker(redis_client, settings)


@pytest.fixture
def lost() -> list[str]:
    return []


@pytest.fixture
def writer(watched: WatchedBroker, lost: list[str]) -> ReplyWriter:
    return ReplyWriter(watched, MODEL, lost.extend, Outage("lost", "back"), high_water_bytes=1000)


async def begin(watched: WatchedBroker, writer: ReplyWriter) -> Lease:
    lease = await leased(watched)
    writer.open(lease)
    return lease


async def test_what_one_turn_brings_is_one_call(watched: WatchedBroker, writer: ReplyWriter) -> None:
    leases = [await begin(watched, writer) for _ in range(5)]
    for lease in leases:
        await writer.write(lease.job.id, HEAD.encode(), b"da")
        await writer.write(lease.job.id, b"db")
        await writer.write(lease.job.id, END.encode(), final=True)
    await writer.drain()
    assert len(watched.calls) == 1
    for lease in leases:
        assert await log_of(watched, lease.job) == [HEAD, Data(b"ab"), END]
    assert await depth_of(watched, MODEL) == (0, 0)


class TestManyThatStreamEachInItsOwnTime:
    """A period that no machine is too slow for: what waits for it waits until something else comes."""

    @pytest.fixture
    async def leases(self, watched: WatchedBroker, writer: ReplyWriter, monkeypatch: pytest.MonkeyPatch) -> list[Lease]:
        monkeypatch.setattr(writers, "GATHER_S", 3600.0)
        leases = [await begin(watched, writer) for _ in range(writers.GATHER_FROM)]
        for lease in leases:
            await writer.write(lease.job.id, HEAD.encode(), b"d0 ")
        await writer.drain()
        watched.calls.clear()
        return leases

    async def test_what_comes_within_a_period_is_one_call(
        self, watched: WatchedBroker, writer: ReplyWriter, leases: list[Lease]
    ) -> None:
        for lease in leases:
            await writer.write(lease.job.id, b"d1 ")
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert watched.calls == []
        writer._gathered()
        await writer.drain()
        [call] = watched.calls
        assert [a.job_id for a in call] == [lease.job.id for lease in leases]
        for lease in leases:
            assert await log_of(watched, lease.job) == [HEAD, Data(b"0 "), Data(b"1 ")]

    async def test_an_end_does_not_wait(self, watched: WatchedBroker, writer: ReplyWriter, leases: list[Lease]) -> None:
        await writer.write(leases[0].job.id, b"d1 ")
        await writer.write(leases[1].job.id, END.encode(), final=True)
        await eventually(lambda: len(watched.calls) == 1, "both are written")
        assert await log_of(watched, leases[1].job) == [HEAD, Data(b"0 "), END]

    async def test_nor_does_a_beginning(self, watched: WatchedBroker, writer: ReplyWriter, leases: list[Lease]) -> None:
        another = await begin(watched, writer)
        await writer.write(leases[0].job.id, b"d1 ")
        await writer.write(another.job.id, HEAD.encode(), b"d0 ")
        await eventually(lambda: len(watched.calls) == 1, "both are written")
        assert await log_of(watched, another.job) == [HEAD, Data(b"0 ")]

    async def test_nor_what_comes_while_one_of_those_is_on_its_way(
        self, watched: WatchedBroker, writer: ReplyWriter, leases: list[Lease]
    ) -> None:
        watched.outage.set()
        await writer.write(leases[0].job.id, b"d1 ")
        await writer.write(leases[1].job.id, END.encode(), final=True)
        await eventually(lambda: len(watched.calls) > 1, "it is tried")
        await writer.write(leases[2].job.id, END.encode(), final=True)
        watched.outage.clear()
        await eventually(lambda: len(writer._open) == len(leases) - 2, "both have ended")

    async def test_few_wait_for_nothing(self, watched: WatchedBroker, writer: ReplyWriter, leases: list[Lease]) -> None:
        for lease in leases[1:]:
            writer.discard(lease.job.id)
        await writer.write(leases[0].job.id, b"d1 ")
        await eventually(lambda: len(watched.calls) == 1, "it is written")


async def test_an_outage_delays_and_keeps_the_order(watched: WatchedBroker, writer: ReplyWriter) -> None:
    lease = await begin(watched, writer)
    watched.outage.set()
    await writer.write(lease.job.id, HEAD.encode())
    await eventually(lambda: len(watched.calls) > 2, "it tries again and again")
    for n in range(20):
        await writer.write(lease.job.id, f"d{n} ".encode())
    await writer.write(lease.job.id, END.encode(), final=True)
    assert await log_of(watched, lease.job) == []
    with capture_logs() as logs:
        watched.outage.clear()
        await writer.drain()
    assert [line["event"] for line in logs] == ["back"]
    log = await log_of(watched, lease.job)
    assert (log[0], log[-1]) == (HEAD, END)
    assert b"".join(e.body for e in log if isinstance(e, Data)) == b"".join(f"{n} ".encode() for n in range(20))


async def test_an_answer_that_was_lost_doubles_nothing(
    watched: WatchedBroker, writer: ReplyWriter, lost: list[str]
) -> None:
    lease = await begin(watched, writer)
    watched.lose_answers = 2
    await writer.write(lease.job.id, HEAD.encode(), b"da")
    await writer.drain()
    watched.lose_answers = 1
    await writer.write(lease.job.id, b"db", END.encode(), final=True)
    await writer.drain()
    assert await log_of(watched, lease.job) == [HEAD, Data(b"a"), Data(b"b"), END]
    assert lost == []  # a job that is finished is not lost


async def test_a_lost_job_is_told_and_others_are_written(
    watched: WatchedBroker, writer: ReplyWriter, lost: list[str]
) -> None:
    gone, stays = await begin(watched, writer), await begin(watched, writer)
    await watched.cancel(MODEL, gone.job.id)
    for lease in (gone, stays):
        await writer.write(lease.job.id, HEAD.encode())
    await writer.drain()
    assert lost == [gone.job.id]
    assert not any(isinstance(entry, Head) for entry in await log_of(watched, gone.job))
    assert await log_of(watched, stays.job) == [HEAD]


async def test_what_an_older_lease_lost_is_not_blamed_on_the_newer(
    watched: WatchedBroker, writer: ReplyWriter, lost: list[str]
) -> None:
    old = await begin(watched, writer)
    watched.outage.set()
    await writer.write(old.job.id, HEAD.encode(), b"dold")
    await eventually(lambda: bool(watched.calls), "it is on its way")
    await watched.release(MODEL, [old], failed=False)
    [new] = await watched.lease(MODEL, "w", free=1, capacity=1, most=1)
    writer.discard(old.job.id)
    writer.open(new)
    await writer.write(new.job.id, HEAD.encode(), b"dnew")
    watched.outage.clear()
    await writer.drain()
    assert lost == []
    assert await log_of(watched, new.job) == [HEAD, Data(b"new")]


async def test_it_waits_while_too_much_is_unwritten(watched: WatchedBroker, writer: ReplyWriter) -> None:
    lease = await begin(watched, writer)
    watched.outage.set()
    await asyncio.wait_for(writer.write(lease.job.id, b"d" + b"x" * 900), 5)
    waiting = asyncio.create_task(writer.write(lease.job.id, b"d" + b"y" * 900))
    await eventually(lambda: len(watched.calls) > 3, "it tries again and again")
    assert not waiting.done()
    watched.outage.clear()
    await asyncio.wait_for(waiting, 10)
    await writer.drain()
    assert await log_of(watched, lease.job) == [Data(b"x" * 900), Data(b"y" * 900)]


async def test_room_that_a_discarded_job_leaves_is_used_at_once(watched: WatchedBroker, writer: ReplyWriter) -> None:
    first, second = await begin(watched, writer), await begin(watched, writer)
    watched.outage.set()
    await writer.write(first.job.id, b"da")
    await eventually(lambda: bool(watched.calls), "the first is on its way")
    large = asyncio.create_task(writer.write(second.job.id, b"d" + b"x" * 2000))
    await asyncio.sleep(0)
    assert not large.done()
    writer.discard(second.job.id)
    await asyncio.wait_for(large, 5)
    watched.outage.clear()
    await writer.drain()
    assert await log_of(watched, second.job) == []


class TestWithoutRoomInRedis:
    """Running jobs have taken the whole budget, and one of them, the first, goes on."""

    @pytest.fixture
    def watched(
        self, redis_client: aioredis.Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> WatchedBroker:
        monkeypatch.setattr(writers, "RETRY_S", 0.01)
        monkeypatch.setattr(pending, "COUNTED_AT_ONCE_BYTES", 1)
        return WatchedBroker(redis_client, settings.model_copy(update={"max_reply_bytes": 100}))

    @pytest.fixture
    async def first(self, watched: WatchedBroker, writer: ReplyWriter) -> Lease:
        lease = await begin(watched, writer)
        for _ in range(2):
            await writer.write(lease.job.id, b"d" + b"x" * 99)
            await writer.drain()
        return lease

    async def held_back(self, watched: WatchedBroker, writer: ReplyWriter) -> tuple[Lease, asyncio.Task[None]]:
        """Another job, and its writing, which waits."""
        lease = await begin(watched, writer)
        await writer.write(lease.job.id, HEAD.encode(), b"d1 ", steps=b"s1")
        await writer.drain()
        waiting = asyncio.create_task(writer.write(lease.job.id, b"d2 ", steps=b"s2"))
        calls = len(watched.calls)
        await eventually(lambda: len(watched.calls) > calls + 3, "it tries again and again")
        assert not waiting.done()
        assert await log_of(watched, lease.job) == []
        return lease, waiting

    async def test_a_job_waits_and_loses_nothing(
        self, watched: WatchedBroker, writer: ReplyWriter, first: Lease, lost: list[str]
    ) -> None:
        with capture_logs() as logs:
            lease, waiting = await self.held_back(watched, writer)
            await writer.write(first.job.id, END.encode(), final=True)
            await asyncio.wait_for(waiting, 10)
            await writer.write(lease.job.id, END.encode(), final=True)
            await writer.drain()
        log = await log_of(watched, lease.job)
        assert (log[0], log[-1]) == (HEAD, END)
        assert b"".join(e.body for e in log if isinstance(e, Data)) == b"1 2 "
        assert [(line["event"], line["jobs"]) for line in logs] == [("replies_held_back", 1), ("replies_go_on", 0)]
        assert lost == []
        assert writer._bytes == 0

    async def test_the_first_goes_on_whatever_waits(
        self, watched: WatchedBroker, writer: ReplyWriter, first: Lease
    ) -> None:
        for _ in range(3):
            large = await begin(watched, writer)
            await writer.write(large.job.id, b"d" + b"x" * 900)  # of a high-water mark of 1,000
            await writer.drain()
        for _ in range(5):
            await asyncio.wait_for(writer.write(first.job.id, b"d" + b"x" * 50), 10)
            await writer.drain()
        assert sum(len(e.body) for e in await log_of(watched, first.job) if isinstance(e, Data)) == 2 * 99 + 5 * 50

    async def test_a_job_that_nobody_waits_for_any_more_does_not_wait(
        self, watched: WatchedBroker, writer: ReplyWriter, first: Lease
    ) -> None:
        lease, waiting = await self.held_back(watched, writer)
        writer.discard(lease.job.id)
        await asyncio.wait_for(waiting, 10)
        await writer.drain()
        assert writer._bytes == 0

    async def test_what_ends_a_job_is_written_with_what_waited(
        self, watched: WatchedBroker, writer: ReplyWriter, first: Lease
    ) -> None:
        lease, waiting = await self.held_back(watched, writer)
        await writer.write(lease.job.id, END.encode(), final=True)
        await asyncio.wait_for(waiting, 10)
        log = await log_of(watched, lease.job)
        assert (log[0], log[-1]) == (HEAD, END)
        assert b"".join(e.body for e in log if isinstance(e, Data)) == b"1 2 "


async def test_an_error_that_nobody_thought_of_loses_the_jobs_but_not_the_writer(
    watched: WatchedBroker, writer: ReplyWriter, lost: list[str]
) -> None:
    lease, later = await begin(watched, writer), await begin(watched, writer)
    watched.failures = [RuntimeError("never seen before")]
    await writer.write(lease.job.id, b"d" + b"x" * 900)
    await writer.drain()
    assert lost == [lease.job.id]
    writer.discard(lease.job.id)
    for _ in range(3):
        await asyncio.wait_for(writer.write(later.job.id, b"d" + b"y" * 500), 5)
    await writer.drain()
    assert sum(len(e.body) for e in await log_of(watched, later.job) if isinstance(e, Data)) == 1500


async def test_a_large_body_is_cut_into_entries_of_bounded_size_that_are_written_at_once(
    watched: WatchedBroker, writer: ReplyWriter
) -> None:
    lease = await begin(watched, writer)
    body = b"x" * (pending.MOST_ENTRY_BYTES - 1) + b"\n\n" + bytes(range(256)) * 4096
    await writer.write(lease.job.id, HEAD.encode(), b"d" + body, END.encode(), final=True)
    await writer.drain()
    log = await log_of(watched, lease.job)
    assert (log[0], log[-1]) == (HEAD, END)
    entries = [e.body for e in log if isinstance(e, Data)]
    assert b"".join(entries) == body
    assert entries[0].endswith(b"x\n\n"), "the end of an event is not cut"
    assert max(map(len, entries)) < pending.MOST_ENTRY_BYTES + 8
    assert len(watched.calls) == 1
    assert writer._bytes == 0


async def test_small_pieces_are_joined_up_to_the_size_of_an_entry(watched: WatchedBroker, writer: ReplyWriter) -> None:
    lease = await begin(watched, writer)
    writer._high_water = 1 << 20
    for _ in range(10):
        await writer.write(lease.job.id, b"d" + b"x" * 20_000)
    await writer.drain()
    entries = [e.body for e in await log_of(watched, lease.job) if isinstance(e, Data)]
    assert [len(entry) for entry in entries] == [60_000, 60_000, 60_000, 20_000]
    assert writer._bytes == 0


async def test_small_pieces_count_now_and_then_and_all_at_the_end(watched: WatchedBroker, writer: ReplyWriter) -> None:
    lease = await begin(watched, writer)
    piece = b"d" + b"x" * 999
    counts = []
    for _ in range(9):
        await writer.write(lease.job.id, piece, steps=b"s" * 24)
        await writer.drain()
        counts.append((await watched.census(MODEL)).reply_bytes)
    assert counts == [0, 0, 0, 4096, 4096, 4096, 4096, 8192, 8192]
    await writer.write(lease.job.id, END.encode(), final=True)
    await writer.drain()
    assert (await watched.census(MODEL)).reply_bytes == 9 * len(piece) + len(END.encode())


async def test_a_job_that_is_not_open_is_not_written(watched: WatchedBroker, writer: ReplyWriter) -> None:
    lease = await begin(watched, writer)
    writer.discard(lease.job.id)
    await writer.write(lease.job.id, HEAD.encode())
    await writer.drain()
    assert watched.calls == []
