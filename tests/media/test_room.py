from __future__ import annotations

import asyncio

import pytest
from prometheus_client import REGISTRY

from tessera.errors import MediaStoreFull, MediaTooLarge
from tessera.media.room import Room


class Hall:
    """Has room for as many as ``free`` says; counts who asked."""

    def __init__(self, free: int = 0):
        self.free = free
        self.asked: list[str] = []
        self.inside: list[str] = []

    def attempt(self, name: str):
        async def ask() -> bool:
            self.asked.append(name)
            await asyncio.sleep(0)
            if not self.free:
                return False
            self.free -= 1
            self.inside.append(name)
            return True

        return ask


def waiting() -> float:
    return REGISTRY.get_sample_value("tessera_media_store_waiting") or 0


def waited() -> float:
    return REGISTRY.get_sample_value("tessera_media_store_wait_seconds_count") or 0


async def test_who_finds_room_does_not_wait():
    hall, before = Hall(1), waited()
    await Room(60).enter(hall.attempt("a"))
    assert (hall.inside, waited()) == (["a"], before)


async def test_those_who_wait_are_let_in_in_their_order_and_only_the_first_asks(wait_for):
    hall, room, before = Hall(), Room(60), waited()
    tasks = [asyncio.create_task(room.enter(hall.attempt("a")))]
    await wait_for(lambda: waiting() == 1)
    tasks += [asyncio.create_task(room.enter(hall.attempt(name))) for name in "bc"]
    await wait_for(lambda: waiting() == 3)
    assert set(hall.asked) == {"a"}
    hall.free = 1
    room.notice()
    await tasks[0]
    # Whoever comes now stands behind those who wait already.
    tasks.append(asyncio.create_task(room.enter(hall.attempt("late"))))
    await wait_for(lambda: waiting() == 3)
    for task in tasks[1:]:
        hall.free = 1
        room.notice()
        await task
    assert (hall.inside, waiting(), waited()) == (["a", "b", "c", "late"], 0, before + 4)


async def test_room_that_nobody_told_of_is_found():
    hall = Hall()
    entering = asyncio.create_task(Room(60).enter(hall.attempt("a")))
    await asyncio.sleep(0)
    hall.free = 1
    async with asyncio.timeout(10):
        await entering


async def test_the_wait_is_bounded_for_the_first_and_for_those_behind():
    hall, room = Hall(), Room(0.05)
    async with asyncio.timeout(10):
        ends = await asyncio.gather(*(room.enter(hall.attempt(n)) for n in "abc"), return_exceptions=True)
    assert [type(end) for end in ends] == [MediaStoreFull] * 3
    assert all(1 <= end.retry_after_s <= 10 for end in ends)
    assert waiting() == 0


async def test_one_who_leaves_the_line_does_not_hold_it_up(wait_for):
    hall, room = Hall(), Room(60)
    tasks = [asyncio.create_task(room.enter(hall.attempt(name))) for name in "abc"]
    await wait_for(lambda: waiting() == 3)
    for task in tasks[:2]:
        task.cancel()
    await asyncio.wait(tasks[:2])
    hall.free = 1
    room.notice()
    await tasks[2]
    assert (hall.inside, waiting()) == (["c"], 0)


async def test_an_error_of_the_first_is_its_own(wait_for):
    hall, room = Hall(), Room(60)

    async def fail() -> bool:
        if waiting():
            raise MediaTooLarge("never")
        return False

    with pytest.raises(MediaTooLarge):
        await room.enter(fail)
    hall.free = 1
    await room.enter(hall.attempt("b"))
    assert (hall.inside, waiting()) == (["b"], 0)
