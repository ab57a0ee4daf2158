from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from tessera.errors import MediaMemoryFull
from tessera.media.decoder import SMALL_BYTES
from tessera.media.memory import MediaMemory

MIB = 1 << 20


@pytest.mark.parametrize("limit", [0, 100 * MIB, 4096 * MIB])
async def test_all_parts_together_are_the_limit(make_settings, limit):
    memory = MediaMemory(make_settings(max_media_bytes_in_memory=limit, media_memory_wait_s=0.01))

    async with AsyncExitStack() as stack:

        async def fill(hold, nbytes):
            with suppress(MediaMemoryFull):
                for _ in range(10_000):
                    await stack.enter_async_context(hold(nbytes))

        await fill(memory.encoded.hold, MIB // 4)
        await fill(memory.decoding, MIB // 4)
        await fill(memory.decoding, SMALL_BYTES + 1)
        held, limit = memory.encoded.held + memory.in_decode, limit or 1024 * MIB
        assert held <= limit
        # What is kept for the first download, and what is too little for one more.
        assert held > limit - limit / 8 - SMALL_BYTES - MIB
    assert memory.encoded.held + memory.in_decode == 0


async def test_small_items_have_room_when_large_ones_hold_all_of_theirs(make_settings):
    memory = MediaMemory(make_settings())
    async with memory.decoding(10_000 * MIB), asyncio.timeout(10), memory.decoding(SMALL_BYTES):
        assert memory.in_decode == 10_000 * MIB + SMALL_BYTES
    assert memory.in_decode == 0
